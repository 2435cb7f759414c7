"""A coroutine whose soft timeout is over when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from taskq.runtime.soft_loop import SoftTimed

NEVER = 3600.0
"""The time is over when the test says so."""


class Soft:
    """Runs a coroutine in a task of its own, and says when its time is over."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], is_wanted: Callable[[], bool] = lambda: True) -> None:
        self.timed = SoftTimed(coroutine, NEVER, is_wanted)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> Any:
        return await self.timed

    def interrupt(self) -> None:
        """The time is over."""
        self.timed.interrupt()


async def turns(number: int = 5) -> None:
    """Let everybody else go on for a while."""
    for _ in range(number):
        await asyncio.sleep(0)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def nested(levels: int) -> None:
    await (nested(levels - 1) if levels else forever())
