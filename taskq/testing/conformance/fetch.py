"""Fetch: a claim is a lease, made in the claim itself, counted and fenced."""

from __future__ import annotations

import pytest

from taskq.domain.limits import Rate
from taskq.domain.message import Delivery, Priority
from taskq.domain.outcome import Complete, Crash, Release, Retry, Settlement, Snooze
from taskq.domain.state import TaskState
from taskq.ports import Reaped
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_worker
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import name_of


class FetchRules(Kit):
    """What a claim does to a task, and which tasks it leaves alone."""

    async def test_an_empty_queue_hands_out_nothing(self, bench: Bench) -> None:
        fetched = await bench.fetch(10)
        assert list(fetched.deliveries) == []
        assert fetched.next_due is None

    async def test_a_claim_makes_the_task_running(self, bench: Bench) -> None:
        task = await bench.put()
        worker = new_worker()
        delivery = await bench.take_one(worker=worker)
        assert (delivery.id, delivery.fence, delivery.attempt, delivery.worker) == (task.id, 1, 1, worker)
        record = await bench.record(task.id)
        assert record.state == TaskState.RUNNING
        assert (record.fence, record.attempt, record.worker) == (1, 1, worker)
        assert record.started_at is not None
        assert record.started_at >= record.created_at

    async def test_a_claimed_task_is_not_handed_out_again(self, bench: Bench) -> None:
        await bench.put()
        await bench.take_one()
        assert await bench.take() == []
        assert await bench.counts() == {TaskState.RUNNING: 1}

    async def test_a_claim_takes_no_more_than_its_limit(self, bench: Bench) -> None:
        ids = await bench.put_many(5)
        assert await bench.take_ids(2) == ids[:2]
        assert await bench.take_ids(10) == ids[2:]

    async def test_a_claim_may_be_larger_than_one_round_trip(self, bench: Bench) -> None:
        ids = await bench.put_many(230)
        assert await bench.take_ids(230) == ids

    async def test_a_claim_takes_from_the_queues_in_the_order_given(self, bench: Bench) -> None:
        first, second = bench.queue + "-1", bench.queue + "-2"
        later = await bench.put_many(2, second, priority=Priority.CRITICAL)
        earlier = await bench.put_many(2, first, priority=Priority.LOW)
        assert await bench.take_ids(3, queues=[first, second]) == [*earlier, later[0]]
        assert await bench.take_ids(3, queues=[first, second]) == [later[1]]

    async def test_a_queue_that_is_named_twice_counts_as_one(self, bench: Bench) -> None:
        ids = [*await bench.put_many(3), *await bench.put_many(1, priority=Priority.LOW)]
        assert await bench.take_ids(3, queues=[bench.queue, bench.queue]) == ids[:3]
        assert await bench.take_ids(3, queues=[bench.queue, bench.queue]) == ids[3:]
        assert await bench.counts() == {TaskState.RUNNING: 4}

    async def test_the_tasks_of_a_queue_that_is_named_twice_pass_their_limits_once(self, bench: Bench) -> None:
        limits = (Rate(bench.queue, 1e-3, 4.0),)
        for _ in range(2):
            ids = await bench.put_many(2, limits=limits)
            assert await bench.take_ids(10, queues=[bench.queue, bench.queue]) == ids
        await bench.put(limits=limits)
        assert await bench.take_ids() == []

    async def test_a_claim_leaves_other_queues_alone(self, bench: Bench) -> None:
        other = await bench.put(bench.queue + "-other")
        assert await bench.take() == []
        assert await bench.state(other.id) == TaskState.PENDING

    async def test_fence_and_attempt_grow_with_each_attempt(self, bench: Bench) -> None:
        await bench.put()
        for n in (1, 2, 3):
            delivery = await bench.take_one()
            assert (delivery.fence, delivery.attempt, delivery.put_offs) == (n, n, 0)
            await bench.apply(delivery, Retry(0.0, FAILURE))

    async def test_the_fence_grows_where_the_attempt_is_given_back(self, bench: Bench) -> None:
        await bench.put()
        settlements: list[Settlement] = [Release(), Snooze(0.0), Release()]
        for n, settlement in enumerate(settlements, 1):
            delivery = await bench.take_one()
            assert (delivery.fence, delivery.attempt) == (n, 1)
            await bench.apply(delivery, settlement)
        assert (await bench.take_one()).put_offs == 3


