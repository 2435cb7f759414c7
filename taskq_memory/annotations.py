"""What a running task writes about itself, on the memory store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taskq.domain.message import Delivery
from taskq.domain.record import LOG_LIMIT, Progress
from taskq_memory.rows import Task
from taskq_memory.store import Store


class MemoryAnnotations:
    """See taskq.ports.Annotations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def progress(self, delivery: Delivery, progress: Progress) -> bool:
        """Replace the task's progress."""

        def write(task: Task) -> None:
            task.progress = (progress.fraction, progress.message, progress.data)

        return self._write(delivery, write)

    async def checkpoint(self, delivery: Delivery, data: bytes) -> bool:
        """Replace the task's checkpoint."""

        def write(task: Task) -> None:
            task.checkpoint = data

        return self._write(delivery, write)

    async def log(self, delivery: Delivery, lines: Sequence[str]) -> bool:
        """Append lines to the task's own log."""

        def write(task: Task) -> None:
            task.logs = [*task.logs, *lines][-LOG_LIMIT:]

        return self._write(delivery, write)

    def _write(self, delivery: Delivery, write: Callable[[Task], None]) -> bool:
        """Write to the task, if this is its newest run; returns whether it is."""
        with self._store.lock:
            task = self._store.holder(delivery.id, delivery.fence, delivery.worker)
            if task is None:
                return False
            write(task)
            self._store.note_change()
            return True
