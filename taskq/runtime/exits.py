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
    before: Any = loop.get_task_factory()
    factory = before if isinstance(before, _Factory) else _Factory(before)
    loop.set_task_factory(factory)
    factory.users += 1
    try:
        yield
    finally:
        factory.users -= 1
        if factory.users == 0 and loop.get_task_factory() is factory:
            loop.set_task_factory(factory.before)


class _Factory:
    """Makes the tasks of a loop while workers run on it.

    Arguments:
        before: the factory that the loop had, and has again when the last worker has stopped.
    """

    def __init__(self, before: Any) -> None:
        self.before = before
        self.users = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        if current_or_none() is not None:
            coroutine = _Contained(coroutine)
        if self.before is None:
            return asyncio.Task(coroutine, loop=loop, **options)
        return self.before(loop, coroutine, **options)


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
