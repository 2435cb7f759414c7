"""What a worker process does with signals, and when its supervisor dies."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Protocol

from taskq.variables import LIFELINE

ECHO = 1.0
"""Seconds after the first request to stop in which a SIGTERM is that request once more: systemd tells each process of
a service, and the supervisor passes on what it was told."""
logger = logging.getLogger("taskq.worker")


class Stoppable(Protocol):
    """What is told to stop: a worker."""

    def stop(self) -> None:
        """Stop gracefully; at a second call at once."""
        ...

    def drain(self) -> None:
        """Stop gracefully, however often it is said."""
        ...


class StopRequests:
    """Tells a worker to stop at a signal, and to hurry where somebody insists.

    Arguments:
        worker: who is told.
        now: the seconds of a clock that never goes back.
    """

    def __init__(self, worker: Stoppable, now: Callable[[], float]) -> None:
        self._worker = worker
        self._now = now
        self._told_at: float | None = None

    def on_signal(self, number: signal.Signals) -> None:
        """The first signal begins a stop; a later one hurries it, unless it is an echo of the first."""
        if self._told_at is None:
            self._told_at = self._now()
            logger.info("told to stop by %s", number.name)
            self._worker.stop()
        elif number == signal.SIGINT or self._now() - self._told_at > ECHO:
            self._worker.stop()


Hangup = Callable[[], object] | None
"""What is done at SIGHUP; None: a graceful stop."""


def has_terminal() -> bool:
    """Whether this process has a terminal, which tells it by SIGHUP that it was closed."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def install(worker: Stoppable, hangup: Hangup = None) -> None:
    """SIGTERM and SIGINT stop the worker gracefully, a second one at once; the end of its supervisor gracefully.

    Arguments:
        worker: who is told.
        hangup: what is done at SIGHUP; None: a graceful stop, as always where the process has a terminal.
    """
    loop = asyncio.get_running_loop()
    requests = StopRequests(worker, loop.time)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, requests.on_signal, number)
    # The terminal was closed; not where `nohup` has said that this is nothing to us.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, worker.drain if hangup is None or has_terminal() else hangup)
    # `--reload` keeps Ctrl-C from a process that is not ready for it, the supervisor SIGHUP.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
    lifeline = os.environ.pop(LIFELINE, None)  # what a task starts has another owner
    if lifeline is not None:
        watch = int(lifeline)
        os.set_blocking(watch, False)
        loop.add_reader(watch, _orphaned, loop, watch, worker)


def _orphaned(loop: asyncio.AbstractEventLoop, watch: int, worker: Stoppable) -> None:
    """The pipe came to its end: the supervisor is gone. Nobody has insisted on anything by that."""
    loop.remove_reader(watch)
    logger.info("told to stop by the end of the supervisor")
    worker.drain()
