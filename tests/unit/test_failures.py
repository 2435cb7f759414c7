"""What is kept of an exception: the frames nearest to the fault, and the end of what is too long."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

from taskq import App, Cancel
from taskq.domain.outcome import CancelledRun, Failed, Succeeded
from taskq.runtime.failures import MAX_FRAMES, MAX_MESSAGE, MAX_TRACEBACK, describe, outcome_of, result_of


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    else:
        raise ValueError("the place of the fault")


def raised(levels: int) -> ValueError:
    try:
        deep(levels)
    except ValueError as error:
        return error
    raise AssertionError


def test_the_frame_that_raised_is_kept_however_deep_it_lies() -> None:
    failure = describe(raised(MAX_FRAMES + 30))
    assert 'raise ValueError("the place of the fault")' in failure.traceback
    assert failure.traceback.rstrip().endswith("ValueError: the place of the fault")
    assert "in raised" not in failure.traceback  # the outermost are those that are left out


def test_a_short_traceback_is_whole() -> None:
    trace = describe(raised(2)).traceback
    assert "in raised" in trace
    assert trace.count("in deep") == 3


def place_at(function: Callable[[], Any], path: str, name: str = "", line: int = 1) -> Callable[[], Any]:
    """The same function as if it stood elsewhere."""
    code = function.__code__.replace(co_filename=path, co_firstlineno=line, co_name=name or function.__name__)
    return FunctionType(code, function.__globals__, closure=function.__closure__)


def fails() -> None:
    raise ValueError("user 17 is unknown")


def reads() -> None:
    json.loads("{")


def print_of(function: Callable[[], Any]) -> str:
    """The fingerprint of what a function raises."""
    try:
        function()
    except Exception as error:
        return describe(error).fingerprint
    raise AssertionError


@pytest.mark.parametrize("function", [fails, reads])
def test_hosts_with_other_paths_and_releases_with_other_lines_agree(function: Callable[[], None]) -> None:
    here = print_of(place_at(function, "/srv/app/mail/tasks.py"))
    assert here == print_of(place_at(function, "/opt/venv/lib/python3.13/site-packages/mail/tasks.py", line=77))
    assert here != print_of(place_at(function, "/srv/app/sms/tasks.py"))
    assert here != print_of(place_at(function, "/srv/app/mail/tasks.py", "another"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/app/mail/tasks.py", "<listcomp>"),
        ("<frozen importlib._bootstrap>", "_call_with_frames_removed"),
        ("/venv/site-packages/taskq/runtime/executor.py", "_call"),
        (json.decoder.__file__, "raw_decode"),
    ],
)
def test_frames_that_come_and_go_do_not_count(path: str, name: str) -> None:
    inner = place_at(fails, "/srv/app/mail/tasks.py", "send")

    def between() -> None:
        inner()

    wrapped = place_at(between, path, name)

    def outer() -> None:
        wrapped()

    def direct() -> None:
        inner()

    def outermost(function: Callable[[], None]) -> Callable[[], None]:
        return place_at(function, "/srv/app/mail/tasks.py", "outer")

    assert print_of(outermost(outer)) == print_of(outermost(direct))


def test_each_link_of_a_chain_keeps_its_innermost_frames() -> None:
    def wrap(levels: int) -> None:
        if levels:
            wrap(levels - 1)
            return
        try:
            deep(MAX_FRAMES + 10)
        except ValueError as error:
            raise LookupError("the outer fault") from error

    try:
        wrap(MAX_FRAMES + 10)
    except LookupError as error:
        trace = describe(error).traceback
    assert 'raise ValueError("the place of the fault")' in trace
    assert 'raise LookupError("the outer fault") from error' in trace
    assert trace.rstrip().endswith("LookupError: the outer fault")


def test_a_message_that_is_too_long_is_cut_in_its_middle() -> None:
    message = describe(ValueError("<" + "x" * 50_000 + ">")).message
    assert message.startswith("<x")
    assert message.endswith("x>")
    assert "characters left out" in message
    assert len(message) <= MAX_MESSAGE


def test_a_traceback_that_is_too_long_keeps_its_end() -> None:
    error = raised(1)
    for number in range(1000):
        error.add_note(f"note {number} " + "x" * 100)
    trace = describe(error).traceback
    assert trace.startswith("Traceback (most recent call last)")
    assert trace.rstrip().endswith("note 999 " + "x" * 100)
    assert len(trace) <= MAX_TRACEBACK


def test_what_fits_is_not_cut() -> None:
    assert describe(ValueError("x" * MAX_MESSAGE)).message == "x" * MAX_MESSAGE


async def never_awaited() -> None: ...


def nothing() -> Any: ...


BAD_RESULTS: dict[str, tuple[Callable[[], object], str]] = {
    "no JSON": (object, "job: the result: cannot be written as JSON: "),
    "not finite": (lambda: float("nan"), "job: the result holds NaN or infinity"),
    "a coroutine": (never_awaited, "job: it returned a coroutine, which nobody awaits: only an `async def` is awaited"),
}


@pytest.mark.parametrize("name", BAD_RESULTS)
def test_a_result_that_cannot_be_stored_is_not_tried_again(name: str) -> None:
    make, message = BAD_RESULTS[name]
    outcome = result_of(App("memory://").task(name="job")(nothing), make())
    assert isinstance(outcome, Failed)
    assert (outcome.failure.type, outcome.retryable) == ("InvalidResult", False)
    assert outcome.failure.message.startswith(message)


def test_a_result_that_can_be_stored() -> None:
    assert result_of(App("memory://").task(name="job")(nothing), [1]) == Succeeded(b"[1]")


def test_the_reason_of_a_cancel_is_cut_to_what_can_be_stored() -> None:
    task = App("memory://").task(name="job")(nothing)
    assert outcome_of(task, Cancel("withdrawn")) == CancelledRun("withdrawn")
    assert outcome_of(task, Cancel("\ud800")) == CancelledRun(r"\ud800")
    cut = outcome_of(task, Cancel("x" * 50_000))
    assert isinstance(cut, CancelledRun)
    assert len(cut.reason) <= MAX_MESSAGE
