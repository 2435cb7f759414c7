"""Leases: extended while the worker lives, taken away when it falls silent, and never all at once after an outage."""

from __future__ import annotations

from taskq.domain.message import Delivery
from taskq.domain.outcome import Complete
from taskq.domain.record import AttemptOutcome, DeadReason
from taskq.domain.state import TaskState
from taskq.ports import Reaped
from taskq.testing.conformance.bench import LONG, Bench, new_id
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import forged


class ExtendRules(Kit):
    """A worker extends what it holds, and is told what it has lost."""

    async def test_an_extended_lease_holds(self, bench: Bench) -> None:
        delivery = await bench.running(bench.short)
        extension = await bench.backend.broker.extend([delivery], LONG)
        assert (extension.lost, extension.cancel_wanted) == (frozenset(), frozenset())
        await bench.lapse()
        assert await bench.reap() == Reaped()
        assert await bench.state(delivery.id) == TaskState.RUNNING

    async def test_a_lapsed_lease_that_nobody_noticed_is_revived(self, bench: Bench) -> None:
        delivery = await bench.running(bench.short)
        await bench.lapse()
        assert not (await bench.backend.broker.extend([delivery], LONG)).lost
        assert await bench.reap() == Reaped()
        assert (await bench.apply(delivery, Complete())).lost_leases == 0

    async def test_a_lease_may_be_shortened(self, bench: Bench) -> None:
        delivery = await bench.running(LONG)
        await bench.backend.broker.extend([delivery], bench.short)
        await bench.lapse()
        assert await bench.reap() == Reaped(requeued=1)

    async def test_a_lease_that_was_taken_away_is_lost(self, bench: Bench) -> None:
        delivery = await bench.lost()
        assert (await bench.backend.broker.extend([delivery], LONG)).lost == {delivery.id}
        assert await bench.state(delivery.id) == TaskState.PENDING

    async def test_a_task_without_a_record_is_lost(self, bench: Bench) -> None:
        unknown = forged(bench, new_id(bench.backend.shard_of(bench.queue)))
        assert (await bench.backend.broker.extend([unknown], LONG)).lost == {unknown.id}

    async def test_the_lost_are_told_apart_from_the_kept(self, bench: Bench) -> None:
        lost = await bench.lost()
        kept = await bench.running(queue=bench.queue + "-kept")
        wanted = await bench.running(queue=bench.queue + "-wanted")
        await bench.backend.broker.cancel([wanted.id])
        extension = await bench.backend.broker.extend([kept, lost, wanted], LONG)
        assert extension.lost == {lost.id}
        assert extension.cancel_wanted == {wanted.id}

    async def test_a_task_that_should_be_cancelled_keeps_its_lease(self, bench: Bench) -> None:
        delivery = await bench.running(bench.short)
        await bench.backend.broker.cancel([delivery.id])
        await bench.backend.broker.extend([delivery], LONG)
        await bench.lapse()
        assert await bench.reap() == Reaped()
        assert (await bench.backend.broker.extend([delivery], LONG)).cancel_wanted == {delivery.id}

    async def test_nothing_to_extend(self, bench: Bench) -> None:
        extension = await bench.backend.broker.extend([], LONG)
        assert (extension.lost, extension.cancel_wanted) == (frozenset(), frozenset())

    async def test_many_leases_are_extended_in_one_call(self, bench: Bench) -> None:
        await bench.put_many(230)
        held = await bench.take(230, lease=bench.short)
        assert not (await bench.backend.broker.extend(held, LONG)).lost
        await bench.lapse()
        assert await bench.reap(1000) == Reaped()


