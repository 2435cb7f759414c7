"""Who works, on Redis: all in the first shard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from secrets import token_hex

from taskq.ports import Order, WorkerCommand, WorkerInfo
from taskq_redis.record import milliseconds
from taskq_redis.store import Store

_SHARD = 0


class RedisRegistry:
    """See taskq.ports.WorkerRegistry."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def report(self, info: WorkerInfo, ttl: float) -> Sequence[Order]:
        """Note that the worker lives, and take what it is told."""
        text = json.dumps(asdict(info))
        told = await self._store.run(_SHARD, "report", info.id, milliseconds(ttl), token_hex(8), text)
        return [order for text in told.decode().splitlines() if (order := Order.read(text)) is not None]

    async def workers(self) -> Sequence[WorkerInfo]:
        """The workers that live."""
        return [_info(text, seen) for text, seen in await self._store.run(_SHARD, "workers")]

    async def command(self, worker: str, command: WorkerCommand, argument: str = "") -> bool:
        """Tell a worker something with its next report."""
        return bool(await self._store.run(_SHARD, "command", worker, Order(command, argument).written(), token_hex(8)))

    async def forget(self, worker: str) -> None:
        """The worker has stopped in good order."""
        await self._store.run(_SHARD, "forget", worker)

    async def take_duty(self, duty: str, holder: str, seconds: float) -> bool:
        """Take, or keep, a duty."""
        return bool(await self._store.run(_SHARD, "take_duty", duty, holder, milliseconds(seconds)))


def _info(text: bytes, seen: bytes) -> WorkerInfo:
    return WorkerInfo.read(json.loads(text), int(seen) / 1000)
