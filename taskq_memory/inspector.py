"""Looking at the memory store, and acting on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from taskq.domain.record import TaskRecord
from taskq.domain.state import REDRIVABLE, Event, TaskState
from taskq.ports import Page, QueueConfig, TaskQuery
from taskq_memory.record import to_record
from taskq_memory.store import Store

_PURGED = frozenset({TaskState.PENDING, TaskState.SCHEDULED, TaskState.RETRYING})


class MemoryInspector:
    """See taskq.ports.Inspector."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, id: str) -> TaskRecord | None:
        """All that is known of a task."""
        with self._store.lock:
            task = self._store.tasks.get(id)
            return None if task is None else to_record(task)

    async def list(self, query: TaskQuery) -> Page:
        """A page of tasks, the newest entry into the state first."""
        with self._store.lock:
            found = [t for t in self._store.tasks.values() if t.queue == query.queue and t.state is query.state]
            below = int(query.cursor) if query.cursor else None
            found = sorted((t for t in found if below is None or t.entry < below), key=lambda t: -t.entry)
            page = found[: query.limit]
            cursor = str(page[-1].entry) if len(found) > len(page) else None
            return Page([to_record(task) for task in page], cursor)

    async def counts(self) -> Mapping[str, Mapping[TaskState, int]]:
        """How many tasks each queue has in each state."""
        counts: defaultdict[str, Counter[TaskState]] = defaultdict(Counter)
        with self._store.lock:
            for task in self._store.tasks.values():
                if task.state is not None:
                    counts[task.queue][task.state] += 1
        return counts

    async def peek(self, queue: str, limit: int = 10) -> Sequence[TaskRecord]:
        """The tasks that the next claims would take."""
        with self._store.lock:
            ids = self._store.front_of(queue)
            for lane in self._store.lanes_of(queue):
                ids += self._store.lanes[lane]
            return [to_record(self._store.tasks[id]) for id in ids[:limit]]

    async def pause(self, queue: str, reason: str = "", until: datetime | None = None) -> None:
        """Hand out no task of this queue."""
        with self._store.lock:
            row = self._store.queues[queue]
            row.paused_reason = reason
            row.paused_until = None if until is None else until.timestamp()
            self._store.note_change()

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        with self._store.lock:
            self._store.queues[queue].paused_reason = None
            self._store.note_change()
            self._store.listeners.tell("ready", queue)

    async def configure(self, queue: str, config: QueueConfig) -> None:
        """Change what is set for a queue."""
        with self._store.lock:
            if config.max_finished is not None:
                self._store.queues[queue].max_finished = config.max_finished
                self._store.note_change()

    async def purge(self, queue: str, limit: int = 1000) -> int:
        """Cancel waiting tasks of a queue."""
        with self._store.lock:
            doomed = [t for t in self._store.tasks.values() if t.queue == queue and t.state in _PURGED][:limit]
            for task in doomed:
                self._store.end(task, Event.CANCEL, TaskState.CANCELLED, "purged")
            return len(doomed)

    async def redrive(self, ids: Sequence[str]) -> Sequence[bool]:
        """Give tasks that failed another life."""
        with self._store.lock:
            return [self._redrive_one(id) for id in ids]

    def _redrive_one(self, id: str) -> bool:
        task = self._store.tasks.get(id)
        if task is None or task.state not in REDRIVABLE:
            return False
        self._store.ready(task, Event.REDRIVE)
        task.attempt = task.lost_leases = 0
        task.settled_fence = task.fence
        task.reason, task.failure = "", b""
        task.result = task.progress = task.completed_at = task.expires_at = None
        task.cancel_requested, task.cancel_reason = False, ""
        return True
