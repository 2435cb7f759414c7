"""A run that takes too long: cancelled on the loop, killed in a process, asked and then given up in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskq import App, NoRetry, TaskContext, TaskState
from taskq.runtime import executor, processes
from tests.worker import jobs
from tests.worker.support import Gate, adopt, ended, parts, until, work

SOON = 0.2


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that does not end when it is told to is given up soon."""
    monkeypatch.setattr(executor, "GRACE", SOON)


async def test_a_loop_task_is_cancelled(any_app: App) -> None:
    gate = Gate()

    @any_app.task(timeout=SOON, retry=NoRetry())
    async def slow() -> None:
        await gate.passed()

    async with work(any_app):
        record = await ended(await slow.aenqueue())
    assert (record.state, record.reason) == (TaskState.DEAD, "exhausted")
    assert record.failure is not None
    assert record.failure.type == "TaskTimeout"
    assert gate.interrupted == 1


async def test_the_timeout_of_a_call_goes_before_the_tasks_own(app: App) -> None:
    gate = Gate()

    @app.task(timeout=3600, retry=NoRetry())
    async def slow() -> None:
        await gate.passed()

    async with work(app):
        record = await ended(await slow.options(timeout=SOON).aenqueue())
    assert record.failure is not None
    assert record.failure.type == "TaskTimeout"


async def test_a_loop_task_that_swallows_its_cancellation_is_given_up(app: App, short_grace: None) -> None:
    cancellations = 0
    release = asyncio.Event()

    @app.task(timeout=SOON, retry=NoRetry())
    async def stubborn() -> str:
        nonlocal cancellations
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                cancellations += 1
        return "too late"

    async with work(app, concurrency=1):
        record = await ended(await stubborn.aenqueue())
        assert record.failure is not None
        assert record.failure.type == "TaskTimeout"
        other = app.task(name="other")(_other)
        assert await (await other.aenqueue()).aresult(30) == "done"
        assert cancellations > 0
        release.set()


async def _other() -> str:
    return "done"


@pytest.mark.parametrize("task", [jobs.hangs, jobs.stubborn], ids=["hangs", "ignores SIGTERM"])
async def test_the_process_of_a_process_task_is_killed(app: App, tmp_path: Path, task: object) -> None:
    assert task in (jobs.hangs, jobs.stubborn)
    adopted = adopt(app, jobs.hangs if task is jobs.hangs else jobs.stubborn, retry=NoRetry())
    pid_file = tmp_path / "pid"
    async with work(app):
        handle = await adopted.options(timeout=2.0).aenqueue(str(pid_file))
        await until(pid_file.exists, "the child has begun")
        pid = int(pid_file.read_text())
        record = await ended(handle)
        assert record.failure is not None
        assert record.failure.type == "TaskTimeout"
        await until(lambda: not psutil.pid_exists(pid), "the child is gone")
        add = adopt(app, jobs.add)
        assert await (await add.aenqueue(1, 2)).aresult(30) == 3


async def test_a_thread_task_that_looks_at_cancelled_has_timed_out(app: App) -> None:
    @app.task(timeout=SOON, retry=NoRetry())
    def polite(ctx: TaskContext) -> str:
        while not ctx.cancelled:
            threading.Event().wait(0.005)
        return "half of it"

    async with work(app):
        record = await ended(await polite.aenqueue())
    assert record.state is TaskState.DEAD
    assert record.failure is not None
    assert record.failure.type == "TaskTimeout"


async def test_a_thread_that_does_not_end_is_given_up_and_replaced(app: App, short_grace: None) -> None:
    release = threading.Event()
    barrier = threading.Barrier(3)

    @app.task(timeout=SOON, retry=NoRetry())
    def stuck() -> None:
        release.wait()

    @app.task
    def together() -> int:
        return barrier.wait(timeout=30)

    try:
        async with work(app, threads=3) as worker:
            record = await ended(await stuck.aenqueue())
            assert record.failure is not None
            assert record.failure.type == "TaskTimeout"
            handles = await together.aenqueue_many([()] * 3)
            assert {await handle.aresult(30) for handle in handles} == {0, 1, 2}
            assert not worker.wants_restart
    finally:
        release.set()


async def test_a_worker_with_many_stuck_threads_makes_room_for_a_fresh_one(app: App, short_grace: None) -> None:
    release = threading.Event()

    @app.task(timeout=SOON, retry=NoRetry())
    def stuck() -> None:
        release.wait()

    try:
        async with work(app, threads=2) as worker:
            assert (await ended(await stuck.aenqueue())).state is TaskState.DEAD
            await until(lambda: worker.wants_restart, "the worker makes room")
    finally:
        release.set()


async def test_what_a_thread_returns_after_it_was_given_up_changes_nothing(app: App, short_grace: None) -> None:
    release, returned = threading.Event(), threading.Event()

    @app.task(timeout=SOON, retry=NoRetry())
    def late() -> str:
        release.wait()
        returned.set()
        return "too late"

    async with work(app, threads=4) as worker:
        handle = await late.aenqueue()
        assert (await ended(handle)).state is TaskState.DEAD
        release.set()
        await until(returned.is_set, "the thread has ended")
        await until(lambda: parts(worker).executor.stuck_threads == 0, "the thread is no longer stuck")
        assert (await handle.ainfo()).state is TaskState.DEAD


async def test_the_start_of_a_child_does_not_count(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    add = adopt(app, jobs.add)
    work_in_child = processes._Child.work
    begun = time.monotonic()

    async def slowly(self: processes._Child, assignment: Any) -> Any:
        await until(lambda: time.monotonic() > begun + 3.0, "the timeout is over")
        return await work_in_child(self, assignment)

    monkeypatch.setattr(processes._Child, "work", slowly)
    async with work(app):
        assert await (await add.options(timeout=2.0).aenqueue(1, 2)).aresult(30) == 3
