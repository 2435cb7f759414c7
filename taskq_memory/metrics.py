"""Figures on the memory store. They are in no snapshot: what they tell of is over when the process is."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.ports import FigureRow, Left
from taskq.ports.metrics import MOST_LEFT
from taskq_memory.store import Store


class MemoryMetrics:
    """See taskq.ports.MetricsStore."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def leave(self, id: str, data: bytes) -> None:
        """Leave figures to be rolled up."""
        with self._store.lock:
            left = self._store.left
            left.setdefault(id, Left(id, self._store.clock.now(), data))
            while len(left) > MOST_LEFT:
                del left[next(iter(left))]

    async def left(self, limit: int = 100) -> list[Left]:
        """What is left."""
        with self._store.lock:
            return list(self._store.left.values())[:limit]

    async def roll_up(self, taken: Sequence[str], rows: Sequence[FigureRow]) -> bool:
        """Write rows and forget what they were made of."""
        with self._store.lock:
            left, figures = self._store.left, self._store.figures
            known = [figures.get((row.step, row.at)) for row in rows]
            versions = [0 if one is None else one.version for one in known]
            if not all(id in left for id in taken) or versions != [row.version for row in rows]:
                return False
            for id in taken:
                del left[id]
            for row in rows:
                figures[row.step, row.at] = row._replace(version=row.version + 1)
            return True

    async def rows(self, step: int, since: int, until: int) -> list[FigureRow]:
        """The rows of a length, the oldest first."""
        with self._store.lock:
            return sorted(row for row in self._store.figures.values() if row.step == step and since <= row.at < until)

    async def trim(self, step: int, before: int) -> int:
        """Forget the rows of a length which begin before an instant."""
        with self._store.lock:
            gone = [key for key in self._store.figures if key[0] == step and key[1] < before]
            for key in gone:
                del self._store.figures[key]
            return len(gone)
