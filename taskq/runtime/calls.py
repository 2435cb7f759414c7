"""Calls of a task's function in this process, on the loop and in a thread, under its soft timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from taskq import blocking
from taskq.runtime.run import Run
from taskq.runtime.soft_loop import SoftTimed
from taskq.runtime.soft_thread import Interruptible
from taskq.runtime.threads import ThreadPool

R = TypeVar("R")


def on_loop(run: Run, coroutine: Coroutine[Any, Any, R]) -> Awaitable[R]:
    """The coroutine of a task's function as it is to be awaited."""
    left = run.soft_time_left()
    return coroutine if left is None else SoftTimed(coroutine, left, lambda: run.stop_reason is None)


async def in_thread(threads: ThreadPool, run: Run, function: Callable[[], R]) -> R:
    """What a task's function gives in a thread.

    Raises:
        Raised: what it raised.
        CancelledError: the run was given up; the thread goes on.
    """
    loop = asyncio.get_running_loop()
    with _in_soft_time(run, function) as call:

        def job() -> R:
            blocking.worker_loop.set(loop)
            try:
                return call()
            finally:
                run.is_in_thread = False

        run.is_in_thread = True
        future = threads.submit(job)
        try:
            # Shielded: a thread cannot be cancelled, only asked (ctx.cancelled) and, after a grace, given up.
            result: R = await asyncio.shield(future)
            return result
        except asyncio.CancelledError:
            threads.abandon(future)
            raise


@contextmanager
def _in_soft_time(run: Run, function: Callable[[], R]) -> Iterator[Callable[[], R]]:
    """The function as a thread is to call it, while this is open; a run that was told to end is left alone."""
    left = run.soft_time_left()
    if left is None:
        yield function
        return
    call = Interruptible()

    def interrupt() -> None:
        if run.stop_reason is None:
            call.interrupt()

    timer = asyncio.get_running_loop().call_later(left, interrupt)
    try:
        yield partial(call.run, function)
    finally:
        timer.cancel()
