"""Runs of this process under their soft timeout, which counts from their beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from taskq.runtime.run import Run
from taskq.runtime.soft_loop import SoftTimed
from taskq.runtime.soft_thread import Interruptible

R = TypeVar("R")


def on_loop(run: Run, coroutine: Coroutine[Any, Any, R]) -> Awaitable[R]:
    """The coroutine of a task's function as it is to be awaited; a run that was told to end is left alone."""
    left = run.soft_time_left()
    return coroutine if left is None else SoftTimed(coroutine, left, lambda: run.stop_reason is None)


@contextmanager
def in_thread(run: Run, function: Callable[[], R]) -> Iterator[Callable[[], R]]:
    """The function as a thread is to call it, while this is open."""
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
