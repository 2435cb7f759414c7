"""Figures on Redis: all in the first shard."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.ports import FigureRow, Left
from taskq.ports.metrics import MOST_LEFT
from taskq_redis.store import Store

_SHARD = 0


class RedisMetrics:
    """See taskq.ports.MetricsStore."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def leave(self, id: str, data: bytes) -> None:
        """Leave figures to be rolled up."""
        await self._store.run(_SHARD, "leave", id, data, MOST_LEFT)

    async def left(self, limit: int = 100) -> list[Left]:
        """What is left."""
        rows = await self._store.run(_SHARD, "left", limit)
        return [Left(id.decode(), int(at) / 1000, data) for id, at, data in rows]

    async def roll_up(self, taken: Sequence[str], rows: Sequence[FigureRow]) -> bool:
        """Write rows and forget what they were made of."""
        said = [each for row in rows for each in (row.step, row.at, row.version, row.data)]
        return bool(await self._store.run(_SHARD, "roll_up", len(taken), *taken, *said))

    async def rows(self, step: int, since: int, until: int) -> list[FigureRow]:
        """The rows of a length, the oldest first."""
        found = []
        for at, text in await self._store.run(_SHARD, "figures", step, since, until):
            version, _, data = text.partition(b" ")
            found.append(FigureRow(step, int(at), data, int(version)))
        return found

    async def trim(self, step: int, before: int) -> int:
        """Forget the rows of a length which begin before an instant."""
        return int(await self._store.run(_SHARD, "trim_figures", step, before))
