"""Through the gates of a memory store: who waits at a closed one, who is let out, and when there is something to do."""

from __future__ import annotations

from collections.abc import Iterable

from taskq.domain.limits import Rate, Slots
from taskq.domain.tenants import MARK
from taskq_memory.gates import WITHOUT_END, Closed
from taskq_memory.rows import Lane, Task
from taskq_memory.store import Store


class Passage:
    """Moves tasks through gates. Methods expect the lock of the store to be held."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gates = store.gates
        self._rooms = store.rooms

    def park(self, task: Task, closed: Closed) -> None:
        """Have a PENDING task wait at a closed gate."""
        [limit] = [limit for limit in task.limits if limit.gate == closed.gate][:1]
        self._store.leave_index(task)
        self._rooms.park(task.queue, task.id, task.turn, limit, closed.opens_at)
        task.waits_at = closed.gate
        self._store.note_change()

    def let_out(self, queue: str, aging: float) -> bool:
        """Let out of the rooms of a queue as many as the gates that have opened let pass; returns whether any was.

        Beside them the one that has waited longest, if longer than `aging`: it has its share of the claims.
        """
        now, is_any = self._store.clock.now(), False
        for gate, room in self._rooms.due(queue, now):
            passing = room.heads(self._gates.room(room.limit, now))
            room.opens_at = self._gates.opens_at(room.limit, now, len(passing))
            for id in dict.fromkeys([*passing, *room.aged(now - aging)] if passing else []):
                self._rooms.clear(queue, gate, id)
                self._store.tasks[id].waits_at = ""
                is_any = True
        return is_any

    def is_shut(self, queue: str, tenant: str) -> bool:
        """Whether a tenant has as much as it may: more of its tasks would only join those that wait for that."""
        limits, now = self._store.tenancy.quota_of(tenant).limits(tenant), self._store.clock.now()
        return any(self._rooms.parked(queue, limit.gate) and self._gates.room(limit, now) == 0 for limit in limits)

    def open_lanes(self, queue: str) -> list[Lane]:
        """The lanes of a queue, without those whose tenant has as much as it may, and somebody who waits for more."""
        return [lane for lane in self._store.lanes_of(queue) if not self.is_shut(queue, lane[2])]

    def refit(self, tenant: str) -> None:
        """What a tenant may have has changed: those of its tasks that wait for it do so no longer than they must."""
        quota, key = self._store.tenancy.quota_of(tenant), MARK + tenant
        own = {limit.gate: limit for limit in quota.limits(tenant)}
        for gate in (Slots(key, 0).gate, Rate(key, 0.0, 0.0).gate):
            for queue in self._rooms.open(gate, self._store.clock.now()):
                self._rooms.of[queue][gate].limit = own.get(gate, Slots(key, WITHOUT_END))
        for queue in self._store.queues:
            self._store.listeners.tell("ready", queue)

    def leave(self, task: Task, failed: bool | None) -> None:
        """A run of the task has ended: others may pass."""
        now = self._store.clock.now()
        for gate in self._gates.leave(task.id, task.limits, now, failed=failed, started_at=task.started_at or now):
            self.open(gate)
        if self._store.queues[task.queue].settings.workers is not None:
            self._store.listeners.tell("ready", task.queue)

    def open(self, gate: str) -> None:
        """A gate may have opened: the next claims look."""
        for queue in self._rooms.open(gate, self._store.clock.now()):
            self._store.listeners.tell("ready", queue)

    def free_of(self, queue: str) -> int:
        """How many more tasks of a queue may start now, for all that is set for the queue itself."""
        row, free = self._store.queues[queue], 1 << 30
        if row.settings.workers is not None:
            free = max(0, row.settings.workers - row.running)
        if row.settings.rate is not None:
            free = min(free, self._gates.room(row.settings.rate, self._store.clock.now()))
        return free

    def next_due(self, queues: Iterable[str]) -> float | None:
        """Seconds until the next task becomes due, or a limit of these queues may let one pass."""
        now, task = self._store.clock.now(), self._store.head_of_due()
        instants = [None if task is None else task.due_at, *(self._opens_at(queue, now) for queue in queues)]
        return min((max(0.0, instant - now) for instant in instants if instant is not None), default=None)

    def _opens_at(self, queue: str, now: float) -> float | None:
        """When the limits of a queue may let something pass that they hold back now; not while it is paused."""
        if self._store.is_paused(queue):
            return None
        rate = self._store.queues[queue].settings.rate
        if rate is not None and self.has_ready(queue) and self._gates.room(rate, now) == 0:
            return self._gates.opens_at(rate, now)
        return self._rooms.next_due(queue)

    def has_ready(self, queue: str) -> bool:
        """Whether a task of the queue waits for nothing but a claim, limits of the queue itself apart."""
        has_some = self._store.front.get(queue) or self._rooms.cleared.get(queue) or self.open_lanes(queue)
        return bool(has_some or self._rooms.due(queue, self._store.clock.now()))
