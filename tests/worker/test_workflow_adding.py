"""Tasks that add to their workflow while they run, in real workers: counted, named, in order, and each once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskq import (
    App,
    Fixed,
    FlowState,
    NoRetry,
    TaskContext,
    TaskHandle,
    TaskState,
    Workflow,
    WorkflowFailed,
    WorkflowRun,
    chain,
    chord,
    group,
)
from taskq.task import AsyncTask
from tests.unit.flows import parents_in
from tests.worker import flows
from tests.worker.flows import QUEUES, Sums, over, spread, states, sums_of, work_wide
from tests.worker.support import PATIENCE, adopt, gated, until

COMPLETED, DEAD, CANCELLED, FAILED = TaskState.COMPLETED, TaskState.DEAD, TaskState.CANCELLED, TaskState.FAILED
Body = Callable[[TaskContext, WorkflowRun[Any]], Awaitable[Any]]


@pytest.fixture
def sums(wide_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(wide_app)


def adder(app: App, body: Body, **options: Any) -> AsyncTask[[], Any]:
    """A task that does this with the run to which it belongs."""

    @app.task(name="split", **{"retry": Fixed(0.01, max_retries=3, jitter=False), **options})
    async def split(ctx: TaskContext) -> Any:
        return await body(ctx, app.find_workflow(ctx.flow))

    made: AsyncTask[[], Any] = split
    return made


async def test_a_task_and_its_handle(wide_app: App, sums: Sums) -> None:
    gate, waits = gated(wide_app)
    found: list[TaskHandle[int]] = []

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> str:
        first = await run.aadd(sums.add.options(queue="two").s(1, 2))
        found.append(await run.aadd(sums.total.options(queue="one").s([4, 5]), after=first, name="sum"))
        await run.aadd(waits.s())
        return ctx.node

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body).s(), sums.tells.s()).aenqueue()
        told = await run.aresult(PATIENCE)
        await gate.until_arrived(1)
        assert (await run.astatus(), (await run.aprogress()).total) == (FlowState.RUNNING, 5)
        assert await found[0].aresult(PATIENCE) == 9
        gate.open()
        assert set((await over(run)).values()) == {COMPLETED}
    assert (told["values"], await run.aresult(0), await wide_app.find_workflow(run.id).aresult(0)) == (
        ["split"],
        told,
        told,
    )
    assert await parents_in(run) == {
        "split": [],
        "tells": ["split"],
        "split/add": [],
        "split/sum": ["split/add"],
        "split/waits": [],
    }
    assert [node.name for node in await run.anodes()][:2] == ["split", "tells"]


async def test_whole_workflows(wide_app: App, sums: Sums) -> None:
    ends: list[list[Any]] = []

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> None:
        for name in (None, "part"):
            parts = [
                chord([sums.add.options(queue=QUEUES[n]).s(n, n) for n in range(3)], sums.total.s()),
                group(sums.add.s(n, 1) for n in range(2)),
            ]
            for number, part in enumerate(parts):
                handles = await run.aadd(part, name=name and f"{name}{number}", after=ctx.id)
                ends.append([handle.id for handle in handles])

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body).s()).aenqueue()
        assert set((await over(run)).values()) == {COMPLETED}
        results = [[await wide_app.handle(id).aresult(0) for id in ids] for ids in ends]
    assert results == [[6], [1, 2], [6], [1, 2]]
    parents = await parents_in(run)
    assert set(parents) == {
        "split",
        *("split/add", "split/add-2", "split/add-3", "split/total", "split/add-4", "split/add-2-2"),
        *("split/part0/add", "split/part0/add-2", "split/part0/add-3", "split/part0/total"),
        *("split/part1/add", "split/part1/add-2"),
    }
    assert parents["split/part0/total"] == [f"split/part0/{name}" for name in ("add", "add-2", "add-3")]
    assert parents["split/part0/add"] == parents["split/add-4"] == ["split"]
    assert await run.aresult(0) is None


async def test_tasks_that_add_tasks_that_add(wide_app: App, sums: Sums) -> None:
    @wide_app.task(name="walk")
    async def walk(ctx: TaskContext, depth: int) -> int:
        if depth:
            run = wide_app.find_workflow(ctx.flow)
            for queue in ("one", "two"):
                await run.aadd(walk.options(queue=queue).s(depth - 1))
        return depth

    async with work_wide(wide_app):
        run = await chain(walk.s(4), sums.add.s(1)).aenqueue()
        assert set((await over(run)).values()) == {COMPLETED}
        assert await run.aresult(0) == 5
    names = [node.name for node in await run.anodes()]
    assert (len(names), len(set(names)), names[:2]) == (32, 32, ["walk", "add"])
    assert "walk/walk-2/walk/walk-2/walk" in names


@pytest.mark.parametrize("policy", ["cancel", "run", "fail", None])
async def test_what_becomes_of_them_when_one_before_them_fails(wide_app: App, sums: Sums, policy: str | None) -> None:
    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> None:
        bad = await run.aadd(sums.fails.options(queue="one").s())
        good = await run.aadd(sums.add.options(queue="two").s(1, 2))
        await run.aadd(sums.tells.s(), after=[bad, good.id], on_parent_failure=policy, name="one")
        await run.aadd(chain(sums.tells.s(), sums.tells.s()), after=bad.id, on_parent_failure=policy, name="part")
        said = sums.tells.options(on_parent_failure="run", queue="one").s()
        await run.aadd(said, after=bad, on_parent_failure=policy, name="said")
        await run.aadd(group(said, sums.tells.s()), after=bad, on_parent_failure=policy, name="each")

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body).s()).aenqueue()
        found = await over(run)
    expected = {"cancel": CANCELLED, "run": COMPLETED, "fail": FAILED, None: CANCELLED}[policy]
    assert (found["split/fails"], found["split/one"], found["split/part/tells"]) == (DEAD, expected, expected)
    assert found["split/part/tells-2"] is (COMPLETED if policy == "run" else CANCELLED)
    for name in ("split/said", "split/each/tells"):
        assert found[name] is (COMPLETED if policy is None else expected)  # as the signature says
    assert found["split/each/tells-2"] is expected
    assert await run.astatus() is FlowState.FAILED
    assert await run.aresult(0) is None


async def test_one_before_them_that_is_named_twice_or_lies_elsewhere(wide_app: App, sums: Sums) -> None:
    elsewhere = await sums.add.options(queue="three").aenqueue(3, 4)

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> None:
        first = await run.aadd(sums.add.options(queue="one").s(1, 2))
        twice = sums.tells.options(depends_on=[first, first.id, elsewhere], queue="two").s()
        await run.aadd(twice, after=[first, elsewhere, first.id], name="twice")

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body).s()).aenqueue()
        assert set((await over(run)).values()) == {COMPLETED}
        [told] = [node.record for node in await run.anodes() if node.name == "split/twice"]
        given = (await wide_app.handle(told.id).aresult(0))["parents"]
    assert sorted(given.values()) == [3, 7]
    assert (given[elsewhere.id], (await run.aprogress()).total) == (7, 3)


async def test_an_attempt_that_failed_adds_nothing_twice(wide_app: App, sums: Sums) -> None:
    ids: list[list[str]] = []

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> int:
        handles = [await run.aadd(sums.add.options(queue=QUEUES[n]).s(n, n)) for n in range(ctx.attempt + 1)]
        handles += await run.aadd(spread(sums, [1, 2, 3]), after=ctx.id, name="part")
        ids.append([handle.id for handle in handles])
        if ctx.attempt < 3:
            raise ConnectionError("not yet")
        return len(handles)

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body).s()).aenqueue()
        assert set((await over(run)).values()) == {COMPLETED}
        assert await run.aresult(0) == 5
        assert await wide_app.handle(ids[0][-1]).aresult(0) == 12
    assert ids[0][:2] == ids[1][:2] == ids[2][:2]
    assert (ids[1][2], ids[0][-1]) == (ids[2][2], ids[2][-1])
    assert (await run.aprogress()).total == 1 + 4 + 4
    assert sorted((await states(run)).keys())[:5] == ["split", *(f"split/add{n}" for n in ("", "-2", "-3", "-4"))]


async def test_in_threads(wide_app: App, sums: Sums) -> None:
    @wide_app.task(name="thread", retry=Fixed(0.01, max_retries=3, jitter=False))
    def thread(ctx: TaskContext) -> list[int]:
        run = wide_app.find_workflow(ctx.flow)
        first = run.add(sums.add.options(queue="one").s(1, 2), name="mine")
        [last] = run.add(spread(sums, [1, 2]), after=first, on_parent_failure="run")
        if ctx.attempt == 1:
            raise ConnectionError("not yet")
        return [first.result(PATIENCE), last.result(PATIENCE)]

    async with work_wide(wide_app):
        run = await chain(thread.s()).aenqueue()
        assert await run.aresult(PATIENCE) == [3, 6]
        assert (await over(run)).keys() == {f"thread{n}" for n in ("", "/mine", "/add", "/add-2", "/total")}


async def test_in_a_child_process(wide_app: App, wide_url: str) -> None:
    splits, _ = adopt(wide_app, flows.splits, retry=Fixed(0.01, max_retries=1)), adopt(wide_app, flows.leaf)
    async with work_wide(wide_app):
        run = await chain(splits.s(4)).aenqueue()
        if wide_url == "memory://":  # which no other process can reach: it says so
            with pytest.raises(WorkflowFailed, match="CapabilityMissing"):
                await run.aresult(PATIENCE)
        else:
            assert await run.aresult(PATIENCE) == 4
            found = await over(run)
            assert found == dict.fromkeys(
                ["splits", "splits/first", "splits/part/leaf", "splits/part/leaf-2"], COMPLETED
            )
            results = [await wide_app.handle(node.record.id).aresult(0) for node in await run.anodes()]
            assert sorted(results) == [4, 40, 50, 500]


async def test_the_result_stays_that_of_the_first_tasks(wide_app: App, sums: Sums) -> None:
    """Also of more ends than the record names, wherever they lie and however few of the added ones wait for others."""

    @wide_app.task(name="doubles")
    async def doubles(ctx: TaskContext, n: int) -> int:
        if n % 40 == 0:
            run = wide_app.find_workflow(ctx.flow)
            await run.aadd(group(sums.add.options(queue=QUEUES[k]).s(k, k) for k in range(4)))
        return 2 * n

    several = group(doubles.options(queue=QUEUES[n % 3]).s(n) for n in range(130))
    named = Workflow()
    for n in range(120):
        named.add(doubles.options(queue=QUEUES[n % 4]).s(n), name=f"n{n}")
    async with work_wide(wide_app):
        for flow, expected in (
            (several, [2 * n for n in range(130)]),
            (named, {f"n{n}": 2 * n for n in range(120)}),
        ):
            run = await flow.aenqueue()
            await over(run)
            for found in (run, wide_app.find_workflow(run.id)):
                result = await found.aresult(PATIENCE)
                assert result == expected
                assert list(result) == list(expected)
            assert (await run.aprogress()).total > len(expected)
            assert [node.name for node in await run.anodes()][: len(flow)] == list(flow._steps)


async def test_they_are_cancelled_with_it_and_started_anew(wide_app: App, sums: Sums) -> None:
    gate, waits = gated(wide_app)

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> None:
        await run.aadd(chain(waits.s(), sums.add.options(queue="one").si(1, 2)))
        await run.aadd(sums.fails.options(queue="two").s())

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body).s()).aenqueue()
        await gate.until_arrived(1)

        async def has_failed() -> bool:
            return (await run.aprogress()).failed == 1

        await until(has_failed, "one has failed")
        assert await run.acancel("not today")
        found = await over(run)
        assert found == {"split": COMPLETED, "split/waits": CANCELLED, "split/add": CANCELLED, "split/fails": DEAD}
        assert (await run.astatus(), len(await run.afailed())) == (FlowState.CANCELLED, 3)
        gate.open()
        assert await run.aretry(only_failed=True) == 1
        await over(run)
        assert await run.aretry() == 3
        assert await over(run) == {
            "split": COMPLETED,
            "split/waits": COMPLETED,
            "split/add": COMPLETED,
            "split/fails": DEAD,
        }
    progress = await run.aprogress()
    assert (progress.total, progress.completed, progress.failed, progress.pending) == (4, 3, 1, 0)


async def test_one_that_is_started_anew_adds_the_same(wide_app: App, sums: Sums) -> None:
    is_broken = [True]

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> int:
        handle = await run.aadd(sums.add.options(queue="one").s(1, 2))
        await run.aadd(sums.fails.s(), name="fails")
        if is_broken[0]:
            raise ConnectionError("not yet")
        return await handle.aresult(PATIENCE)

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body, retry=NoRetry()).s()).aenqueue()
        assert await over(run) == {"split": DEAD, "split/add": COMPLETED, "split/fails": DEAD}
        is_broken[0] = False
        assert await run.aretry() == 2
        assert await over(run) == {"split": COMPLETED, "split/add": COMPLETED, "split/fails": DEAD}
        assert (await run.aresult(0), (await run.aprogress()).total) == (3, 3)
