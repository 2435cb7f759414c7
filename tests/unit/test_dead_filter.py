"""Which dead letters a filter means, and what no filter can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import Failure, InvalidOption, TaskRecord, TaskState
from taskq.dead_filter import DeadFilter
from taskq.domain.record import DeadReason

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
RECORD = TaskRecord(
    id="1",
    name="mail.send",
    queue="mail",
    state=TaskState.DEAD,
    created_at=NOW - timedelta(hours=9),
    completed_at=NOW - timedelta(hours=1),
    reason=DeadReason.UNKNOWN_TASK,
    failure=Failure("ConnectionError", "no route", "", "f1"),
)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": "mail.send"},
        {"name": "mail.*"},
        {"queue": "mail"},
        {"reason": DeadReason.UNKNOWN_TASK},
        {"reason": "unknown task"},
        {"reason": "unknown-task"},
        {"error": "ConnectionError"},
        {"fingerprint": "f1"},
        {"since": timedelta(hours=1)},
        {"since": NOW - timedelta(hours=1)},
        {"since": timedelta.max},
        {"until": timedelta(minutes=59)},
        {"name": "*", "queue": "mail", "error": "ConnectionError", "since": timedelta(days=1), "until": NOW},
    ],
)
def test_what_fits_is_taken(given: dict[str, Any]) -> None:
    assert DeadFilter(**given).resolved(NOW).takes(RECORD)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "mail"},
        {"name": "MAIL.*"},
        {"queue": "mails"},
        {"reason": "poison"},
        {"error": "Connection*"},
        {"fingerprint": "f"},
        {"since": timedelta(minutes=59)},
        {"until": timedelta(hours=1)},
        {"until": timedelta.max},
        {"queue": "mail", "name": "sms.*"},
    ],
)
def test_what_does_not_fit_is_left(given: dict[str, Any]) -> None:
    assert not DeadFilter(**given).resolved(NOW).takes(RECORD)


def test_a_record_without_a_failure_fits_no_filter_for_one() -> None:
    record = replace(RECORD, failure=None)
    assert DeadFilter().resolved(NOW).takes(record)
    assert not DeadFilter(error="ConnectionError").resolved(NOW).takes(record)
    assert not DeadFilter(fingerprint="f1").resolved(NOW).takes(record)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"queue": "a b"}, "queue 'a b'"),
        ({"name": ""}, "name must be text"),
        ({"error": 3}, "error must be text"),
        ({"fingerprint": b"x"}, "fingerprint must be text"),
        ({"reason": "posion"}, "did you mean 'poison'"),
        ({"reason": "zzz"}, "they are exhausted, poison"),
        ({"reason": 7}, "reason 7 is none"),
        ({"since": 3600}, "since must be an aware datetime, or a timedelta ago, not 3600"),
        ({"since": datetime(2030, 1, 1)}, "since must have a time zone"),  # noqa: DTZ001
        ({"until": timedelta(seconds=-1)}, "until is how long ago"),
    ],
)
def test_what_no_filter_can_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        DeadFilter(**given)


def test_since_must_be_before_until() -> None:
    with pytest.raises(InvalidOption, match=r"since .* must be before until"):
        DeadFilter(since=timedelta(hours=1), until=timedelta(hours=1)).resolved(NOW)
