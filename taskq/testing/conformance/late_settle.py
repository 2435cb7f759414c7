"""Late settle: the lease ran out, nobody has claimed since, so the run's own end still counts."""

from __future__ import annotations

from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.record import AttemptOutcome
from taskq.domain.state import TaskState
from taskq.ports import CancelStatus
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, moved
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import APPLIED, REPEATED, SETTLEMENTS, STALE, name_of

LATE: tuple[tuple[Settlement, TaskState, int], ...] = (
    (Complete(b"1"), TaskState.COMPLETED, 1),
    (Retry(LONG, FAILURE), TaskState.RETRYING, 1),
    (Snooze(LONG), TaskState.SCHEDULED, 0),
    (Release(), TaskState.PENDING, 0),
    (Bury("rejected", FAILURE), TaskState.DEAD, 1),
    (Fail("exhausted", FAILURE), TaskState.FAILED, 1),
    (Cancel("enough"), TaskState.CANCELLED, 1),
)
"""Settlement, the state it leads to, and the attempts used up after it."""


class LateSettleRules(Kit):
    """A run that ends after its lease was taken away, and before anybody has claimed the task again."""

    async def test_a_late_settle_is_accepted(self, bench: Bench) -> None:
        for settlement, state, attempt in LATE:
            there = bench.apart(name_of(settlement))
            delivery = await there.lost()
            record = await there.apply(delivery, settlement)
            counted = (record.state, record.attempt, record.lost_leases, record.fence)
            assert counted == (state, attempt, 1, 1), settlement
            assert [(entry.fence, entry.attempt) for entry in record.attempts] == [(1, 1), (1, 1)], settlement
            assert record.attempts[0].outcome == AttemptOutcome.LEASE_LOST, settlement
            assert await there.settle(delivery, settlement) == REPEATED, settlement
            assert await there.counts() == {state: 1}, settlement

    async def test_a_late_crash_is_stale_for_its_loss_was_counted(self, bench: Bench) -> None:
        delivery = await bench.lost()
        before = await bench.record(delivery.id)
        assert await bench.settle(delivery, Crash(FAILURE)) == STALE
        assert await bench.record(delivery.id) == before
        assert await bench.settle(delivery, Complete()) == APPLIED

    async def test_too_late_once_somebody_has_claimed(self, bench: Bench) -> None:
        delivery = await bench.lost()
        again = await bench.take_one()
        assert (again.id, again.fence, again.attempt, again.lost_leases) == (delivery.id, 2, 1, 1)
        before = await bench.record(delivery.id)
        for settlement in SETTLEMENTS:
            assert await bench.settle(delivery, settlement) == STALE, settlement
        assert await bench.record(delivery.id) == before
        assert await bench.settle(again, Complete()) == APPLIED

    async def test_a_late_end_takes_the_task_out_of_the_queue(self, bench: Bench) -> None:
        delivery = await bench.lost()
        waiting = await bench.put()
        await bench.apply(delivery, Complete())
        assert await bench.take_ids() == [waiting.id]

    async def test_a_late_release_stays_in_front(self, bench: Bench) -> None:
        delivery = await bench.lost()
        await bench.put()
        await bench.apply(delivery, Release())
        again = await bench.take_one()
        assert (again.id, again.fence, again.attempt) == (delivery.id, 2, 1)

    async def test_a_lapsed_lease_that_nobody_noticed_is_settled_as_if_it_held(self, bench: Bench) -> None:
        delivery = await bench.running(bench.short)
        await bench.lapse()
        record = await bench.apply(delivery, Complete())
        assert (record.state, record.attempt, record.lost_leases) == (TaskState.COMPLETED, 1, 0)
        assert (await bench.reap()).requeued == 0

    async def test_another_end_of_a_lost_run_stays(self, bench: Bench) -> None:
        buried = await bench.lost(max_lost_leases=1)
        cancelled = await bench.lost()
        assert await bench.backend.broker.cancel([cancelled.id], "gone") == [CancelStatus.CANCELLED]
        for delivery, state in ((buried, TaskState.DEAD), (cancelled, TaskState.CANCELLED)):
            assert await bench.settle(delivery, Complete()) == STALE
            assert await bench.state(delivery.id) == state

    async def test_a_redriven_task_is_not_settled_by_its_old_run(self, bench: Bench) -> None:
        buried = await bench.lost(max_lost_leases=1)
        assert moved(await bench.backend.inspector.redrive([buried.id])) == [True]
        assert await bench.settle(buried, Complete()) in {STALE, REPEATED}
        assert await bench.state(buried.id) == TaskState.PENDING

    async def test_a_settled_run_is_not_late_when_its_task_waits_again(self, bench: Bench) -> None:
        settlements: list[Settlement] = [Release(), Snooze(0.0), Retry(0.0, FAILURE), Crash(FAILURE)]
        for settlement in settlements:
            there = bench.apart(name_of(settlement))
            delivery = await there.running()
            await there.apply(delivery, settlement)
            await there.backend.maintenance.promote()
            assert await there.settle(delivery, Complete()) == REPEATED, settlement
            assert await there.state(delivery.id) == TaskState.PENDING, settlement

    async def test_the_second_loss_is_late_by_its_own_fence(self, bench: Bench) -> None:
        first = await bench.lost()
        second = await bench.take_one(lease=bench.short)
        await bench.lapse()
        await bench.reap()
        assert await bench.settle(first, Complete()) == STALE
        record = await bench.apply(second, Complete())
        assert (record.lost_leases, record.fence, record.attempt) == (2, 2, 1)
