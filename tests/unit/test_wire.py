"""The words between a worker and its child processes."""

from __future__ import annotations

import pytest

from taskq.domain.message import Delivery
from taskq.domain.outcome import CancelledRun, Failed, Outcome, Rejected, Snoozed, Succeeded
from taskq.domain.record import DeadReason, Failure, Progress
from taskq.runtime.wire import (
    Assignment,
    Begun,
    Ended,
    Frames,
    Logged,
    Progressed,
    Setup,
    ToChild,
    ToWorker,
    frame,
    to_child,
    to_worker,
)

FAILURE = Failure("ValueError", "no", "Traceback…", "0f")
OUTCOMES: list[Outcome] = [
    Succeeded(b'{"x":1}'),
    Failed(FAILURE),
    Failed(FAILURE, retryable=False, retry_after=5.0),
    Snoozed(2.5),
    Rejected(FAILURE),
    Rejected(FAILURE, DeadReason.UNDECODABLE),
    CancelledRun("enough"),
]
DELIVERY = Delivery("5b", "f", b"\x00", "default", 1, fence=3, attempt=2, lost_leases=0, worker="w", tenant="t")


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    [body] = Frames().feed(frame(Ended.of(outcome)))
    word = to_worker.decode(body)
    assert isinstance(word, Ended)
    assert word.outcome == outcome
    assert type(word.outcome) is type(outcome)


def test_words_come_back_as_they_were_however_they_are_cut() -> None:
    to_the_worker: list[ToWorker] = [Begun("5b", 3), Progressed("5b", 3, Progress(0.5, "half", b'{"n":1}'))]
    to_the_worker += [Logged("a.b", 20, "text", {"task_id": "5b"}, None)]
    to_the_child: list[ToChild] = [
        Setup(("a", "b"), (30, 20), "redis://h"),
        Assignment("m", "f", DELIVERY, b"[]", b"", 1.5),
    ]
    data = b"".join([*(frame(word) for word in to_the_worker), *(frame(word) for word in to_the_child)])
    for size in (1, 3, 7, len(data)):
        frames = Frames()
        bodies = [body for start in range(0, len(data), size) for body in frames.feed(data[start : start + size])]
        assert [to_worker.decode(body) for body in bodies[:3]] == to_the_worker
        assert [to_child.decode(body) for body in bodies[3:]] == to_the_child


def test_a_field_that_is_no_json_is_shown_as_text() -> None:
    [body] = Frames().feed(frame(Logged("a", 20, "text", {"what": object}, None)))
    word = to_worker.decode(body)
    assert isinstance(word, Logged)
    assert "object" in word.fields["what"]
