"""Events on Postgres: NOTIFY, or a table that is looked at where nobody can listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence

from taskq.ports import Event
from taskq_postgres.hints import Hints
from taskq_postgres.record import plain
from taskq_postgres.store import Store

BUFFER = 1000
"""Events kept for a slow listener; when there are more, the newest are dropped: they are hints."""
LOOK_EVERY = 0.25
"""Seconds between two looks into the table."""


class PostgresEvents:
    """See taskq.ports.EventBus."""

    def __init__(self, store: Store, hints: Hints) -> None:
        self._store = store
        self._hints = hints

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell the listeners."""
        if not self._store.target.is_listening and events:
            topics, data = zip(*((plain(event.topic), plain(event.data)) for event in events), strict=True)
            await self._store.run("event_put", (list(topics), list(data)))
            return
        for event in events:
            self._hints.event(event.topic, event.data)

    def subscribe(self, topics: Sequence[str]) -> AsyncGenerator[Event]:
        """Events of these topics."""
        return self._listen(frozenset(topics)) if self._store.target.is_listening else self._look(list(topics))

    async def _listen(self, topics: frozenset[str]) -> AsyncGenerator[Event]:
        inbox: asyncio.Queue[Event] = asyncio.Queue(BUFFER)

        def heard(kind: str, key: str) -> None:
            topic, data = json.loads(key)
            if topic in topics and not inbox.full():
                inbox.put_nowait(Event(topic, str(data)))

        stop = self._hints.listen("e", heard)
        try:
            while True:
                yield await inbox.get()
        finally:
            stop()

    async def _look(self, topics: list[str]) -> AsyncGenerator[Event]:
        last = int(await self._store.value("event_last", reads=True))
        while True:
            rows = await self._store.run("event_get", (last, topics), reads=True)
            for _, topic, data in rows:
                yield Event(topic, data)
            last = rows[-1][0] if rows else last
            await asyncio.sleep(LOOK_EVERY)
