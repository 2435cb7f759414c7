"""The store's periodic duties, at jittered times, by every worker: there is no leader."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from taskq.config import WorkerOptions
from taskq.ports import Backend
from taskq.runtime.service import every

REAP_EVERY = 4.4
"""Seconds between two looks for leases that ran out; with jitter less than the five in which a recovery is promised."""
RELAY_EVERY = 15.0
"""Seconds between two looks for what a process that died has left to be told: of its own ends each tells by itself."""
TIDY_EVERY = 60.0
"""Seconds between two ticks of expire and prune."""
INDEX_EVERY, INDEX_STEP = 10.0, 1000
"""Seconds between two looks for ends that are not in the indexes, and how many one look puts there; who searches puts
what is new there too."""
IDLE_LOOKS = 6
"""Of so many looks a worker that has ended nothing since makes one: others look for what they have ended."""
logger = logging.getLogger("taskq.worker")


class Maintenance:
    """Reaps and relays every few seconds, expires and prunes now and then; what a fetch promotes is not waited for."""

    def __init__(
        self,
        backend: Backend,
        options: WorkerOptions,
        stop: asyncio.Event,
        expire_results: Callable[[], Awaitable[int]],
        ended: Callable[[], int],
    ) -> None:
        self._port = backend.maintenance
        self._search = backend.search
        self._expire_results = expire_results
        self._ended = ended
        self._seen = -1
        self._looks = 0
        self._renewal = options.heartbeat
        self._reap_every = min(REAP_EVERY, options.lease / 6)
        self._stop = stop

    async def run(self) -> None:
        """Work until `stop` is set."""
        async with asyncio.TaskGroup() as group:
            group.create_task(every(self.reap, self._stop, logger, "the reaper"))
            group.create_task(every(self.relay, self._stop, logger, "the relay"))
            group.create_task(every(self.tidy, self._stop, logger, "maintenance"))
            group.create_task(every(self.index, self._stop, logger, "the indexes"))

    async def reap(self) -> float:
        """Take away leases that ran out; again at once while there are many."""
        reaped = await self._port.reap(renewal=self._renewal)
        taken = reaped.requeued + reaped.buried + reaped.cancelled
        if taken:
            logger.warning(
                "%d leases of vanished workers were taken back (%d to run again, %d buried, %d cancelled)",
                *(taken, reaped.requeued, reaped.buried, reaped.cancelled),
            )
            return 0.05
        return self._reap_every * random.uniform(0.9, 1.1)

    async def relay(self) -> float:
        """Deliver what is left of ends and flows; again at once while there is something."""
        return 0.05 if await self._port.relay() else RELAY_EVERY * random.uniform(0.8, 1.2)

    async def index(self) -> float:
        """Put what has ended into the indexes; not at once while there is much: that is when workers have to work."""
        ended, self._looks = self._ended(), self._looks + 1
        if ended == self._seen and self._looks < IDLE_LOOKS:
            return INDEX_EVERY * random.uniform(0.8, 1.2)
        done = await self._search.catch_up(INDEX_STEP)
        self._seen, self._looks = -1 if done >= INDEX_STEP else ended, 0
        return 1.0 if done >= INDEX_STEP else INDEX_EVERY * random.uniform(0.8, 1.2)

    async def tidy(self) -> float:
        """Expire and prune, each as long as there is much to do."""
        expired = await self._port.expire()
        pruned = await self._port.prune()
        forgotten = await self._expire_results()
        busy = max(expired, pruned, forgotten) >= 1000
        return 0.1 if busy else TIDY_EVERY * random.uniform(0.5, 1.5)
