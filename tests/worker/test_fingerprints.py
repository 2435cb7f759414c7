"""Failures that no exception has made have a fingerprint too, and the same one each time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import App, NoRetry, TaskContext, TaskState
from taskq.domain.record import TaskRecord
from taskq.middleware import CallNext
from tests.worker import jobs
from tests.worker.support import adopt, ended, until_state, work


class Forgetful:
    """Middleware that forgets the outcome of some tasks."""

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Any:
        outcome = await call_next()
        return None if context.name == "MiddlewareError" else outcome


async def waits() -> None:
    await asyncio.Event().wait()


async def gives_what_is_no_json() -> Any:
    return object()


async def does_nothing() -> None: ...


FAILING = {"TaskTimeout": waits, "InvalidResult": gives_what_is_no_json, "MiddlewareError": does_nothing}


@pytest.mark.parametrize("kind", FAILING)
async def test_what_the_worker_says_of_a_run(any_app: App, kind: str) -> None:
    any_app.add_middleware(Forgetful())
    task: Any = any_app.task(name=kind, timeout=0.2, retry=NoRetry())(FAILING[kind])
    async with work(any_app):
        records = [await ended(await task.options(timeout=seconds).aenqueue()) for seconds in (0.05, 0.2)]
    assert_alike(records, kind)


async def test_a_process_that_dies(app: App) -> None:
    task = adopt(app, jobs.exits, max_lost_leases=1)
    async with work(app):
        records = [await ended(await task.aenqueue(status)) for status in (3, 4)]
    assert_alike(records, "ProcessCrashed")


async def test_a_name_that_nobody_knows(app: App) -> None:
    async with work(app):
        handles = [await app.aenqueue("nobody.knows.it", {"x": number}) for number in range(2)]
        records = [await until_state(handle, TaskState.SCHEDULED) for handle in handles]
    assert_alike(records, "TaskNotRegistered")


def assert_alike(records: list[TaskRecord], kind: str) -> None:
    """All failed alike, and can be counted as one."""
    failures = [record.attempts[-1].failure for record in records]
    assert [failure.type for failure in failures if failure is not None] == [kind] * len(records)
    [name] = {failure.fingerprint for failure in failures if failure is not None}
    assert len(name) == 16
