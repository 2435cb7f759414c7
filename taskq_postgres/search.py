"""Finding ended tasks on Postgres."""

from __future__ import annotations

from typing import Any

from taskq.ports import EndedQuery, Found, Key, Place
from taskq_postgres.record import CODES, is_id, plain, to_record
from taskq_postgres.store import Store

SUMMED_UP = 100_000
"""Changes of the counts that are summed up at once."""


class PostgresSearch:
    """See taskq.ports.Search."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ended(self, query: EndedQuery) -> Found:
        """A page of ended tasks; one row more than the page tells whether there is another."""
        page = (query.since, query.until, *_before(query.before), query.limit + 1)
        if query.key is None:
            queues = [plain(queue) for queue in query.queues]
            rows = await self._store.run("search_queues", (queues, _codes(query), *page), reads=True)
        else:
            named = (query.key.value, plain(query.value), _codes(query))
            rows = await self._store.run("search", (*named, *page), reads=True)
        records = [to_record(row) for row in rows[: query.limit]]
        last = records[-1] if len(rows) > query.limit else None
        return Found(records, None if last is None else Place(last.completed_at or last.created_at, last.id))

    async def count(self, query: EndedQuery, most: int = 10_000) -> int:
        """How many a query means."""
        named = (None if query.key is None else query.key.value, plain(query.value), _codes(query))
        return int(await self._store.value("search_count", (*named, query.since, query.until, most), reads=True))

    async def values(self, key: Key, prefix: str = "", limit: int = 20) -> list[str]:
        """Values that ended tasks have."""
        rows = await self._store.run("search_values", (key.value, plain(prefix), limit), reads=True)
        return [value for (value,) in rows]

    async def catch_up(self, limit: int = 1000) -> int:
        """The indexes are written with the ends; what statements have counted is summed up."""
        await self._store.run("sum_up", (SUMMED_UP,))
        return 0


def _codes(query: EndedQuery) -> list[int]:
    return [CODES[state] for state in query.states]


def _before(place: Place | None) -> tuple[Any, str | None]:
    if place is None:
        return None, None
    # Of what is no id none stands there: all of that instant are before it.
    return place.ended_at, place.id if is_id(place.id) else None
