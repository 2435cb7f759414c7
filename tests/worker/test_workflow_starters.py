"""Tasks that start a workflow, in real workers: one run for each, however often it is tried, and by whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import App, Fixed, FlowState, NoRetry, TaskContext, TaskState, Workflow, chain
from taskq.context import current_or_none
from taskq.domain.outcome import Release
from taskq.domain.schedule import Overlap, Rules
from taskq.domain.timing import Every
from taskq.handle import TaskHandle
from taskq.ports import Settled
from taskq.runtime.beat import CANCELLED
from taskq.schedule_spec import Fired, State
from taskq.task import AsyncTask
from tests.worker import flows
from tests.worker.flows import Sums, dies_once, only_run, over, spread, states, sums_of, work_wide
from tests.worker.schedules import beat_of
from tests.worker.support import PATIENCE, adopt, configure, ended, gated

COMPLETED = TaskState.COMPLETED
AGAIN = Fixed(0.01, max_retries=1000, jitter=False)


@pytest.fixture
def sums(wide_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(wide_app)


async def runs_of(app: App) -> list[str]:
    """The ids of all workflows that the store knows, the newest first."""
    return [record.id for record in (await (await app.backend()).flows.list()).records]


def tried(
    app: App, sums: Sums, name: str = "nightly", *, differs: bool = False
) -> tuple[AsyncTask[[], str], list[int]]:
    """A task that starts a workflow, and a list that grows with each try of it."""
    tries: list[int] = []

    @app.workflow(name=name, retry=AGAIN)
    async def starter() -> Workflow:
        tries.append(len(tries) + 1)
        return spread(sums, [1, 2, tries[-1] if differs else 3])

    return starter, tries


async def test_blocking_and_async_functions(wide_app: App, sums: Sums) -> None:
    @wide_app.workflow
    def plain(first: int, second: int = 1) -> Workflow:
        return chain(sums.add.s(first, second), sums.add.s(3))

    @wide_app.workflow(name="with_options", queue="one")
    async def with_options(ctx: TaskContext, first: int) -> Workflow:
        assert ctx.queue == "one"
        await asyncio.sleep(0)
        return chain(sums.add.s(first, ctx.attempt), sums.tells.s())

    async with work_wide(wide_app):
        handles: list[TaskHandle[str]] = [
            await plain.aenqueue(1),
            await plain.aenqueue(1),
            await plain.aenqueue(second=5, first=6),
            await wide_app.aenqueue(plain.name, {"first": 10}),
            await with_options.aenqueue(1),
        ]
        runs = [wide_app.find_workflow(await handle.aresult(PATIENCE)) for handle in handles]
        *results, told = [await run.aresult(PATIENCE) for run in runs]
    assert (results, told["values"]) == ([5, 5, 14, 14], [2])
    assert len({run.id for run in runs}) == 5
    assert {(await run.ainfo()).name for run in runs} == {"chain"}


async def test_it_is_a_part_of_another_workflow(wide_app: App, sums: Sums) -> None:
    starter, _ = tried(wide_app, sums)
    flow = chain(sums.add.s(1, 2), starter.si(), sums.tells.s())
    async with work_wide(wide_app):
        told = await (await flow.aenqueue()).aresult(PATIENCE)
        assert await wide_app.find_workflow(told["values"][0]).aresult(PATIENCE) == 12


async def test_a_function_that_is_called_starts_one_each_time(wide_app: App, sums: Sums) -> None:
    starter, _ = tried(wide_app, sums)
    made: list[str] = []

    @wide_app.workflow(name="sync")
    def sync(number: int) -> Workflow:
        return chain(sums.add.s(number, 1), sums.add.s(1))

    @wide_app.task(name="calls", retry=NoRetry())
    async def calls() -> None:
        call: Any = starter
        made.extend([await call(), await call()])

    @wide_app.task(name="calls_in_a_thread", retry=NoRetry())
    def calls_in_a_thread() -> None:
        made.extend([sync(1), sync(2)])

    async with work_wide(wide_app):
        for each in (calls, calls_in_a_thread):
            await (await each.aenqueue()).aresult(PATIENCE)
        made += [await asyncio.to_thread(sync, 3)]
        assert [await wide_app.find_workflow(id).aresult(PATIENCE) for id in made] == [12, 12, 3, 4, 5]
    assert len(set(made)) == 5


async def test_a_child_process(wide_app: App, wide_url: str) -> None:
    makes, _ = adopt(wide_app, flows.makes, retry=NoRetry()), adopt(wide_app, flows.leaf)
    async with work_wide(wide_app):
        record = await ended(handle := await makes.aenqueue(4))
        if wide_url == "memory://":  # which no other process can reach: it says so
            assert record.failure is not None
            assert record.failure.type == "CapabilityMissing"
        else:
            run = wide_app.find_workflow(await handle.aresult(PATIENCE))
            assert await run.aresult(PATIENCE) == 500


@pytest.mark.parametrize("stored", [0, 1, 3, 4])
@pytest.mark.parametrize("differs", [False, True])
async def test_a_try_that_died_in_the_middle(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch, stored: int, differs: bool
) -> None:
    starter, tries = tried(wide_app, sums, differs=differs)
    dies_once(monkeypatch, stored)
    async with work_wide(wide_app):
        run = wide_app.find_workflow(await (await starter.aenqueue()).aresult(PATIENCE))
        assert await run.aresult(PATIENCE) == (10 if differs else 12)
        assert set((await over(run)).values()) == {COMPLETED}
    others = [wide_app.find_workflow(id) for id in await runs_of(wide_app) if id != run.id]
    assert (len(tries), len(others)) == (2, 1 if differs else 0)
    for other in others:  # what the first try has begun never runs
        assert await other.astatus() is FlowState.CANCELLED
        assert set((await states(other)).values()) <= {TaskState.CANCELLED}


@pytest.mark.parametrize("differs", [False, True])
async def test_a_try_whose_lease_was_taken_when_all_was_stored(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch, differs: bool
) -> None:
    starter, tries = tried(wide_app, sums, differs=differs)
    backend = await wide_app.backend()
    close = backend.flows.close

    async def close_and_lose(id: str) -> bool:
        is_closed = await close(id)
        context = current_or_none()
        if context is not None and len(tries) == 1:
            await backend.broker.settle([Settled(context.delivery, Release())])
        return is_closed

    monkeypatch.setattr(backend.flows, "close", close_and_lose)
    async with work_wide(wide_app):
        handle = await starter.aenqueue()
        run = wide_app.find_workflow(await handle.aresult(PATIENCE))
        assert await run.aresult(PATIENCE) == (8 if differs else 12)
    assert (len(tries), await runs_of(wide_app)) == (2, [run.id])
    assert (await run.aprogress()).total == 4


async def test_a_worker_that_was_killed_when_it_had_stored_all(wide_app: App, sums: Sums) -> None:
    starter, tries = tried(wide_app, sums)
    handle = await starter.aenqueue()
    backend = await wide_app.backend()
    await backend.broker.fetch(["default"], 1, worker="killed", lease=0.1, request_id="1")
    first = await spread(sums, [1, 2, 3]).astart_for(handle.id, starter.submitter)
    async with work_wide(wide_app, lease=1.0, heartbeat=0.3):
        assert await handle.aresult(PATIENCE) == first.id
        assert await first.aresult(PATIENCE) == 12
    assert (tries, await runs_of(wide_app)) == ([1], [first.id])


async def test_one_that_was_paused_does_not_run_its_own_beside_that_of_another_try(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had stored all but the last step when its lease ran out, and the next try gave other tasks."""
    starter, _ = tried(wide_app, sums)
    handle = await starter.aenqueue()
    backend, gate = await wide_app.backend(), asyncio.Event()
    close, arrived = backend.flows.close, asyncio.Event()

    async def late(id: str) -> bool:
        arrived.set()
        await gate.wait()
        return await close(id)

    monkeypatch.setattr(backend.flows, "close", late)
    paused = asyncio.create_task(spread(sums, [7, 8]).astart_for(handle.id, starter.submitter))
    await arrived.wait()
    begun = await only_run(wide_app)
    monkeypatch.setattr(backend.flows, "close", close)
    async with work_wide(wide_app):
        run = wide_app.find_workflow(await handle.aresult(PATIENCE))
        gate.set()
        assert (await paused).id == run.id != begun.id
        assert [await each.aresult(PATIENCE) for each in (run, await paused)] == [12, 12]
    assert await begun.astatus() is FlowState.CANCELLED
    assert set((await states(begun)).values()) == {TaskState.CANCELLED}


