"""One attempt at a time at what many want: to connect, to find a master, to read how a store is laid out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from taskq_redis.errors import ConnectionLost

Answer = TypeVar("Answer")


class Flight(Generic[Answer]):
    """An attempt that is begun when somebody asks, and shared by all who ask while it is under way.

    It is a task of its own, so a caller that is cancelled leaves it to the others; what it opens it must store itself,
    because nobody may be left to take its answer.
    """

    def __init__(self, attempt: Callable[[], Coroutine[Any, Any, Answer]]) -> None:
        self._attempt = attempt
        self._task: asyncio.Task[Answer] | None = None

    async def join(self) -> Answer:
        """The outcome of the attempt under way, or else of a new one.

        Raises:
            ConnectionLost: `cancel` has ended it.
        """
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.create_task(self._attempt())
            task.add_done_callback(_look_at_outcome)
        await asyncio.wait([task])
        if task.cancelled():
            raise ConnectionLost("the backend was closed", was_sent=False)
        return task.result()

    async def cancel(self) -> None:
        """End the attempt under way."""
        if self._task is not None:
            self._task.cancel()
        await self.ended()

    async def ended(self) -> None:
        """Wait until no attempt is under way."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])


def _look_at_outcome(task: asyncio.Task[Any]) -> None:
    """An attempt may fail after all who asked for it have gone: that is nothing to complain about."""
    if not task.cancelled():
        task.exception()
