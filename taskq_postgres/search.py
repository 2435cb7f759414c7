"""Finding ended tasks on Postgres."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

from taskq.ports import Counted, EndedQuery, Found, Key, Place, Values
from taskq_postgres.record import CODES, is_id, plain, to_record
from taskq_postgres.store import Store

_OF_FAILURES = (Key.ERROR, Key.FINGERPRINT)
SUMMED_UP = 100_000
"""Changes of the counts that are summed up at once."""


class PostgresSearch:
    """See taskq.ports.Search."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ended(self, query: EndedQuery) -> Found:
        """A page of ended tasks; one row more than the page tells whether there is another, though one may be gone."""
        page = (query.since, query.until, *_before(query.before), query.limit + 1)
        if query.key is None:
            queues = [plain(queue) for queue in query.queues]
            rows = await self._store.run("search_queues", (queues, _codes(query), *page), reads=True)
        else:
            named = (query.key.value, _value(query), _codes(query))
            rows = await self._store.run("search", (*named, *page), reads=True)
        records = [to_record(row) for row in rows[: query.limit] if row[0] is not None]
        *_, id, ended_at = rows[query.limit - 1] if len(rows) > query.limit else (None, None)
        return Found(records, None if id is None else Place(ended_at.astimezone(UTC), id))

    async def count(self, query: EndedQuery, most: int = 10_000) -> Counted:
        """How many a query means."""
        named = (None if query.key is None else query.key.value, _value(query), _codes(query))
        number = int(await self._store.value("search_count", (*named, query.since, query.until, most), reads=True))
        return Counted(number, number < most)

    async def values(self, key: Key, prefix: str = "", limit: int = 20) -> Values:
        """Values that ended tasks have."""
        begins = _escaped(prefix) if key in _OF_FAILURES else prefix
        rows = await self._store.run("search_values", (key.value, plain(begins), limit), reads=True)
        return Values(sorted(_unescaped(value) if key in _OF_FAILURES else value for (value,) in rows if value))

    async def catch_up(self, limit: int = 1000) -> int:
        """The indexes are written with the ends; what statements have counted is summed up."""
        await self._store.run("sum_up", (SUMMED_UP,))
        return 0


def _value(query: EndedQuery) -> str:
    return plain(_escaped(query.value) if query.key in _OF_FAILURES else query.value)


def _escaped(value: str) -> str:
    """A text as it is written in the JSON of a failure."""
    return json.dumps(value)[1:-1]


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def _codes(query: EndedQuery) -> list[int]:
    return [CODES[state] for state in query.states]


def _before(place: Place | None) -> tuple[Any, str | None]:
    if place is None:
        return None, None
    # Of what is no id none stands there: all of that instant are before it.
    return place.ended_at, place.id if is_id(place.id) else None
