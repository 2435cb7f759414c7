"""Keeps the event loop from ending where a task of the user's own task raises SystemExit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

from taskq.context import current_or_none
from taskq.runtime.threads import Raised


@contextlib.contextmanager
def contained_exits() -> Iterator[None]:
    """While it lasts, SystemExit and KeyboardInterrupt in what a run spawns on this loop stay within that run.

    asyncio lets both leave the loop when they leave a task, also one that `asyncio.gather` has made: the worker would
    end with everything that it runs.
    """
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def create(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        if current_or_none() is not None:
            coroutine = _Contained(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options) if before is None else before(loop, coroutine, **options)

    loop.set_task_factory(create)
    try:
        yield
    finally:
        loop.set_task_factory(before)


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine that raises `Raised` where the one inside raises what would leave the loop.

    No `async def`, because one that is cancelled before its first step would leave the inner one unawaited.
    """

    __slots__ = ("_inner",)

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        """See Coroutine."""
        try:
            return self._inner.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise Raised(error) from error

    def throw(self, *error: Any) -> Any:
        """See Coroutine."""
        try:
            return self._inner.throw(*error)
        except (SystemExit, KeyboardInterrupt) as left:
            raise Raised(left) from left

    def close(self) -> None:
        """See Coroutine."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()
