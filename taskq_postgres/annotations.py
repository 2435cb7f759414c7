"""What a running task writes about itself, on Postgres."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from taskq.domain.message import Delivery
from taskq.domain.record import LOG_LIMIT, Progress
from taskq_postgres.record import from_progress, plain
from taskq_postgres.store import Store, new_token


class PostgresAnnotations:
    """See taskq.ports.Annotations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def progress(self, delivery: Delivery, progress: Progress) -> bool:
        """Replace the task's progress."""
        return await self._write("progress", from_progress(progress), delivery)

    async def checkpoint(self, delivery: Delivery, data: bytes) -> bool:
        """Replace the task's checkpoint."""
        return await self._write("checkpoint", data, delivery)

    async def log(self, delivery: Delivery, lines: Sequence[str]) -> bool:
        """Append lines to the task's own log."""
        encoded = [json.dumps(line) for line in lines[-LOG_LIMIT:]]
        run = (delivery.id, delivery.fence, plain(delivery.worker))
        return bool(await self._store.value("log", (encoded, *run, new_token())))

    async def _write(self, name: str, value: Any, delivery: Delivery) -> bool:
        return await self._store.count(name, (value, delivery.id, delivery.fence, plain(delivery.worker))) > 0
