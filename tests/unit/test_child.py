"""What a child process makes of a task's function, without the process."""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from typing import Any

from taskq import App, current
from taskq.domain.message import Delivery
from taskq.domain.outcome import Failed, Outcome, Rejected, Succeeded
from taskq.runtime import child
from taskq.runtime.wire import Assignment, Link
from taskq.task import Task

app = App("memory://")


async def answer() -> int:
    return 42


@app.task(name="on_a_loop", executor="process")
async def on_a_loop() -> int:
    return await answer()


@app.task(name="forgets_to_await", executor="process")
def forgets_to_await() -> Coroutine[Any, Any, int]:
    return answer()


@app.task(name="cannot_be_carried", executor="process")
def cannot_be_carried(__x: int = 0) -> None: ...


@app.task(name="says_much", executor="process")
def says_much() -> None:
    for step in range(1001):
        current().progress(step / 1000, "x" * 900)


def outcome_of(task: Task[..., Any]) -> Outcome:
    delivery = Delivery("5b", task.name, b"", "default", 1, fence=1, attempt=1, lost_leases=0, worker="w")
    assignment = Assignment(__name__, task.function.__qualname__, delivery, b"{}", b"", None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return child.run(assignment, Link(ours), app.url)


def test_an_async_function_runs_on_a_loop_of_its_own() -> None:
    assert outcome_of(on_a_loop) == Succeeded(b"42")


def test_a_coroutine_that_a_plain_function_returns_is_no_result_as_in_a_thread() -> None:
    outcome = outcome_of(forgets_to_await)
    assert isinstance(outcome, Failed)
    assert outcome.failure.type == "InvalidResult"
    assert "returned a coroutine" in outcome.failure.message


def test_a_signature_that_cannot_be_carried_is_said_so() -> None:
    outcome = outcome_of(cannot_be_carried)
    assert isinstance(outcome, Rejected)
    assert outcome.failure.type == "ConfigError"
    assert "parameter __x: a name cannot begin" in outcome.failure.message


def test_progress_does_not_wait_for_a_worker_that_does_not_listen() -> None:
    assert outcome_of(says_much) == Succeeded(b"null")
