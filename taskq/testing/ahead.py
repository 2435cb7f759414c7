"""What a harness has ahead beside what becomes due: the ends of times to live and of pauses."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from taskq.domain.message import Message
from taskq.ports import Backend
from taskq.testing.clock import VirtualClock


class Ahead:
    """Tells how long it is until a task expires, or a queue that is paused for a while goes on.

    Arguments:
        backend: the store.
        messages: all that were enqueued, of which more come; each is looked at before the clock goes on.
        clock: the store's.
    """

    def __init__(self, backend: Backend, messages: Sequence[Message], clock: VirtualClock) -> None:
        self._backend = backend
        self._messages = messages
        self._clock = clock
        self._seen = 0
        self._expiries: list[float] = []

    async def seconds(self, queues: Collection[str]) -> list[float]:
        """The seconds until each of those that come next."""
        now = self._clock.now()
        for message in self._messages[self._seen :]:
            expires = message.expires
            if expires is None:
                expires = (await self._backend.queues.settings(message.queue)).expires
            if expires is not None:
                heapq.heappush(self._expiries, now + expires)
        self._seen = len(self._messages)
        while self._expiries and self._expiries[0] <= now:
            heapq.heappop(self._expiries)
        pauses = [(await self._backend.queues.settings(queue)).paused_until for queue in queues]
        ends = [until.timestamp() for until in pauses if until is not None]
        return [instant - now for instant in [*self._expiries[:1], *ends]]
