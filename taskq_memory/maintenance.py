"""The periodic duties on the memory store."""

from __future__ import annotations

import heapq

from taskq.domain import lease
from taskq.domain.lease import RENEWAL
from taskq.domain.outcome import after_lost_lease
from taskq.domain.record import AttemptOutcome, DeadReason, Failure
from taskq.domain.state import WAITING, Event, TaskState
from taskq.ports import Reaped
from taskq_memory.flows import MemoryFlows
from taskq_memory.passage import Passage
from taskq_memory.rows import Task
from taskq_memory.store import Store


class MemoryMaintenance:
    """See taskq.ports.Maintenance."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._passage = Passage(store)
        self._flows = MemoryFlows(store)

    async def promote(self, limit: int = 1000) -> int:
        """Make due tasks ready."""
        promoted = 0
        with self._store.lock:
            for task in self._store.pop_due(limit):
                self._store.ready(task, Event.DUE)
                promoted += 1
        return promoted

    async def reap(self, limit: int = 100, *, renewal: float = RENEWAL) -> Reaped:
        """Take away leases that ran out."""
        store = self._store
        with store.lock:
            now = store.clock.now()
            store.watch, may_reap = lease.tick(store.watch, now, renewal)
            if not may_reap:
                return Reaped(is_holding=True)
            lapsed = sorted((until, id) for id, until in store.running.items() if until <= now)
            ends = [self._take_away(store.tasks[id]) for _, id in lapsed[:limit]]
        return Reaped(
            requeued=ends.count(TaskState.PENDING),
            buried=ends.count(TaskState.DEAD) + ends.count(TaskState.FAILED),
            cancelled=ends.count(TaskState.CANCELLED),
        )

    def _take_away(self, task: Task) -> TaskState:
        store = self._store
        task.lost_leases += 1
        failure = Failure(
            "LeaseLost", f"the worker stopped renewing its lease ({task.lost_leases} times so far)"
        ).to_json()
        task.note_attempt(store.clock.now(), AttemptOutcome.LEASE_LOST, failure)
        task.attempt -= 1
        self._passage.leave(task, failed=None)
        state = after_lost_lease(
            cancel_requested=task.cancel_requested,
            dead_letter=task.dead_letter,
            lost_leases=task.lost_leases,
            max_lost_leases=task.max_lost_leases,
        )
        if state is TaskState.PENDING:
            store.ready(task, Event.LEASE_LOST, front=True)
        elif state is TaskState.CANCELLED:
            store.end(task, Event.LEASE_LOST, state, task.cancel_reason)
        else:
            store.end(task, Event.LEASE_LOST, state, DeadReason.POISON, failure)
        return state

    async def expire(self, limit: int = 1000) -> int:
        """End waiting tasks whose time to live is over."""
        store, expired = self._store, 0
        again: list[tuple[float, str]] = []
        with store.lock:
            now = store.clock.now()
            while store.expiring and store.expiring[0][0] <= now and expired < limit:
                until, id = heapq.heappop(store.expiring)
                task = store.tasks.get(id)
                if task is None or task.expires_at != until:
                    continue
                if task.state in WAITING:
                    store.end(task, Event.EXPIRE, TaskState.EXPIRED)
                    expired += 1
                elif task.state is TaskState.RUNNING:
                    again.append((until, id))  # it may wait once more, after a retry
            for entry in again:
                heapq.heappush(store.expiring, entry)
        return expired

    async def prune(self, limit: int = 1000) -> int:
        """Forget finished tasks by age and by count."""
        store = self._store
        with store.lock:
            now = store.clock.now()
            doomed: list[str] = []
            for (queue, _), ended in store.ended.items():
                surplus = len(ended) - store.queues[queue].settings.max_finished
                for index, (id, completed_at) in enumerate(ended.items()):
                    if index < surplus or completed_at + store.tasks[id].kept_for <= now:
                        doomed.append(id)
            for id in doomed[:limit]:
                store.forget(store.tasks[id])
            self._drop_old_marks(now)
        return min(len(doomed), limit)

    def _drop_old_marks(self, now: float) -> None:
        store = self._store
        while store.tombstones and next(iter(store.tombstones.values())) <= now:
            store.tombstones.popitem(last=False)
        for id in [id for id, (_, until) in store.digests.items() if until <= now]:
            del store.digests[id]
        store.keys.drop_free()
        store.joins.drop_old(now)
        store.gates.forget_idle(now)

    async def relay(self, limit: int = 100) -> int:
        """Enqueue callbacks for which there was no room, and cancel flows that nobody has closed."""
        with self._store.lock:
            return self._store.joins.look_again() + self._flows.cancel_abandoned()
