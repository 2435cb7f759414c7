"""Limits: how they stand, and taking them back to where they began."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.config import check_identifier
from taskq.domain.limits import Limit
from taskq.gauges import Gauge, gauges, reset
from taskq.management.access import Permission
from taskq.management.desk import Desk


class LimitDesk(Desk):
    """The limits of a store."""

    async def gauges(self, queue: str, limits: Sequence[Limit]) -> Sequence[Gauge]:
        """How limits stand, as tasks of a queue meet them; taskq.gauges.limits_of tells those of a task."""
        await self.look(Permission.READ_FLEET)
        return await gauges(self.app, check_identifier("queue", queue), limits)

    async def reset(self, queue: str, limits: Sequence[Limit]) -> None:
        """Take limits back to where they began: full buckets, closed breakers; what runs keeps its place."""
        on = {"queue": check_identifier("queue", queue), "gates": [limit.gate for limit in limits]}
        async with self.act(Permission.STEER_QUEUES, "limits.reset", on):
            await reset(self.app, queue, limits)