@pytest.mark.parametrize("given", [5, None, "a run", [], lambda sums: sums.add.s(1, 2)])
async def test_what_is_no_workflow(any_app: App, given: Any) -> None:
    sums = sums_of(any_app)
    wrong: Callable[[], Any] = lambda: given(sums) if callable(given) else given  # noqa: E731

    @any_app.workflow(name="wrong", retry=NoRetry())
    def wrong_one() -> Workflow:
        found: Workflow = wrong()
        return found

    @any_app.workflow(name="wrong_too", retry=NoRetry())
    async def wrong_too() -> Workflow:
        found: Workflow = wrong()
        return found

    async with work_wide(any_app):
        for each in (wrong_one, wrong_too):
            failure = (await ended(await each.aenqueue())).failure
            assert failure is not None
            assert failure.type == "ConfigError"
            assert failure.message.startswith(
                f"{each.function.__name__} is declared to give a workflow, and has given "
            )
    assert await runs_of(any_app) == []


async def test_a_workflow_of_another_application(wide_app: App) -> None:
    other = sums_of(App("memory://"))

    @wide_app.workflow(name="strange", retry=NoRetry())
    def strange() -> Workflow:
        return spread(other, [1, 2])

    async with work_wide(wide_app):
        failure = (await ended(await strange.aenqueue())).failure
    assert failure is not None
    assert failure.message.startswith("workflow spread: a task starts a workflow of its own application")


