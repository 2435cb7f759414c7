"""Rules about schedules: one of several beats writes each step, and what fires is enqueued in the same one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from taskq.domain.message import Message
from taskq.domain.state import TaskState
from taskq.ids import derived_id
from taskq.ports import Change, Committed, EnqueueStatus, QueueConfig, ScheduleEntry, Scheduler
from taskq.testing.conformance.bench import Bench
from taskq.testing.conformance.kit import Kit

SECOND = timedelta(seconds=1)


def scheduler_of(bench: Bench) -> Scheduler:
    """The port of the backend."""
    scheduler = bench.backend.scheduler
    assert scheduler is not None, "this backend keeps no schedules"
    return scheduler


def entry_of(bench: Bench, name: str = "nightly", **fields: Any) -> ScheduleEntry:
    """A schedule that is not stored yet."""
    return ScheduleEntry(name=name, queue=bench.queue, **{"spec": b'{"task":"tests.task"}', **fields})


def fire_of(bench: Bench, name: str, instant: str) -> Message:
    """The task of one instant."""
    shard = bench.backend.shard_of(bench.queue)
    return bench.message(id=derived_id(shard, bench.queue, name, instant))


class ScheduleRules(Kit):
    """Schedules are kept, found when they are due, and written by one at a time."""

    async def test_where_there_are_none_none_is_due(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        assert list(await scheduler.entries()) == []
        found = await scheduler.claim_due()
        assert (list(found.entries), found.next_due) == ([], None)
        assert await scheduler.get("nightly") is None
        assert not await scheduler.remove("nightly")

    async def test_a_schedule_is_kept_as_it_was_written(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        later = await scheduler.now(bench.queue) + timedelta(days=400, microseconds=123_456)
        first = entry_of(bench, "Ünïcode ✓ nightly", spec=b'{"x":"\\u0000\xc3\xbc"}', state=b"", next_at=later)
        second = entry_of(bench, "another", state=b'{"a":[1]}')
        assert await scheduler.commit([Change(first), Change(second)]) == [Committed(True)] * 2
        kept = [replace(second, revision=1), replace(first, revision=1)]
        assert list(await scheduler.entries()) == sorted(kept, key=lambda entry: entry.name)
        assert await scheduler.get(first.name) == kept[1]

    async def test_a_schedule_that_is_due_is_handed_out_by_its_time(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        now = await scheduler.now(bench.queue)
        for name, next_at in (("a", now), ("b", now - SECOND), ("c", now + timedelta(hours=1)), ("d", None)):
            await scheduler.commit([Change(entry_of(bench, name, next_at=next_at))])
        found = await scheduler.claim_due()
        assert [entry.name for entry, _ in found.entries] == ["b", "a"]
        assert all(now <= found_at < now + timedelta(minutes=1) for _, found_at in found.entries)
        assert found.next_due is not None
        assert 3500 < found.next_due <= 3600
        found = await scheduler.claim_due(1)
        assert [entry.name for entry, _ in found.entries] == ["b"]
        assert found.next_due == 0

    async def test_only_the_newest_version_can_be_changed(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        new = entry_of(bench)
        await scheduler.commit([Change(new)])
        first = replace(new, revision=1)
        one, another = replace(first, state=b"one"), replace(first, state=b"another")
        assert await scheduler.commit([Change(one)]) == [Committed(True)]
        assert await scheduler.commit([Change(another)]) == [Committed(False)]
        assert await scheduler.commit([Change(replace(new, state=b"new"))]) == [Committed(False)]
        assert await scheduler.get(new.name) == replace(one, revision=2)

    async def test_a_change_that_is_said_again_is_applied_once(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        change = Change(entry_of(bench), [fire_of(bench, "nightly", "1")])
        assert [each.is_applied for each in await scheduler.commit([change])] == [True]
        [again] = await scheduler.commit([change])
        assert (again.is_applied, [each.status for each in again.answers]) == (True, [EnqueueStatus.DUPLICATE])
        assert await scheduler.get("nightly") == replace(change.entry, revision=1)
        assert await bench.counts() == {TaskState.PENDING: 1}

    async def test_what_fires_is_enqueued_with_the_change_or_not_at_all(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        await scheduler.commit([Change(entry_of(bench))])
        first = entry_of(bench, revision=1)
        fires = [fire_of(bench, "nightly", instant) for instant in ("1", "2")]
        [done] = await scheduler.commit([Change(replace(first, state=b"2"), fires)])
        assert [each.status for each in done.answers] == [EnqueueStatus.CREATED] * 2
        [lost] = await scheduler.commit([Change(replace(first, state=b"3"), [fire_of(bench, "nightly", "3")])])
        assert lost == Committed(False)
        assert await bench.take_ids() == [fire.id for fire in fires]

    async def test_a_fire_that_has_no_room_is_told_and_the_schedule_moves_on(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=1))
        fires = [fire_of(bench, "nightly", instant) for instant in ("1", "2")]
        [done] = await scheduler.commit([Change(entry_of(bench), fires)])
        assert [each.status for each in done.answers] == [EnqueueStatus.CREATED, EnqueueStatus.FULL]
        assert await scheduler.get("nightly") == entry_of(bench, revision=1)

    async def test_changes_of_one_call_are_decided_each_for_itself(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        names = [f"s{number}" for number in range(250)]
        await scheduler.commit([Change(entry_of(bench, name)) for name in names[::2]])
        changes = [Change(entry_of(bench, name, state=b"new"), [fire_of(bench, name, "1")]) for name in names]
        done = await scheduler.commit(changes)
        assert [each.is_applied for each in done] == [False, True] * 125
        assert await bench.counts() == {TaskState.PENDING: 125}

    async def test_a_schedule_that_was_forgotten_cannot_be_changed(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        await scheduler.commit([Change(entry_of(bench, next_at=await scheduler.now(bench.queue)))])
        assert await scheduler.remove("nightly")
        assert not await scheduler.remove("nightly")
        late = Change(entry_of(bench, revision=1), [fire_of(bench, "nightly", "1")])
        assert await scheduler.commit([late]) == [Committed(False)]
        assert list((await scheduler.claim_due()).entries) == []
        assert await bench.counts() == {}
        assert await scheduler.commit([Change(entry_of(bench))]) == [Committed(True)]

    async def test_of_several_beats_one_fires(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        now = await scheduler.now(bench.queue)
        await scheduler.commit([Change(entry_of(bench, f"s{n}", next_at=now)) for n in range(10)])
        beats = [scheduler_of(bench) for _ in range(4)]

        async def beat(number: int, own: Scheduler) -> int:
            changes = [
                Change(
                    replace(entry, state=b"%d" % number, next_at=entry.next_at and entry.next_at + timedelta(days=1)),
                    [fire_of(bench, entry.name, f"{entry.next_at}")],
                )
                for entry, _ in (await own.claim_due()).entries
            ]
            return sum(done.is_applied for done in await own.commit(changes))

        assert sum(await asyncio.gather(*map(beat, range(4), beats))) == 10
        assert await bench.counts() == {TaskState.PENDING: 10}
        assert {entry.revision for entry in await scheduler.entries()} == {2}

    async def test_clones_share_schedules(self, bench: Bench) -> None:
        scheduler = scheduler_of(bench)
        await scheduler.commit([Change(entry_of(bench))])
        async with bench.backend.clone() as clone:
            assert clone.scheduler is not None
            assert await clone.scheduler.get("nightly") == entry_of(bench, revision=1)
            assert await clone.scheduler.remove("nightly")
        assert list(await scheduler.entries()) == []
