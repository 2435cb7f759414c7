"""Redrive: a task that has ended without success starts anew, under a fence that goes on growing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from taskq.domain.message import Delivery, Priority
from taskq.domain.outcome import Bury, Cancel, Complete, Fail, Retry, Settlement
from taskq.domain.record import AttemptOutcome, Progress
from taskq.domain.state import TaskState
from taskq.ports import TaskQuery
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, moved, new_id
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import name_of

UNSUCCESSFUL: tuple[Settlement, ...] = (Bury("rejected", FAILURE), Fail("exhausted", FAILURE), Cancel("enough"))


class RedriveRules(Kit):
    """DEAD, FAILED, CANCELLED, EXPIRED → PENDING."""

    async def test_a_task_that_was_given_up_starts_anew(self, bench: Bench) -> None:
        for settlement in UNSUCCESSFUL:
            there = bench.apart(name_of(settlement))
            delivery = await there.running(expires=LONG)
            await there.apply(delivery, settlement)
            assert await self._redrive(there, delivery.id) == [True], settlement
            record = await there.record(delivery.id)
            assert record.state == TaskState.PENDING, settlement
            assert (record.attempt, record.lost_leases, record.fence) == (0, 0, 1), settlement
            cleared = (record.reason, record.failure, record.result, record.progress)
            assert cleared == ("", None, None, None), settlement
            assert (record.completed_at, record.expires_at) == (None, None), settlement
            assert len(record.attempts) == 1, settlement
            again = await there.take_one()
            assert (again.id, again.fence, again.attempt) == (delivery.id, 2, 1), settlement

    async def test_an_expired_task_starts_anew_and_does_not_expire_again(self, bench: Bench) -> None:
        task = await bench.put(expires=bench.short)
        await bench.lapse()
        await bench.backend.maintenance.expire()
        assert await self._redrive(bench, task.id) == [True]
        assert await bench.backend.maintenance.expire() == 0
        assert await bench.take_ids() == [task.id]

    async def test_history_and_checkpoint_stay_and_progress_goes(self, bench: Bench) -> None:
        delivery = await bench.running()
        await bench.backend.annotations.checkpoint(delivery, b"page 7")
        await bench.backend.annotations.progress(delivery, Progress(0.5))
        await bench.apply(delivery, Bury("rejected", FAILURE))
        await self._redrive(bench, delivery.id)
        record = await bench.apply(await bench.take_one(), Complete(b"1"))
        assert (record.checkpoint, record.progress) == (b"page 7", None)
        assert [(entry.fence, entry.attempt, entry.outcome) for entry in record.attempts] == [
            (1, 1, AttemptOutcome.FAILED),
            (2, 1, AttemptOutcome.SUCCEEDED),
        ]

    async def test_lost_leases_count_anew(self, bench: Bench) -> None:
        delivery = await bench.lost(max_lost_leases=1)
        assert await bench.state(delivery.id) == TaskState.DEAD
        await self._redrive(bench, delivery.id)
        again = await bench.take_one()
        assert (again.fence, again.attempt, again.lost_leases) == (2, 1, 0)

    async def test_a_redriven_task_stands_at_the_tail_of_its_lane(self, bench: Bench) -> None:
        dead = await self._dead(bench, priority=Priority.HIGH)
        waiting = await bench.put(priority=Priority.HIGH)
        later = await bench.put(priority=Priority.LOW)
        await self._redrive(bench, dead.id)
        assert await bench.take_ids_one_by_one(3) == [waiting.id, dead.id, later.id]

    async def test_what_has_not_failed_cannot_be_redriven(self, bench: Bench) -> None:
        completed = await bench.running()
        await bench.apply(completed, Complete())
        retrying = await bench.running()
        await bench.apply(retrying, Retry(LONG, FAILURE))
        scheduled = await bench.put(delay=LONG)
        running = await bench.running()
        pending = await bench.put()
        unknown = new_id(bench.backend.shard_of(bench.queue))
        ids = [completed.id, retrying.id, scheduled.id, running.id, pending.id]
        before = [await bench.record(id) for id in ids]
        assert await self._redrive(bench, *ids, unknown) == [False] * 6
        assert [await bench.record(id) for id in ids] == before

    async def test_a_repeated_redrive_does_nothing(self, bench: Bench) -> None:
        dead = await self._dead(bench)
        assert await self._redrive(bench, dead.id) == [True]
        assert await self._redrive(bench, dead.id) == [False]
        assert await bench.take_ids() == [dead.id]

    async def test_several_are_answered_in_their_places(self, bench: Bench) -> None:
        first, second = await self._dead(bench), await self._dead(bench)
        waiting = await bench.put()
        assert await self._redrive(bench, first.id, waiting.id, second.id) == [True, False, True]
        assert await bench.take_ids() == [waiting.id, first.id, second.id]

    async def test_several_go_in_the_order_of_the_call_and_each_once(self, bench: Bench) -> None:
        first, second, third = [await self._dead(bench) for _ in range(3)]
        ids = [third.id, first.id, third.id, second.id]
        assert await self._redrive(bench, *ids) == [True, True, False, True]
        assert await bench.take_ids() == [third.id, first.id, second.id]

    async def test_a_redriven_task_may_end_again(self, bench: Bench) -> None:
        dead = await self._dead(bench)
        await self._redrive(bench, dead.id)
        record = await bench.apply(await bench.take_one(), Bury("again", FAILURE))
        assert (record.state, record.reason) == (TaskState.DEAD, "again")
        assert await bench.counts() == {TaskState.DEAD: 1}

    async def test_a_task_that_dies_again_is_listed_once_where_it_died_last(self, bench: Bench) -> None:
        first = await self._dead(bench)
        await bench.pass_time(bench.short)
        second = await self._dead(bench)
        for _ in range(2):
            await bench.pass_time(bench.short)
            await self._redrive(bench, first.id)
            await bench.apply(await bench.take_one(), Bury("again", FAILURE))
        listed: list[str] = []
        query = TaskQuery(queue=bench.queue, state=TaskState.DEAD, limit=1)
        while True:
            page = await bench.backend.inspector.list(query)
            listed += [record.id for record in page.records]
            if page.next_cursor is None:
                break
            query = replace(query, cursor=page.next_cursor)
        assert listed == [first.id, second.id]

    @staticmethod
    async def _dead(bench: Bench, **fields: Any) -> Delivery:
        delivery = await bench.running(**fields)
        await bench.apply(delivery, Bury("rejected", FAILURE))
        return delivery

    @staticmethod
    async def _redrive(bench: Bench, *ids: str) -> list[bool]:
        return moved(await bench.backend.inspector.redrive(ids))
