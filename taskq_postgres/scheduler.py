"""Schedules on a Postgres store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from taskq.ports import Change, Committed, DueSchedules, ScheduleEntry
from taskq_postgres.intake import enqueued
from taskq_postgres.record import plain
from taskq_postgres.store import Store
from taskq_postgres.transaction import to_json


class PostgresScheduler:
    """See taskq.ports.Scheduler."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def entries(self) -> list[ScheduleEntry]:
        """All schedules, by name."""
        return [_entry(*row) for row in await self._store.run("schedules", (None, None), reads=True)]

    async def get(self, name: str) -> ScheduleEntry | None:
        """One schedule."""
        rows = await self._store.run("schedules", (plain(name), plain(name)), reads=True)
        return _entry(*rows[0]) if rows else None

    async def now(self, queue: str) -> datetime:
        """The store's clock."""
        rows = await self._store.run("schedules_due", (0,), reads=True)
        now: datetime = rows[0][0].astimezone(UTC)
        return now

    async def claim_due(self, limit: int = 100) -> DueSchedules:
        """The schedules that are due."""
        rows = await self._store.run("schedules_due", (limit + 1,), reads=True)
        now = rows[0][0].astimezone(UTC)
        waiting = [_entry(*row[1:]) for row in rows if row[1] is not None]
        due = [(entry, now) for entry in waiting[:limit] if _when(entry) <= now]
        rest = waiting[len(due) : len(due) + 1]
        return DueSchedules(due, max(0.0, (_when(rest[0]) - now).total_seconds()) if rest else None)

    async def commit(self, changes: Sequence[Change]) -> list[Committed]:
        """Write schedules and enqueue what fires."""
        # In one order, so that two calls never wait for each other in a circle.
        places = sorted(range(len(changes)), key=lambda place: changes[place].entry.name)
        entries = [changes[place].entry for place in places]
        answers = await self._store.value(
            "commit_schedules",
            (
                [plain(entry.name) for entry in entries],
                [plain(entry.queue) for entry in entries],
                [entry.spec for entry in entries],
                [entry.state for entry in entries],
                [entry.next_at for entry in entries],
                [entry.revision for entry in entries],
                [to_json(changes[place].fires) if changes[place].fires else None for place in places],
            ),
        )
        told = dict(zip(places, answers, strict=True))
        return [_committed(change, told[place]) for place, change in enumerate(changes)]

    async def remove(self, name: str) -> bool:
        """Forget a schedule."""
        return bool(await self._store.count("schedule_remove", (plain(name),)))


def _committed(change: Change, answer: str | None) -> Committed:
    if answer is None:
        return Committed(False)
    return Committed(True, tuple(enqueued(change.fires, answer or None)))


def _when(entry: ScheduleEntry) -> datetime:
    assert entry.next_at is not None
    return entry.next_at


def _entry(name: str, queue: str, spec: bytes, state: bytes, next_at: datetime | None, revision: int) -> ScheduleEntry:
    # Told in universal time: psycopg cannot read the last hours of the calendar as the clocks east of it show them.
    known: dict[str, Any] = {"name": name, "queue": queue, "spec": bytes(spec), "state": bytes(state)}
    return ScheduleEntry(**known, next_at=next_at and next_at.replace(tzinfo=UTC), revision=revision)
