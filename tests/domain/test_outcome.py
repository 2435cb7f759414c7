"""What becomes of a task after a run, and what a store makes of a settlement."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.message import Delivery
from taskq.domain.outcome import (
    ATTEMPT_OUTCOMES,
    EVENTS,
    KEY,
    NAME,
    UNKNOWN_TASK_GRACE,
    VERSION,
    Bury,
    Cancel,
    CancelledRun,
    Complete,
    Crash,
    Crashed,
    Fail,
    Failed,
    Interrupted,
    Lack,
    Outcome,
    Rejected,
    Release,
    Retry,
    Settlement,
    Snooze,
    Snoozed,
    Succeeded,
    Unknown,
    after_lost_lease,
    gives_attempt_back,
    may_have_been_unknown_for_long,
    settle,
    state_after,
    unknown_delay,
    unknown_in_a_row,
)
from taskq.domain.record import HISTORY_LIMIT, Attempt, AttemptOutcome, DeadReason, Failure
from taskq.domain.retry import FailedRun, Fixed, NoRetry, Random
from taskq.domain.state import TRANSITIONS, Event, TaskState

FAILURE = Failure("ValueError", "no such user")
HELD = Delivery("5b", "mail.send", b"", "default", 1, fence=1, attempt=1, lost_leases=0, worker="w")
SETTLEMENTS: tuple[Settlement, ...] = (
    Complete(b"1"),
    Retry(5.0, FAILURE),
    Snooze(5.0),
    Release(),
    Bury("rejected", FAILURE),
    Fail("exhausted", FAILURE),
    Cancel("enough"),
    Crash(FAILURE),
)


def decide(outcome: Outcome, delivery: Delivery = HELD, retries: int = 3, age: float = 0.0) -> Settlement:
    """The settlement, with a fixed delay of five seconds between attempts."""
    return settle(delivery, outcome, Fixed(5.0, max_retries=retries, deadline=100.0), lambda: 0.5, age)


@pytest.mark.parametrize(
    ("outcome", "settlement"),
    [
        (Succeeded(b"17"), Complete(b"17")),
        (Failed(FAILURE), Retry(5.0, FAILURE)),
        (Failed(FAILURE, retry_after=42.0), Retry(42.0, FAILURE)),
        (Failed(FAILURE, retry_after=0.0), Retry(0.0, FAILURE)),
        (Failed(FAILURE, retryable=False), Bury(DeadReason.EXHAUSTED, FAILURE)),
        (Failed(FAILURE, retryable=False, retry_after=1.0), Bury(DeadReason.EXHAUSTED, FAILURE)),
        (Snoozed(7.0), Snooze(7.0)),
        (Rejected(FAILURE), Bury(DeadReason.REJECTED, FAILURE)),
        (Rejected(FAILURE, DeadReason.UNDECODABLE), Bury(DeadReason.UNDECODABLE, FAILURE)),
        (CancelledRun("enough"), Cancel("enough")),
        (Interrupted(), Release()),
        (Crashed(FAILURE), Crash(FAILURE)),
        (Unknown(), Snooze(1.0, Failure("TaskNotRegistered", "this worker knows no task named 'mail.send'"))),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
def test_each_outcome_has_its_settlement(outcome: Outcome, settlement: Settlement) -> None:
    decided = decide(outcome)
    assert type(decided) is type(settlement)
    assert decided == settlement


@pytest.mark.parametrize("outcome", [Failed(FAILURE, retryable=False), Rejected(FAILURE)])
def test_a_task_that_wants_no_dead_letter_fails(outcome: Outcome) -> None:
    decided = decide(outcome, HELD._replace(dead_letter=False))
    assert isinstance(decided, Fail)
    assert decided.failure == FAILURE


def test_a_task_is_given_up_after_its_last_retry() -> None:
    decided = [decide(Failed(FAILURE), HELD._replace(attempt=attempt), retries=2) for attempt in (1, 2, 3)]
    assert [type(each) for each in decided] == [Retry, Retry, Bury]
    assert type(settle(HELD, Failed(FAILURE), NoRetry(), lambda: 0.5)) is Bury


def test_a_delay_of_its_own_does_not_buy_a_further_attempt() -> None:
    assert type(decide(Failed(FAILURE, retry_after=1.0), HELD._replace(attempt=4))) is Bury


def test_a_task_that_would_run_after_its_deadline_is_given_up() -> None:
    assert [type(decide(Failed(FAILURE), age=age)) for age in (95.0, 95.1)] == [Retry, Bury]


@pytest.mark.parametrize(
    ("asked", "age", "delay"),
    [
        (10.0, 90.0, 10.0),
        (10.0, 90.1, None),
        (1.0, 99.0, 1.0),  # the policy's own five seconds would be too many
        (3600.0, 0.0, None),
        (0.0, 100.0, 0.0),
    ],
)
def test_a_deadline_is_held_against_the_delay_that_the_task_asks_for(
    asked: float, age: float, delay: float | None
) -> None:
    decided = decide(Failed(FAILURE, retry_after=asked), age=age)
    assert decided == (Bury(DeadReason.EXHAUSTED, FAILURE) if delay is None else Retry(delay, FAILURE))


def test_a_strategy_of_the_user_s_own_is_told_what_the_task_asks_for() -> None:
    class Own:
        def next_delay(self, attempt: int, failure: FailedRun, random: Random) -> float | None:
            told.append(failure)
            return 7.0

    told: list[FailedRun] = []
    assert settle(HELD, Failed(FAILURE, retry_after=42.0), Own(), lambda: 0.5, 3.0) == Retry(42.0, FAILURE)
    assert settle(HELD, Failed(FAILURE), Own(), lambda: 0.5, 3.0) == Retry(7.0, FAILURE)
    assert told == [FailedRun("ValueError", "no such user", 3.0, asked) for asked in (42.0, None)]


def test_an_unknown_task_is_put_off_for_ten_minutes_and_then_given_up() -> None:
    delivery, waited = HELD, 0.0
    while isinstance(decided := decide(Unknown(), delivery), Snooze):
        waited += decided.delay
        delivery = delivery._replace(fence=delivery.fence + 1, age=waited)
    assert isinstance(decided, Bury)
    assert decided.reason == DeadReason.UNKNOWN_TASK
    assert decided.failure.type == "TaskNotRegistered"
    assert "mail.send" in decided.failure.message
    assert UNKNOWN_TASK_GRACE <= waited <= UNKNOWN_TASK_GRACE + 60.0


def test_an_unknown_task_is_never_buried_within_ten_minutes_of_its_enqueue() -> None:
    snoozed = HELD._replace(fence=1000, age=20.0)
    assert isinstance(decide(Unknown(), snoozed), Snooze)
    assert isinstance(decide(Unknown(16), snoozed), Snooze)
    assert isinstance(decide(Unknown(), snoozed, age=UNKNOWN_TASK_GRACE), Bury)
    assert isinstance(decide(Unknown(), snoozed._replace(age=UNKNOWN_TASK_GRACE)), Bury)


def test_only_the_put_offs_for_an_unknown_name_count_where_they_are_known() -> None:
    snoozed = HELD._replace(fence=1000, age=86_400.0)
    delays: list[float] = []
    while isinstance(decided := decide(Unknown(len(delays)), snoozed), Snooze):
        delays.append(decided.delay)
    assert delays[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert sum(delays) >= UNKNOWN_TASK_GRACE > sum(delays[:-1])
    assert isinstance(decided, Bury)


def test_a_put_off_says_in_the_history_that_the_name_was_unknown() -> None:
    decided = decide(Unknown())
    assert isinstance(decided, Snooze)
    assert decided.failure is not None
    assert (decided.failure.type, "mail.send" in decided.failure.message) == ("TaskNotRegistered", True)


def attempt(outcome: AttemptOutcome, failure: Failure | None = None) -> Attempt:
    """One of the attempts in a history."""
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    return Attempt(1, 1, "w", instant, instant, outcome, failure)


NAMELESS = Failure("TaskNotRegistered", "no such task here")
PUT_OFF = attempt(AttemptOutcome.SNOOZED, NAMELESS)


@pytest.mark.parametrize(
    ("history", "times"),
    [
        ([], 0),
        ([PUT_OFF], 1),
        ([PUT_OFF] * 16, 16),
        ([attempt(AttemptOutcome.SNOOZED)] * 16, 0),
        ([attempt(AttemptOutcome.SNOOZED)] * 16 + [PUT_OFF] * 2, 2),
        ([PUT_OFF] * 16 + [attempt(AttemptOutcome.SNOOZED)], 0),
        ([PUT_OFF] * 16 + [attempt(AttemptOutcome.FAILED, NAMELESS)], 0),  # buried, and redriven since
        ([PUT_OFF, attempt(AttemptOutcome.FAILED, FAILURE), PUT_OFF], 1),
        ([PUT_OFF, attempt(AttemptOutcome.SNOOZED, FAILURE)], 0),
        ([PUT_OFF, attempt(AttemptOutcome.LEASE_LOST), PUT_OFF], 1),
    ],
)
def test_the_put_offs_in_a_row_are_read_off_the_history(history: list[Attempt], times: int) -> None:
    assert unknown_in_a_row(history) == times


@given(st.integers(0, 30), st.floats(0, 1200))
def test_the_history_is_asked_for_only_where_it_may_decide(put_offs: int, age: float) -> None:
    delivery = HELD._replace(fence=1 + put_offs, age=age)
    is_close = may_have_been_unknown_for_long(delivery)
    assert is_close == any(isinstance(decide(Unknown(n), delivery), Bury) for n in range(put_offs + 1))


@given(st.integers(0, 10_000))
def test_the_delays_of_an_unknown_task_double_up_to_a_minute(put_offs: int) -> None:
    delay, waited = unknown_delay(put_offs)
    assert 1.0 <= delay <= 60.0
    if put_offs < 100:
        assert unknown_delay(put_offs + 1)[1] == waited + delay


LACKS = (NAME, VERSION, KEY)


@pytest.mark.parametrize("lack", LACKS, ids=lambda lack: lack.kind)
def test_each_lack_is_buried_after_its_grace_with_a_reason_of_its_own(lack: Lack) -> None:
    delivery, put_offs, waited = HELD, 0, 0.0
    while isinstance(decided := decide(Unknown(put_offs, lack, "what it needs"), delivery), Snooze):
        assert decided.failure == Failure(lack.kind, "this worker knows no what it needs")
        put_offs, waited = put_offs + 1, waited + decided.delay
        delivery = delivery._replace(fence=delivery.fence + 1, age=waited)
    assert decided == Bury(lack.reason, Failure(lack.kind, f"for {lack.span} no worker knew a what it needs"))
    assert lack.grace <= waited <= lack.grace + lack.longest
    # More put-offs than the history holds could not be counted, and the task would be put off for ever.
    assert put_offs <= HISTORY_LIMIT


def test_each_lack_is_counted_for_itself() -> None:
    history = [PUT_OFF, attempt(AttemptOutcome.SNOOZED, Failure(VERSION.kind, "newer"))]
    assert (unknown_in_a_row(history, VERSION), unknown_in_a_row(history)) == (1, 0)
    assert {lack.reason for lack in LACKS} <= set(DeadReason)
    assert len({lack.kind for lack in LACKS}) == len({lack.reason for lack in LACKS}) == len(LACKS)


@pytest.mark.parametrize("settlement", SETTLEMENTS, ids=lambda each: type(each).__name__)
def test_the_state_after_a_settlement_is_in_the_table(settlement: Settlement) -> None:
    for cancel_requested, dead_letter, lost_leases in product((False, True), (False, True), (1, 2, 3)):
        after = state_after(
            settlement,
            cancel_requested=cancel_requested,
            dead_letter=dead_letter,
            lost_leases=lost_leases,
            max_lost_leases=3,
        )
        event = EVENTS[type(settlement)]
        allowed = TRANSITIONS[event, TaskState.RUNNING]
        if cancel_requested and event in {Event.RETRY, Event.SNOOZE, Event.RELEASE, Event.LEASE_LOST}:
            assert after == TaskState.CANCELLED
        else:
            assert after in allowed


def test_a_run_that_ended_stays_ended_whoever_asked_for_its_cancel() -> None:
    ends = {
        type(each): state_after(each, cancel_requested=True, dead_letter=True, lost_leases=0, max_lost_leases=3)
        for each in SETTLEMENTS
    }
    assert ends[Complete] == TaskState.COMPLETED
    assert ends[Bury] == TaskState.DEAD
    assert ends[Fail] == TaskState.FAILED


@given(st.booleans(), st.booleans(), st.integers(1, 10), st.integers(1, 10))
def test_a_lost_lease_is_forgiven_until_it_was_the_last(
    cancel_requested: bool, dead_letter: bool, lost_leases: int, max_lost_leases: int
) -> None:
    after = after_lost_lease(
        cancel_requested=cancel_requested,
        dead_letter=dead_letter,
        lost_leases=lost_leases,
        max_lost_leases=max_lost_leases,
    )
    if cancel_requested:
        assert after == TaskState.CANCELLED
    elif lost_leases < max_lost_leases:
        assert after == TaskState.PENDING
    else:
        assert after == (TaskState.DEAD if dead_letter else TaskState.FAILED)


def test_the_attempt_is_given_back_where_the_run_was_not_the_tasks_fault() -> None:
    assert {type(each) for each in SETTLEMENTS if gives_attempt_back(each)} == {Snooze, Release, Crash}


def test_every_settlement_has_an_event_and_an_outcome() -> None:
    kinds = {type(each) for each in SETTLEMENTS}
    assert set(EVENTS) == set(ATTEMPT_OUTCOMES) == kinds
    assert set(ATTEMPT_OUTCOMES.values()) == set(AttemptOutcome) - {AttemptOutcome.LEASE_LOST}
