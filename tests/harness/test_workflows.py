"""Workflows under the harness: the same as in workers, with delays and retries in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskq import (
    App,
    Every,
    Fixed,
    FlowState,
    NoRetry,
    ResultTimeout,
    TaskContext,
    TaskState,
    Workflow,
    WorkflowFailed,
    chain,
    chord,
    group,
)
from taskq.testing import Harness

app = App("redis://nobody.listens.example:1")


@app.task
async def add(x: int, y: int) -> int:
    return x + y


@app.task(executor="process")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(retry=Fixed(3600, max_retries=2))
async def flaky(ctx: TaskContext, x: int) -> int:
    if ctx.attempt < 3:
        raise ConnectionError("not yet")
    return x * 10


@app.task(retry=NoRetry())
def fails(*_: Any) -> None:
    raise ValueError("always")


@app.task
def tells(ctx: TaskContext, x: Any = None) -> dict[str, Any]:
    return {"x": x, "parents": dict(ctx.parent_results)}


@app.task
def makes(n: int) -> str:
    """A blocking task that enqueues a workflow: it must not block the harness's loop."""
    return chain(add.s(n, n), add.s(1)).enqueue().id


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with Harness(app) as opened:
        yield opened


async def test_chain_group_and_chord(harness: Harness) -> None:
    runs = [
        await chain(add.s(1, 2), add.s(3)).aenqueue(),
        await group(add.s(n, n) for n in range(3)).aenqueue(),
        await chord([add.s(1, 1), add.s(2, 2)], total.s()).aenqueue(),
    ]
    assert [await run.astatus() for run in runs] == [FlowState.RUNNING] * 3
    with pytest.raises(ResultTimeout):
        await runs[0].aresult(0)
    assert await harness.run_until_idle() == 8
    assert [await run.aresult(0) for run in runs] == [6, [0, 2, 4], 6]
    assert [await run.astatus() for run in runs] == [FlowState.COMPLETED] * 3


async def test_what_was_enqueued(harness: Harness) -> None:
    flow = Workflow()
    flow.add(add.s(flow.add(add.s(1, 2)).output, 3))
    await flow.aenqueue()
    assert [task.name for task in harness.enqueued(add)] == [add.name] * 2
    assert harness.enqueued(add)[0].kwargs == {"x": 1, "y": 2}


async def test_retries_and_delays_in_virtual_time(harness: Harness) -> None:
    start = harness.clock.now()
    run = await chain(flaky.s(1), add.options(delay=600).s(5), flaky.s()).aenqueue()
    assert await harness.run_until_idle() == 1
    assert await harness.advance(hours=2) == 2
    states = [node.record.state for node in await run.anodes()]
    assert states == [TaskState.COMPLETED, TaskState.SCHEDULED, TaskState.BLOCKED]
    assert await harness.advance(minutes=9) == 0
    assert await harness.advance(hours=5) == 4
    assert await run.aresult(0) == 150
    ended = [node.record.completed_at for node in await run.anodes()]
    hours = [0 if each is None else round((each.timestamp() - start) / 600) for each in ended]
    assert hours == [12, 13, 25]
    assert await run.astatus() is FlowState.COMPLETED


@pytest.mark.parametrize(
    ("policy", "state"),
    [("cancel", TaskState.CANCELLED), ("run", TaskState.COMPLETED), ("fail", TaskState.FAILED)],
)
async def test_each_policy(harness: Harness, policy: str, state: TaskState) -> None:
    flow = Workflow()
    bad = flow.add(fails.s(), name="bad")
    flow.add(tells.s(bad.output), after=flow.add(add.s(1, 2), name="good"), on_parent_failure=policy, name="child")
    run = await flow.aenqueue()
    await harness.run_until_idle()
    nodes = {node.name: node.record.state for node in await run.anodes()}
    assert nodes == {"bad": TaskState.DEAD, "good": TaskState.COMPLETED, "child": state}
    if policy == "run":
        assert await run.aresult(0) == {"x": None, "parents": {"good": 3}}
    else:
        with pytest.raises(WorkflowFailed, match="ValueError: always"):
            await run.aresult(0)


async def test_a_result_that_does_not_fit(harness: Harness) -> None:
    run = await chain(tells.s(), add.s(1)).aenqueue()
    await harness.run_until_idle()
    with pytest.raises(WorkflowFailed, match="add: parameter x: expected `int`, got `object`"):
        await run.aresult(0)


