"""Cancelling what waits and what runs, told by a hint or by the heartbeat; and a lease that was lost."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import psutil
import pytest

from taskq import App, TaskContext, TaskState
from taskq.domain.outcome import Outcome
from taskq.domain.record import AttemptOutcome
from taskq.middleware import CallNext
from taskq.runtime.progress import ProgressWriter
from taskq.runtime.run import Run, StopReason
from tests.worker import jobs
from tests.worker.support import Gate, adopt, ended, gated, parts, twin, until, until_state, work, wrap

NEVER = {"lease": 3000.0, "heartbeat": 1000.0}
"""The heartbeat brings nothing in the time of a test."""
OFTEN = {"lease": 30.0, "heartbeat": 0.05}


async def test_a_running_loop_task_is_cancelled_by_the_hint(any_app: App) -> None:
    gate, waits = gated(any_app)
    async with work(any_app, **NEVER):
        handle = await waits.aenqueue()
        await gate.until_arrived(1)

        async def is_cancelled() -> bool:
            # A hint is lost on those who do not listen yet, so it is given again.
            await handle.acancel("no longer needed")
            return (await handle.ainfo()).state is TaskState.CANCELLED

        await until(is_cancelled, "the task is cancelled")
    assert gate.interrupted == 1


async def test_a_running_task_is_cancelled_by_the_heartbeat(any_app: App) -> None:
    gate, waits = gated(any_app)
    async with work(any_app, **OFTEN):
        handle = await waits.aenqueue()
        await gate.until_arrived(1)
        # Past the handle, which would give a hint.
        await (await any_app.backend()).broker.cancel([handle.id], "no longer needed")
        record = await ended(handle)
    assert (record.state, record.attempts[-1].outcome) == (TaskState.CANCELLED, AttemptOutcome.CANCELLED)
    assert record.reason == "no longer needed"
    assert gate.interrupted == 1


async def test_the_process_of_a_cancelled_task_is_killed(app: App, tmp_path: Path) -> None:
    task = adopt(app, jobs.hangs)
    pid_file = tmp_path / "pid"
    async with work(app):
        handle = await task.aenqueue(str(pid_file))
        await until(pid_file.exists, "the child has begun")
        pid = int(pid_file.read_text())
        assert await handle.acancel()
        assert (await ended(handle)).state is TaskState.CANCELLED
        await until(lambda: not psutil.pid_exists(pid), "the child is gone")


async def test_a_thread_task_that_returns_because_it_was_cancelled_is_cancelled(app: App) -> None:
    begun = threading.Event()

    @app.task
    def polite(ctx: TaskContext) -> str:
        begun.set()
        while not ctx.cancelled:
            threading.Event().wait(0.005)
        return "half of it"

    async with work(app):
        handle = await polite.aenqueue()
        await until(begun.is_set, "the task has begun")
        await handle.acancel()
        assert (await ended(handle)).state is TaskState.CANCELLED


async def test_a_thread_task_that_ends_without_looking_has_completed(app: App) -> None:
    begun, release = threading.Event(), threading.Event()

    @app.task
    def busy() -> str:
        begun.set()
        release.wait()
        return "all of it"

    async with work(app, **OFTEN) as worker:
        handle = await busy.aenqueue()
        await until(begun.is_set, "the task has begun")
        await handle.acancel()
        run = parts(worker).executor.runs[handle.id]
        await until(lambda: run.stop_reason is not None, "the worker was told")
        release.set()
        assert await handle.aresult(30) == "all of it"


async def test_a_cancelled_task_that_clears_up_with_an_exception_is_cancelled(app: App) -> None:
    gate = Gate()

    @app.task
    async def untidy() -> None:
        try:
            await gate.passed()
        finally:
            raise ValueError("the file is gone already")

    async with work(app):
        handle = await untidy.aenqueue()
        await gate.until_arrived(1)
        await handle.acancel()
        assert (await ended(handle)).state is TaskState.CANCELLED


async def test_a_run_that_is_cancelled_while_its_last_progress_is_written_keeps_what_it_came_to(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    async def slow(self: ProgressWriter, run: Run) -> None:
        await gate.passed()

    monkeypatch.setattr(ProgressWriter, "tick", lambda self: asyncio.Event().wait())
    monkeypatch.setattr(ProgressWriter, "last_word", slow)

    @app.task
    async def reports(ctx: TaskContext) -> str:
        ctx.progress(1.0)
        return "done"

    async with work(app, **OFTEN):
        handle = await reports.aenqueue()
        await gate.until_arrived(1)
        await handle.acancel()
        assert await handle.aresult(30) == "done"
    assert gate.interrupted == 1


async def test_a_task_that_is_cancelled_before_its_slot_is_free_never_runs(app: App) -> None:
    gate, waits = gated(app)
    ran = []

    @app.task
    async def next_one() -> None:
        ran.append(1)

    async with work(app, concurrency=2):
        await waits.aenqueue_many([()] * 2)
        await gate.until_arrived(2)
        handle = await next_one.aenqueue()
        assert await handle.acancel()
        assert (await ended(handle)).state is TaskState.CANCELLED
        gate.open()
    assert ran == []


@pytest.mark.parametrize(("reason", "state"), [("cancel", TaskState.CANCELLED), ("shutdown", TaskState.PENDING)])
async def test_a_thread_task_that_is_told_to_end_while_middleware_has_it_never_runs(
    app: App, reason: str, state: TaskState
) -> None:
    gate, ran = Gate(), []

    class Waits:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            await gate.passed()
            return await call_next()

    app.add_middleware(Waits())

    @app.task(name="in_a_thread")
    def in_a_thread() -> None:
        ran.append(1)

    async with work(app) as worker:
        handle = await in_a_thread.aenqueue()
        await gate.until_arrived(1)
        executor = parts(worker).executor
        executor.is_closing = True  # what is given back does not come again
        executor.stop_all(StopReason(reason))
        gate.open()
        await until(lambda: not executor.runs, "the run has ended")
    assert (await handle.ainfo()).state is state
    assert ran == []


async def test_a_lost_lease_ends_the_run_here_and_drops_its_outcome(any_app: App) -> None:
    wrapped = wrap(any_app)
    other = twin(any_app)
    gate, ran = Gate(), []

    @any_app.task(name="task")
    async def first(ctx: TaskContext) -> str:
        try:
            await gate.passed()
        finally:
            ran.append(ctx.fence)
        return "first"

    @other.task(name="task")
    async def second() -> str:
        return "second"

    async with work(any_app, lease=1.0, heartbeat=0.2):
        handle = await first.aenqueue()
        await gate.until_arrived(1)
        wrapped.switch.away = {"extend", "fetch"}
        async with work(other, lease=1.0, heartbeat=0.2):
            assert await handle.aresult(30) == "second"
        assert gate.interrupted == 0
        wrapped.switch.away = False
        await until(lambda: gate.interrupted, "the run that lost its lease is cancelled")
    record = await handle.ainfo()
    assert (record.state, record.fence, record.lost_leases) == (TaskState.COMPLETED, 2, 1)
    assert record.result == b'"second"'
    assert ran == [1]
    await other.aclose()


async def test_a_worker_never_runs_an_id_twice_at_once(any_app: App) -> None:
    wrapped = wrap(any_app)
    running, most, fences = 0, 0, []
    release = asyncio.Event()

    @any_app.task
    async def slow(ctx: TaskContext) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        fences.append(ctx.fence)
        try:
            await release.wait()
        finally:
            running -= 1
        return "done"

    async with work(any_app, lease=1.0, heartbeat=0.2):
        handle = await slow.aenqueue()
        await until(lambda: running, "the task has begun")
        # Its lease runs out, and this same worker is the one to claim it again.
        wrapped.switch.away = {"extend"}
        await until_state(handle, TaskState.SCHEDULED, TaskState.PENDING)
        await until(lambda: len(fences) > 1, "the task runs a second time")
        wrapped.switch.away = False
        release.set()
        assert await handle.aresult(30) == "done"
    assert most == 1
    assert fences == sorted(set(fences))
