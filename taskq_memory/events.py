"""Events between those who share a memory store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from taskq.ports import Event
from taskq_memory.store import Store

BUFFER = 1000
"""Events kept for a slow listener; when there are more, the newest are dropped: they are hints."""


class MemoryEvents:
    """See taskq.ports.EventBus."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell the listeners."""
        with self._store.lock:
            for event in events:
                self._store.listeners.tell("event", event.topic, event.data)

    async def subscribe(self, topics: Sequence[str]) -> AsyncIterator[Event]:
        """Events of these topics."""
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Event] = asyncio.Queue(BUFFER)

        def put(event: Event) -> None:
            if not inbox.full():
                inbox.put_nowait(event)

        def heard(topic: str, data: str) -> None:
            loop.call_soon_threadsafe(put, Event(topic, data))

        with self._store.lock:
            stop = self._store.listeners.listen(["event"], topics, heard)
        try:
            while True:
                yield await inbox.get()
        finally:
            with self._store.lock:
                stop()