async def test_a_retry_of_a_run(harness: Harness) -> None:
    run = await chain(fails.s(), tells.s()).aenqueue()
    await harness.run_until_idle()
    assert await run.aretry() == 2
    assert await harness.run_until_idle() == 1
    assert await run.astatus() is FlowState.FAILED
    assert await run.acancel() is False


async def test_a_cancel_of_a_run(harness: Harness) -> None:
    run = await chain(add.options(delay=60).s(1, 2), add.s(3)).aenqueue()
    assert await run.acancel("not today")
    assert await harness.advance(hours=1) == 0
    assert await run.astatus() is FlowState.CANCELLED


async def test_depends_on(harness: Harness) -> None:
    parent = await flaky.aenqueue(2)
    child = await tells.options(depends_on=parent).aenqueue(3)
    await harness.advance(hours=1)
    assert await child.astatus() is TaskState.BLOCKED
    await harness.advance(hours=1)
    assert await child.aresult(0) == {"x": 3, "parents": {parent.id: 20}}


async def test_a_blocking_task_enqueues_a_workflow(harness: Harness) -> None:
    handle = await makes.aenqueue(4)
    await harness.run_until_idle()
    run = app.find_workflow(await handle.aresult(0))
    assert await run.aresult(0) == 9
    assert (await run.aprogress()).completed == 2


@app.workflow(retry=Fixed(60, max_retries=2))
def nightly(ctx: TaskContext, number: int) -> Workflow:
    """A blocking task that starts a workflow, as soon as it is tried a second time."""
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    return chain(add.s(number, number), add.s(1))


@app.workflow(executor="process")
async def starts_async(number: int) -> Workflow:
    return chain(add.s(number, number), flaky.s())


async def test_tasks_that_start_workflows(harness: Harness) -> None:
    handles = [await nightly.aenqueue(2), await starts_async.aenqueue(3)]
    assert await harness.advance(days=1) == 2 + 2 + 1 + 1 + 3
    runs = [app.find_workflow(await handle.aresult(0)) for handle in handles]
    assert [await run.aresult(0) for run in runs] == [5, 60]
    assert len(harness.enqueued(nightly)) == 1


async def test_a_schedule_of_a_workflow(harness: Harness) -> None:
    """The next fire is skipped while the run waits, and not while its starter does."""
    await app.schedules.aput("slow", Every(hours=1), starts_async.name, {"number": 1}, overlap="skip")
    await harness.advance(hours=7)
    starts = harness.enqueued(starts_async)
    # Each run takes two hours: those of the first and the fourth hour are over when the fourth and the seventh begin.
    assert len(starts) == 3
    runs = [app.find_workflow(await start.handle.aresult(0)) for start in starts]
    states = [await run.astatus() for run in runs]
    assert states == [FlowState.COMPLETED, FlowState.COMPLETED, FlowState.RUNNING]


async def test_a_key(harness: Harness) -> None:
    flow = chain(add.s(1, 2), flaky.s())
    first = await flow.aenqueue(idempotency_key="k")
    await harness.advance(hours=3)
    again = await flow.aenqueue(idempotency_key="k")
    assert (again.id, await again.aresult(0)) == (first.id, 30)


@app.task
async def splits(ctx: TaskContext, number: int) -> int:
    run = app.find_workflow(ctx.flow)
    added = [await run.aadd(add.s(n, n)) for n in range(number)]
    await run.aadd(tells.s(), after=added)
    return number


@app.task(executor="process", retry=Fixed(3600, max_retries=2))
def splits_blocking(ctx: TaskContext, number: int) -> int:
    """A blocking task that adds to its workflow, and fails: it must not block the harness's loop."""
    handles = app.find_workflow(ctx.flow).add(group(add.s(n, n) for n in range(number)), name="part")
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    return len(handles)


async def test_adding(harness: Harness) -> None:
    run = await chain(splits.s(3), splits_blocking.s()).aenqueue()
    await harness.advance(hours=2)
    assert (await run.aresult(0), (await run.aprogress()).completed) == (3, 2 + 4 + 3)
    names = [node.name for node in await run.anodes()]
    assert names[:2] == [splits.name, splits_blocking.name]
    assert sum(name.startswith(f"{splits_blocking.name}/part/") for name in names) == 3


async def test_running_again(harness: Harness) -> None:
    run = await chain(splits.s(3), splits_blocking.s()).aenqueue()
    await harness.advance(hours=2)
    again = await run.arun_again()
    assert (await again.aprogress()).pending == 2
    await harness.advance(hours=2)
    assert (await again.aresult(0), (await again.aprogress()).completed) == (3, 9)
