"""The end of a worker: told by a signal or a command, patient or at once; and making room for a fresh one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskq import App, TaskContext, TaskState
from taskq.ports import WorkerCommand, WorkerState
from taskq.runtime.worker import Worker
from tests.worker import jobs
from tests.worker.support import (
    PATIENCE,
    Gate,
    adopt,
    ended,
    gated,
    options,
    parts,
    registered,
    suspect_behind,
    until,
    work,
)


async def test_what_runs_is_finished_and_what_has_not_begun_is_given_back(any_app: App) -> None:
    gate, waits = gated(any_app)
    worker = Worker(any_app, options(concurrency=4))
    running = asyncio.create_task(worker.run())
    handles = await waits.aenqueue_many([()] * 8)
    await gate.until_arrived(4)
    worker.stop()
    assert worker.info.state is WorkerState.SHUTTING_DOWN
    backend = await any_app.backend()

    async def only_four_are_held() -> bool:
        return (await backend.inspector.counts())["default"].get(TaskState.RUNNING) == 4

    await until(only_four_are_held, "what has not begun is given back")
    gate.open()
    await running
    records = [await handle.ainfo() for handle in handles]
    states = [record.state for record in records]
    assert (states.count(TaskState.COMPLETED), states.count(TaskState.PENDING)) == (4, 4)
    assert {record.attempt for record in records if record.state is TaskState.PENDING} == {0}
    assert gate.interrupted == 0


async def test_what_takes_too_long_is_interrupted_and_given_back(any_app: App) -> None:
    gate, waits = gated(any_app)
    async with work(any_app, shutdown_timeout=0.5):
        handles = await waits.aenqueue_many([()] * 3)
        await gate.until_arrived(3)
    assert gate.interrupted == 3
    for handle in handles:
        record = await handle.ainfo()
        assert (record.state, record.attempt, record.lost_leases) == (TaskState.PENDING, 0, 0)


async def test_a_second_stop_ends_at_once(any_app: App) -> None:
    gate, waits = gated(any_app)
    worker = Worker(any_app, options(shutdown_timeout=3600.0))
    running = asyncio.create_task(worker.run())
    handle = await waits.aenqueue()
    await gate.until_arrived(1)
    worker.stop()
    worker.stop()
    await running
    assert gate.interrupted == 1
    assert (await handle.ainfo()).state is TaskState.PENDING


async def test_a_process_task_is_killed_and_given_back(app: App, tmp_path: Path) -> None:
    task = adopt(app, jobs.hangs)
    pid_file = tmp_path / "pid"
    async with work(app, shutdown_timeout=0.5):
        handle = await task.aenqueue(str(pid_file))
        await until(pid_file.exists, "the child has begun")
    await until(lambda: not psutil.pid_exists(int(pid_file.read_text())), "the child is gone")
    record = await handle.ainfo()
    assert (record.state, record.attempt, record.lost_leases) == (TaskState.PENDING, 0, 0)


async def test_a_thread_is_asked_and_what_it_had_not_finished_is_given_back(app: App) -> None:
    begun = threading.Event()

    @app.task
    def polite(ctx: TaskContext) -> str:
        begun.set()
        while not ctx.cancelled:
            threading.Event().wait(0.005)
        return "half of it"

    async with work(app, shutdown_timeout=0.5):
        handle = await polite.aenqueue()
        await until(begun.is_set, "the task has begun")
    record = await handle.ainfo()
    assert (record.state, record.attempt) == (TaskState.PENDING, 0)


async def test_a_thread_that_does_not_end_does_not_hold_the_worker_up(app: App) -> None:
    begun, release = threading.Event(), threading.Event()

    @app.task
    def stuck() -> None:
        begun.set()
        release.wait()

    try:
        worker = Worker(app, options(shutdown_timeout=3600.0))
        running = asyncio.create_task(worker.run())
        handle = await stuck.aenqueue()
        await until(begun.is_set, "the task has begun")
        worker.stop()
        worker.stop()
        await running
        assert (await handle.ainfo()).state is TaskState.PENDING
    finally:
        release.set()


async def test_a_task_that_ends_while_the_worker_stops_counts(any_app: App) -> None:
    gate = Gate()

    @any_app.task
    async def tidies() -> str:
        try:
            await gate.passed()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "saved in the last moment"
        return "undisturbed"

    async with work(any_app, shutdown_timeout=0.5):
        handle = await tidies.aenqueue()
        await gate.until_arrived(1)
    record = await handle.ainfo()
    assert (record.state, record.result) == (TaskState.COMPLETED, b'"saved in the last moment"')


async def test_a_stopped_worker_leaves_the_registry(any_app: App) -> None:
    async with work(any_app) as worker:
        await registered(any_app, worker)
    registry = (await any_app.backend()).registry
    assert [info.id for info in await registry.workers()] == []


async def test_a_worker_that_idles_stops(any_app: App) -> None:
    async with work(any_app, poll=60.0) as worker:
        await registered(any_app, worker)


async def test_two_workers_of_the_same_name_are_told_apart(any_app: App) -> None:
    async with work(any_app, name="twin") as first, work(any_app, name="twin") as second:
        await registered(any_app, first)
        await registered(any_app, second)
        assert first.id != second.id


# ------------------------------------------------------------ commands


async def test_pause_resume_and_shutdown(any_app: App) -> None:
    gate, waits = gated(any_app)
    worker = Worker(any_app, options(heartbeat=0.05))
    running = asyncio.create_task(worker.run())
    await registered(any_app, worker)
    registry = (await any_app.backend()).registry

    async def state() -> WorkerState:
        [info] = await registry.workers()
        return info.state

    before = await waits.aenqueue()
    await gate.until_arrived(1)
    assert await registry.command(worker.id, WorkerCommand.PAUSE)
    await until(lambda: worker.info.state is WorkerState.PAUSED, "the worker pauses")
    await until(lambda: _is(state(), WorkerState.PAUSED), "the worker says that it pauses")
    after = await waits.aenqueue()
    gate.open()
    assert await before.aresult(30) == "done"
    assert (await after.ainfo()).state is TaskState.PENDING

    assert await registry.command(worker.id, WorkerCommand.RESUME)
    assert await after.aresult(30) == "done"
    assert await registry.command(worker.id, WorkerCommand.SHUTDOWN)
    await running
    registry = (await any_app.backend()).registry
    assert not await registry.command(worker.id, WorkerCommand.PAUSE)


async def _is(state: asyncio.Future[WorkerState] | object, expected: WorkerState) -> bool:
    found: object = await state  # type: ignore[misc]
    return found is expected


# ------------------------------------------------------------ recycling


async def test_a_worker_that_has_done_its_tasks_makes_room(any_app: App) -> None:
    @any_app.task
    async def quick() -> None: ...

    worker = Worker(any_app, options(max_tasks=3))
    running = asyncio.create_task(worker.run())
    handles = await quick.aenqueue_many([()] * 3)
    await running
    assert worker.wants_restart
    for handle in handles:
        assert (await ended(handle)).state is TaskState.COMPLETED


async def test_what_is_given_back_does_not_count_as_done(app: App) -> None:
    gate, waits = gated(app)
    async with work(app, max_tasks=3, concurrency=2, shutdown_timeout=0.5) as worker:
        await waits.aenqueue_many([()] * 8)
        await gate.until_arrived(2)
        parts(worker).executor.release_waiting(older_than=float("inf"))
    assert parts(worker).settler.settled == 0
    assert not worker.wants_restart


async def test_a_worker_that_has_grown_makes_room(app: App) -> None:
    worker = Worker(app, options(max_memory=1))
    await worker.run()
    assert worker.wants_restart


async def test_a_worker_that_is_told_to_stop_wants_no_restart(app: App) -> None:
    async with work(app) as worker:
        await registered(app, worker)
    assert not worker.wants_restart


@pytest.mark.parametrize("times", [1, 2])
async def test_a_worker_that_is_told_to_stop_before_it_has_started_breaks_its_start_off(times: int) -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        begun.set()
        try:
            await asyncio.Event().wait()
            yield
        finally:
            left.set()

    app = App("memory://", lifespan=lifespan)
    worker = Worker(app, options())
    running = asyncio.create_task(worker.run())
    await begun.wait()
    for _ in range(times):
        worker.stop()
    await asyncio.wait_for(running, PATIENCE)
    assert left.is_set()
    assert await (await app.backend()).registry.workers() == []
    await app.aclose()


async def test_a_worker_that_was_told_to_stop_before_it_began_does_not_begin(app: App) -> None:
    worker = Worker(app, options())
    worker.stop()
    worker.stop()
    await asyncio.wait_for(worker.run(), PATIENCE)


async def test_a_suspect_that_waits_when_the_worker_stops_is_given_back(app: App) -> None:
    gate, waits = gated(app)

    @app.task
    async def doubtful() -> None: ...

    suspect = await doubtful.aenqueue()
    async with suspect_behind(app, suspect, gate, waits) as (worker, handle):
        await until(lambda: suspect.id in parts(worker).executor.runs, "the suspect is held")
        worker.stop()
        gate.open()
    assert (await handle.ainfo()).state is TaskState.COMPLETED
    record = await suspect.ainfo()
    assert (record.state, record.attempt, record.lost_leases) == (TaskState.PENDING, 0, 2)


async def test_what_a_claim_on_its_way_takes_is_given_back(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()
    broker: Any = type((await app.backend()).broker)
    fetch = broker.fetch

    async def slow(self: Any, *args: Any, **options: Any) -> Any:
        fetched = await fetch(self, *args, **options)
        if fetched.deliveries:
            arrived.set()
            await release.wait()
        return fetched

    @app.task
    async def quick() -> None: ...

    monkeypatch.setattr(broker, "fetch", slow)
    worker = Worker(app, options())
    running = asyncio.create_task(worker.run())
    handle = await quick.aenqueue()
    await arrived.wait()
    worker.stop()
    release.set()
    await running
    record = await handle.ainfo()
    assert (record.state, record.attempt, record.lost_leases) == (TaskState.PENDING, 0, 0)
    assert [attempt.outcome.value for attempt in record.attempts] == ["released"]


async def test_a_worker_that_is_cancelled_gives_back_what_runs(any_app: App) -> None:
    gate, waits = gated(any_app)
    running = asyncio.create_task(Worker(any_app, options()).run())
    handles = await waits.aenqueue_many([()] * 5)
    await gate.until_arrived(5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for handle in handles:
        record = await handle.ainfo()
        assert (record.state, record.attempt) == (TaskState.PENDING, 0)
    assert gate.interrupted == 5


async def test_a_worker_that_drains_by_itself_takes_the_first_stop_for_the_first(app: App) -> None:
    gate, waits = gated(app)
    async with work(app, max_tasks=1) as worker:
        handle = await waits.aenqueue()
        await gate.until_arrived(1)
        worker._restart()
        worker.stop()
        gate.open()
    assert (await handle.ainfo()).state is TaskState.COMPLETED
