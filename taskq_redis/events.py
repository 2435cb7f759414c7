"""The event bus on Redis Pub/Sub: at most once, to those who listen now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from taskq.ports import Event
from taskq_redis.listening import Listening
from taskq_redis.store import Store

_SHARD = 0
_MOST_UNREAD = 10_000
"""Events that one listener may be behind; then the oldest go."""


class RedisEvents:
    """See taskq.ports.EventBus."""

    def __init__(self, store: Store, listening: Listening) -> None:
        self._store = store
        self._listening = listening

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell the listeners."""
        keys = self._store.keys[_SHARD]
        await asyncio.gather(
            *(self._store.command(_SHARD, "PUBLISH", keys.event(event.topic), event.data) for event in events)
        )

    async def subscribe(self, topics: Sequence[str]) -> AsyncIterator[Event]:
        """Events of these topics."""
        unread: asyncio.Queue[Event] = asyncio.Queue(_MOST_UNREAD)
        keys = self._store.keys[_SHARD]

        def listener(topic: str, message: bytes | None) -> None:
            if message is None:
                return
            if unread.full():
                unread.get_nowait()
            unread.put_nowait(Event(topic, message.decode()))

        ears = [(keys.event(topic), lambda message, topic=topic: listener(topic, message)) for topic in topics]
        try:
            for channel, ear in ears:
                await self._listening.listen(channel, ear, self._store.options.connect_timeout)
            while True:
                yield await unread.get()
        finally:
            for channel, ear in ears:
                self._listening.stop(channel, ear)
