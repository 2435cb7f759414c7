"""The store's periodic duties: how often each worker sees to them."""

from __future__ import annotations

import asyncio

from taskq import App
from taskq.config import WorkerOptions
from taskq.runtime.maintenance import IDLE_LOOKS, INDEX_STEP, Maintenance


class Desk:
    """Counts how often somebody asks that what has ended be put into the indexes."""

    def __init__(self) -> None:
        self.asked = 0
        self.done = 0

    async def catch_up(self, limit: int) -> int:
        """See taskq.ports.Search."""
        assert limit == INDEX_STEP
        self.asked += 1
        return self.done


async def test_who_has_ended_nothing_looks_for_ends_less_often() -> None:
    async def forgets() -> int:
        return 0

    ended, desk = 0, Desk()
    async with App("memory://") as app:
        upkeep = Maintenance(await app.backend(), WorkerOptions(), asyncio.Event(), forgets, lambda: ended)
        upkeep._search = desk  # type: ignore[assignment]
        for _ in range(1 + 2 * IDLE_LOOKS):
            await upkeep.index()
        assert desk.asked == 3, "the first, and as a net for what others have left"
        for _ in range(3):
            ended += 1
            await upkeep.index()
        assert desk.asked == 6, "as often as ever, while something ends"
        desk.done = INDEX_STEP
        ended += 1
        assert await upkeep.index() == 1.0
        desk.done = 0
        assert await upkeep.index() > 1.0
        assert desk.asked == 8, "there was more"
