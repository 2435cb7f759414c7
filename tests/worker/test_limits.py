"""Limits of tasks, kept by workers on every backend; what is over one holds up nobody."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from taskq import App, Concurrency, NoRetry, RateLimit, TaskState, Throttled
from taskq.handle import TaskHandle
from taskq.ports import GateState
from tests.worker.support import Crowd, Gate, configure, ended, gated, twin, until, until_state, work


async def gate_of(handle: TaskHandle[Any], place: int = 0) -> GateState:
    """How a limit of a task stands."""
    record = await handle.ainfo()
    if not record.limits:
        return GateState("")
    backend = await handle._access.backend()
    [state] = await backend.queues.gates(record.queue, [record.limits[place].gate])
    return state


async def parked(handle: TaskHandle[Any], number: int) -> None:
    """Wait until so many wait at the first gate of a task."""

    async def are_parked() -> bool:
        return (await gate_of(handle)).parked == number

    await until(are_parked, f"{number} wait at the gate")


# ---------------------------------------------------------------- concurrency


async def test_no_more_run_at_once_than_may_however_many_workers_there_are(any_app: App) -> None:
    crowd = Crowd()

    @any_app.task(concurrency=Concurrency(5))
    async def limited() -> None:
        await crowd.visit()

    handles = await limited.aenqueue_many([()] * 60)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(work(any_app, concurrency=20))
        for handle in handles:
            await handle.await_(30)
    assert crowd.came == 60
    assert crowd.most[None] <= 5
    assert (await gate_of(handles[0])).holders == ()


async def test_as_many_run_at_once_as_may_and_the_rest_when_they_have_ended(any_app: App) -> None:
    gate = Gate()

    @any_app.task(concurrency=Concurrency(2))
    async def limited() -> None:
        await gate.passed()

    handles = await limited.aenqueue_many([()] * 5)
    async with work(any_app):
        await gate.until_arrived(2)
        await parked(handles[0], 3)
        assert gate.arrived == 2
        for handle in handles[2:]:
            record = await handle.ainfo()
            assert (record.state, record.attempt, record.waits_at) == (TaskState.PENDING, 0, record.limits[0].gate)
        gate.open()
        for handle in handles:
            assert (await ended(handle)).attempt == 1
    assert gate.arrived == 5


async def test_keys_are_counted_apart(any_app: App) -> None:
    gate = Gate()

    @any_app.task(concurrency=Concurrency(1, key="to"))
    async def send(to: str) -> None:
        await gate.passed()

    handles = await send.aenqueue_many([("a",), ("a",), ("b",), ("b",)])
    async with work(any_app):
        await gate.until_arrived(2)
        await parked(handles[0], 1)
        await parked(handles[2], 1)
        gate.open()
        for handle in handles:
            await ended(handle)
    assert gate.arrived == 4


async def test_a_name_makes_a_mutex_of_several_tasks(any_app: App) -> None:
    crowd = Crowd()

    @any_app.task(name="prints", concurrency=Concurrency(1, name="printer"))
    async def prints() -> None:
        await crowd.visit()

    @any_app.task(name="cleans", queue="other", concurrency=Concurrency(1, name="printer"))
    async def cleans() -> None:
        await crowd.visit()

    handles = [await one.aenqueue() for _ in range(10) for one in (prints, cleans)]
    async with work(any_app, queues={"default": None, "other": None}), work(any_app, queues={"other": None}):
        for handle in handles:
            await ended(handle)
    assert (crowd.came, crowd.most[None]) == (20, 1)


async def test_what_is_over_a_limit_holds_up_nobody_behind_it(any_app: App) -> None:
    gate, waits = gated(any_app)
    limited = any_app.task(name="limited", concurrency=Concurrency(1))(waits.function)

    @any_app.task(name="free")
    async def free() -> str:
        return "free"

    held = await limited.aenqueue_many([()] * 50)
    handle = await free.aenqueue()
    async with work(any_app, concurrency=2):
        assert await handle.aresult(30) == "free"
        assert gate.arrived == 1
        gate.open()
        for one in held:
            await ended(one)


async def test_of_several_limits_each_holds(any_app: App) -> None:
    crowd = Crowd()

    @any_app.task(concurrency=(Concurrency(3), Concurrency(1, key="to")))
    async def send(to: str) -> None:
        await asyncio.gather(crowd.visit(), crowd.visit(to))

    handles = await send.aenqueue_many([(to,) for _ in range(5) for to in "abcd"])
    async with work(any_app):
        for handle in handles:
            await ended(handle)
    assert crowd.most[None] <= 3
    assert [crowd.most[to] for to in "abcd"] == [1] * 4


# ---------------------------------------------------------------- rate


async def test_no_more_start_than_the_rate_allows_and_the_rest_use_up_nothing(any_app: App) -> None:
    done = []

    @any_app.task(rate_limit=RateLimit("1/10m", burst=3))
    async def limited(number: int) -> None:
        done.append(number)

    handles = await limited.aenqueue_many([(number,) for number in range(10)])
    async with work(any_app), work(any_app):
        await parked(handles[0], 7)
    assert sorted(done) == [0, 1, 2]
    for handle in handles[3:]:
        record = await handle.ainfo()
        assert (record.state, record.attempt, record.fence) == (TaskState.PENDING, 0, 0)


async def test_a_rate_is_shared_under_its_name(any_app: App) -> None:
    done = []

    async def function() -> None:
        done.append(1)

    names = ("one", "two")
    tasks = [any_app.task(name=name, rate_limit=RateLimit("1/10m", burst=3, name="far"))(function) for name in names]
    handles = [await task.aenqueue() for task in tasks for _ in range(4)]
    async with work(any_app):
        await parked(handles[0], 5)
    assert len(done) == 3


async def test_too_many_requests_put_a_task_off_without_an_attempt_and_halve_its_rate(any_app: App) -> None:
    runs: list[int] = []

    @any_app.task(rate_limit=RateLimit(1000, adaptive=True), retry=NoRetry())
    async def calls(number: int) -> None:
        runs.append(number)
        if runs.count(number) == 1:
            raise Throttled(retry_after=3600)

    handle = await calls.aenqueue(1)
    async with work(any_app):
        record = await until_state(handle, TaskState.SCHEDULED)
        bucket = (await gate_of(handle)).bucket
    assert (record.attempt, [attempt.outcome.value for attempt in record.attempts]) == (0, ["snoozed"])
    assert record.due_at is not None
    assert record.due_at > record.created_at
    assert bucket is not None
    assert bucket.share == pytest.approx(0.5, abs=0.1)


# ---------------------------------------------------------------- late limits


async def test_who_knows_no_limits_may_enqueue_and_they_hold_all_the_same(any_app: App) -> None:
    gate = Gate()

    @any_app.task(name="limited", concurrency=(Concurrency(1, key="to"), Concurrency(9)))
    async def limited(to: str, subject: str = "hello") -> str:
        await gate.passed()
        return subject

    stranger = twin(any_app)
    handles = [await stranger.aenqueue("limited", {"to": "a"}) for _ in range(3)]
    known = await limited.aenqueue("a", "x")
    assert [(await handle.ainfo()).limits for handle in handles] == [()] * 3
    async with work(any_app):
        await parked(known, 3)
        assert gate.arrived == 1
        gate.open()
        for handle in (*handles, known):
            record = await ended(handle)
            assert (record.state, record.attempt) == (TaskState.COMPLETED, 1)
            assert record.limits == (await known.ainfo()).limits
    await stranger.aclose()


async def test_of_two_rates_of_a_task_the_slower_holds(any_app: App) -> None:
    ran: list[int] = []

    @any_app.task(rate_limit=(RateLimit("1/h", burst=2), RateLimit("1000/s")))
    async def limited(number: int) -> None:
        ran.append(number)

    handles = await limited.aenqueue_many([(number,) for number in range(5)])

    async def rest_is_parked() -> bool:
        return (await gate_of(handles[0])).parked == 3

    async with work(any_app):
        await until(rest_is_parked, "three wait at the slower rate")
        for handle in handles[:2]:
            await ended(handle)
        assert sorted(ran) == [0, 1]


async def test_late_limits_hold_in_a_queue_that_has_limits_of_its_own(any_app: App) -> None:
    gate = Gate()

    @any_app.task(name="limited", concurrency=Concurrency(1))
    async def limited() -> None:
        await gate.passed()

    stranger = twin(any_app)
    await configure(any_app, workers=10)
    handles = [await stranger.aenqueue("limited") for _ in range(3)]
    async with work(any_app):
        await gate.until_arrived(1)
        await parked(handles[0], 2)
        assert gate.arrived == 1
        gate.open()
        for handle in handles:
            await ended(handle)
    await stranger.aclose()


async def test_late_limits_speak_of_what_old_arguments_are_lifted_to(app: App) -> None:
    steps = {1: lambda old: {"recipient": old["to"]}}

    @app.task(name="limited", version=2, upcast=steps, concurrency=Concurrency(1, key="recipient"))
    async def limited(recipient: str) -> None: ...

    stranger = twin(app)
    old = await stranger.aenqueue("limited", {"to": "anna"})
    new = await limited.aenqueue("anna")
    async with work(app):
        assert (await ended(old)).limits == (await ended(new)).limits != ()
    await stranger.aclose()


async def test_what_a_key_cannot_be_made_of_runs_and_says_so_and_harms_no_other(any_app: App) -> None:
    def domain(to: dict[str, str], **_: Any) -> str:
        return to["domain"].lower()

    @any_app.task(name="limited", concurrency=Concurrency(1, key=domain), retry=NoRetry())
    async def limited(to: dict[str, str]) -> str:
        return to["domain"]

    stranger = twin(any_app)
    payloads: list[dict[str, Any]] = [{"to": {}}, {"to": 5}, {}]
    bad = [await stranger.aenqueue("limited", payload) for payload in payloads]
    good = await stranger.aenqueue("limited", {"to": {"domain": "x"}})
    async with work(any_app):
        for handle in bad:
            assert (await ended(handle)).state is TaskState.DEAD
        assert (await ended(good)).state is TaskState.COMPLETED
    await stranger.aclose()
