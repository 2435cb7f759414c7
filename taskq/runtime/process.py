"""The life of a worker process: its signals, its own threads, and an exit that no stuck task holds up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from uuid import uuid4

from taskq.app import App
from taskq.config import WorkerOptions
from taskq.domain.figures import Frame
from taskq.domain.health import Health
from taskq.errors import TaskqError
from taskq.runtime.health import health_of
from taskq.runtime.rolling import Rolling
from taskq.runtime.service import Tick
from taskq.runtime.signals import Hangup, install
from taskq.runtime.supervisor import DISMISSED, RESTART
from taskq.runtime.worker import Worker

if TYPE_CHECKING:
    from taskq.runtime.beat import Beat
    from taskq.runtime.store_watch import StoreWatch

FAREWELL = 2.0
"""Seconds that the last words of a process may take."""
logger = logging.getLogger("taskq.worker")


class Errands(NamedTuple):
    """What a process that has schedules fire does beside."""

    ticks: Sequence[tuple[str, Tick]] = ()
    """What is to be called again and again, with its name."""
    farewell: Callable[[], Awaitable[None]] | None = None
    """What is to be done at the end."""


Showing = Callable[[Callable[[], Frame], Callable[[], Health]], AbstractContextManager[object]]
"""Shows the figures and the health of a process to others while it lasts; asks for them from any thread."""


async def serve(
    app: App,
    options: WorkerOptions,
    join: Callable[[Worker], Hangup] | None = None,
    showing: Showing | None = None,
    errands: Errands | None = None,
) -> int:
    """Run a worker until a signal stops it.

    Arguments:
        app: the application; it is closed at the end.
        options: queues, slots, lease and so on.
        join: given the worker before it starts; returns what SIGHUP means, None: to stop.
        showing: shows its figures, and those of the store where it is a beat too, and its health.
        errands: what else it does.

    Returns:
        The exit status of the process: 0, RESTART where a fresh process is to take its place, DISMISSED where none is.

    Raises:
        UnsafeStore, SchemaMismatch, BackendUnavailable: the store is not fit to be worked on.
    """
    loop = asyncio.get_running_loop()
    # Where `asyncio.to_thread` of the tasks runs. The event loop waits for its threads without end when it closes, so
    # it is left with an empty pool.
    loop.set_default_executor(lent := ThreadPoolExecutor(thread_name_prefix="asyncio"))
    watch = _watch_of(app) if options.beat and showing is not None else None
    errands, worker = errands or Errands(), Worker(app, options)
    worker.beside.append(lambda _: [*errands.ticks, *_watching(watch)])
    install(worker, None if join is None else join(worker))

    def frame() -> Frame:
        own = {} if worker.parts is None else worker.parts.recorder.totals()
        return own if watch is None else own | watch.frame()

    try:
        with nullcontext() if showing is None else showing(frame, lambda: health_of(worker)):
            await worker.run()
        await _say_farewell(errands)
    finally:
        await app.aclose()
        lent.shutdown(wait=False, cancel_futures=True)
        loop.set_default_executor(ThreadPoolExecutor(1))
    if worker.is_dismissed:
        return DISMISSED
    return RESTART if worker.wants_restart else 0


async def serve_beat(
    app: App,
    look_every: float,
    join: Callable[[Beat], Hangup] | None = None,
    showing: Showing | None = None,
    errands: Errands | None = None,
) -> None:
    """Run a beat until a signal stops it.

    Arguments:
        app: the application; it is closed at the end.
        look_every: seconds after which it looks again, because a schedule may have been changed meanwhile.
        join: as for `serve`.
        showing: shows the figures of the store, and the health of the beat.
        errands: what else it does.

    Raises:
        CapabilityMissing: its store keeps no schedules.
        TaskqError: what its code declares cannot be told to a store.
    """
    from taskq.runtime.beat import Beat  # most workers have none

    watch, rolling, errands = _watch_of(app), Rolling(app.backend, uuid4().hex), errands or Errands()
    shown = () if showing is None else _watching(watch)
    beat = Beat(app, look_every=look_every)
    beat.beside.append(lambda _: [("the figures of the fleet", rolling.tick), *errands.ticks, *shown])
    install(beat, None if join is None else join(beat))
    try:
        await beat.check()
        with nullcontext() if showing is None else showing(watch.frame, beat.health):
            await beat.run()
        await rolling.farewell()
        await _say_farewell(errands)
    finally:
        await app.aclose()


def _watch_of(app: App) -> StoreWatch:
    from taskq.runtime.store_watch import StoreWatch  # most workers do without it

    return StoreWatch(app)


def _watching(watch: StoreWatch | None) -> Sequence[tuple[str, Tick]]:
    return () if watch is None else [("the watch over the store", watch.tick)]


async def _say_farewell(errands: Errands) -> None:
    if errands.farewell is not None:
        with contextlib.suppress(TaskqError, TimeoutError):  # who does not hear of it finds out by itself
            await asyncio.wait_for(errands.farewell(), FAREWELL)


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
