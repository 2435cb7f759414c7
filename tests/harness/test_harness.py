"""The harness that users test their own tasks with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taskq import (
    App,
    BackendUnavailable,
    ConfigError,
    Exponential,
    Fixed,
    IdempotencyConflict,
    NoRetry,
    Reject,
    Snooze,
    SoftTimeout,
    TaskContext,
    TaskExpired,
    TaskFailed,
    TaskState,
    WouldBlock,
    current,
)
from taskq.middleware import CallNext
from taskq.testing import Harness
from taskq_memory.broker import MemoryBroker

app = App("redis://nobody.listens.example:1")
log: list[str] = []


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[str]:
    yield "state"


@app.task
async def child(number: int) -> int:
    return number * 2


@app.task
def parent(number: int) -> str:
    """A blocking task that enqueues: it must not block the harness's loop."""
    return child.enqueue(number).id


@app.task
def waits_for_its_child(number: int) -> int:
    return child.enqueue(number).result()


@app.task(retry=Fixed(3600, max_retries=2))
async def flaky(ctx: TaskContext) -> int:
    if ctx.attempt < 3:
        raise ConnectionError("not yet")
    ctx.progress(1.0, "done")
    return ctx.attempt


@app.task(retry=Fixed(0, max_retries=1000), executor="process")
def fails() -> None:
    raise ValueError("always")


@app.task(retry=NoRetry())
async def breeds() -> None:
    await breeds.aenqueue()


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with Harness(app) as opened:
        yield opened


async def test_enqueued_tasks_are_seen_with_their_arguments(harness: Harness) -> None:
    await child.options(queue="slow", priority="high").aenqueue(3)
    await flaky.aenqueue()
    task = harness.enqueued(child).one()
    assert (task.kwargs, task.queue, task.priority.name) == ({"number": 3}, "slow", "HIGH")
    assert [task.name for task in harness.enqueued()] == [child.name, flaky.name]
    with pytest.raises(AssertionError, match="2 tasks were enqueued"):
        harness.enqueued().one()


async def test_only_what_was_stored_counts_as_enqueued(harness: Harness) -> None:
    once = child.options(idempotency_key="once")
    first = await once.aenqueue(3)
    await once.aenqueue(3)
    with pytest.raises(IdempotencyConflict):
        await once.options(queue="another").aenqueue(4)
    assert harness.enqueued(child).one().handle.id == first.id
    assert await harness.run_until_idle() == 1


