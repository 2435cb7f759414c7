"""Looking at the memory store, and acting on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from taskq.domain.message import Priority
from taskq.domain.record import TaskRecord
from taskq.domain.state import FINAL, REDRIVABLE, Event, TaskState
from taskq.domain.unique import UniqueKey, Until
from taskq.errors import InvalidOption
from taskq.ports import Page, Redriven, RedriveStatus, TaskQuery
from taskq_memory.record import to_record
from taskq_memory.rows import Task
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

    async def get_many(self, ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """All that is known of some tasks."""
        with self._store.lock:
            tasks = [self._store.tasks.get(id) for id in ids]
            return [None if task is None else to_record(task) for task in tasks]

    async def list(self, query: TaskQuery) -> Page:
        """A page of tasks, the newest entry into the state first."""
        with self._store.lock:
            found = [t for t in self._store.tasks.values() if t.queue == query.queue and t.state is query.state]
            below = _entry(query.cursor)
            found = sorted((t for t in found if below is None or t.entry < below), key=lambda t: -t.entry)
            page = found[: query.limit]
            cursor = str(page[-1].entry) if len(found) > len(page) else None
            return Page([to_record(task) for task in page], cursor, [str(task.entry) for task in page])

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
            waiting = {lane[1:]: list(self._store.lanes[lane]) for lane in self._store.lanes_of(queue)}
            for priority in sorted(Priority, reverse=True):
                cleared = self._store.rooms.cleared_of(queue)
                ids += [id for id in cleared if self._store.tasks[id].priority == priority]
                ids += [id for lane, lane_ids in waiting.items() if lane[0] == priority for id in lane_ids]
            return [to_record(self._store.tasks[id]) for id in ids[:limit]]

    async def purge(self, queue: str, limit: int = 1000) -> int:
        """Cancel waiting tasks of a queue."""
        with self._store.lock:
            doomed = [t for t in self._store.tasks.values() if t.queue == queue and t.state in _PURGED][:limit]
            for task in doomed:
                self._store.end(task, Event.CANCEL, TaskState.CANCELLED, "purged")
            return len(doomed)

    async def redrive(self, ids: Sequence[str], queue: str | None = None) -> Sequence[Redriven]:
        """Give tasks that failed another life."""
        with self._store.lock:
            answers = [self._redrive_one(id, queue) for id in ids]
            # Only now: a parent may come after its child in the call.
            for id, answer in zip(ids, answers, strict=True):
                if answer.status is RedriveStatus.MOVED:
                    self._store.joins.bind_again(self._store.tasks[id])
            return answers

    def _redrive_one(self, id: str, queue: str | None) -> Redriven:
        store = self._store
        task = store.tasks.get(id)
        if task is None or task.state not in REDRIVABLE:
            return Redriven(RedriveStatus.NOT_FINAL)
        if task.unique is not None and task.unique.until is not Until.TTL:
            holder = store.keys.owner_of(task.unique, but=id)
            if holder is not None:
                return Redriven(RedriveStatus.HELD, holder)
            store.keys.take(task)
        self._move(task, queue or task.queue)
        store.queues[task.queue].arrived += 1
        store.joins.count_back(task, task.state)
        task.delay = task.eta = None
        store.joins.start_anew(task)
        task.attempt = task.lost_leases = 0
        task.settled_fence = task.fence
        task.reason, task.failure = "", b""
        task.result = task.progress = task.completed_at = task.expires_at = None
        task.cancel_requested, task.cancel_reason = False, ""
        return Redriven(RedriveStatus.MOVED)

    def _move(self, task: Task, queue: str) -> None:
        if queue != task.queue:
            self._store.leave_index(task)
            task.queue = queue

    async def holder(self, queue: str, unique: UniqueKey) -> str | None:
        """The task that holds a unique key."""
        with self._store.lock:
            return self._store.keys.owner_of(unique)

    async def discard(self, ids: Sequence[str]) -> int:
        """Forget tasks that have ended."""
        with self._store.lock:
            doomed = [task for id in dict.fromkeys(ids) if (task := self._store.tasks.get(id)) and task.state in FINAL]
            for task in doomed:
                self._store.forget(task)
            return len(doomed)


def _entry(cursor: str | None) -> int | None:
    try:
        return int(cursor) if cursor else None
    except ValueError:
        raise InvalidOption(f"{cursor!r} is not a cursor of an earlier page") from None