class ReapRules(Kit):
    """A lease that ran out is taken away: back to the front, or to an end."""

    async def test_a_live_lease_is_left_alone(self, bench: Bench) -> None:
        delivery = await bench.running(LONG)
        assert await bench.reap() == Reaped()
        assert await bench.state(delivery.id) == TaskState.RUNNING

    async def test_a_lost_lease_uses_up_no_attempt(self, bench: Bench) -> None:
        delivery = await bench.running(bench.short)
        await bench.lapse()
        assert await bench.reap() == Reaped(requeued=1)
        record = await bench.record(delivery.id)
        assert (record.state, record.attempt, record.lost_leases) == (TaskState.PENDING, 0, 1)
        assert (record.fence, record.worker) == (delivery.fence, delivery.worker)
        again = await bench.take_one()
        assert (again.fence, again.attempt, again.lost_leases) == (2, 1, 1)

    async def test_a_lost_lease_is_in_the_history(self, bench: Bench) -> None:
        delivery = await bench.lost()
        [attempt] = (await bench.record(delivery.id)).attempts
        assert attempt.outcome == AttemptOutcome.LEASE_LOST
        assert (attempt.fence, attempt.attempt, attempt.worker) == (1, 1, delivery.worker)
        assert attempt.ended_at > attempt.started_at

    async def test_a_task_that_loses_every_lease_is_buried_as_poison(self, bench: Bench) -> None:
        task = await bench.put(max_lost_leases=3)
        for loss in (1, 2, 3):
            delivery = await bench.take_one(lease=bench.short)
            assert delivery.is_suspect == (loss == 3)
            await bench.lapse()
            assert await bench.reap() == (Reaped(requeued=1) if loss < 3 else Reaped(buried=1))
        record = await bench.record(task.id)
        assert (record.state, record.reason, record.lost_leases) == (TaskState.DEAD, DeadReason.POISON, 3)
        assert record.failure is not None
        assert record.failure.type == "LeaseLost"
        assert record.completed_at is not None
        assert [attempt.outcome for attempt in record.attempts] == [AttemptOutcome.LEASE_LOST] * 3
        assert await bench.take() == []

    async def test_poison_that_wants_no_dead_letter_fails(self, bench: Bench) -> None:
        delivery = await bench.running(bench.short, max_lost_leases=1, dead_letter=False)
        await bench.lapse()
        assert await bench.reap() == Reaped(buried=1)
        record = await bench.record(delivery.id)
        assert (record.state, record.reason) == (TaskState.FAILED, DeadReason.POISON)

    async def test_a_lost_task_that_should_be_cancelled_is_cancelled(self, bench: Bench) -> None:
        delivery = await bench.running(bench.short, max_lost_leases=1)
        await bench.backend.broker.cancel([delivery.id], "enough")
        await bench.lapse()
        assert await bench.reap() == Reaped(cancelled=1)
        record = await bench.record(delivery.id)
        assert (record.state, record.reason) == (TaskState.CANCELLED, "enough")
        assert record.completed_at is not None

    async def test_the_reaper_takes_no_more_than_its_limit(self, bench: Bench) -> None:
        held = await self._lapsed(bench, 5)
        assert [(await bench.reap(2)).requeued for _ in range(4)] == [2, 2, 1, 0]
        assert sorted(await bench.take_ids()) == sorted(delivery.id for delivery in held)

    async def test_a_lost_lease_is_taken_away_once(self, bench: Bench) -> None:
        [delivery] = await self._lapsed(bench, 1)
        await bench.reap()
        assert await bench.reap() == Reaped()
        assert (await bench.record(delivery.id)).lost_leases == 1

    @staticmethod
    async def _lapsed(bench: Bench, count: int) -> list[Delivery]:
        await bench.put_many(count)
        held = await bench.take(count, lease=bench.short)
        await bench.lapse()
        return held


class OutageRules(Kit):
    """After a silence nobody could extend a lease: the reaper holds off for one renewal period."""

    async def test_the_reaper_holds_off_after_a_silence(self, bench: Bench) -> None:
        await bench.reap(renewal=self.tick)
        delivery = await bench.running(bench.short)
        await bench.pass_time(2 * self.tick)
        assert await bench.reap(renewal=self.tick) == Reaped(is_holding=True)
        assert await bench.state(delivery.id) == TaskState.RUNNING

    async def test_a_worker_that_comes_back_in_time_keeps_its_task(self, bench: Bench) -> None:
        await bench.reap(renewal=self.tick)
        delivery = await bench.running(bench.short)
        await bench.pass_time(2 * self.tick)
        await bench.reap(renewal=self.tick)
        assert not (await bench.backend.broker.extend([delivery], LONG)).lost
        await bench.pass_time(1.5 * self.tick)
        assert await bench.reap() == Reaped()

    async def test_the_hold_ends_after_one_renewal_period(self, bench: Bench) -> None:
        await bench.reap(renewal=self.tick)
        delivery = await bench.running(bench.short)
        await bench.pass_time(2 * self.tick)
        await bench.reap(renewal=self.tick)
        await bench.pass_time(1.5 * self.tick)
        assert await bench.reap() == Reaped(requeued=1)
        assert await bench.state(delivery.id) == TaskState.PENDING
