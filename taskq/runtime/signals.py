"""What a worker process does with signals, and when its supervisor dies."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from typing import Protocol

from taskq.runtime.supervisor import LIFELINE

ECHO = 1.0
"""Seconds after the first request to stop in which a SIGTERM is that request once more: systemd tells each process of
a service, and the supervisor passes on what it was told."""
logger = logging.getLogger("taskq.worker")


class Stoppable(Protocol):
    """What is told to stop: a worker."""

    def stop(self) -> None:
        """Stop gracefully; at a second call at once."""
        ...


class StopRequests:
    """Tells a worker to stop, and to hurry where somebody insists.

    Arguments:
        worker: who is told.
        now: the seconds of a clock that never goes back.
    """

    def __init__(self, worker: Stoppable, now: Callable[[], float]) -> None:
        self._worker = worker
        self._now = now
        self._asked_at: float | None = None

    def on_signal(self, number: signal.Signals) -> None:
        """The first signal begins a stop; a later one hurries it, unless it is an echo of the first."""
        if self._asked_at is None:
            self.begin(f"by {number.name}")
        elif number == signal.SIGINT or self._now() - self._asked_at > ECHO:
            self._worker.stop()

    def begin(self, why: str) -> None:
        """Begin a stop, unless one has begun."""
        if self._asked_at is None:
            logger.info("told to stop %s", why)
            self._asked_at = self._now()
            self._worker.stop()


def install(worker: Stoppable) -> None:
    """SIGTERM and SIGINT stop the worker gracefully, a second one at once; the end of its supervisor gracefully."""
    loop = asyncio.get_running_loop()
    requests = StopRequests(worker, loop.time)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, requests.on_signal, number)
    # `--reload` keeps Ctrl-C from a process that is not ready for it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    lifeline = os.environ.get(LIFELINE)
    if lifeline is not None:
        watch = int(lifeline)
        os.set_blocking(watch, False)
        loop.add_reader(watch, _orphaned, loop, watch, requests)


def _orphaned(loop: asyncio.AbstractEventLoop, watch: int, requests: StopRequests) -> None:
    """The pipe came to its end: the supervisor is gone."""
    loop.remove_reader(watch)
    requests.begin("because its supervisor is gone")