class DueFetchRules(Kit):
    """What becomes ready in time."""

    async def test_a_delivery_says_for_how_long_it_was_ready(self, bench: Bench) -> None:
        await bench.put()
        await bench.pass_time(self.tick)
        delivery = await bench.take_one()
        assert delivery.waited == pytest.approx(delivery.age, abs=0.002)
        assert delivery.waited >= self.tick * 0.9
        await bench.apply(delivery, Retry(0.0, FAILURE))
        again = await bench.take_one()
        assert 0.0 <= again.waited < again.age - self.tick * 0.9
        await bench.pass_time(self.tick)
        await bench.apply(again, Release())
        released = await bench.take_one()
        assert released.waited >= self.tick * 0.9

    async def test_due_tasks_are_handed_out(self, bench: Bench) -> None:
        task = await bench.put(delay=bench.short)
        await bench.lapse()
        assert (await bench.take_one()).id == task.id

    async def test_due_tasks_are_handed_out_in_the_order_of_their_time(self, bench: Bench) -> None:
        # In one call, that both delays count from the same moment.
        late, early = bench.message(delay=bench.short), bench.message(delay=bench.short / 10)
        await bench.enqueue(late, early)
        await bench.lapse()
        assert await bench.take_ids() == [early.id, late.id]

    async def test_a_claim_says_when_the_next_task_is_due(self, bench: Bench) -> None:
        await bench.put(delay=LONG)
        await bench.put(delay=LONG * 2)
        fetched = await bench.fetch()
        assert list(fetched.deliveries) == []
        assert fetched.next_due is not None
        assert 0 < fetched.next_due <= LONG
        assert fetched.next_due == pytest.approx(LONG, rel=0.1)

    async def test_a_claim_says_when_a_retry_is_due(self, bench: Bench) -> None:
        await bench.apply(await bench.running(), Retry(LONG, FAILURE))
        next_due = (await bench.fetch()).next_due
        assert next_due is not None
        assert 0 < next_due <= LONG


class ExpiredFetchRules(Kit):
    """A claim meets tasks whose time to live is over."""

    async def test_an_expired_task_ends_instead_of_being_handed_out(self, bench: Bench) -> None:
        expired = await bench.put(expires=bench.short)
        fresh = await bench.put(expires=LONG)
        await bench.lapse()
        assert await bench.take_ids(2) == [fresh.id]
        record = await bench.record(expired.id)
        assert record.state == TaskState.EXPIRED
        assert record.completed_at is not None
        assert record.fence == 0

    async def test_a_backlog_of_expired_tasks_keeps_nobody_from_what_is_behind_it(self, bench: Bench) -> None:
        await bench.put_many(450, expires=bench.short)
        fresh = await bench.put()
        await bench.lapse()

        async def work() -> str:
            while not (fetched := await bench.fetch()).deliveries:
                pause = LONG if fetched.next_due is None else fetched.next_due
                await bench.backend.broker.wait([bench.queue], pause)
            return fetched.deliveries[0].id

        assert await bench.finish(work()) == fresh.id

    async def test_an_expired_task_in_front_ends_instead_of_being_handed_out(self, bench: Bench) -> None:
        # Long enough that the claim comes before it, over when the time has passed.
        task = await bench.put(expires=self.tick)
        released = await bench.take()
        for delivery in released:
            await bench.settle(delivery, Release())
        await bench.pass_time(self.tick * 1.5)
        assert await bench.take() == []
        assert await bench.state(task.id) == TaskState.EXPIRED


