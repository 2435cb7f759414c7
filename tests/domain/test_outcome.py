"""What becomes of a task after a run, and what a store makes of a settlement."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.message import Delivery
from taskq.domain.outcome import (
    ATTEMPT_OUTCOMES,
    EVENTS,
    UNKNOWN_TASK_GRACE,
    Bury,
    Cancel,
    CancelledRun,
    Complete,
    Crash,
    Crashed,
    Fail,
    Failed,
    Interrupted,
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
    settle,
    state_after,
    unknown_delay,
)
from taskq.domain.record import AttemptOutcome, DeadReason, Failure
from taskq.domain.retry import Fixed, NoRetry
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
        (Unknown(), Snooze(1.0)),
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


def test_an_unknown_task_is_put_off_for_ten_minutes_and_then_given_up() -> None:
    delivery, waited = HELD, 0.0
    while isinstance(decided := decide(Unknown(), delivery), Snooze):
        waited += decided.delay
        delivery = delivery._replace(fence=delivery.fence + 1)
    assert isinstance(decided, Bury)
    assert decided.reason == DeadReason.UNKNOWN_TASK
    assert decided.failure.type == "TaskNotRegistered"
    assert "mail.send" in decided.failure.message
    assert UNKNOWN_TASK_GRACE <= waited <= UNKNOWN_TASK_GRACE + 60.0


@given(st.integers(0, 10_000))
def test_the_delays_of_an_unknown_task_double_up_to_a_minute(put_offs: int) -> None:
    delay, waited = unknown_delay(put_offs)
    assert 1.0 <= delay <= 60.0
    if put_offs < 100:
        assert unknown_delay(put_offs + 1)[1] == waited + delay


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
