"""Figures on Postgres."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.ports import FigureRow, Left
from taskq.ports.metrics import MOST_LEFT
from taskq_postgres.record import plain
from taskq_postgres.store import Store


class PostgresMetrics:
    """See taskq.ports.MetricsStore."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def leave(self, id: str, data: bytes) -> None:
        """Leave figures to be rolled up."""
        await self._store.run("leave", (plain(id), data, MOST_LEFT))

    async def left(self, limit: int = 100) -> list[Left]:
        """What is left."""
        rows = await self._store.run("left", (limit,), reads=True)
        return [Left(id, at, bytes(data)) for id, at, data in rows]

    async def roll_up(self, taken: Sequence[str], rows: Sequence[FigureRow]) -> bool:
        """Write rows and forget what they were made of."""
        columns = [[getattr(row, column) for row in rows] for column in ("step", "at", "version", "data")]
        return bool(await self._store.value("roll_up", ([plain(id) for id in taken], *columns)))

    async def rows(self, step: int, since: int, until: int) -> list[FigureRow]:
        """The rows of a length, the oldest first."""
        rows = await self._store.run("figures", (step, since, until), reads=True)
        return [FigureRow(step, at, bytes(data), version) for at, data, version in rows]

    async def trim(self, step: int, before: int) -> int:
        """Forget the rows of a length which begin before an instant."""
        return await self._store.count("trim_figures", (step, before))
