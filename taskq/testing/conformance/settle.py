"""Settle: what each settlement makes of a task, and what is answered to every one that comes too late."""

from __future__ import annotations

import pytest

from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.record import HISTORY_LIMIT, AttemptOutcome, DeadReason, TaskRecord
from taskq.domain.state import TaskState
from taskq.ports import Settled, SettleStatus
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_id
from taskq.testing.conformance.kit import Kit

APPLIED, REPEATED = SettleStatus.APPLIED, SettleStatus.REPEATED
STALE, GONE = SettleStatus.STALE, SettleStatus.GONE

SETTLEMENTS: tuple[Settlement, ...] = (
    Complete(b'{"sum":3}'),
    Retry(LONG, FAILURE),
    Snooze(LONG),
    Release(),
    Bury("rejected", FAILURE),
    Fail("exhausted", FAILURE),
    Cancel("enough"),
    Crash(FAILURE),
)


def name_of(settlement: Settlement) -> str:
    """The settlement's kind, for the name of a test."""
    return type(settlement).__name__


def cases(bench: Bench) -> list[tuple[Settlement, Bench]]:
    """Each kind of settlement, with a queue of its own."""
    return [(settlement, bench.apart(name_of(settlement))) for settlement in SETTLEMENTS]


def due_in(record: TaskRecord) -> float:
    """Seconds from the end of the newest run to the next."""
    assert record.due_at is not None
    return (record.due_at - record.attempts[-1].ended_at).total_seconds()


def forged(bench: Bench, id: str) -> Delivery:
    """A delivery that was never handed out."""
    return Delivery(id, "tests.task", b"", bench.queue, 1, fence=1, attempt=1, lost_leases=0, worker="nobody")


class SettleRules(Kit):
    """What each kind of settlement leads to."""

    async def test_complete_keeps_the_result(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(), Complete(bytes(range(256))))
        assert (record.state, record.result) == (TaskState.COMPLETED, bytes(range(256)))
        assert record.attempt == 1
        self._has_ended(record)

    async def test_retry_waits_for_its_delay_and_uses_up_the_attempt(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(), Retry(LONG, FAILURE))
        assert (record.state, record.attempt, record.failure) == (TaskState.RETRYING, 1, FAILURE)
        assert due_in(record) == pytest.approx(LONG, rel=0.001)
        assert record.completed_at is None
        assert await bench.take() == []

    async def test_snooze_waits_for_its_delay_and_gives_the_attempt_back(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(), Snooze(LONG))
        assert (record.state, record.attempt, record.fence) == (TaskState.SCHEDULED, 0, 1)
        assert due_in(record) == pytest.approx(LONG, rel=0.001)
        assert await bench.take() == []

    async def test_release_gives_the_attempt_back_at_once(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(), Release())
        assert (record.state, record.attempt, record.fence, record.lost_leases) == (TaskState.PENDING, 0, 1, 0)

    async def test_bury_ends_in_the_dead_letter_queue_with_its_reason(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(), Bury("rejected", FAILURE))
        assert (record.state, record.reason, record.failure) == (TaskState.DEAD, "rejected", FAILURE)
        self._has_ended(record)

    async def test_fail_ends_without_a_dead_letter(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(dead_letter=False), Fail("exhausted", FAILURE))
        assert (record.state, record.reason, record.failure) == (TaskState.FAILED, "exhausted", FAILURE)
        self._has_ended(record)

    async def test_cancel_ends_with_its_reason(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(), Cancel("enough"))
        assert (record.state, record.reason) == (TaskState.CANCELLED, "enough")
        self._has_ended(record)

    async def test_crash_counts_a_lost_lease_and_gives_the_attempt_back(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(), Crash(FAILURE))
        assert (record.state, record.attempt, record.lost_leases) == (TaskState.PENDING, 0, 1)
        assert record.attempts[-1].failure == FAILURE

    async def test_crash_buries_at_the_last_lost_lease(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(max_lost_leases=1), Crash(FAILURE))
        assert (record.state, record.reason) == (TaskState.DEAD, DeadReason.POISON)
        assert record.failure is not None
        self._has_ended(record)

    async def test_crash_fails_a_task_that_wants_no_dead_letter(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(max_lost_leases=1, dead_letter=False), Crash(FAILURE))
        assert (record.state, record.reason) == (TaskState.FAILED, DeadReason.POISON)

    async def test_a_reason_is_kept_as_plain_text(self, bench: Bench) -> None:
        rejected = await bench.apply(await bench.running(), Bury(DeadReason.REJECTED, FAILURE))
        failed = await bench.apply(await bench.running(dead_letter=False), Fail(DeadReason.EXHAUSTED, FAILURE))
        crashed = await bench.apply(await bench.running(max_lost_leases=1), Crash(FAILURE))
        records = (rejected, failed, crashed)
        assert [repr(record.reason) for record in records] == ["'rejected'", "'exhausted'", "'poison'"]
        for record in records:
            finished = await bench.finish(bench.backend.results.wait(record.id, LONG))
            assert finished is not None
            assert type(record.reason) is type(finished.reason) is str

    async def test_a_finished_task_is_not_handed_out_again(self, bench: Bench) -> None:
        for settlement in (Complete(), Bury("rejected", FAILURE), Fail("x", FAILURE), Cancel()):
            await bench.apply(await bench.running(), settlement)
            assert await bench.take() == []

    async def test_a_due_retry_runs_as_the_next_attempt(self, bench: Bench) -> None:
        await bench.apply(await bench.running(), Retry(bench.short, FAILURE))
        await bench.lapse()
        again = await bench.take_one()
        assert (again.fence, again.attempt) == (2, 2)
        record = await bench.apply(again, Complete())
        assert record.failure == FAILURE

    @staticmethod
    def _has_ended(record: TaskRecord) -> None:
        assert record.completed_at is not None
        assert record.completed_at >= record.attempts[-1].started_at


