"""A store that is away is an ordinary state: the worker goes on by itself, and nothing that was decided is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from taskq import App, TaskState
from taskq.domain.outcome import Complete
from taskq.runtime import maintenance
from tests.worker.support import Gate, ended, parts, until, work, wrap


async def test_the_worker_goes_on_when_the_store_is_back(any_app: App) -> None:
    wrapped = wrap(any_app)
    gate = Gate()

    @any_app.task
    async def waits(value: int) -> int:
        await gate.passed()
        return value

    async with work(any_app, heartbeat=0.1, lease=60.0) as worker:
        running = await waits.aenqueue_many([(1,), (2,), (3,)])
        waiting = await waits.options(delay=0.01).aenqueue(4)
        await gate.until_arrived(3)
        calls = wrapped.calls["fetch"]
        wrapped.switch.away = True
        gate.open()
        await until(lambda: wrapped.calls["settle"] > 1, "settling was tried and failed")
        await until(lambda: wrapped.calls["fetch"] > calls + 1, "claiming was tried and failed")
        assert not worker.is_healthy
        assert len(parts(worker).settler.held) >= 3
        wrapped.switch.away = False
        for value, handle in enumerate((*running, waiting), start=1):
            assert await handle.aresult(30) == value
            assert (await handle.ainfo()).fence == 1
        await until(lambda: worker.is_healthy, "the worker is well again")
        assert parts(worker).settler.held == {}


async def test_a_lost_reply_to_a_claim_loses_and_doubles_nothing(any_app: App) -> None:
    wrapped = wrap(any_app)
    ran: list[int] = []

    @any_app.task
    async def noted(number: int) -> None:
        ran.append(number)

    handles = await noted.aenqueue_many([(number,) for number in range(20)])
    wrapped.switch.lost_replies["fetch"] = 3
    async with work(any_app):
        for handle in handles:
            record = await ended(handle)
            assert (record.state, record.fence, record.lost_leases) == (TaskState.COMPLETED, 1, 0)
    assert sorted(ran) == [*range(20)]


async def test_a_lost_reply_to_a_settlement_changes_nothing(any_app: App) -> None:
    wrapped = wrap(any_app)
    settled: list[str] = []

    class Counts:
        def on_settled(self, delivery: Any, settlement: Any) -> None:
            assert isinstance(settlement, Complete)
            settled.append(delivery.id)

    any_app.add_middleware(Counts())

    @any_app.task
    async def quick() -> str:
        return "done"

    async with work(any_app):
        wrapped.switch.lost_replies["settle"] = 2
        handle = await quick.aenqueue()
        assert await handle.aresult(30) == "done"
        await until(lambda: settled, "the worker knows")
    record = await handle.ainfo()
    assert (record.fence, len(record.attempts)) == (1, 1)
    assert settled == [handle.id]


async def test_a_worker_stops_while_its_store_is_away(app: App) -> None:
    wrapped = wrap(app)
    gate = Gate()

    @app.task
    async def waits() -> None:
        await gate.passed()

    async with work(app, shutdown_timeout=0.5):
        await waits.aenqueue()
        await gate.until_arrived(1)
        wrapped.switch.away = True
        await until(lambda: wrapped.calls["fetch"] > 1, "claiming goes on")
    assert gate.interrupted == 1
    wrapped.switch.away = False


# ------------------------------------------------------------ the heartbeat


async def test_leases_hold_while_the_loop_is_blocked(any_app: App) -> None:
    lease = 0.9
    stop, reaped = threading.Event(), []

    @any_app.task
    async def blocks() -> float:
        began = time.monotonic()
        while time.monotonic() < began + 2 * lease:
            time.sleep(lease / 20)  # noqa: ASYNC251 - that is the fault under test
        return time.monotonic() - began

    async def reap() -> None:
        async with any_app.stores.root.clone() as backend:
            while not stop.is_set():
                found = await backend.maintenance.reap(renewal=lease / 3)
                reaped.append(found.requeued + found.buried)
                await asyncio.sleep(lease / 20)

    reaper = threading.Thread(target=_run, args=(reap(),))
    reaper.start()
    try:
        async with work(any_app, lease=lease, heartbeat=lease / 4):
            handle = await blocks.aenqueue()
            assert await handle.aresult(30) > lease
    finally:
        stop.set()
        reaper.join()
    record = await handle.ainfo()
    assert (record.attempt, record.fence, record.lost_leases) == (1, 1, 0)
    assert len(reaped) > 3
    assert sum(reaped) == 0


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


async def test_a_lease_that_nobody_extends_any_more_runs_again(any_app: App) -> None:
    @any_app.task
    async def quick() -> str:
        return "done"

    handle = await quick.aenqueue()
    broker = (await any_app.backend()).broker
    fetched = await broker.fetch(["default"], 1, worker="ghost", lease=0.5, request_id="1")
    assert [delivery.id for delivery in fetched.deliveries] == [handle.id]
    async with work(any_app, lease=0.6, heartbeat=0.2):
        assert await handle.aresult(30) == "done"
    record = await handle.ainfo()
    assert (record.fence, record.lost_leases, record.attempt) == (2, 1, 1)
    assert [attempt.outcome.value for attempt in record.attempts] == ["lease lost", "succeeded"]


# ------------------------------------------------------------ idle is quiet


async def test_an_idle_worker_sends_at_most_one_command_a_second(any_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = 0.02  # a second of this test is fifty of the worker's
    monkeypatch.setattr(maintenance, "REAP_EVERY", maintenance.REAP_EVERY * scale)
    monkeypatch.setattr(maintenance, "TIDY_EVERY", maintenance.TIDY_EVERY * scale)
    wrapped = wrap(any_app)
    began = time.monotonic()
    async with work(any_app, poll=5.0 * scale, lease=30.0 * scale, heartbeat=10.0 * scale):
        await until(lambda: wrapped.calls["wait"] > 20, "the worker has waited often")
        seconds = (time.monotonic() - began) / scale
        commands = sum(wrapped.calls.values())
    # Twelve more at the start, when everything is due at once.
    assert commands <= seconds + 12
    assert wrapped.calls["extend"] == 0


async def test_an_error_of_an_adapter_that_nobody_expected_ends_no_worker(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    wrapped = wrap(app)
    failures = 3

    def fail(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal failures
        if name == "fetch" and failures:
            failures -= 1
            raise ValueError("the secret is 4711")

    wrapped.switch.on_call = fail

    @app.task
    async def quick() -> str:
        return "done"

    async with work(app):
        assert await (await quick.aenqueue()).aresult(30) == "done"
    assert failures == 0
    assert "ValueError at " in caplog.text
    assert "4711" not in caplog.text
