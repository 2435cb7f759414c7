"""Limits, unique keys and queue settings under the harness, whose hours pass in milliseconds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskq import (
    App,
    Breaker,
    Concurrency,
    Debounce,
    DuplicateTask,
    KeepLatest,
    NoRetry,
    QueueFull,
    RateLimit,
    TaskContext,
    TaskFailed,
    TaskState,
    Throttled,
    Unique,
)
from taskq.ports import QueueConfig
from taskq.testing import Harness

app = App("redis://nobody.listens.example:1")
runs: list[object] = []
CLAIMERS = 4


@app.task(rate_limit=RateLimit("100/s"))
async def rated() -> None: ...


@app.task(rate_limit=RateLimit("1/s", adaptive=True))
async def asks(ctx: TaskContext) -> None:
    runs.append(ctx.id)
    if len(runs) == 1:
        raise Throttled(retry_after=60)


@app.task(breaker=Breaker(least=2, cooldown=600), retry=NoRetry())
async def calls(works: bool) -> None:
    runs.append(works)
    if not works:
        raise ConnectionError("it is down")


@app.task(unique=Debounce(5, key="user", longest=12))
async def notify(user: str, text: str) -> None:
    runs.append((user, text))


@app.task(unique=KeepLatest())
async def index(version: int) -> None:
    runs.append(version)
    if version == 0:
        for newer in (1, 2, 3):
            await index.aenqueue(newer)


@app.task(unique=Unique(key="order", until="ttl", ttl=3600, on_duplicate="raise"))
async def ship(order: int) -> None: ...


@app.task(concurrency=Concurrency(1))
async def alone() -> None:
    runs.append("alone")


@app.task(queue="settled")
async def fails() -> None:
    runs.append("fails")
    raise ConnectionError("always")


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    runs.clear()
    async with Harness(app) as opened:
        yield opened


async def test_a_rate_holds_over_ten_seconds_whoever_claims(harness: Harness) -> None:
    await rated.aenqueue_many([()] * 2_000)
    broker = (await app.backend()).broker
    started, requests = 0, 0
    for _ in range(1_000):
        for claimer in range(CLAIMERS):
            requests += 1
            fetched = await broker.fetch(
                ["default"], 50, worker=f"w{claimer}", lease=3600.0, request_id=f"request {requests}"
            )
            started += len(fetched.deliveries)
        harness.clock.advance(0.01)
    assert started == pytest.approx(1_000, rel=0.05)


async def test_a_rate_holds_while_time_is_advanced(harness: Harness) -> None:
    await rated.aenqueue_many([()] * 2_000)
    assert await harness.advance(10) == pytest.approx(1_000, rel=0.05)


async def test_too_many_requests_halve_a_rate_for_a_while(harness: Harness) -> None:
    handles = await asks.aenqueue_many([()] * 3)
    assert await harness.run_until_idle() == 1
    assert await harness.advance(1) == 0
    assert await harness.advance(minutes=2) == 3
    assert runs == [handles[0].id, handles[1].id, handles[2].id, handles[0].id]
    assert (await handles[0].ainfo()).attempt == 1


async def test_an_open_breaker_holds_until_its_cooldown_is_over(harness: Harness) -> None:
    await calls.aenqueue_many([(False,)] * 2)
    await calls.aenqueue_many([(True,)] * 3)
    assert await harness.advance(599) == 2
    assert await harness.advance(2) == 3
    assert runs == [False, False, True, True, True]


async def test_a_debounced_task_runs_when_its_calls_pause(harness: Harness) -> None:
    for text in ("one", "two"):
        await notify.aenqueue("anna", text)
        assert await harness.advance(4) == 0
    assert harness.enqueued(notify).one().kwargs == {"user": "anna", "text": "two"}
    assert await harness.advance(1) == 1
    assert runs == [("anna", "two")]


async def test_a_debounced_task_waits_no_longer_than_it_may(harness: Harness) -> None:
    ended = 0
    for second in range(3):
        await notify.aenqueue("anna", str(second))
        ended += await harness.advance(4)
    assert ended == 1
    assert runs == [("anna", "2")]


async def test_the_latest_call_runs_after_the_one_that_runs(harness: Harness) -> None:
    await index.aenqueue(0)
    assert await harness.run_until_idle() == 2
    assert runs == [0, 3]


async def test_a_window_is_over_in_its_time(harness: Harness) -> None:
    first = await ship.aenqueue(17)
    await harness.advance(3599)
    with pytest.raises(DuplicateTask, match=first.id):
        await ship.aenqueue(17)
    await harness.advance(1)
    assert (await ship.aenqueue(17)).id != first.id


async def test_what_shares_a_slot_runs_one_after_the_other(harness: Harness) -> None:
    await alone.aenqueue_many([()] * 5)
    assert await harness.run_until_idle() == 5


async def test_what_is_set_for_a_queue_holds(harness: Harness) -> None:
    queues = (await app.backend()).queues
    retry = {"strategy": "fixed", "delay": 60, "max_retries": 1}
    await queues.configure("settled", QueueConfig(retry=retry, max_size=1, expires=100))
    handle = await fails.aenqueue()
    with pytest.raises(QueueFull):
        await fails.aenqueue()
    assert await harness.advance(59) == 1
    assert await harness.advance(1) == 1
    with pytest.raises(TaskFailed, match="always"):
        await handle.aresult(0)
    late = await fails.options(delay=200).aenqueue()
    assert await harness.advance(200) == 0
    assert await late.astatus() is TaskState.EXPIRED