class SettleAnswerRules(Kit):
    """APPLIED once, REPEATED ever after, STALE for what is not the newest, GONE for what is not there."""

    async def test_a_repeated_settlement_is_known_and_changes_nothing(self, bench: Bench) -> None:
        for settlement, there in cases(bench):
            delivery = await there.running()
            before = await there.apply(delivery, settlement)
            assert [await there.settle(delivery, settlement) for _ in range(2)] == [REPEATED] * 2, settlement
            assert await there.record(delivery.id) == before, settlement

    async def test_a_second_verdict_on_a_settled_run_is_refused(self, bench: Bench) -> None:
        for settlement, there in cases(bench):
            delivery = await there.running()
            before = await there.apply(delivery, settlement)
            for other in SETTLEMENTS:
                assert await there.settle(delivery, other) == REPEATED, (settlement, other)
            assert await there.record(delivery.id) == before, settlement

    async def test_a_task_without_a_record_is_gone(self, bench: Bench) -> None:
        unknown = forged(bench, new_id(bench.backend.shard_of(bench.queue)))
        for settlement in SETTLEMENTS:
            assert await bench.settle(unknown, settlement) == GONE, settlement

    async def test_a_task_that_never_ran_cannot_be_settled(self, bench: Bench) -> None:
        for settlement, there in cases(bench):
            for delay in (None, LONG):
                task = await there.put(delay=delay)
                before = await there.record(task.id)
                for fence in (0, 1):
                    delivery = forged(there, task.id)._replace(fence=fence)
                    assert await there.settle(delivery, settlement) == STALE, settlement
                assert await there.record(task.id) == before, settlement

    async def test_each_settlement_of_a_batch_is_answered_in_its_place(self, bench: Bench) -> None:
        gone = forged(bench, new_id(bench.backend.shard_of(bench.queue)))
        done, fresh, stale = [await bench.running() for _ in range(3)]
        await bench.apply(done, Complete())
        batch = [gone, done, fresh, stale._replace(fence=2), fresh]
        answers = await bench.backend.broker.settle([Settled(delivery, Complete()) for delivery in batch])
        assert answers == [GONE, REPEATED, APPLIED, STALE, REPEATED]

    async def test_nothing_settled_is_nothing_answered(self, bench: Bench) -> None:
        assert await bench.backend.broker.settle([]) == []

    async def test_a_batch_may_be_larger_than_one_round_trip(self, bench: Bench) -> None:
        await bench.put_many(230)
        deliveries = await bench.take(230)
        settled = [
            Settled(delivery, SETTLEMENTS[n % 8] if n % 8 != 3 else Complete()) for n, delivery in enumerate(deliveries)
        ]
        assert await bench.backend.broker.settle(settled) == [APPLIED] * 230
        assert await bench.backend.broker.settle(settled) == [REPEATED] * 230
        assert sum((await bench.counts()).values()) == 230
        assert TaskState.RUNNING not in await bench.counts()


