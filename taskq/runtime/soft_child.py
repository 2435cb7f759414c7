"""The soft timeout of a task in a child process: SoftTimeout, raised in its main thread by a signal.

Unlike in a thread of the worker it interrupts what waits in the system too, such as a sleep or a read: a handler that
raises ends the call (PEP 475).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

from taskq.errors import SoftTimeout

SIGNAL = signal.SIGURG
"""Ignored unless somebody handles it, so one that comes late does no harm; and no program uses it."""


@contextmanager
def held_off() -> Iterator[None]:
    """A context in which SoftTimeout is not raised in this thread; one that is due comes at its end.

    For what must not be broken off in the middle.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (SIGNAL,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupted:
    """A context in which SoftTimeout is raised once its time is over; for the main thread only.

    Arguments:
        seconds: until then; None: never.

    >>> try:
    ...     with Interrupted(0.001):
    ...         threading.Event().wait()
    ... except SoftTimeout as error:
    ...     print(error)
    the soft timeout of the task is over
    """

    def __init__(self, seconds: float | None) -> None:
        self._is_due = False
        """Whether it is this one's time that is over: the signal may be of one before, or of somebody else."""
        self._is_open = False
        self._timer = None if seconds is None else threading.Timer(seconds, self.interrupt)

    def interrupt(self) -> None:
        """The time is over; from any thread."""
        self._is_due = True
        signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)

    def __enter__(self) -> Self:
        if self._timer is not None:
            signal.signal(SIGNAL, self._handle)
            self._is_open = True
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False  # from this line on nothing is raised any more, for handlers run in this thread
        if self._timer is not None:
            self._timer.cancel()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_due and self._is_open:
            self._is_open = False
            raise SoftTimeout
