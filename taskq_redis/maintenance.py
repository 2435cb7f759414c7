"""The periodic duties on Redis; a shard after the other, each step bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskq.domain.lease import RENEWAL
from taskq.ports import Reaped
from taskq_redis.record import milliseconds
from taskq_redis.store import Store

_QUEUES_PER_CALL = 50
_TASKS_PER_CALL = 250
"""Bounds of one script, so that no call keeps the server from others for more than a few ms."""


class RedisMaintenance:
    """See taskq.ports.Maintenance."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def promote(self, limit: int = 1000) -> int:
        """Make due tasks ready."""
        return await self._by_queues("promote", limit)

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
                step = min(_TASKS_PER_CALL, limit - expired)
                ended = int(await self._store.run(shard, "expire", step))
                expired += ended
                if ended < step:
                    break
        return expired

    async def prune(self, limit: int = 1000) -> int:
        """Forget finished tasks by age and by count."""
        return await self._by_queues("prune", limit)

    async def relay(self, limit: int = 100) -> int:
        """Nothing to tell: no task depends on one in another shard yet."""
        return 0

    async def _by_queues(self, name: str, limit: int) -> int:
        done = 0
        for shard in self._store.shards:
            for queues in _slices(await self._store.queues(shard)):
                while done < limit:
                    step = min(_TASKS_PER_CALL, limit - done)
                    moved = int(await self._store.run(shard, name, step, *queues))
                    done += moved
                    if moved < step:
                        break
        return done


def _slices(queues: Sequence[str]) -> Iterator[Sequence[str]]:
    return (queues[at : at + _QUEUES_PER_CALL] for at in range(0, len(queues), _QUEUES_PER_CALL))
