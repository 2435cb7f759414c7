"""Workflows, chains, groups and chords in real workers, on each backend."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import App, FlowState, QueueFull, ResultTimeout, TaskContext, TaskState, Workflow, chain, chord, group
from tests.unit.support import count, headers_of
from tests.worker import flows
from tests.worker.flows import Sums, over, sums_of
from tests.worker.support import PATIENCE, adopt, configure, gated, twin, until, work

COMPLETED = TaskState.COMPLETED


@pytest.fixture
def sums(any_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(any_app)


async def result_of(app: App, flow: Workflow) -> Any:
    """Run a workflow in a worker; its result is the same for whoever only knows the id."""
    async with work(app):
        run = await flow.aenqueue()
        result = await run.aresult(PATIENCE)
        assert await app.find_workflow(run.id).aresult(0) == result
        assert set((await over(run)).values()) == {COMPLETED}
        assert (await run.astatus(), (await run.aprogress()).fraction) == (FlowState.COMPLETED, 1.0)
    return result


async def test_a_chain(any_app: App, sums: Sums) -> None:
    assert await result_of(any_app, chain(sums.add.s(1, 2), sums.add.s(3), sums.add.si(10, 1), sums.add.s(4))) == 15


async def test_a_group(any_app: App, sums: Sums) -> None:
    assert await result_of(any_app, group(sums.add.s(n, n) for n in range(9))) == [2 * n for n in range(9)]


async def test_a_chord(any_app: App, sums: Sums) -> None:
    assert await result_of(any_app, chord([sums.add.s(1, 1), sums.add.s(2, 2)], sums.total.s())) == 6
    assert await result_of(any_app, chord([], sums.total.s())) == 0


async def test_groups_and_chains_within_each_other(any_app: App, sums: Sums) -> None:
    pair = group(sums.add.s(1), chain(sums.add.s(2), sums.add.s(3)))
    assert await result_of(any_app, chain(sums.add.s(0, 0), pair, sums.total.s(), pair)) == [7 + 0, 11]
    assert await result_of(any_app, group(group(sums.add.s(1, 1)), group(sums.add.s(2, 2), sums.add.s(3, 3)))) == [
        [2],
        [4, 6],
    ]


async def test_data_and_order(any_app: App, sums: Sums) -> None:
    order: list[str] = []

    @any_app.task(name="notes")
    async def notes(name: str, *_: int) -> str:
        order.append(name)
        return name

    flow = Workflow("dag")
    first = flow.add(notes.s("first"))
    number = flow.add(sums.add.s(1, 2), after=first)
    left = flow.add(notes.s("left", number.output), name="left")
    right = flow.add(notes.s("right", number.output), after=left, name="right")
    last = flow.add(notes.s("last"), after=[left, right], name="last")
    flow.add(notes.s(last.output), name="end")
    assert await result_of(any_app, flow) == "last"
    assert order == ["first", "left", "right", "last", "last"]


async def test_several_ends_give_a_dict(any_app: App, sums: Sums) -> None:
    flow, pair = Workflow(), group(sums.add.s(2, 2), sums.add.s(3, 3))
    first = flow.add(sums.add.s(1, 1), name="first")
    flow.add(sums.add.s(first.output, 5), name="left")
    flow.add(pair, after=first, name="right")
    assert await result_of(any_app, flow) == {"left": 7, "right": [4, 6]}


async def test_more_ends_than_the_record_names(any_app: App, sums: Sums) -> None:
    flow = group(chain(sums.add.s(n, n), sums.add.s(1)) if n % 3 else sums.add.s(n, n + 1) for n in range(120))
    assert await result_of(any_app, flow) == [2 * n + 1 for n in range(120)]
    named = Workflow()
    for n in range(101):
        named.add(sums.add.s(n, n), name=f"n{n}")
    assert await result_of(any_app, named) == {f"n{n}": 2 * n for n in range(101)}


async def test_parts_of_results_nested_in_arguments(any_app: App, sums: Sums) -> None:
    @any_app.task(name="reads")
    async def reads() -> dict[str, Any]:
        return {"rows": [[1, 2], [3, 4]], "name": "x"}

    @any_app.task(name="takes")
    def takes(rows: list[list[int]], named: dict[str, list[Any]], *rest: str, **more: int) -> list[Any]:
        return [rows, named, list(rest), more]

    flow = Workflow()
    read = flow.add(reads.s()).output
    flow.add(takes.s([read["rows"][1], [9]], {"n": (read["name"], 7)}, read["name"], "y", z=read["rows"][0][1]))
    assert await result_of(any_app, flow) == [[[3, 4], [9]], {"n": ["x", 7]}, ["x", "y"], {"z": 2}]


async def test_nothing_runs_before_all_is_stored(any_app: App, sums: Sums) -> None:
    """The first tasks wait for the last: a worker that is idle has none of them meanwhile."""
    ran: list[int] = []

    @any_app.task(name="first")
    async def first(n: int) -> int:
        ran.append(n)
        return n

    backend = await any_app.backend()
    close, seen = backend.flows.close, []

    async def closing(id: str) -> bool:
        run = any_app.find_workflow(id)
        seen.append((len(ran), (await run.aprogress()).total, {n.record.state for n in await run.anodes()}))
        return await close(id)

    backend.flows.close = closing  # type: ignore[method-assign]
    async with work(any_app):
        run = await group(first.s(n) for n in range(250)).aenqueue()
        assert await run.aresult(PATIENCE) == list(range(250))
    assert seen == [(0, 250, {TaskState.BLOCKED})]


async def test_options_of_signatures(any_app: App, sums: Sums) -> None:
    @any_app.task(name="looks")
    async def looks(ctx: TaskContext) -> list[Any]:
        return [ctx.queue, dict(ctx.metadata), ctx.tenant, ctx.deadline is not None]

    flow = Workflow()
    first = flow.add(sums.add.options(queue="one").s(1, 2))
    options = {"queue": "two", "priority": "high", "metadata": {"a": 1}, "tenant": "acme", "timeout": 30}
    flow.add(looks.s().options(**options), after=first, name="looks")
    async with work(any_app, queues={"one": 1, "two": 1}):
        run = await flow.aenqueue()
        assert await run.aresult(PATIENCE) == ["two", {"a": 1}, "acme", True]
    record = next(node.record for node in await run.anodes() if node.name == "looks")
    assert (record.priority.name, headers_of(record).timeout) == ("HIGH", 30)


async def test_a_delay_is_counted_from_the_end_of_the_parents(any_app: App, sums: Sums) -> None:
    flow = chain(sums.add.s(1, 2), sums.add.options(delay=3600).s(3))
    async with work(any_app):
        run = await flow.aenqueue()

        async def first_has_ended() -> bool:
            return (await run.aprogress()).completed == 1

        await until(first_has_ended, "the first has ended")
        first, second = (node.record for node in await run.anodes())
    assert second.state is TaskState.SCHEDULED
    assert first.completed_at is not None
    assert second.due_at is not None
    assert (second.due_at - first.completed_at).total_seconds() == pytest.approx(3600, abs=1)


async def test_another_application_finds_the_run(any_app: App, sums: Sums) -> None:
    async with work(any_app):
        run = await chord([sums.add.s(1, 1), sums.add.s(2, 2)], sums.total.s()).aenqueue()
        await over(run)
    other = twin(any_app)
    found = other.find_workflow(run.id)
    assert await found.aresult(0) == 6
    assert await found.astatus() is FlowState.COMPLETED
    assert [node.name for node in await found.anodes()] == ["add", "add-2", "total"]
    await other.aclose()


async def test_several_runs_of_one_workflow(any_app: App, sums: Sums) -> None:
    flow = chain(sums.add.s(1, 2), sums.add.s(3))
    async with work(any_app):
        runs = await asyncio.gather(*(flow.aenqueue() for _ in range(5)))
        assert await asyncio.gather(*(run.aresult(PATIENCE) for run in runs)) == [6] * 5
    assert len({run.id for run in runs}) == 5
    assert await count(any_app) == 10


async def test_a_run_that_has_not_ended(any_app: App, sums: Sums) -> None:
    gate, waits = gated(any_app)
    async with work(any_app):
        run = await chain(waits.s(), sums.total.si([1])).aenqueue()
        await gate.until_arrived(1)
        with pytest.raises(ResultTimeout, match=f"workflow {run.id} has not ended within 0.01 s; it goes on"):
            await run.aresult(0.01)
        assert await run.astatus() is FlowState.RUNNING
        gate.open()
        assert await run.aresult(PATIENCE) == 1


async def test_a_workflow_that_a_task_enqueues(any_app: App, sums: Sums) -> None:
    def flow_of(n: int) -> Workflow:
        return chord([sums.add.s(n, n), sums.add.s(1, 1)], sums.total.s())

    @any_app.task(name="maker")
    async def maker(n: int) -> str:
        return (await flow_of(n).aenqueue()).id

    @any_app.task(name="sync_maker")
    def sync_maker(n: int) -> str:
        return flow_of(n).enqueue().id

    async with work(any_app):
        made = await group(maker.s(1), sync_maker.s(2)).aenqueue()
        runs = [any_app.find_workflow(id) for id in await made.aresult(PATIENCE)]
        assert [await run.aresult(PATIENCE) for run in runs] == [4, 6]
        assert (await made.aprogress()).total == 2  # they are runs of their own


async def test_a_queue_that_is_full_leaves_nothing(any_app: App, sums: Sums) -> None:
    await configure(any_app, "small", max_size=5)
    other = await sums.add.aenqueue(1, 2)
    flow = group(sums.add.options(queue="small").s(n, n) for n in range(7))
    for part in (sums.add.s(1, 1), sums.total.s([1])):
        flow.add(part)
    async with work(any_app):
        with pytest.raises(QueueFull, match="add: its queue holds"):
            await flow.aenqueue()
        assert await other.aresult(PATIENCE) == 3
    assert await count(any_app) == 1
    assert (await (await any_app.backend()).flows.list()).records == []


async def test_blocking_code(any_app: App, sums: Sums) -> None:
    def view() -> Any:
        run = chain(sums.add.s(1, 2), sums.add.s(3)).enqueue()
        return run.result(PATIENCE), run.status(), [node.name for node in run.nodes()]

    async with work(any_app):
        assert await asyncio.to_thread(view) == (6, FlowState.COMPLETED, ["add", "add-2"])


async def test_process_tasks(any_app: App, sums: Sums) -> None:
    gathers = adopt(any_app, flows.gathers)
    flow = Workflow()
    number = flow.add(sums.add.s(1, 2), name="number")
    flow.add(gathers.s([number.output, 7]), after=flow.add(sums.total.s([4]), name="other"))
    async with work(any_app):
        run = await flow.aenqueue()
        assert await run.aresult(PATIENCE) == {
            "x": [3, 7],
            "parents": {"number": 3, "other": 4},
            "flow": run.id,
        }
