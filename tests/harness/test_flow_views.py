"""Blocking tasks that look at workflows and batches, in a harness: it has one loop, and that is theirs meanwhile."""

from __future__ import annotations

from taskq import App, NoRetry, QueueFull, TaskContext, chain, group
from taskq.queues import Queues
from taskq.testing import Harness

app = App("memory://")


@app.task(name="load", retry=NoRetry())
def load(row: int) -> int:
    if row < 0:
        raise ValueError(f"row {row}")
    return row


@app.task(name="list_failed")
def list_failed(ctx: TaskContext) -> list[str]:
    return [record.failure.message for record in app.find_batch(ctx.flow).failed() if record.failure]


@app.task(name="look")
def look(run_id: str) -> list[str]:
    return [f"{node.name} {node.record.state}" for node in app.find_workflow(run_id).nodes()]


@app.task(name="retry")
def retry(run_id: str) -> int:
    return app.find_workflow(run_id).retry()


@app.task(name="begin")
def begin() -> str:
    try:
        return group(load.s(row).options(queue="small") for row in range(5)).enqueue().id
    except QueueFull:
        return "full"


async def test_a_callback_lists_what_has_failed() -> None:
    async with Harness(app) as harness:
        async with app.batch(on_complete=list_failed.s()) as batch:
            await batch.aenqueue_many(load, [(1,), (-2,), (-3,)])
        await harness.run_until_idle()
        assert sorted(await harness.enqueued(list_failed).one().handle.aresult(0)) == ["row -2", "row -3"]


async def test_a_task_looks_at_a_workflow_and_starts_it_anew() -> None:
    async with Harness(app) as harness:
        run = await chain(load.s(-1), load.si(2)).aenqueue()
        await harness.run_until_idle()
        looked, started = await look.aenqueue(run.id), await retry.aenqueue(run.id)
        await harness.run_until_idle()
        assert await looked.aresult(0) == ["load dead", "load-2 cancelled"]
        assert await started.aresult(0) == 2


async def test_a_task_is_told_that_its_workflow_found_no_room() -> None:
    async with Harness(app) as harness:
        await Queues(app).aconfigure("small", max_size=3)
        handle = await begin.aenqueue()
        await harness.run_until_idle()
        assert await handle.aresult(0) == "full"
        assert (await (await app.backend()).flows.list()).records == []
