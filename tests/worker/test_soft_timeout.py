"""A soft timeout: raised inside of the task, wherever that runs; caught there, or a failed attempt."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, cast

import pytest

from taskq import App, Fixed, NoRetry, SoftTimeout, Task, TaskState
from taskq.domain.record import AttemptOutcome
from tests.worker import jobs
from tests.worker.support import Gate, adopt, ended, work

SOON = 0.1
KINDS = ("async", "thread", "process", "async in a process")


def declare(app: App, kind: str, **options: Any) -> Task[..., str]:
    """A task that goes on until its soft timeout, and may catch it."""
    if kind == "process":
        return adopt(app, jobs.sleeps, **options)
    if kind == "async in a process":
        return adopt(app, jobs.sleeps_on_a_loop, **options)
    task: Task[..., str]
    if kind == "thread":

        def computes(is_caught: bool) -> str:
            try:
                while True:
                    threading.get_ident()
            except SoftTimeout:
                if not is_caught:
                    raise
            return "half of it"

        task = app.task(name="computes", **options)(computes)
        return task

    async def waits(is_caught: bool) -> str:
        try:
            await asyncio.Event().wait()
        except SoftTimeout:
            if not is_caught:
                raise
        return "half of it"

    on_the_loop: Any = app.task(name="waits", **options)(waits)
    return cast("Task[..., str]", on_the_loop)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_that_catches_it_completes(app: App, kind: str) -> None:
    task = declare(app, kind, soft_timeout=SOON)
    async with work(app):
        assert await (await task.aenqueue(True)).aresult(30) == "half of it"


@pytest.mark.parametrize("kind", KINDS)
async def test_one_that_does_not_has_failed(app: App, kind: str) -> None:
    task = declare(app, kind, soft_timeout=SOON, retry=NoRetry())
    async with work(app):
        record = await ended(await task.aenqueue(False))
    assert (record.state, record.reason) == (TaskState.DEAD, "exhausted")
    assert record.failure is not None
    assert (record.failure.type, record.failure.message) == ("SoftTimeout", "the soft timeout of the task is over")
    assert "Traceback" in record.failure.traceback


async def test_it_reaches_a_process_task_that_does_nothing_but_tell_how_far_it_is(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "taskq")
    tells = adopt(app, jobs.tells_all_the_time, soft_timeout=SOON)
    async with work(app):
        assert await (await tells.aenqueue(True)).aresult(30) == "half of it"


async def test_it_is_a_failed_attempt_which_the_retry_policy_counts(any_app: App) -> None:
    gate = Gate()

    @any_app.task(soft_timeout=SOON, retry=Fixed(0, max_retries=3))
    async def slow_at_first() -> str:
        if gate.arrived < 2:
            await gate.passed()
        return "done"

    async with work(any_app):
        handle = await slow_at_first.aenqueue()
        assert await handle.aresult(30) == "done"
        outcomes = [attempt.outcome for attempt in (await handle.ainfo()).attempts]
    assert outcomes == [AttemptOutcome.FAILED, AttemptOutcome.FAILED, AttemptOutcome.SUCCEEDED]


async def test_a_task_may_rule_its_retry_out(app: App) -> None:
    @app.task(soft_timeout=SOON, retry=Fixed(0), no_retry_on=(SoftTimeout,))
    async def slow() -> None:
        await asyncio.Event().wait()

    async with work(app):
        record = await ended(await slow.aenqueue())
    assert (record.state, len(record.attempts)) == (TaskState.DEAD, 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_that_of_a_call_goes_before_the_tasks_own(app: App, kind: str) -> None:
    task = declare(app, kind, soft_timeout=3500, timeout=3600)
    async with work(app):
        assert await (await task.options(soft_timeout=SOON).aenqueue(True)).aresult(30) == "half of it"


async def test_the_hard_timeout_ends_one_that_goes_on(app: App) -> None:
    seen: list[str] = []

    @app.task(soft_timeout=SOON, timeout=2 * SOON, retry=NoRetry())
    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except SoftTimeout:
                seen.append("soft")
            except asyncio.CancelledError:
                seen.append("hard")
                raise

    async with work(app):
        record = await ended(await stubborn.aenqueue())
    assert seen == ["soft", "hard"]
    assert record.failure is not None
    assert record.failure.type == "TaskTimeout"


async def test_who_is_in_time_hears_nothing(app: App) -> None:
    @app.task(soft_timeout=100, timeout=200)
    async def on_the_loop() -> str:
        return "done"

    @app.task(soft_timeout=100, timeout=200)
    def in_a_thread() -> str:
        return "done"

    async with work(app):
        for task in (on_the_loop, in_a_thread):
            handle: Any = await task.aenqueue()
            assert await handle.aresult(30) == "done"