class ReplayRules(Kit):
    """A claim whose reply was lost is repeated under its request id, and answered as before."""

    async def test_a_repeated_request_is_handed_the_same_tasks(self, bench: Bench) -> None:
        await bench.put_many(5)
        worker = new_worker()
        first = await bench.take(3, worker=worker, request_id="r1")
        again = await bench.take(3, worker=worker, request_id="r1")
        timeless = [[delivery._replace(age=0.0, waited=0.0) for delivery in some] for some in (again, first)]
        assert timeless[0] == timeless[1]
        assert await bench.counts() == {TaskState.RUNNING: 3, TaskState.PENDING: 2}

    async def test_a_repeated_request_counts_nothing_twice(self, bench: Bench) -> None:
        task = await bench.put()
        worker = new_worker()
        for _ in range(3):
            await bench.take_one(worker=worker, request_id="r1")
        record = await bench.record(task.id)
        assert (record.fence, record.attempt) == (1, 1)

    async def test_a_repeated_request_leaves_out_what_was_settled(self, bench: Bench) -> None:
        await bench.put_many(3)
        worker = new_worker()
        kept, settled, released = await bench.take(3, worker=worker, request_id="r1")
        await bench.apply(settled, Complete())
        await bench.apply(released, Release())
        assert await bench.take_ids(3, worker=worker, request_id="r1") == [kept.id]

    async def test_a_repeated_request_leaves_out_what_was_lost(self, bench: Bench) -> None:
        await bench.put()
        worker = new_worker()
        await bench.take_one(worker=worker, request_id="r1", lease=bench.short)
        await bench.lapse()
        await bench.reap()
        assert await bench.take(worker=worker, request_id="r1") == []

    async def test_a_repeated_request_leaves_out_what_was_lost_whatever_is_said_late(self, bench: Bench) -> None:
        task = await bench.put()
        worker = new_worker()
        delivery = await bench.take_one(worker=worker, request_id="r1", lease=bench.short)
        await bench.lapse()
        await bench.reap()
        await self._stays_away(bench, delivery)
        record = await bench.record(task.id)
        assert (record.state, record.fence, record.lost_leases) == (TaskState.PENDING, 1, 1)

    async def test_a_repeated_request_leaves_out_what_came_back_whatever_is_said_late(self, bench: Bench) -> None:
        settlements: list[Settlement] = [Release(), Crash(FAILURE), Snooze(LONG), Complete()]
        for settlement in settlements:
            there = bench.apart(name_of(settlement))
            await there.put()
            delivery = await there.take_one(worker=new_worker(), request_id="r1")
            before = await there.apply(delivery, settlement)
            await self._stays_away(there, delivery)
            assert await there.record(delivery.id) == before, settlement

    async def test_a_repeated_request_extends_the_leases(self, bench: Bench) -> None:
        task = await bench.put()
        worker = new_worker()
        await bench.take_one(worker=worker, request_id="r1", lease=bench.short)
        await bench.take_one(worker=worker, request_id="r1", lease=LONG)
        await bench.lapse()
        await bench.reap()
        assert await bench.state(task.id) == TaskState.RUNNING

    async def test_only_the_newest_request_is_remembered(self, bench: Bench) -> None:
        ids = await bench.put_many(3)
        worker = new_worker()
        assert await bench.take_ids(1, worker=worker, request_id="r1") == [ids[0]]
        assert await bench.take_ids(1, worker=worker, request_id="r2") == [ids[1]]
        assert await bench.take_ids(1, worker=worker, request_id="r2") == [ids[1]]
        assert await bench.take_ids(1, worker=worker, request_id="r1") == [ids[2]]

    async def test_requests_of_two_workers_stay_apart(self, bench: Bench) -> None:
        ids = await bench.put_many(2)
        first, second = new_worker(), new_worker()
        assert await bench.take_ids(1, worker=first, request_id="r1") == [ids[0]]
        assert await bench.take_ids(1, worker=second, request_id="r1") == [ids[1]]
        assert await bench.take_ids(1, worker=first, request_id="r1") == [ids[0]]

    async def test_a_repeated_request_over_several_queues_is_answered_whole(self, bench: Bench) -> None:
        queues = [f"{bench.queue}-{n}" for n in range(3)]
        for queue in queues:
            await bench.put_many(2, queue)
        worker = new_worker()
        first = await bench.take_ids(5, queues=queues, worker=worker, request_id="r1")
        again = await bench.take_ids(5, queues=queues, worker=worker, request_id="r1")
        assert sorted(again) == sorted(first)
        assert len(first) == 5

    @staticmethod
    async def _stays_away(bench: Bench, delivery: Delivery) -> None:
        """A run that is over stays so, though its worker, which does not know yet, extends it and asks again."""
        assert (await bench.backend.broker.extend([delivery], bench.short)).lost == {delivery.id}
        await bench.lapse()
        assert await bench.reap() == Reaped()
        assert await bench.take(worker=delivery.worker, request_id="r1") == []
