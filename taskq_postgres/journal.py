"""Journals on Postgres."""

from __future__ import annotations

from taskq.ports import Entry
from taskq_postgres.record import plain
from taskq_postgres.store import Store


class PostgresJournal:
    """See taskq.ports.Journal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, name: str, number: int, data: bytes) -> bool:
        """Add an entry at the end."""
        return bool(await self._store.value("append", (plain(name), number, data)))

    async def newest(self, name: str) -> int:
        """The number of the entry that was added last."""
        return int(await self._store.value("newest", (plain(name),), reads=True))

    async def read(self, name: str, after: int = 0, limit: int = 100) -> list[Entry]:
        """Some entries, the oldest first."""
        rows = await self._store.run("read_journal", (plain(name), after, limit), reads=True)
        return [Entry(number, bytes(data)) for number, data in rows]

    async def trim(self, name: str, through: int) -> int:
        """Forget the oldest entries."""
        return await self._store.count("trim_journal", (plain(name), through))
