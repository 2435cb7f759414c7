"""The errors: each survives pickle and copy whole, and what a task raises is checked where it is raised."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from taskq import App, Cancel, Reject, Retry, Snooze, Throttled, errors
from taskq.domain.outcome import Failed, Snoozed
from taskq.errors import (
    CyclicDependency,
    DuplicateTask,
    InvalidPayload,
    KeyMissing,
    OutcomeUnknown,
    PayloadTooLarge,
    QueueFull,
    TaskFailed,
    TaskNotRegistered,
    TaskqError,
    TaskSignal,
    WorkflowFailed,
)
from taskq.runtime.failures import outcome_of

MADE: dict[type[BaseException], Callable[[], BaseException]] = {
    InvalidPayload: lambda: InvalidPayload("no", parameter="x"),
    PayloadTooLarge: lambda: PayloadTooLarge("mail.send", 2_000, 1_000),
    TaskNotRegistered: lambda: TaskNotRegistered("mail.sent", "mail.send"),
    QueueFull: lambda: QueueFull("mail.send", 7, 7),
    DuplicateTask: lambda: DuplicateTask("mail.send", "01980000-0000-7000-8000-000000000000"),
    CyclicDependency: lambda: CyclicDependency("nightly", ["a", "b", "a"]),
    TaskFailed: lambda: TaskFailed("ValueError", "no such user", "Traceback …"),
    WorkflowFailed: lambda: WorkflowFailed(["load"], "ValueError", "no such user", "Traceback …"),
    KeyMissing: lambda: KeyMissing("2026-11", is_another=True),
    Retry: lambda: Retry(timedelta(minutes=5), "later"),
    Snooze: lambda: Snooze(5),
    Throttled: lambda: Throttled(2.5),
    Reject: lambda: Reject("not wanted"),
}
ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TaskqError | TaskSignal) and not kind.__name__.startswith("_")
]


def through_pickle(error: BaseException) -> BaseException:
    """The error as another process would see it."""
    back: BaseException = pickle.loads(pickle.dumps(error))  # noqa: S301 - it was written right here
    return back


TRIPS: dict[str, Callable[[BaseException], BaseException]] = {
    "pickle": through_pickle,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("trip", TRIPS.values(), ids=TRIPS.keys())
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_whole(
    kind: type[BaseException], trip: Callable[[BaseException], BaseException]
) -> None:
    error = MADE.get(kind, lambda: kind("a reason"))()
    error.add_note("on the way")
    back = trip(error)
    assert type(back) is kind
    assert back is not error
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))


def test_a_workflow_that_failed_without_a_message_says_none() -> None:
    assert str(WorkflowFailed(["p", "f"], "Expired", "")) == "Expired (in p, f)"
    assert str(WorkflowFailed(["load"], "ValueError", "no such user")) == "ValueError: no such user (in load)"


def test_an_error_of_the_user_s_own_comes_back_too() -> None:
    class Own(TaskFailed):
        def __init__(self, code: int) -> None:
            super().__init__("Own", "mine")
            self.code = code

    back = copy.copy(Own(7))
    assert (str(back), back.code, back.type) == ("Own: mine", 7, "Own")


SIGNALS: dict[str, Callable[[Any], Any]] = {
    "Retry": lambda delay: Retry(delay).delay,
    "Snooze": lambda delay: Snooze(delay).delay,
    "Throttled": lambda delay: Throttled(delay).retry_after,
}


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS.keys())
@pytest.mark.parametrize(
    ("given", "seconds"),
    [(5, 5.0), (0.25, 0.25), (timedelta(minutes=5), 300.0), (timedelta(milliseconds=1), 0.001), (-1, 0.0)],
)
def test_a_signal_takes_seconds_or_a_timedelta(signal: Callable[[Any], Any], given: Any, seconds: float) -> None:
    found = signal(given)
    assert found == seconds
    assert type(found) is float


def test_a_retry_may_leave_the_delay_to_the_policy() -> None:
    assert Retry().delay is None


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("5", TypeError, "must be seconds or a timedelta, not '5'"),
        (True, TypeError, "must be seconds or a timedelta, not True"),
        ([5], TypeError, r"must be seconds or a timedelta, not \[5\]"),
        (math.nan, ValueError, "must be a finite number of seconds, not nan"),
        (math.inf, ValueError, "must be a finite number of seconds, not inf"),
    ],
)
def test_a_delay_that_is_none_is_refused_where_it_is_raised(
    name: str, given: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=rf"{name}: (delay|retry_after) {message}"):
        SIGNALS[name](given)


@pytest.mark.parametrize("name", ["Cancel", "Reject", "Retry"])
@pytest.mark.parametrize("reason", [3, None, b"why", ["why"], ValueError("why")])
def test_a_reason_that_is_no_text_is_refused_where_it_is_raised(name: str, reason: Any) -> None:
    kinds: dict[str, Callable[[Any], Any]] = {
        "Cancel": Cancel, "Reject": Reject, "Retry": lambda reason: Retry(reason=reason)
    }  # fmt: skip
    with pytest.raises(TypeError, match=rf"^{name}: reason must be text, not {type(reason).__name__}$"):
        kinds[name](reason)


def test_a_reason_may_be_left_out() -> None:
    assert (Cancel().reason, Reject().reason) == ("cancelled by the task", "rejected by the task")
    assert str(Retry()) == "the task asked for a retry"


def test_none_is_a_delay_for_a_retry_only() -> None:
    nothing: Any = None
    for make in (Snooze, Throttled):
        with pytest.raises(TypeError, match="must be seconds or a timedelta, not None"):
            make(nothing)


def test_a_signal_s_outcome_is_in_seconds() -> None:
    @App("memory://").task(name="job")
    def task() -> None: ...

    assert outcome_of(task, Snooze(timedelta(minutes=5))) == Snoozed(300.0)
    assert outcome_of(task, Throttled(timedelta(seconds=1.5))) == Snoozed(1.5, throttled=True)
    retried = outcome_of(task, Retry(timedelta(hours=1)))
    assert isinstance(retried, Failed)
    assert retried.retry_after == 3600.0


def test_an_unknown_outcome_may_say_how_many_were_stored() -> None:
    assert OutcomeUnknown("broke").stored is None
    assert OutcomeUnknown("broke", stored=2_000).stored == 2_000
