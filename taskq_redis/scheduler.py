"""Schedules on a Redis store: each lies in the shard of its queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from taskq.ports import Change, Committed, DueSchedules, ScheduleEntry
from taskq_redis.broker import enqueued, runs_of
from taskq_redis.connection import Argument
from taskq_redis.record import check_text
from taskq_redis.store import Store

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PER_CALL = 100
"""Schedules that one script writes."""


class RedisScheduler:
    """See taskq.ports.Scheduler."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def entries(self) -> list[ScheduleEntry]:
        """All schedules, by name."""
        found = [_entry(row) for _, rows, _ in await self._ask("all") for row in rows]
        return sorted(found, key=lambda entry: entry.name)

    async def get(self, name: str) -> ScheduleEntry | None:
        """One schedule."""
        return next((_entry(row) for _, rows, _ in await self._ask("one", name) for row in rows), None)

    async def now(self, queue: str) -> datetime:
        """The store's clock, where this queue is kept."""
        clock, _, _ = await self._store.run(self._store.shard_of(queue), "schedules", "due", 0)
        return _instant(clock)

    async def claim_due(self, limit: int = 100) -> DueSchedules:
        """The schedules that are due, each by the clock of its shard."""
        due: list[tuple[ScheduleEntry, datetime]] = []
        waits: list[float] = []
        for clock, rows, following in await self._ask("due", limit):
            now = _instant(clock)
            due += [(_entry(row), now) for row in rows]
            if following:
                waits.append(max(0.0, (_instant(following) - now).total_seconds()))
        due.sort(key=lambda each: (each[0].next_at or each[1], each[0].name))
        if len(due) > limit:
            waits.append(0.0)
        return DueSchedules(due[:limit], min(waits, default=None))

    async def commit(self, changes: Sequence[Change]) -> list[Committed]:
        """Write schedules and enqueue what fires."""
        groups: dict[int, list[int]] = {}
        for place, change in enumerate(changes):
            for message in change.fires:
                check_text(message)
            groups.setdefault(self._store.shard_of(change.entry.queue), []).append(place)
        told: dict[int, Committed] = {}
        for shard, places in groups.items():
            for at in range(0, len(places), _PER_CALL):
                some = places[at : at + _PER_CALL]
                told.update(zip(some, await self._commit(shard, [changes[place] for place in some]), strict=True))
        return [told[place] for place in range(len(changes))]

    async def _commit(self, shard: int, changes: Sequence[Change]) -> list[Committed]:
        arguments = [argument for change in changes for argument in _arguments(change)]
        codes, fills, written = await self._store.run_durably(shard, "commit", *arguments)
        answers, done = iter(codes), []
        for change, is_applied in zip(changes, written, strict=True):
            if not is_applied:
                done.append(Committed(False))
                continue
            own = [next(answers) for _ in change.fires]
            done.append(Committed(True, tuple(enqueued(change.fires, range(len(own)), own, fills))))
        return done

    async def remove(self, name: str) -> bool:
        """Forget a schedule."""
        token = token_hex(8)
        shards = self._store.shards
        return any(await asyncio.gather(*(self._store.run(shard, "forget_schedule", name, token) for shard in shards)))

    async def _ask(self, *what: Argument) -> list[Any]:
        return await asyncio.gather(*(self._store.run(shard, "schedules", *what) for shard in self._store.shards))


def _arguments(change: Change) -> list[Argument]:
    entry = change.entry
    next_at = "" if entry.next_at is None else str((entry.next_at - _EPOCH) // _MICROSECOND)
    fires = list(runs_of(change.fires, range(len(change.fires))))
    return [entry.name, entry.queue, entry.spec, entry.state, next_at, entry.revision, len(fires), *fires]


def _entry(row: Sequence[bytes]) -> ScheduleEntry:
    name, queue, spec, state, next_at, revision = row
    return ScheduleEntry(
        name=name.decode(),
        queue=queue.decode(),
        spec=spec,
        state=state,
        next_at=_instant(next_at) if next_at else None,
        revision=int(revision),
    )


def _instant(microseconds: bytes) -> datetime:
    return _EPOCH + int(microseconds) * _MICROSECOND
