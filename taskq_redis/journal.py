"""Journals on Redis: each a stream in the first shard, whose entries have their numbers for ids."""

from __future__ import annotations

from taskq.ports import Entry
from taskq_redis.store import Store

_SHARD = 0


class RedisJournal:
    """See taskq.ports.Journal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, name: str, number: int, data: bytes) -> bool:
        """Add an entry at the end."""
        return bool(await self._store.run_durably(_SHARD, "append", name, number, data))

    async def newest(self, name: str) -> int:
        """The number of the entry that was added last."""
        return int(await self._store.run(_SHARD, "newest", name))

    async def read(self, name: str, after: int = 0, limit: int = 100) -> list[Entry]:
        """Some entries, the oldest first."""
        stream = self._store.keys[_SHARD].of("journal", name)
        rows = await self._store.command(_SHARD, "XRANGE", stream, after + 1, "+", "COUNT", limit)
        return [Entry(int(id.partition(b"-")[0]), fields[1]) for id, fields in rows]

    async def trim(self, name: str, through: int) -> int:
        """Forget the oldest entries."""
        stream = self._store.keys[_SHARD].of("journal", name)
        return int(await self._store.command(_SHARD, "XTRIM", stream, "MINID", "=", through + 1))