class HistoryRules(Kit):
    """Every delivery leaves an entry: when, by whom, as which attempt, and how it ended."""

    async def test_each_settlement_appends_an_attempt(self, bench: Bench) -> None:
        expected = {
            Complete: AttemptOutcome.SUCCEEDED,
            Retry: AttemptOutcome.FAILED,
            Snooze: AttemptOutcome.SNOOZED,
            Release: AttemptOutcome.RELEASED,
            Bury: AttemptOutcome.FAILED,
            Fail: AttemptOutcome.FAILED,
            Cancel: AttemptOutcome.CANCELLED,
            Crash: AttemptOutcome.CRASHED,
        }
        for settlement, there in cases(bench):
            delivery = await there.running()
            record = await there.apply(delivery, settlement)
            [attempt] = record.attempts
            assert (attempt.fence, attempt.attempt, attempt.worker) == (1, 1, delivery.worker)
            assert attempt.outcome == expected[type(settlement)]
            assert attempt.failure == getattr(settlement, "failure", None)
            assert attempt.started_at == record.started_at
            assert attempt.ended_at >= attempt.started_at

    async def test_a_snooze_may_tell_what_was_wrong(self, bench: Bench) -> None:
        record = await bench.apply(await bench.running(), Snooze(LONG, FAILURE))
        assert [(each.outcome, each.failure) for each in record.attempts] == [(AttemptOutcome.SNOOZED, FAILURE)]
        assert (record.state, record.attempt) == (TaskState.SCHEDULED, 0)

    async def test_a_task_keeps_the_story_of_its_runs(self, bench: Bench) -> None:
        delivery = await bench.running()
        for settlement in (Retry(0.0, FAILURE), Snooze(0.0), Release(), Crash(FAILURE)):
            await bench.apply(delivery, settlement)
            delivery = await bench.take_one()
        record = await bench.apply(delivery, Complete())
        assert [(a.fence, a.attempt, a.outcome.value) for a in record.attempts] == [
            (1, 1, "failed"),
            (2, 2, "snoozed"),
            (3, 2, "released"),
            (4, 2, "crashed"),
            (5, 2, "succeeded"),
        ]
        assert [attempt.worker for attempt in record.attempts][-1] == delivery.worker
        starts = [attempt.started_at for attempt in record.attempts]
        assert starts == sorted(starts)

    async def test_the_newest_entries_are_kept(self, bench: Bench) -> None:
        await bench.put()
        for _ in range(HISTORY_LIMIT + 3):
            await bench.apply(await bench.take_one(), Release())
        record = await bench.apply(await bench.take_one(), Complete())
        assert [attempt.fence for attempt in record.attempts] == list(range(5, HISTORY_LIMIT + 5))
        assert record.attempts[-1].outcome == AttemptOutcome.SUCCEEDED
