"""All of it at a glance: looks at a store as a whole, each within a bound."""

from __future__ import annotations

import time
from collections.abc import Mapping

from taskq.domain.state import WAITING, TaskState
from taskq.management.access import Permission
from taskq.management.desk import Desk
from taskq.management.finding import find, masked, read_query
from taskq.management.looks import Look
from taskq.ports import Backend, QueueSettings

QUEUES = 50
"""Queues whose settings a look asks for: those in which most waits."""
RUNS = 200
"""Tasks that run of which a look takes the records."""


class OverviewDesk(Desk):
    """How everything stands in a store."""

    async def glance(self) -> Look:
        """Look at all queues and workers, and at what runs: one look is made into an `Overview`, or two.

        >>> import asyncio
        >>> from taskq import App
        >>> from taskq.management import Actor, Management, Overview
        >>> async def example() -> str:
        ...     desk = Management(App("memory://"), Actor("ann", ["viewer"])).overview
        ...     first = await desk.glance()
        ...     return Overview.of(first, await desk.glance()).sentence
        >>> asyncio.run(example())
        'All queues keep up; nothing waits.'
        """
        backend = await self.look(Permission.READ_FLEET)
        standings = await backend.queues.standings()
        counts = await backend.inspector.counts()
        running = await find(backend, read_query("state:running", self.actor), RUNS, None)
        return Look(
            at=time.monotonic(),
            seen_at=time.time(),
            standings=standings,
            counts=counts,
            settings=await self._settings(backend, counts),
            workers=await backend.registry.workers(),
            running=[masked(record) for record in running.records],
            has_all_running=running.is_complete,
        )

    async def _settings(
        self, backend: Backend, counts: Mapping[str, Mapping[TaskState, int]]
    ) -> dict[str, QueueSettings]:
        waiting = {queue: sum(states.get(state, 0) for state in WAITING) for queue, states in counts.items()}
        names = {*counts, *(task.queue for task in self.app.tasks)}
        most = sorted(names, key=lambda name: (-waiting.get(name, 0), name))[:QUEUES]
        return {name: await backend.queues.settings(name) for name in most}
