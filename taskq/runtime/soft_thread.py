"""The soft timeout of a task in a thread: SoftTimeout, raised there between two lines, by a means of CPython alone.

`PyThreadState_SetAsyncExc` has the thread raise an exception at its next call or turn of a loop. So a call into C (a
sleep, a query, a lock that is waited for) is not interrupted: it ends first. And it lands anywhere, also in a
`finally`, as KeyboardInterrupt does in a program.

Nothing is ever taken back by sending None in its place: up to Python 3.12 the interpreter would look for an exception
at every turn for the rest of its life, and 3.11 under a debugger or coverage would do nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from taskq.errors import SoftTimeout

R = TypeVar("R")
TURNS = 10
"""Of a loop, at the first of which an exception is raised that was sent before."""


class Interruptible:
    """One call of a function in a thread, into which SoftTimeout can be raised once, and never after its end.

    >>> call = Interruptible()
    >>> call.run(lambda: 3)
    3
    >>> call.interrupt()
    False
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Held by who sends the exception, and by the call at its beginning and its end."""
        self._thread: int | None = None
        """Where the function runs."""
        self._is_sent = False
        self._is_early = False
        """Whether it was interrupted before it began."""

    def run(self, function: Callable[[], R]) -> R:
        """Call the function in this thread.

        Raises:
            SoftTimeout: it was interrupted. At its very end its result may be lost by that.
        """
        with self._lock:
            self._thread = threading.get_ident()
        try:
            if self._is_early:
                raise SoftTimeout
            return function()
        finally:
            self._end()

    def interrupt(self) -> bool:
        """Raise SoftTimeout in the function, or have it not begin; from another thread. False where it does not run."""
        # Once it is sent nobody asks for the lock again: the call may have been interrupted while it held it.
        if self._is_sent:
            return False
        with self._lock:
            self._is_early = self._thread is None
            self._is_sent = self._thread is not None and _raise_in(self._thread, SoftTimeout)
        return self._is_sent

    def _end(self) -> None:
        """Let nothing reach this thread any more.

        What was sent may be raised at any line here. Then it is on its way no more, and no other will follow: what it
        leaves undone, the lock that is held included, matters to nobody.
        """
        try:
            with self._lock:
                self._thread = None
            for _ in range(TURNS):
                pass
        except SoftTimeout:  # too late: the function has ended
            pass


def _raise_in(thread: int, kind: type[BaseException]) -> bool:
    """Have a thread raise an exception of this class; whether there is such a thread."""
    import ctypes  # only where a thread task has a soft timeout

    api: Any = ctypes.pythonapi
    return bool(api.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind)))
