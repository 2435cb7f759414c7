"""Schedules on the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from taskq.ports import Change, Committed, DueSchedules, ScheduleEntry
from taskq_memory.intake import Intake
from taskq_memory.store import Store


class MemoryScheduler:
    """See taskq.ports.Scheduler."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._intake = Intake(store)

    async def entries(self) -> list[ScheduleEntry]:
        """All schedules, by name."""
        with self._store.lock:
            return sorted(self._store.schedules.values(), key=lambda entry: entry.name)

    async def get(self, name: str) -> ScheduleEntry | None:
        """One schedule."""
        with self._store.lock:
            return self._store.schedules.get(name)

    async def now(self, queue: str) -> datetime:
        """The store's clock."""
        return datetime.fromtimestamp(self._store.clock.now(), UTC)

    async def claim_due(self, limit: int = 100) -> DueSchedules:
        """The schedules that are due."""
        now = await self.now("")
        with self._store.lock:
            waiting = sorted(
                (entry.next_at, entry.name, entry) for entry in self._store.schedules.values() if entry.next_at
            )
        due = [(entry, now) for next_at, _, entry in waiting[:limit] if next_at <= now]
        rest = [next_at for next_at, _, _ in waiting[len(due) : len(due) + 1]]
        return DueSchedules(due, max(0.0, (rest[0] - now).total_seconds()) if rest else None)

    async def commit(self, changes: Sequence[Change]) -> list[Committed]:
        """Write schedules and enqueue what fires."""
        return [self._commit(change) for change in changes]

    def _commit(self, change: Change) -> Committed:
        with self._store.lock:
            known = self._store.schedules.get(change.entry.name)
            after = replace(change.entry, revision=change.entry.revision + 1)
            if known != after and (0 if known is None else known.revision) != change.entry.revision:
                return Committed(False)
            self._store.schedules[after.name] = after
            self._store.note_change()
            self._store.listeners.tell("schedule", after.name)
            return Committed(True, tuple(self._intake.take(message) for message in change.fires))

    async def remove(self, name: str) -> bool:
        """Forget a schedule."""
        with self._store.lock:
            self._store.note_change()
            return self._store.schedules.pop(name, None) is not None
