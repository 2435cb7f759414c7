"""What workers are told: pause keeps what they hold, drain gives back what has not begun; both stay, and resume."""

from __future__ import annotations

import asyncio

import pytest

from taskq import App
from taskq.management import Actor, Management, Role
from taskq.ports import WorkerState
from taskq.runtime.worker import Worker
from taskq.task import AsyncTask
from tests.worker.support import options, parts, until, work


class Bench:
    """A task that waits for its word."""

    def __init__(self, app: App) -> None:
        self.go = asyncio.Event()
        self.begun: list[int] = []

        @app.task(name="wait")
        async def wait(number: int) -> int:
            self.begun.append(number)
            await self.go.wait()
            return number

        self.wait: AsyncTask[[int], int] = wait


@pytest.fixture
def bench(any_app: App) -> Bench:
    return Bench(any_app)


def desk(app: App) -> Management:
    return Management(app, Actor("ann", [Role.OPERATOR]))


async def told(app: App, order: str, worker: Worker) -> None:
    """Tell a worker something as soon as its store knows it."""

    async def reported() -> bool:
        return worker.id in [one.id for one in await desk(app).workers.list()]

    await until(reported, "it has reported")
    assert await getattr(desk(app).workers, order)(worker.id) == [worker.id]


async def shown(app: App, worker: Worker, state: WorkerState) -> None:
    """Wait until the store shows a worker in a state."""

    async def has() -> bool:
        return any(one.id == worker.id and one.state is state for one in await desk(app).workers.list())

    await until(has, f"it is shown as {state}")


async def test_drain_gives_back_what_has_not_begun_and_ends_what_has(any_app: App, bench: Bench) -> None:
    async with work(any_app, concurrency=1, heartbeat=0.1) as worker:
        first = await bench.wait.aenqueue(0)
        await until(lambda: bench.begun, "the first has begun")
        held = parts(worker).executor.slots
        held._kinds["async"].seconds = 1e-6  # so that it claims ahead
        others = [await bench.wait.aenqueue(number) for number in (1, 2)]
        await told(any_app, "drain", worker)
        await shown(any_app, worker, WorkerState.DRAINING)
        await until(lambda: len(parts(worker).executor.runs) == 1, "it holds nothing but what runs")
        bench.go.set()
        assert await first.aresult(timeout=30) == 0
        await shown(any_app, worker, WorkerState.DRAINED)
        assert bench.begun == [0]
        async with Worker(any_app, options(name="other")).running():
            assert [await other.aresult(timeout=30) for other in others] == [1, 2]
        assert not worker._stopping.is_set(), "it stays"
        again = await bench.wait.aenqueue(3)
        await told(any_app, "resume", worker)
        assert await again.aresult(timeout=30) == 3
        await shown(any_app, worker, WorkerState.IDLE)


async def test_what_a_claim_brings_after_drain_goes_back(app: App) -> None:
    bench = Bench(app)
    async with work(app, heartbeat=0.1) as worker:
        executor = parts(worker).executor
        worker._orders._drain()
        handle = await bench.wait.aenqueue(1)
        broker = (await app.backend()).broker
        fetched = await broker.fetch(["default"], 1, worker=worker.id, lease=30.0, request_id="r1")
        executor.accept(fetched.deliveries, 0.0)
        assert not executor.runs

        async def is_back() -> bool:
            return (await handle.ainfo()).state.value == "pending"

        await until(is_back, "it is back")
        assert bench.begun == []


async def test_pause_keeps_what_is_held(app: App) -> None:
    bench = Bench(app)
    async with work(app, concurrency=1, heartbeat=0.1) as worker:
        first = await bench.wait.aenqueue(0)
        await until(lambda: bench.begun, "it has begun")
        await told(app, "pause", worker)
        await shown(app, worker, WorkerState.PAUSED)
        bench.go.set()
        assert await first.aresult(timeout=30) == 0
        assert worker.info.state is WorkerState.PAUSED


async def test_resume_does_not_undo_a_stop(app: App) -> None:
    async with work(app, heartbeat=0.1) as worker:
        worker._orders._drain()
        worker.drain()
        worker._orders._resume()
        assert parts(worker).executor.is_closing
        assert worker.info.state is WorkerState.SHUTTING_DOWN


async def test_drained_after_pause_is_told_as_such(app: App) -> None:
    async with work(app, heartbeat=0.1) as worker:
        worker._orders._drain()
        await told(app, "pause", worker)
        await shown(app, worker, WorkerState.DRAINED)
