"""Whether a task is one that a query means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq.domain.matching import has_metadata, matches
from taskq.domain.message import Priority
from taskq.domain.query import parse
from taskq.domain.record import Attempt, AttemptOutcome, Failure, TaskRecord
from taskq.domain.state import TaskState

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
DEAD: dict[str, Any] = {
    "id": "5b",
    "name": "mail.send",
    "queue": "mail",
    "state": TaskState.DEAD,
    "priority": Priority.HIGH,
    "tenant": "acme",
    "worker": "w1",
    "flow": "f1",
    "tags": ("vip", "b c"),
    "created_at": NOW - timedelta(hours=3),
    "started_at": NOW - timedelta(hours=2),
    "completed_at": NOW - timedelta(hours=1),
    "attempt": 3,
    "reason": "exhausted",
    "failure": Failure("TimeoutError", "No Answer", "…", "ab12"),
}
META = {"plan": "pro", "user": {"id": 7, "beta": True}, "a.b": "dotted", "list": ["x", 2], "none": None}


def is_meant(text: str, metadata: dict[str, Any] | None = None, **fields: Any) -> bool:
    record = TaskRecord(**{**DEAD, **fields})
    return matches(parse(text), record, NOW, META if metadata is None else metadata)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "id:5b task:mail.send state:dead queue:mail tenant:acme tag:vip worker:w1 workflow:f1 error:TimeoutError",
        "fingerprint:ab12 reason:exhausted priority:high attempt:3",
        "task:mail.* task:*.send task:mail?send queue:images,mail -task:images.*",
        'tag:"b c" tag:b*',
        "state:ended -state:live",
        "priority:>normal priority:>=high priority:<critical priority:<=high",
        "attempt:>2 attempt:<4 attempt:>=3 attempt:<=3 attempt:1,3",
        "created:>2h created:<4h created:>=3h started:<3h ended:<=1h",
        "created:<2030-01-02T10:00Z ended:>2030-01-02",
        "wait:>=1h wait:<61m run:>59m run:<=1h",
        "mail timeout ANSWER exhaust",
        "meta.plan:pro meta.user.id:7 meta.user.beta:true meta.a.b:dotted meta.list:x meta.list:2 meta.plan:p*",
    ],
)
def test_what_is_meant(text: str) -> None:
    assert is_meant(text)


@pytest.mark.parametrize(
    "text",
    [
        "task:mail",
        "task:mail.[s]end",
        "-state:dead",
        "state:live",
        "queue:images",
        "tag:VIP",
        "priority:low,critical",
        "attempt:<3",
        "created:>4h",
        "due:<2h",
        "ended:>2030-01-02T11:30Z",
        "wait:<1h",
        "word",
        "meta.plan:free",
        "meta.gone:x",
        "meta.none:None",
        "meta.plan.deep:pro",
    ],
)
def test_what_is_not_meant(text: str) -> None:
    assert not is_meant(text)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*", "", True),
        ("?", "", False),
        ("a*", "a", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*a*b*", "xxaxxbxx", True),
        ("*b*a*", "xxaxxbxx", False),
        ("a?c*e", "abcde", True),
        ("*?c*", "abcde", True),
        ("*a?", "aab", True),
        ("ab*bc", "abc", False),
        ("*ab*ab", "abab", True),
        ("a*b?c*d", "a-bbxcd-bxcd", True),
        ("*a" * 30 + "*b", "a" * 2000, False),
    ],
)
def test_a_pattern(pattern: str, text: str, fits: bool) -> None:
    assert is_meant(f'tag:"{pattern}"', tags=(text,)) is fits


def test_what_has_no_failure_has_no_error() -> None:
    assert not is_meant("error:*", failure=None)
    assert not is_meant("fingerprint:*", failure=None)
    assert not is_meant("timeout", failure=None)
    assert is_meant("mail", failure=None)


def test_what_is_due_lies_ahead() -> None:
    due: dict[str, Any] = {"state": TaskState.SCHEDULED, "completed_at": None, "due_at": NOW + timedelta(hours=1)}
    assert is_meant("due:<2h", **due)
    assert not is_meant("due:<30m", **due)


def test_what_waits_has_waited_until_now_and_has_not_run() -> None:
    pending: dict[str, Any] = {"state": TaskState.PENDING, "started_at": None, "completed_at": None}
    assert is_meant("wait:>2h", **pending)
    assert not is_meant("run:>=0", **pending)


def test_a_run_that_has_ended_is_no_longer_counted_on() -> None:
    began = NOW - timedelta(hours=2)
    failed = Attempt(1, 1, "w1", began, began + timedelta(seconds=5), AttemptOutcome.FAILED)
    retrying: dict[str, Any] = {
        "state": TaskState.RETRYING,
        "completed_at": None,
        "started_at": began,
        "attempts": (failed,),
    }
    assert is_meant("run:<6s", **retrying)
    assert is_meant("run:>1h", **{**retrying, "state": TaskState.RUNNING})
    assert is_meant("run:>1h", **{**retrying, "attempts": ()})


def test_whether_the_metadata_matter() -> None:
    assert has_metadata(parse("-meta.plan:pro"))
    assert not has_metadata(parse("state:dead plan"))
