"""Inspector: finding tasks and steering queues."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskq.domain.message import Priority
from taskq.domain.outcome import Bury, Cancel, Complete, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.state import TaskState
from taskq.domain.workflow import Edge
from taskq.errors import InvalidOption
from taskq.ports import TaskQuery
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_id
from taskq.testing.conformance.kit import Kit

WAYS: dict[TaskState, Settlement] = {
    TaskState.SCHEDULED: Snooze(LONG),
    TaskState.RETRYING: Retry(LONG, FAILURE),
    TaskState.COMPLETED: Complete(b"1"),
    TaskState.FAILED: Fail("x", FAILURE),
    TaskState.DEAD: Bury("x", FAILURE),
    TaskState.CANCELLED: Cancel("x"),
    TaskState.PENDING: Release(),
}
"""A settlement that leads to each state; last the one after which the task would be claimed again."""
ENDS = [state for state in WAYS if state.is_final]


class LookingRules(Kit):
    """get, list, counts, peek."""

    async def test_a_task_without_a_record_is_none(self, bench: Bench) -> None:
        assert await bench.backend.inspector.get(new_id(bench.backend.shard_of(bench.queue))) is None

    async def test_many_are_told_of_in_the_order_in_which_they_were_asked_for(self, bench: Bench) -> None:
        ended = await bench.running()
        await bench.apply(ended, Complete())
        waiting = await bench.put()
        unknown = new_id(bench.backend.shard_of(bench.queue))
        ids = [waiting.id, unknown, ended.id, waiting.id]
        records = await bench.backend.inspector.get_many(ids)
        assert [record and (record.id, record.state) for record in records] == [
            (waiting.id, TaskState.PENDING),
            None,
            (ended.id, TaskState.COMPLETED),
            (waiting.id, TaskState.PENDING),
        ]
        assert list(records) == [await bench.backend.inspector.get(id) for id in ids]
        assert list(await bench.backend.inspector.get_many([])) == []

    async def test_every_instant_is_aware_and_in_its_order(self, bench: Bench) -> None:
        await bench.put(delay=bench.short, expires=LONG)
        await bench.lapse()
        delivery = await bench.take_one()
        await bench.pass_time(bench.short)
        record = await bench.apply(delivery, Complete())
        [attempt] = record.attempts
        instants = [record.created_at, record.started_at, attempt.ended_at, record.completed_at, record.expires_at]
        assert all(instant is not None and instant.utcoffset() == timedelta(0) for instant in instants)
        assert record.started_at is not None
        assert record.completed_at is not None
        assert record.expires_at is not None
        assert record.created_at < record.started_at < record.completed_at < record.expires_at

    async def test_counts_tell_each_state(self, bench: Bench) -> None:
        for state in (*ENDS, TaskState.SCHEDULED, TaskState.RETRYING):
            await bench.apply(await bench.running(), WAYS[state])
        await bench.running()
        await bench.put(expires=bench.short)
        await bench.lapse()
        await bench.backend.maintenance.expire()
        [parent, _] = await bench.put_many(2)
        await bench.put(parents=(Edge(parent),))
        assert await bench.counts() == dict.fromkeys(TaskState, 1) | {TaskState.PENDING: 2}

    async def test_counts_tell_each_queue(self, bench: Bench) -> None:
        await bench.put_many(2)
        await bench.put_many(3, bench.queue + "-other", delay=LONG)
        assert await bench.counts() == {TaskState.PENDING: 2}
        assert await bench.counts(bench.queue + "-other") == {TaskState.SCHEDULED: 3}

    async def test_a_list_is_of_one_queue_and_one_state(self, bench: Bench) -> None:
        pending = await bench.put_many(2)
        delivery = await bench.running(queue=bench.queue + "-other")
        await bench.put(bench.queue + "-other")
        assert sorted(await self._listed(bench, TaskState.PENDING)) == sorted(pending)
        assert await self._listed(bench, TaskState.COMPLETED) == []
        page = await bench.backend.inspector.list(TaskQuery(queue=bench.queue + "-other", state=TaskState.RUNNING))
        assert list(page.records) == [await bench.record(delivery.id)]
        assert page.next_cursor is None

    async def test_a_list_goes_on_behind_a_record_that_has_moved_away(self, bench: Bench) -> None:
        for state in (TaskState.PENDING, TaskState.SCHEDULED):
            queue = f"{bench.queue}-{state}"
            ids = await bench.put_many(5, queue, delay=None if state is TaskState.PENDING else LONG)
            page = await bench.backend.inspector.list(TaskQuery(queue=queue, state=state))
            there = [record.id for record in page.records]
            assert sorted(there) == sorted(ids)
            assert len(page.cursors) == len(there)
            await bench.backend.broker.cancel([there[1]])
            for number, cursor in enumerate(page.cursors):
                query = TaskQuery(queue=queue, state=state, cursor=cursor)
                rest = [record.id for record in (await bench.backend.inspector.list(query)).records]
                assert rest == [id for id in there[number + 1 :] if id != there[1]]

    async def test_every_state_can_be_listed(self, bench: Bench) -> None:
        expired = await bench.put(expires=bench.short)
        await bench.lapse()
        await bench.backend.maintenance.expire()
        ids = {TaskState.EXPIRED: expired.id, TaskState.RUNNING: (await bench.running()).id}
        for state, settlement in WAYS.items():
            delivery = await bench.running()
            await bench.apply(delivery, settlement)
            ids[state] = delivery.id
        for state, id in ids.items():
            page = await bench.backend.inspector.list(TaskQuery(queue=bench.queue, state=state))
            assert list(page.records) == [await bench.record(id)], state
            assert page.records[0].state == state

    async def test_a_list_goes_from_the_newest_to_the_oldest(self, bench: Bench) -> None:
        ids = []
        for _ in range(4):
            ids.append((await bench.put()).id)
            await bench.pass_time(bench.short)
        assert await self._listed(bench, TaskState.PENDING) == ids[::-1]
        for delivery in await bench.take(4):
            await bench.apply(delivery, Complete())
            await bench.pass_time(bench.short)
        assert await self._listed(bench, TaskState.COMPLETED) == ids[::-1]

    async def test_a_list_comes_in_pages(self, bench: Bench) -> None:
        ids = []
        for _ in range(7):
            ids.append((await bench.put()).id)
            await bench.pass_time(bench.short)
        listed: list[str] = []
        cursor: str | None = None
        sizes: list[int] = []
        while not sizes or cursor is not None:
            query = TaskQuery(queue=bench.queue, state=TaskState.PENDING, limit=3, cursor=cursor)
            page = await bench.backend.inspector.list(query)
            listed += [record.id for record in page.records]
            sizes.append(len(page.records))
            cursor = page.next_cursor
        assert listed == ids[::-1]
        assert sizes == [3, 3, 1]

    async def test_a_cursor_that_is_none_is_refused(self, bench: Bench) -> None:
        await bench.put()
        for state in (TaskState.PENDING, TaskState.DEAD):
            with pytest.raises(InvalidOption, match="'nonsense' is not a cursor of an earlier page"):
                await bench.backend.inspector.list(TaskQuery(queue=bench.queue, state=state, cursor="nonsense"))

    async def test_a_peek_shows_the_order_of_the_next_claims(self, bench: Bench) -> None:
        low = await bench.put_many(2, priority=Priority.LOW)
        [front] = await bench.take()
        await bench.apply(front, Release())
        urgent = await bench.put_many(2, priority=Priority.CRITICAL)
        normal = await bench.put_many(2)
        seen = [record.id for record in await bench.backend.inspector.peek(bench.queue)]
        assert seen == [front.id, *urgent, *normal, low[1]]
        assert [record.id for record in await bench.backend.inspector.peek(bench.queue, 2)] == seen[:2]
        assert await bench.take_ids() == seen

    async def test_a_peek_takes_nothing(self, bench: Bench) -> None:
        task = await bench.put()
        assert list(await bench.backend.inspector.peek(bench.queue)) == [await bench.record(task.id)]
        assert await bench.counts() == {TaskState.PENDING: 1}
        assert list(await bench.backend.inspector.peek(bench.queue + "-empty")) == []

    @staticmethod
    async def _listed(bench: Bench, state: TaskState) -> list[str]:
        page = await bench.backend.inspector.list(TaskQuery(queue=bench.queue, state=state))
        assert page.next_cursor is None
        return [record.id for record in page.records]


class SteeringRules(Kit):
    """pause, resume, purge."""

    async def test_a_paused_queue_hands_out_nothing(self, bench: Bench) -> None:
        released = await bench.running()
        await bench.apply(released, Release())
        await bench.put_many(2, delay=bench.short)
        await bench.put_many(2)
        await bench.backend.queues.pause(bench.queue, "maintenance")
        await bench.lapse()
        assert await bench.take(10) == []
        await bench.backend.queues.resume(bench.queue)
        assert len(await bench.take(10)) == 5

    async def test_a_pause_leaves_other_queues_alone(self, bench: Bench) -> None:
        await bench.put()
        other = await bench.put(bench.queue + "-other")
        await bench.backend.queues.pause(bench.queue)
        assert await bench.take_ids(queues=[bench.queue, other.queue]) == [other.id]

    async def test_a_paused_queue_takes_tasks_and_settlements(self, bench: Bench) -> None:
        delivery = await bench.running()
        await bench.backend.queues.pause(bench.queue)
        await bench.put()
        assert (await bench.apply(delivery, Complete())).state == TaskState.COMPLETED

    async def test_a_pause_ends_by_itself(self, bench: Bench) -> None:
        task = await bench.put()
        moment = datetime.fromtimestamp(await bench.now(), UTC)
        await bench.backend.queues.pause(bench.queue, until=moment + timedelta(seconds=LONG))
        assert await bench.take() == []
        await bench.backend.queues.pause(bench.queue, until=moment + timedelta(seconds=bench.short))
        await bench.lapse()
        assert await bench.take_ids() == [task.id]

    async def test_pause_and_resume_may_be_said_twice(self, bench: Bench) -> None:
        await bench.put()
        for _ in range(2):
            await bench.backend.queues.pause(bench.queue)
        assert await bench.take() == []
        for _ in range(2):
            await bench.backend.queues.resume(bench.queue)
        assert len(await bench.take()) == 1

    async def test_a_purge_cancels_what_waits(self, bench: Bench) -> None:
        runs = await bench.running()
        completed = await bench.running()
        await bench.apply(completed, Complete())
        await bench.apply(await bench.running(), Retry(LONG, FAILURE))
        await bench.apply(await bench.running(), Release())
        await bench.put(delay=LONG)
        pending = await bench.put()
        other = await bench.put(bench.queue + "-other")
        assert await bench.backend.inspector.purge(bench.queue) == 4
        assert await bench.counts() == {TaskState.RUNNING: 1, TaskState.COMPLETED: 1, TaskState.CANCELLED: 4}
        record = await bench.record(pending.id)
        assert (record.state, record.reason) == (TaskState.CANCELLED, "purged")
        assert record.completed_at is not None
        assert await bench.state(runs.id) == TaskState.RUNNING
        assert await bench.state(other.id) == TaskState.PENDING
        assert await bench.take() == []

    async def test_a_purge_takes_no_more_than_its_limit(self, bench: Bench) -> None:
        await bench.put_many(3)
        await bench.put_many(2, delay=LONG)
        assert [await bench.backend.inspector.purge(bench.queue, 2) for _ in range(4)] == [2, 2, 1, 0]
