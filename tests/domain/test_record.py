"""Records, failures and what a delivery knows of itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.message import Delivery, Message, Priority
from taskq.domain.record import Attempt, AttemptOutcome, Failure, Progress, TaskRecord
from taskq.domain.state import TaskState

failures = st.builds(Failure, st.text(min_size=1), st.text(), st.text(), st.text())
HELD = Delivery("5b", "f", b"", "default", 1, fence=1, attempt=1, lost_leases=0, worker="w")


@given(failures)
def test_a_failure_survives_json(failure: Failure) -> None:
    assert Failure.from_json(failure.to_json()) == failure
    assert Failure.from_json(failure.to_json().decode()) == failure


def test_a_failure_leaves_out_what_is_empty() -> None:
    assert json.loads(Failure("ValueError", "").to_json()) == {"type": "ValueError"}


@pytest.mark.parametrize(
    ("data", "failure"),
    [
        (b"{}", Failure("Exception", "")),
        (b'{"message":17}', Failure("Exception", "17")),
        (b'{"type":"E","message":"m","later":[1]}', Failure("E", "m")),
    ],
)
def test_a_failure_of_another_release_is_read(data: bytes, failure: Failure) -> None:
    assert Failure.from_json(data) == failure


def test_an_attempt_knows_how_long_it_took() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    attempt = Attempt(1, 1, "w", start, start + timedelta(seconds=2.5), AttemptOutcome.SUCCEEDED)
    assert attempt.seconds == 2.5


def test_a_record_has_the_defaults_of_its_message() -> None:
    record = TaskRecord(
        id="5b", name="f", queue="default", state=TaskState.PENDING, created_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    message = Message("5b", "f")
    for field in ("id", "name", "queue", "priority", "group", "tenant", "body", "max_lost_leases", "dead_letter"):
        assert getattr(record, field) == getattr(message, field), field


def test_the_repr_of_a_record_shows_what_it_is_and_no_payload() -> None:
    """It may reach a log, or a page that reports an error."""
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    failure = Failure("ValueError", "of hunter-2", "in hunter-2", "5b0c")
    record = TaskRecord(
        id="5b",
        name="mail.send",
        queue="mail",
        state=TaskState.DEAD,
        created_at=instant,
        body=b"hunter-2",
        result=b"hunter-2",
        reason="rejected",
        failure=failure,
        attempts=(Attempt(1, 1, "w", instant, instant, AttemptOutcome.FAILED, failure),),
        progress=Progress(0.5, "hunter-2", b'{"password":"hunter-2"}'),
        checkpoint=b"hunter-2",
        logs=("hunter-2",),
    )
    assert "hunter-2" not in repr(record)
    for said in (
        "id='5b'",
        "name='mail.send'",
        "queue='mail'",
        "DEAD",
        "reason='rejected'",
        "attempts=(Attempt(fence=1",
    ):
        assert said in repr(record)
    assert "failure=Failure(type='ValueError', fingerprint='5b0c')" in repr(record)


def test_the_repr_of_a_message_and_of_a_delivery_shows_all_but_the_body() -> None:
    message = Message("5b", "mail.send", b"hunter-2", tenant="acme")
    assert repr(message).startswith("Message(id='5b', name='mail.send', queue='default', priority=")
    assert "tenant='acme'" in repr(message)
    delivery = HELD._replace(body=b"hunter-2")
    assert repr(delivery).startswith("Delivery(id='5b', name='f', queue='default', priority=1, fence=1, attempt=1")
    assert "hunter-2" not in repr([message, delivery])


def test_put_offs_are_the_deliveries_that_used_up_no_attempt() -> None:
    assert HELD.put_offs == 0
    assert HELD._replace(fence=7, attempt=2).put_offs == 5


@pytest.mark.parametrize(
    ("lost_leases", "max_lost_leases", "is_suspect"),
    [(0, 3, False), (1, 3, False), (2, 3, True), (3, 3, True), (0, 1, False), (1, 2, True), (0, 0, False)],
)
def test_a_suspect_is_one_lost_lease_from_its_grave(lost_leases: int, max_lost_leases: int, is_suspect: bool) -> None:
    delivery = HELD._replace(lost_leases=lost_leases, max_lost_leases=max_lost_leases)
    assert delivery.is_suspect == is_suspect


def test_priorities_are_ordered() -> None:
    assert sorted(Priority) == [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.CRITICAL]
