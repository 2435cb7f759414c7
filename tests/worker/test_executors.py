"""Each kind of task: its result, its exception, its signals, and what only a hostile task raises."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskq import App, Fixed, NoRetry, Task, TaskFailed, TaskState
from taskq.config import Settings
from tests.worker import jobs
from tests.worker.support import adopt, ended, until, until_state, work

KINDS = ("async", "thread", "process")
AWKWARD = (
    "SystemExit",
    "KeyboardInterrupt",
    "MemoryError",
    "RecursionError",
    "Hostile",
    "StopIteration",
    "GeneratorExit",
    "BaseExceptionGroup",
    "chain",
)


def declare(app: App, kind: str, task: Task[..., Any], **options: Any) -> Task[..., Any]:
    """The function of a process task as a task of any kind."""
    if kind == "process":
        return adopt(app, task, **options)
    function = task.function
    declared: Task[..., Any]
    if kind == "thread":
        declared = app.task(name=task.name, executor="thread", **options)(function)
        return declared

    async def on_the_loop(kind: str) -> Any:
        return function(kind)

    declared = app.task(name=task.name, **options)(on_the_loop)
    return declared


@pytest.mark.parametrize("kind", KINDS)
async def test_a_result_comes_back(any_app: App, kind: str) -> None:
    async def on_the_loop(x: int, y: int) -> int:
        return x + y

    def in_a_thread(x: int, y: int) -> int:
        return x + y

    functions: dict[str, Callable[..., Any]] = {"async": on_the_loop, "thread": in_a_thread}
    task: Task[..., Any]
    task = adopt(any_app, jobs.add) if kind == "process" else any_app.task(name="add")(functions[kind])
    async with work(any_app) as worker:
        handle = await task.aenqueue(1, y=2)
        assert await handle.aresult(30) == 3
        record = await handle.ainfo()
    assert (record.state, record.attempt, record.fence, record.lost_leases) == (TaskState.COMPLETED, 1, 1, 0)
    assert record.worker == worker.id


async def test_a_coroutine_function_runs_in_a_process(app: App) -> None:
    task = adopt(app, jobs.coroutine)
    async with work(app):
        assert await (await task.aenqueue(21)).aresult(30) == 42


@pytest.mark.parametrize("kind", KINDS)
async def test_an_exception_is_told_with_the_users_frames_alone(app: App, kind: str) -> None:
    task = declare(app, kind, jobs.raises, retry=NoRetry())
    async with work(app):
        handle = await task.aenqueue("value")
        with pytest.raises(TaskFailed) as caught:
            await handle.aresult(30)
    assert (caught.value.type, caught.value.message) == ("ValueError", "no value here")
    lines = caught.value.traceback.splitlines()
    assert lines[0].startswith("Traceback")
    assert "tests/worker/" in lines[1]
    assert "taskq/runtime" not in caught.value.traceback
    assert lines[-1] == "ValueError: no value here"
    record = await handle.ainfo()
    assert (record.state, record.reason) == (TaskState.DEAD, "exhausted")
    assert record.failure is not None
    assert record.failure.fingerprint


@pytest.mark.parametrize("kind", KINDS)
async def test_the_worker_survives_whatever_a_task_raises(app: App, kind: str) -> None:
    task = declare(app, kind, jobs.raises, retry=NoRetry())

    @app.task
    async def innocent() -> str:
        return "unharmed"

    async with work(app):
        handles = {awkward: await task.aenqueue(awkward) for awkward in AWKWARD}
        for awkward, handle in handles.items():
            record = await ended(handle)
            assert record.state is TaskState.DEAD, awkward
            assert record.failure is not None
            # Python itself turns a StopIteration that leaves a coroutine into a RuntimeError.
            shown = {"chain": "ValueError", "StopIteration": "RuntimeError" if kind == "async" else "StopIteration"}
            assert record.failure.type == shown.get(awkward, awkward)
            assert (record.attempt, record.lost_leases) == (1, 0), awkward
        assert await (await innocent.aenqueue()).aresult(30) == "unharmed"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_exception_is_not_retried_by_itself(app: App, kind: str) -> None:
    task = declare(app, kind, jobs.raises, retry=Fixed(0.0, max_retries=3))
    async with work(app):
        for awkward in ("SystemExit", "KeyboardInterrupt"):
            record = await ended(await task.aenqueue(awkward))
            assert (record.state, record.attempt) == (TaskState.DEAD, 1)
        record = await ended(await task.aenqueue("MemoryError"))
        assert (record.state, record.attempt) == (TaskState.DEAD, 4)


async def test_a_cancelled_error_of_the_tasks_own_is_a_failure(app: App) -> None:
    @app.task(retry=NoRetry())
    async def raises() -> None:
        raise asyncio.CancelledError

    @app.task(retry=NoRetry())
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    async with work(app):
        for task in (raises, cancels_itself):
            record = await ended(await task.aenqueue())
            assert record.state is TaskState.DEAD
            assert record.failure is not None
            assert record.failure.type == "CancelledError"


async def test_an_exit_in_what_a_task_spawns_stays_within_the_task(app: App) -> None:
    async def leave(error: type[BaseException]) -> None:
        await asyncio.sleep(0)
        raise error

    @app.task(retry=NoRetry())
    async def gathers() -> None:
        await asyncio.gather(leave(SystemExit), asyncio.Event().wait())

    @app.task(retry=NoRetry())
    async def groups() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(leave(KeyboardInterrupt))

    @app.task
    async def cancels_before_the_first_step() -> str:
        spawned = asyncio.create_task(leave(SystemExit))
        spawned.cancel()
        await asyncio.wait([spawned])
        return "done"

    async with work(app):
        record = await ended(await gathers.aenqueue())
        assert record.failure is not None
        assert (record.state, record.failure.type) == (TaskState.DEAD, "SystemExit")
        assert (await ended(await groups.aenqueue())).state is TaskState.DEAD
        assert await (await cancels_before_the_first_step.aenqueue()).aresult(30) == "done"


SIGNALLED = {
    "retry": (TaskState.RETRYING, 1),
    "retry later": (TaskState.RETRYING, 1),
    "snooze": (TaskState.SCHEDULED, 0),
    "throttled": (TaskState.SCHEDULED, 0),
    "reject": (TaskState.DEAD, 1),
    "cancel": (TaskState.CANCELLED, 1),
}
REASONS = {"reject": "rejected", "cancel": "no longer wanted"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_says_what_should_become_of_it(any_app: App, kind: str) -> None:
    task = declare(any_app, kind, jobs.signals, retry=Fixed(300.0))
    async with work(any_app):
        handles = {signal: await task.aenqueue(signal) for signal in SIGNALLED}
        for signal, (state, attempt) in SIGNALLED.items():
            record = await until_state(handles[signal], state)
            assert record.attempt == attempt, signal
            assert record.reason == REASONS.get(signal, ""), signal
            waits = {"retry": 300, "retry later": 3600, "snooze": 3600, "throttled": 3600}.get(signal)
            if waits is not None:
                assert record.due_at is not None
                ran_at = record.attempts[-1].ended_at
                assert abs((record.due_at - ran_at).total_seconds() - waits) < 1.0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_retry_that_the_task_asks_for_is_counted(app: App, kind: str) -> None:
    task = declare(app, kind, jobs.signals, retry=Fixed(0.0, max_retries=2))
    async with work(app):
        record = await ended(await task.aenqueue("retry"))
    assert (record.state, record.reason, record.attempt) == (TaskState.DEAD, "exhausted", 3)
    assert [attempt.attempt for attempt in record.attempts] == [1, 2, 3]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_result_that_is_no_json_is_a_failure(app: App, kind: str) -> None:
    async def returns_nan() -> object:
        return float("nan")

    if kind == "async":
        task: Task[..., Any] = app.task(retry=NoRetry())(returns_nan)
    elif kind == "thread":
        task = app.task(name="returns", executor="thread", retry=NoRetry())(jobs.returns_object.function)
    else:
        task = adopt(app, jobs.returns_object, retry=NoRetry())
    async with work(app):
        record = await ended(await task.aenqueue())
    assert record.state is TaskState.DEAD
    assert record.failure is not None
    assert record.failure.type == "InvalidResult"
    assert record.result is None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_result_over_its_limit_is_a_failure(kind: str) -> None:
    app = App("memory://", settings=Settings(max_result=1000))

    async def returns_much(size: int) -> str:
        return "x" * size

    task: Task[..., Any]
    if kind == "process":
        task = adopt(app, jobs.returns_much, retry=NoRetry())
    elif kind == "thread":
        task = app.task(name="much", executor="thread", retry=NoRetry())(jobs.returns_much.function)
    else:
        task = app.task(retry=NoRetry())(returns_much)
    async with work(app):
        assert await (await task.aenqueue(900)).aresult(30) == "x" * 900
        record = await ended(await task.aenqueue(1000))
    assert record.state is TaskState.DEAD
    assert record.failure is not None
    assert record.failure.type == "ResultTooLarge"


async def test_process_tasks_run_in_children_and_loop_and_thread_tasks_here(app: App) -> None:
    task = adopt(app, jobs.describes)

    @app.task
    async def on_the_loop() -> int:
        return os.getpid()

    @app.task
    def in_a_thread() -> int:
        return os.getpid()

    async with work(app):
        assert (await (await task.aenqueue()).aresult(30))["pid"] != os.getpid()
        assert await (await on_the_loop.aenqueue()).aresult(30) == os.getpid()
        assert await (await in_a_thread.aenqueue()).aresult(30) == os.getpid()


async def test_a_child_that_is_killed_in_the_middle_of_a_report_silences_no_other(app: App) -> None:
    chatters = adopt(app, jobs.chatters, retry=NoRetry())
    counts = adopt(app, jobs.counts_to_the_end)
    async with work(app):
        for handle in await chatters.options(timeout=0.2).aenqueue_many([()] * 6):
            assert (await ended(handle)).state is TaskState.DEAD
        handle = await counts.options(timeout=30).aenqueue()
        assert (await ended(handle)).state is TaskState.COMPLETED


async def test_a_module_that_fails_to_import_in_a_child_fails_that_run_alone(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, failures = tmp_path / "here", tmp_path / "failures"
    (tmp_path / "imported_late.py").write_text(
        f"""
from pathlib import Path

if not Path({str(here)!r}).exists():
    with open({str(failures)!r}, "a") as file:
        file.write("x")
    raise MemoryError

from taskq import App

app = App("memory://")

@app.task(executor="process", name="answer")
def answer() -> int:
    return 42
"""
    )
    here.touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    declared = importlib.import_module("imported_late").answer
    answer = adopt(app, declared, retry=Fixed(0.05, max_retries=1000))
    add = adopt(app, jobs.add)
    here.unlink()
    async with work(app, processes=1):
        handle = await answer.aenqueue()
        await until(lambda: failures.exists() and len(failures.read_text()) >= 3, "its import has failed")
        assert await (await add.aenqueue(1, 2)).aresult(30) == 3
        here.touch()
        assert await handle.aresult(30) == 42
    record = await handle.ainfo()
    assert record.lost_leases == 0
    assert record.attempts[0].failure is not None
    assert record.attempts[0].failure.type == "MemoryError"