async def test_a_full_queue_is_tried_again(wide_app: App, sums: Sums) -> None:
    await configure(wide_app, "two", max_size=1)
    blocker = await sums.add.options(queue="two").aenqueue(1, 2)
    starter, tries = tried(wide_app, sums)
    async with work_wide(wide_app):
        run = wide_app.find_workflow(await (await starter.aenqueue()).aresult(PATIENCE))
        assert await run.aresult(PATIENCE) == 12
        assert await blocker.aresult(PATIENCE) == 3
    assert tries
    assert await runs_of(wide_app) == [run.id]


# ---------------------------------------------------------------- what a beat sees of it


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.CANCEL])
async def test_the_next_fire_waits_for_the_run_or_cancels_it(wide_app: App, sums: Sums, overlap: Overlap) -> None:
    gate, waits = gated(wide_app)

    @wide_app.workflow(name="nightly")
    def nightly() -> Workflow:
        return chain(waits.s(), sums.tells.s())

    rules, beat = Rules(timing=Every(minutes=1), overlap=overlap), beat_of(wide_app)
    backend, now = await wide_app.backend(), datetime.now(UTC)
    handle = await nightly.aenqueue()
    state = State().with_fired([Fired(now, now, handle.id)])

    async def makes_way() -> bool:
        return await beat._makes_way(backend, rules, state)

    async with work_wide(wide_app):
        run = wide_app.find_workflow(await handle.aresult(PATIENCE))
        await gate.until_arrived(1)
        assert await backend.inspector.discard([handle.id])
        if overlap is Overlap.SKIP:
            assert not await makes_way()
            gate.open()
            assert set((await over(run)).values()) == {COMPLETED}
        else:
            assert await makes_way()
            assert set((await over(run)).values()) == {TaskState.CANCELLED}
            assert (await run.ainfo()).cancel_reason == CANCELLED
        assert await makes_way()
