"""The periodic duties on Postgres."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from taskq.domain.lease import RENEWAL
from taskq.errors import TaskqError
from taskq.ports import Reaped
from taskq.ports.queues import DEFAULT_MAX_FINISHED
from taskq_postgres.errors import LostConnection
from taskq_postgres.flows import PostgresFlows
from taskq_postgres.hints import Hints
from taskq_postgres.store import DAYS_AHEAD, Store

MOST_ROUNDS = 100
"""Statements of one `prune` that forget digests, tombstones and the like."""
logger = logging.getLogger("taskq.postgres")


class PostgresMaintenance:
    """See taskq.ports.Maintenance."""

    def __init__(self, store: Store, hints: Hints, flows: PostgresFlows) -> None:
        self._store = store
        self._hints = hints
        self._flows = flows

    async def promote(self, limit: int = 1000) -> int:
        """Make due tasks ready."""
        return self._hint(int(await self._store.value("promote", (limit,))))

    async def reap(self, limit: int = 100, *, renewal: float = RENEWAL) -> Reaped:
        """Take away leases that ran out; where there are few, count the queues of which enqueues want to know.

        Counting ends early enough for the next look at the leases: one that comes late holds them all (reap_v1).
        """
        end = monotonic() + renewal / 4
        [row] = await self._store.run("reap", (limit, float(renewal)))
        reaped = Reaped(*row[:4])
        self._hint(reaped.requeued)
        self._hints.ended(row[4])
        for queue in row[5] if reaped.requeued + reaped.buried + reaped.cancelled < limit else ():
            if monotonic() >= end:
                break
            try:
                await self._store.run("count_queue", (queue,))
            except TaskqError as error:
                logger.warning("queue %s could not be counted: %s", queue, error)
        return reaped

    async def expire(self, limit: int = 1000) -> int:
        """End waiting tasks whose time to live is over."""
        ended: Sequence[str] = await self._store.value("expire", (limit,))
        self._hints.ended(ended)
        return len(ended)

    async def prune(self, limit: int = 1000) -> int:
        """Forget finished tasks by age and by count; make the coming days, and drop the one that is over."""
        pruned = int(await self._store.value("prune", (limit, DEFAULT_MAX_FINISHED)))
        await self._store.run("make_days", (DAYS_AHEAD,))
        for _ in range(MOST_ROUNDS):
            if int(await self._store.value("forget", (limit,))) < limit:
                break
        with suppress(LostConnection):  # somebody reads from the old day: the next tick tries again
            [[dropped]] = await self._store.try_once("drop_day")
            pruned += int(dropped)
        return pruned

    async def relay(self, limit: int = 100) -> int:
        """Tell what was too much for one statement, and look after flows."""
        return self._hint(await self._flows.relay(limit))

    def _hint(self, moved: int) -> int:
        if moved:
            self._hints.tell("a", [""])
        return moved