async def test_what_the_store_did_not_take_was_not_enqueued(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise BackendUnavailable("down")

    monkeypatch.setattr(MemoryBroker, "enqueue", refuse)
    with pytest.raises(BackendUnavailable):
        await child.aenqueue(3)
    assert harness.enqueued() == []


async def test_nothing_runs_until_it_is_told_to(harness: Harness) -> None:
    handle = await child.aenqueue(2)
    assert await handle.astatus() is TaskState.PENDING
    assert await harness.run_until_idle() == 1
    assert await handle.aresult(0) == 4


async def test_a_blocking_task_enqueues_from_the_harness_own_loop(harness: Harness) -> None:
    handle = await parent.aenqueue(5)
    assert await harness.run_until_idle() == 2
    made = harness.enqueued(child).one().handle
    assert await handle.aresult(0) == made.id
    assert await made.aresult(0) == 10


async def test_a_blocking_wait_that_could_never_end_is_refused(harness: Harness) -> None:
    handle = await waits_for_its_child.options(retry=NoRetry()).aenqueue(5)
    await harness.run_until_idle()
    with pytest.raises(TaskFailed, match="cannot happen meanwhile") as caught:
        await handle.aresult(0)
    assert caught.value.type == WouldBlock.__name__


async def test_time_passes_only_by_advance_and_each_retry_has_its_instant(harness: Harness) -> None:
    start = harness.clock.now()
    handle = await flaky.aenqueue()
    assert await harness.run_until_idle() == 1
    assert await handle.astatus() is TaskState.RETRYING
    assert await harness.advance(minutes=59) == 0
    assert await harness.advance(hours=3) == 2
    record = await handle.ainfo()
    assert [round(attempt.started_at.timestamp() - start) for attempt in record.attempts[:3]] == [0, 3600, 7200]
    assert (await handle.aresult(0), record.progress and record.progress.message) == (3, "done")


async def test_delays_run_in_their_order(harness: Harness) -> None:
    late, early = await child.options(delay=20).aenqueue(1), await child.options(delay=10).aenqueue(2)
    await harness.advance(30)
    ended = [(await handle.ainfo()).completed_at for handle in (early, late)]
    assert ended[0] is not None
    assert ended[1] is not None
    assert (ended[1] - ended[0]).total_seconds() == pytest.approx(10)


async def test_a_task_that_fails_for_good_raises_its_failure(harness: Harness) -> None:
    handle = await fails.options(retry=Exponential(max_retries=2, jitter=False)).aenqueue()
    await harness.advance(days=1)
    with pytest.raises(TaskFailed, match="always"):
        await handle.aresult(0)
    assert (await handle.ainfo()).attempt == 3


async def test_what_nobody_began_in_time_expires(harness: Harness) -> None:
    handle = await child.options(delay=100, expires=50).aenqueue(1)
    await harness.advance(60)
    with pytest.raises(TaskExpired):
        await handle.aresult(0)


async def test_tasks_that_breed_for_ever_are_told_of(harness: Harness) -> None:
    await breeds.aenqueue()
    with pytest.raises(AssertionError, match="for ever"):
        await harness.run_until_idle()


async def test_lifespan_and_middleware_take_part() -> None:
    seen: list[str] = []
    own = App(lifespan=lifespan)

    class Watcher:
        def on_settled(self, delivery: object, settlement: object) -> None:
            seen.append(type(settlement).__name__)

    own.add_middleware(Watcher())

    @own.task(name="state")
    async def state() -> str:
        return str(current().state)

    async with Harness(own) as harness:
        handle = await state.aenqueue()
        await harness.run_until_idle()
        assert await handle.aresult(0) == "state"
    assert seen == ["Complete"]


async def test_what_middleware_raises_or_forgets_counts_as_in_a_worker() -> None:
    own = App()

    class Doorkeeper:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Any:
            outcome = await call_next()
            match context.metadata.get("says"):
                case "later":
                    raise Snooze(60)
                case "never":
                    raise Reject("not on the list")
                case "nothing":
                    return None
            return outcome

    own.add_middleware(Doorkeeper())

    @own.task(name="enter", retry=NoRetry())
    async def enter() -> str:
        return "inside"

    async with Harness(own) as harness:
        said = ("later", "never", "nothing", "welcome")
        handles = [await enter.options(metadata={"says": each}).aenqueue() for each in said]
        await harness.run_until_idle()
        records = [await handle.ainfo() for handle in handles]
    assert [record.state.value for record in records] == ["scheduled", "dead", "dead", "completed"]
    assert [record.attempt for record in records] == [0, 1, 1, 1]
    assert [record.failure and record.failure.type for record in records] == [None, "Reject", "MiddlewareError", None]


async def test_the_application_has_its_own_store_back_afterwards() -> None:
    async with Harness(app):
        assert app.url == "memory://"
    assert app.url == "redis://nobody.listens.example:1"


async def test_one_that_could_not_begin_gives_the_store_back() -> None:
    is_well = False

    @asynccontextmanager
    async def moody(app: App) -> AsyncIterator[None]:
        if not is_well:
            raise ValueError
        yield

    app = App("redis://never.reached.example", lifespan=moody)
    for harness in (Harness(app), Harness(app)):
        with pytest.raises(ConfigError, match="the lifespan raised ValueError"):
            async with harness:
                pytest.fail("it has begun")
        assert app.url == "redis://never.reached.example"
    is_well = True
    async with Harness(app):
        assert app.url == "memory://"


async def test_a_second_one_at_a_time_is_refused(harness: Harness) -> None:
    for second in (Harness(app), harness):
        with pytest.raises(ConfigError, match="a harness of this application is open already: close it"):
            async with second:
                pytest.fail("it has begun")
    await child.aenqueue(2)
    assert len(harness.enqueued(child)) == 1
    async with Harness(App()) as other:
        assert other.enqueued() == []


async def test_the_fixture_gives_the_harness(taskq_harness: type[Harness]) -> None:
    async with taskq_harness(app) as opened:
        await child.aenqueue(1)
        assert await opened.run_until_idle() == 1


async def test_a_timeout_ends_what_awaits() -> None:
    slow = App("redis://nobody.listens.example:1")

    @slow.task(timeout=0.05, retry=NoRetry())
    async def waits() -> None:
        await asyncio.Event().wait()

    async with Harness(slow) as harness:
        handle = await waits.aenqueue()
        await harness.run_until_idle()
        with pytest.raises(TaskFailed, match="TaskTimeout"):
            await handle.aresult(0)


async def test_a_task_that_cancels_itself_has_failed_as_in_a_worker() -> None:
    own = App("redis://nobody.listens.example:1")

    @own.task(retry=Fixed(60, max_retries=1))
    async def cancels_what_it_awaits() -> None:
        child = asyncio.create_task(asyncio.Event().wait())
        child.cancel()
        await child

    async with Harness(own) as harness:
        handle = await cancels_what_it_awaits.aenqueue()
        assert await harness.run_until_idle() + await harness.advance(minutes=1) == 2
        with pytest.raises(TaskFailed, match="the task cancelled itself"):
            await handle.aresult(0)


async def test_the_end_of_the_test_is_not_the_end_of_the_task() -> None:
    slow = App("redis://nobody.listens.example:1")

    @slow.task
    async def waits() -> None:
        begun.set()
        await asyncio.Event().wait()

    begun = asyncio.Event()
    async with Harness(slow) as harness:
        await waits.aenqueue()
        running = asyncio.create_task(harness.run_until_idle())
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_blocking_code_enqueues_from_a_thread() -> None:
    def view() -> str:
        return greet.enqueue("you").id

    shop = App("redis://nobody.listens.example:1")

    @shop.task
    def greet(who: str) -> str:
        return f"hello {who}"

    async with Harness(shop) as harness:
        id = await asyncio.to_thread(view)
        assert harness.enqueued(greet).one().handle.id == id
        await harness.run_until_idle()
        assert await shop.handle(id).aresult(0) == "hello you"


async def test_a_soft_timeout_is_raised_in_what_awaits() -> None:
    own = App("redis://nobody.listens.example:1")

    @own.task(name="slow", soft_timeout=0.01)
    async def slow() -> str:
        try:
            await asyncio.Event().wait()
        except SoftTimeout:
            return "half of it"
        return "never"

    async with Harness(own) as harness:
        handle = await slow.aenqueue()
        await harness.run_until_idle()
        assert await handle.aresult(0) == "half of it"


async def test_cached_results_stand_for_calls_with_the_same_arguments() -> None:
    own = App("redis://nobody.listens.example:1")
    runs: list[int] = []

    @own.task(name="double", cache=60)
    async def double(x: int) -> int:
        runs.append(x)
        return 2 * x

    async with Harness(own) as harness:
        for x in (1, 2, 1):
            handle = await double.aenqueue(x)
            await harness.run_until_idle()
            assert await handle.aresult(0) == 2 * x
        await harness.advance(minutes=2)
        await double.aenqueue(1)
        await harness.run_until_idle()
    assert runs == [1, 2, 1]
