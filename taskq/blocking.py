"""Blocking calls for code without an event loop: one background loop for the process, safe over a fork.

There are no twin classes: a blocking method hands the coroutine of its a-twin to `run`.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from taskq.errors import WouldBlock

T = TypeVar("T")
CLOSE_TIMEOUT = 5.0

worker_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("taskq_worker_loop", default=None)
"""Set by a worker around a task that runs in one of its threads: blocking calls then use the worker's own loop."""

inline: ContextVar[bool] = ContextVar("taskq_inline", default=False)
"""Set by the test harness, which runs a blocking task in its own event loop on a store that never makes it wait."""


class _Portal:
    """The background loop and its thread, started by the first blocking call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The background loop, None where the interpreter ends and starts no thread any more."""
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(loop,), name="taskq-blocking", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    self._thread = None
                    loop.close()
                    return None
                self._loop = loop
            return self._loop

    def is_own(self, loop: asyncio.AbstractEventLoop) -> bool:
        return loop is self._loop

    def at_exit(self, close: Callable[[], Awaitable[None]]) -> None:
        if close not in self._closers:  # what was closed and opened again
            self._closers.append(close)

    def close(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return
        closers, self._closers = self._closers, []

        async def close_all() -> None:
            await asyncio.gather(*(close() for close in closers), return_exceptions=True)

        future = asyncio.run_coroutine_threadsafe(close_all(), loop)
        with contextlib.suppress(concurrent.futures.TimeoutError):
            future.result(CLOSE_TIMEOUT)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_TIMEOUT)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


_portal = _Portal()


def _after_fork() -> None:
    # The child has the parent's objects but not its thread: it starts a loop of its own when it needs one.
    global _portal
    _portal = _Portal()
    worker_loop.set(None)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _portal.close())


def run(coroutine: Coroutine[Any, Any, T], what: str, twin: str) -> T:
    """Wait for a coroutine from code that runs in no event loop.

    Arguments:
        coroutine: what to wait for.
        what: the blocking call, for the message.
        twin: what to write instead where a loop runs.

    Raises:
        WouldBlock: an event loop runs in this thread.
    """
    if inline.get():
        refusal = f"{what} would wait for what cannot happen meanwhile in a harness: write `{_awaited(twin)}`"
        return at_once(coroutine, refusal)
    try:
        check(what, twin)
    except WouldBlock:
        coroutine.close()
        raise
    loop = worker_loop.get() or _portal.loop()
    if loop is None:
        return asyncio.run(coroutine)
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def check(what: str, twin: str) -> None:
    """Refuse a blocking call where an event loop runs in this thread; for what `run` takes, see there.

    Raises:
        WouldBlock: one does, and it is not that of a harness, which runs blocking tasks in its own.
    """
    if inline.get():
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WouldBlock(f"{what} would block the event loop that runs here: write `{_awaited(twin)}`")


def _awaited(twin: str) -> str:
    return twin if twin.startswith("async ") else f"await {twin}"


def at_once(coroutine: Coroutine[Any, Any, T], refusal: str) -> T:
    """The result of a coroutine that never waits.

    Raises:
        WouldBlock: it would wait; the message is `refusal`.
    """
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    coroutine.close()
    raise WouldBlock(refusal)


def is_background(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the background loop of blocking calls."""
    return _portal.is_own(loop)


def at_exit(close: Callable[[], Awaitable[None]]) -> None:
    """Call `close` in the background loop when the process ends."""
    _portal.at_exit(close)
