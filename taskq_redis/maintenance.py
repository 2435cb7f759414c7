"""The periodic duties on Redis; a shard after the other, each step bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from taskq.domain.lease import RENEWAL
from taskq.ports import Reaped
from taskq_redis.joins import Joins
from taskq_redis.record import milliseconds
from taskq_redis.scripts import TASKS_PER_CALL
from taskq_redis.store import Store

_QUEUES_PER_CALL = 50


class RedisMaintenance:
    """See taskq.ports.Maintenance."""

    def __init__(self, store: Store, joins: Joins) -> None:
        self._store = store
        self._joins = joins

    async def promote(self, limit: int = 1000) -> int:
        """Make due tasks ready."""
        promoted = 0
        async for shard, queues in self._queues():
            is_more = True
            while promoted < limit and is_more:
                step = min(TASKS_PER_CALL, limit - promoted)
                moved = int(await self._store.run(shard, "promote", step, *queues))
                promoted += moved
                is_more = moved == step
        return promoted

    async def reap(self, limit: int = 100, *, renewal: float = RENEWAL) -> Reaped:
        """Take away leases that ran out; each shard has a watch of its own over the reapers."""
        total = Reaped()
        for shard in self._store.shards:
            left = limit - total.requeued - total.buried - total.cancelled
            reply = await self._store.run(shard, "reap", left, milliseconds(renewal))
            requeued, buried, cancelled, holding = reply
            total = Reaped(
                total.requeued + requeued,
                total.buried + buried,
                total.cancelled + cancelled,
                total.is_holding or holding == 1,
            )
        return total

    async def expire(self, limit: int = 1000) -> int:
        """End waiting tasks whose time to live is over."""
        expired = 0
        for shard in self._store.shards:
            while expired < limit:
                step = min(TASKS_PER_CALL, limit - expired)
                ended = int(await self._store.run(shard, "expire", step))
                expired += ended
                if ended < step:
                    break
        return expired

    async def prune(self, limit: int = 1000) -> int:
        """Forget finished tasks by age and by count."""
        forgotten = 0
        async for shard, queues in self._queues():
            is_more = True
            while forgotten < limit and is_more:
                step = min(TASKS_PER_CALL, limit - forgotten)
                gone, looked_at = await self._store.run(shard, "prune", step, *queues)
                forgotten += gone
                is_more = looked_at == step
        return forgotten

    async def relay(self, limit: int = 100) -> int:
        """Tell tasks in other shards, and what was too much for one step; cancel flows that nobody has closed."""
        done = 0
        for shard in self._store.shards:
            done += await self._joins.relay(shard, limit)
        return done

    async def _queues(self) -> AsyncIterator[tuple[int, Sequence[str]]]:
        """The queues that one script looks after, with their shard."""
        for shard in self._store.shards:
            queues = await self._store.queues(shard)
            for at in range(0, len(queues), _QUEUES_PER_CALL):
                yield shard, queues[at : at + _QUEUES_PER_CALL]
