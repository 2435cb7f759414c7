"""The life of a worker process: its signals, its own threads, and an exit that no stuck task holds up."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn

from taskq.app import App
from taskq.config import WorkerOptions
from taskq.runtime.signals import Hangup, install
from taskq.runtime.supervisor import DISMISSED, RESTART
from taskq.runtime.worker import Worker

if TYPE_CHECKING:
    from taskq.runtime.beat import Beat

logger = logging.getLogger("taskq.worker")


async def serve(app: App, options: WorkerOptions, join: Callable[[Worker], Hangup] | None = None) -> int:
    """Run a worker until a signal stops it.

    Arguments:
        app: the application; it is closed at the end.
        options: queues, slots, lease and so on.
        join: given the worker before it starts; returns what SIGHUP means, None: to stop.

    Returns:
        The exit status of the process: 0, RESTART where a fresh process is to take its place, DISMISSED where none is.

    Raises:
        UnsafeStore, SchemaMismatch, BackendUnavailable: the store is not fit to be worked on.
    """
    loop = asyncio.get_running_loop()
    # Where `asyncio.to_thread` of the tasks runs. The event loop waits for its threads without end when it closes, so
    # it is left with an empty pool.
    loop.set_default_executor(lent := ThreadPoolExecutor(thread_name_prefix="asyncio"))
    worker = Worker(app, options)
    install(worker, None if join is None else join(worker))
    try:
        await worker.run()
    finally:
        await app.aclose()
        lent.shutdown(wait=False, cancel_futures=True)
        loop.set_default_executor(ThreadPoolExecutor(1))
    if worker.is_dismissed:
        return DISMISSED
    return RESTART if worker.wants_restart else 0


async def serve_beat(app: App, look_every: float, join: Callable[[Beat], Hangup] | None = None) -> None:
    """Run a beat until a signal stops it.

    Arguments:
        app: the application; it is closed at the end.
        look_every: seconds after which it looks again, because a schedule may have been changed meanwhile.
        join: as for `serve`.

    Raises:
        CapabilityMissing: its store keeps no schedules.
        TaskqError: what its code declares cannot be told to a store.
    """
    from taskq.runtime.beat import Beat  # most workers have none

    beat = Beat(app, look_every=look_every)
    install(beat, None if join is None else join(beat))
    try:
        await beat.check()
        await beat.run()
    finally:
        await app.aclose()


def leave(status: int, known: Collection[threading.Thread]) -> NoReturn:
    """End the process: in the ordinary way, unless threads are left over for which the interpreter would wait.

    The tasks that these threads belong to were given back when the worker stopped.

    Arguments:
        status: the exit status.
        known: threads that were there before the worker, which are not its affair.
    """
    left = [thread for thread in threading.enumerate() if not thread.daemon and thread not in known]
    for thread in left:
        # One that only has its own last step to do is no reason for a hard exit.
        thread.join(0.2)
    stuck = sum(thread.is_alive() for thread in left)
    if not stuck:
        raise SystemExit(status)
    logger.warning("threads that tasks have started do not end (%d): the process ends without them", stuck)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
