"""What the worker makes of the answers to its heartbeat, and of leases that lapsed while a task waited for a slot."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from taskq import App
from taskq.domain.message import Delivery
from taskq.domain.outcome import Release, Settlement
from taskq.ports import Extension, QueueSettings
from taskq.runtime.executor import Executor
from taskq.runtime.heartbeat import HeartbeatThread
from taskq.runtime.leases import Leases
from taskq.runtime.run import Run, StopReason
from taskq.runtime.settler import Settler
from tests.worker.support import Gate, ended, options, parts, registered, until, work

NOTHING: frozenset[str] = frozenset()


async def nothing_to_say(run: Run) -> None:
    """No progress was reported."""


@pytest.fixture
def settled() -> list[tuple[Delivery, Settlement]]:
    """What an executor has decided."""
    return []


def executor_of(app: App, settled: list[tuple[Delivery, Settlement]], **said: Any) -> Executor:
    """An executor without a worker around it."""
    return Executor(
        app,
        options(**said),
        lambda d, s: settled.append((d, s)),
        lambda: 0,
        nothing_to_say,
        app.stores.root.inspector,
        lambda queue: QueueSettings(),
    )


async def claimed(app: App, count: int) -> list[Delivery]:
    """Deliveries of this application's tasks."""
    broker = (await app.backend()).broker
    fetched = await broker.fetch(["default"], count, worker="w", lease=30.0, request_id="r")
    return list(fetched.deliveries)


async def test_an_answer_about_an_older_run_does_not_stop_the_newer_one(app: App) -> None:
    gate = Gate()

    @app.task
    async def waits() -> str:
        await gate.passed()
        return "done"

    async with work(app) as worker:
        handle = await waits.aenqueue()
        await gate.until_arrived(1)
        executor = parts(worker).executor
        run = executor.runs[handle.id]
        older = run.delivery._replace(fence=run.delivery.fence - 1)
        leases = Leases(executor, parts(worker).settler)
        for answer in (Extension(frozenset({handle.id}), NOTHING), Extension(NOTHING, frozenset({handle.id}))):
            leases.extended([older], answer, time.monotonic())
        await registered(app, worker)
        assert run.stop_reason is None
        leases.extended([run.delivery], Extension(frozenset({handle.id}), NOTHING), time.monotonic())
        await until(lambda: run.stop_reason is StopReason.LOST, "it was told")


async def test_only_the_newest_run_of_a_task_is_asked_about(app: App, settled: list[Any]) -> None:
    @app.task
    async def waits() -> None:
        await asyncio.Event().wait()

    await waits.aenqueue()
    [delivery] = await claimed(app, 1)
    executor, settler = executor_of(app, settled), Settler((await app.backend()).broker)
    settler.put(delivery._replace(fence=0), Release())
    executor.accept([delivery], time.monotonic())
    assert Leases(executor, settler).held() == [delivery]
    executor.stop_all(StopReason.SHUTDOWN)


async def test_an_extension_counts_before_the_loop_has_heard_of_it(app: App, settled: list[Any]) -> None:
    @app.task
    async def waits() -> None:
        await asyncio.Event().wait()

    await waits.aenqueue()
    [delivery] = await claimed(app, 1)
    executor = executor_of(app, settled)
    executor.accept([delivery], time.monotonic() - 20.0)
    asked_at = time.monotonic()
    leases = Leases(executor, Settler((await app.backend()).broker))
    thread = threading.Thread(target=leases.extended, args=([delivery], Extension(NOTHING, NOTHING), asked_at))
    thread.start()
    thread.join()
    assert executor.runs[delivery.id].renewed_at == asked_at
    executor.stop_all(StopReason.SHUTDOWN)


async def test_what_lapsed_while_it_waited_is_given_back(app: App, settled: list[Any]) -> None:
    @app.task
    async def quick() -> None: ...

    await quick.aenqueue_many([()] * 1500)
    deliveries = await claimed(app, 1500)
    executor = executor_of(app, settled, concurrency=2)
    executor.accept(deliveries, time.monotonic() - 3600.0)
    assert [(delivery, settlement) for delivery, settlement in settled] == [(d, Release()) for d in deliveries]
    assert executor.runs == {}
    assert executor.slots.running == 0


async def test_many_that_lapse_behind_a_long_run_are_given_back(app: App, settled: list[Any]) -> None:
    gate = Gate()

    @app.task
    async def waits() -> None:
        await gate.passed()

    await waits.aenqueue_many([()] * 1500)
    first, *others = await claimed(app, 1500)
    executor = executor_of(app, settled, concurrency=1)
    executor.accept([first], time.monotonic())
    await gate.until_arrived(1)
    executor.accept(others, time.monotonic() - 3600.0)
    gate.open()
    await until(lambda: len(settled) == 1500, "all are settled")
    assert [settlement for _, settlement in settled[1:]] == [Release()] * 1499
    assert executor.slots.running == 0


async def test_a_run_that_is_stopped_before_its_first_step_is_over_at_once(app: App, settled: list[Any]) -> None:
    @app.task
    async def never() -> None:
        raise AssertionError

    await never.aenqueue()
    [delivery] = await claimed(app, 1)
    executor = executor_of(app, settled)
    executor.accept([delivery], time.monotonic())
    executor.stop_ids([delivery.id], StopReason.SHUTDOWN)
    assert settled == [(delivery, Release())]
    assert executor.runs == {}
    assert executor.slots.running == 0
    assert await executor.drain(30)


async def test_a_heartbeat_that_is_stopped_before_it_began_ends(app: App) -> None:
    async with work(app) as worker:
        heartbeat = HeartbeatThread(worker._heartbeat(parts(worker)), app.stores.root.clone())
        heartbeat.start()
        await heartbeat.stop(30)
        assert not heartbeat._thread.is_alive()


async def test_a_heartbeat_goes_on_after_an_error_that_nobody_expected(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    root: Any = type(app.stores.root)
    enter = root.__aenter__
    failures = 2

    async def fails(self: Any) -> Any:
        nonlocal failures
        if threading.current_thread().name == "taskq-heartbeat" and failures:
            failures -= 1
            raise ValueError("the secret is 4711")
        return await enter(self)

    @app.task
    async def waits() -> None:
        await gate.passed()

    monkeypatch.setattr(root, "__aenter__", fails)
    async with work(app, heartbeat=0.05) as worker:
        handle = await waits.aenqueue()
        await gate.until_arrived(1)
        run = parts(worker).executor.runs[handle.id]
        await until(lambda: run.renewed_at is not None, "the lease was extended")
        gate.open()
        await ended(handle)
    assert failures == 0
    assert "the heartbeat failed" in caplog.text
    assert "4711" not in caplog.text
