"""What a running task writes about itself, on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex

from taskq.domain.message import Delivery
from taskq.domain.record import LOG_LIMIT, Progress
from taskq_redis.connection import Argument
from taskq_redis.record import pack_progress, plain
from taskq_redis.store import Store


class RedisAnnotations:
    """See taskq.ports.Annotations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def progress(self, delivery: Delivery, progress: Progress) -> bool:
        """Replace the task's progress."""
        return await self._write(delivery, "pg", pack_progress(progress))

    async def checkpoint(self, delivery: Delivery, data: bytes) -> bool:
        """Replace the task's checkpoint."""
        return await self._write(delivery, "ck", data)

    async def log(self, delivery: Delivery, lines: Sequence[str]) -> bool:
        """Append lines to the task's own log."""
        return await self._write(delivery, "log", token_hex(8), *map(plain, lines[-LOG_LIMIT:]))

    async def _write(self, delivery: Delivery, field: str, *values: Argument) -> bool:
        run = (delivery.id, delivery.fence, delivery.worker)
        return bool(await self._store.run(self._store.shard_of_id(delivery.id), "annotate", *run, field, *values))
