"""What a running task writes about itself, on the memory store."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.domain.message import Delivery
from taskq.domain.record import LOG_LIMIT, Progress
from taskq_memory.store import Store


class MemoryAnnotations:
    """See taskq.ports.Annotations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def progress(self, delivery: Delivery, progress: Progress) -> bool:
        """Replace the task's progress."""
        with self._store.lock:
            task = self._store.holder(delivery.id, delivery.fence, delivery.worker)
            if task is not None:
                task.progress = (progress.fraction, progress.message, progress.data)
        return task is not None

    async def checkpoint(self, delivery: Delivery, data: bytes) -> bool:
        """Replace the task's checkpoint."""
        with self._store.lock:
            task = self._store.holder(delivery.id, delivery.fence, delivery.worker)
            if task is not None:
                task.checkpoint = data
        return task is not None

    async def log(self, delivery: Delivery, lines: Sequence[str]) -> bool:
        """Append lines to the task's own log."""
        with self._store.lock:
            task = self._store.holder(delivery.id, delivery.fence, delivery.worker)
            if task is not None:
                task.logs = [*task.logs, *lines][-LOG_LIMIT:]
        return task is not None
