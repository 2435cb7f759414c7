"""What a task cannot add to its workflow: refused with what is wrong, and nothing of it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from taskq import (
    App,
    ConfigError,
    CyclicDependency,
    Fixed,
    FlowOver,
    FlowState,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    LeaseLost,
    NoRetry,
    ParentNotFound,
    QueueFull,
    TaskContext,
    TaskqError,
    TaskState,
    Workflow,
    WorkflowRun,
    WouldBlock,
    chain,
    group,
)
from taskq.domain.outcome import Release
from taskq.ports import Settled
from tests.unit.flows import parents_in
from tests.worker.flows import Sums, over, spread, states, sums_of, work_wide
from tests.worker.support import PATIENCE, configure, until
from tests.worker.test_workflow_adding import adder

UNKNOWN = "01980000-0000-7000-8000-000000000000"


@pytest.fixture
def sums(wide_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(wide_app)


def circle(sums: Sums) -> Workflow:
    """A workflow whose tasks wait for each other."""
    flow = Workflow("circle")
    first = flow.add(sums.add.s(1, 2))
    first.after(flow.add(sums.add.s(1, 2), after=first))
    return flow


def foreign(sums: Sums) -> Any:
    """The output of a task of another workflow."""
    return Workflow("other").add(sums.add.s(1, 2)).output


@pytest.mark.parametrize(
    ("what", "options", "error", "said"),
    [
        (lambda t: t.add.s(foreign(t), 1), {}, ConfigError, "add: an output can be used within one workflow alone"),
        (lambda t: t.add, {}, ConfigError, r"a workflow is made of task\.s\(…\) and of workflows, not of Task"),
        (lambda t: 5, {}, ConfigError, r"a workflow is made of task\.s\(…\) and of workflows, not of 5"),
        (lambda t: Workflow().add(t.add.s(1, 2)), {}, ConfigError, "a workflow is made of .* not of Node"),
        (lambda t: Workflow("empty"), {}, ConfigError, "workflow empty has no task"),
        (lambda t: circle(t), {}, CyclicDependency, "add"),
        (lambda t: t.add.s(1, "x"), {}, InvalidPayload, "workflow add, add: .*parameter y"),
        (lambda t: chain(t.add.s(1, 2), t.add.s("x")), {}, InvalidPayload, "workflow chain, add-2: "),
        (lambda t: t.add.options(block=3).s(1, 2), {}, InvalidOption, "add: the option block is for a task that is"),
        (lambda t: t.add.s(1, 2), {"name": ""}, InvalidOption, "the name of a node must have 1 to 255 printable"),
        (lambda t: chain(t.add.s(1, 2)), {"name": "a\n"}, InvalidOption, "the name of a node must have 1 to 255"),
        (
            lambda t: t.add.s(1, 2),
            {"after": 5},
            InvalidOption,
            "after must be a handle or the id of a task",
        ),
        (lambda t: t.add.s(1, 2), {"after": ["x"]}, InvalidOption, "after must be a handle or the id of a task"),
        (lambda t: t.add.s(1, 2), {"after": UNKNOWN}, ParentNotFound, UNKNOWN),
        (
            lambda t: t.add.s(1, 2),
            {"on_parent_failure": "x"},
            InvalidOption,
            "on_parent_failure must be ",
        ),
    ],
)
async def test_what_cannot_be_added(
    any_app: App, what: Callable[[Sums], Any], options: dict[str, Any], error: type[TaskqError], said: str
) -> None:
    sums = sums_of(any_app)

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> None:
        with pytest.raises(error, match=said):
            await run.aadd(what(sums), **options)
        assert not ctx.added
        await run.aadd(sums.add.s(1, 2))

    async with work_wide(any_app):
        run = await chain(adder(any_app, body, retry=NoRetry()).s()).aenqueue()
        assert await over(run) == dict.fromkeys(["split", "split/add"], TaskState.COMPLETED)


async def test_a_task_of_another_application(wide_app: App, sums: Sums) -> None:
    other = sums_of(App("memory://"))

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> None:
        for what in (other.add.s(1, 2), spread(other, [1, 2])):
            with pytest.raises(ConfigError, match="what is added to a workflow are tasks of its own application"):
                await run.aadd(what)

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body, retry=NoRetry()).s()).aenqueue()
        await run.aresult(PATIENCE)
    assert (await run.aprogress()).total == 1


async def test_from_outside_of_its_tasks(wide_app: App, sums: Sums) -> None:
    run = await chain(sums.add.s(1, 2)).aenqueue()
    said = "only a task of a workflow adds to it, while it runs"
    with pytest.raises(ConfigError, match=said):
        await run.aadd(sums.add.s(1, 2))
    with pytest.raises(WouldBlock):
        run.add(sums.add.s(1, 2))
    with pytest.raises(ConfigError, match=said):
        await asyncio.to_thread(run.add, sums.add.s(1, 2))

    async def body(ctx: TaskContext, mine: WorkflowRun[Any]) -> None:
        with pytest.raises(ConfigError, match=said):
            await run.aadd(sums.add.s(1, 2))

    @wide_app.task(name="alone", retry=NoRetry())
    async def alone(ctx: TaskContext) -> None:
        with pytest.raises(InvalidOption, match=r"ctx\.flow is '' in a task that belongs to none"):
            wide_app.find_workflow(ctx.flow)
        with pytest.raises(ConfigError, match=said):
            await run.aadd(sums.add.s(1, 2))

    refused: list[str] = []

    @wide_app.task(name="in_batch", retry=NoRetry())
    async def in_batch(ctx: TaskContext) -> None:
        with pytest.raises(ConfigError, match=said):
            await wide_app.find_workflow(ctx.flow).aadd(sums.add.s(1, 2))
        refused.append(ctx.id)

    async with work_wide(wide_app):
        other = await chain(adder(wide_app, body, retry=NoRetry()).s()).aenqueue()
        await other.aresult(PATIENCE)
        await (await alone.aenqueue()).aresult(PATIENCE)
        async with wide_app.batch(on_complete=in_batch.s()) as batch:
            await batch.aenqueue(in_batch)
        await until(lambda: len(refused) == 2, "a member of the batch and its callback were refused")
        await over(run)
    assert ((await run.aprogress()).total, (await other.aprogress()).total) == (1, 1)


async def test_a_name_is_for_one_task_of_a_run(wide_app: App, sums: Sums) -> None:
    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> None:
        await run.aadd(sums.add.s(1, 2), name="mine")
        await run.aadd(chain(sums.add.s(1, 2)), name="part")
        for what, name in (
            (sums.add.s(1, 2), "mine"),
            (sums.total.s([1]), "mine"),
            (chain(sums.total.si([1]), sums.add.s(1)), "part"),
            (sums.add.s(1, 2), "part/add"),
        ):
            with pytest.raises(InvalidOption, match="this task has added one named 'split/"):
                await run.aadd(what, name=name)
        await run.aadd(chain(sums.total.si([1])), name="part")  # none of its names is taken

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body, retry=NoRetry()).s()).aenqueue()
        assert set(await over(run)) == {"split", "split/mine", "split/part/add", "split/part/total"}
        assert set((await states(run)).values()) == {TaskState.COMPLETED}


async def test_another_attempt_that_comes_to_others(wide_app: App, sums: Sums) -> None:
    refused: list[str] = []

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> int:
        await run.aadd(sums.add.s(ctx.attempt, 1), name=f"of attempt {ctx.attempt}")
        for name in (None, "mine"):
            try:
                await run.aadd(sums.add.s(ctx.attempt, 2), name=name)
            except IdempotencyConflict as error:
                refused.append(str(error))
        if ctx.attempt == 1:
            raise ConnectionError("not yet")
        return len(refused)

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body).s()).aenqueue()
        assert await run.aresult(PATIENCE) == 2
        found = await over(run)
    assert "give each a name that says what it is for" in refused[0]
    assert set(found) == {"split", "split/of attempt 1", "split/of attempt 2", "split/add", "split/mine"}
    assert (await run.aprogress()).total == 5


async def test_what_could_not_be_added_can_be_tried_again(wide_app: App, sums: Sums) -> None:
    await configure(wide_app, "five", max_size=1)
    blocker = await sums.add.options(queue="five").aenqueue(1, 2)

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> int:
        part = group(sums.add.options(queue="five" if n == 3 else "one").s(n, n) for n in range(5))
        for name in (None, "part"):
            with pytest.raises(QueueFull):
                await run.aadd(part, name=name)
        await configure(wide_app, "five", max_size=1000)
        return sum([len(await run.aadd(part, name=name)) for name in (None, "part")])

    await (await wide_app.backend()).queues.pause("five")
    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body, retry=NoRetry()).s()).aenqueue()
        assert await run.aresult(PATIENCE) == 10
        await (await wide_app.backend()).queues.resume("five")
        assert await blocker.aresult(PATIENCE) == 3
        assert len(await over(run)) == 11
    names = ["add", *(f"add-{n}" for n in range(2, 6))]
    assert set(await parents_in(run)) == {"split", *(f"split/{n}" for n in names), *(f"split/part/{n}" for n in names)}


async def test_a_workflow_that_was_cancelled(wide_app: App, sums: Sums) -> None:
    refused: list[bool] = []

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> None:
        await run.aadd(sums.add.options(queue="nobody").s(1, 2))
        backend = await wide_app.backend()
        assert await backend.flows.cancel(run.id, "not today")  # the worker is not told yet
        for what in (sums.add.s(1, 2), spread(sums, [1, 2])):
            with pytest.raises(FlowOver, match="takes no more tasks"):
                await run.aadd(what)
        refused.append(True)

    async with work_wide(wide_app, heartbeat=10.0):
        run = await chain(adder(wide_app, body, retry=NoRetry()).s()).aenqueue()
        await over(run)
    assert (refused, (await run.aprogress()).total) == ([True], 2)
    assert await run.astatus() is FlowState.CANCELLED


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_lost_lease(wide_app: App, sums: Sums, kind: str) -> None:
    """Whoever has lost it adds nothing: the next attempt does."""
    refused: list[int] = []
    backend = await wide_app.backend()

    async def lose(ctx: TaskContext) -> None:
        # Paused: a worker that claims the task anew would cancel the older run.
        await backend.queues.pause("default")
        await backend.broker.settle([Settled(ctx.delivery, Release())])

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> int:
        if ctx.fence == 1:
            await lose(ctx)
            for what in (sums.add.s(1, 2), spread(sums, [1, 2])):
                with pytest.raises(LeaseLost):
                    await run.aadd(what)
            refused.append((await run.aprogress()).total)
        return len(await run.aadd(spread(sums, [1, 2]))) if ctx.fence > 1 else 0

    @wide_app.task(name="thread", retry=NoRetry())
    def thread(ctx: TaskContext) -> int:
        from taskq import blocking

        run = wide_app.find_workflow(ctx.flow)
        if ctx.fence > 1:
            return len(run.add(spread(sums, [1, 2])))
        blocking.run(lose(ctx), "lose()", "lose()")
        with pytest.raises(LeaseLost):
            run.add(spread(sums, [1, 2]))
        refused.append(run.progress().total)
        return 0

    split = adder(wide_app, body, retry=NoRetry())
    async with work_wide(wide_app):
        run = await chain(split.s() if kind == "async" else thread.s()).aenqueue()
        await until(lambda: refused, "it was refused")
        await backend.queues.resume("default")
        assert await run.aresult(PATIENCE) == 1
        await over(run)
    assert (refused, (await run.aprogress()).total) == ([1], 4)


async def test_a_part_that_takes_too_long_to_add(wide_app: App, sums: Sums) -> None:
    """A try that died between two calls to the store is completed by the next."""

    async def body(ctx: TaskContext, run: WorkflowRun[Any]) -> int:
        part = group(sums.add.options(queue=f"{'one' if n % 2 else 'two'}").s(n, n) for n in range(250))
        if ctx.attempt == 1:
            backend = await wide_app.backend()
            enqueue, turns = backend.broker.enqueue, []

            async def dying(messages: Any, **said: Any) -> Any:
                turns.append(messages)
                if len(turns) == 1:
                    await enqueue(messages[:120], **said)
                    raise ConnectionError("gone")
                return await enqueue(messages, **said)

            backend.broker.enqueue = dying  # type: ignore[method-assign]
        return len(await run.aadd(part, name="part"))

    async with work_wide(wide_app):
        run = await chain(adder(wide_app, body, retry=Fixed(0.01, max_retries=1)).s()).aenqueue()
        assert await run.aresult(PATIENCE) == 250
        assert set((await over(run)).values()) == {TaskState.COMPLETED}
    assert (await run.aprogress()).total == 251
