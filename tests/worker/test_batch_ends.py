"""Waiting for the end of a batch or a workflow, and closing a batch that was left open, on each backend."""

from __future__ import annotations

import pytest

from taskq import App, Reject, ResultTimeout, TaskContext, TaskNotFound, chain
from taskq.domain.flow import FlowState
from taskq.errors import InvalidOption
from tests.worker.support import PATIENCE, gated, until, work

GHOST = "01980000-0000-7000-8000-000000000000"


async def test_one_waits_for_the_end(any_app: App) -> None:
    gate, waits = gated(any_app)
    async with work(any_app):
        async with any_app.batch() as batch:
            await batch.aenqueue(waits)
        run = await chain(waits.s(), waits.si()).aenqueue()
        for flow, kind in ((batch, "batch"), (run, "workflow")):
            with pytest.raises(ResultTimeout, match=f"{kind} {flow.id} has not ended within 0 s; it goes on"):
                await flow.await_(0)
            with pytest.raises(ResultTimeout):
                await flow.await_(0.001)
        gate.open()
        assert await batch.await_(PATIENCE) is FlowState.COMPLETED
        assert await run.await_() is FlowState.COMPLETED
    with pytest.raises(InvalidOption, match="timeout must be a number of seconds or None"):
        await batch.await_(float("nan"))


async def test_a_batch_whose_process_has_died_in_its_block_is_closed_by_another(any_app: App) -> None:
    told: list[str] = []

    @any_app.task(name="load")
    async def load() -> None: ...

    @any_app.task(name="tell")
    async def tell() -> None:
        told.append("it has ended")

    left = await any_app.batch(on_complete=tell.s()).__aenter__()
    await left.aenqueue(load)
    await left._send()
    batch = any_app.find_batch(left.id)
    async with work(any_app):
        assert await batch.astatus() is FlowState.OPEN
        await batch.aclose()
        await batch.aclose()
        assert await batch.await_(PATIENCE) is FlowState.COMPLETED
        await until(lambda: told, "the callback has run")


async def test_what_is_not_known(any_app: App) -> None:
    for flow in (any_app.find_batch(GHOST), any_app.find_workflow(GHOST)):
        for asked in (flow.await_(1), flow.aretry(), flow.afailed(), flow.aprogress()):
            with pytest.raises(TaskNotFound, match=f"no record of workflow or batch {GHOST}"):
                await asked
        assert await flow.acancel() is False
    with pytest.raises(TaskNotFound):
        await any_app.find_workflow(GHOST).anodes()
    with pytest.raises(TaskNotFound):
        await any_app.find_batch(GHOST).aclose()


def test_without_a_loop(app: App) -> None:
    @app.task(name="load")
    def load() -> None: ...

    with app.batch() as batch:
        batch.enqueue(load)
    batch.close()
    batch.cancel()
    assert batch.wait(PATIENCE) is FlowState.CANCELLED


async def test_a_batch_that_was_cancelled_and_is_retried_is_one_like_any_other(any_app: App) -> None:
    told: list[str] = []

    @any_app.task(name="load")
    async def load(ctx: TaskContext, row: int) -> None:
        if row == 1:
            await any_app.find_batch(ctx.flow).aenqueue(load, 2)
        if row == 2:
            raise Reject("not this one")

    @any_app.task(name="tell")
    async def tell() -> None:
        told.append("a task has failed")

    async with any_app.batch(on_failure=tell.s()) as batch:
        await batch.aenqueue(load, 1)
    assert await batch.acancel("not today")
    assert await batch.aretry(only_failed=True) == 0
    assert (await batch.ainfo()).cancel_reason == "not today"
    assert await batch.aretry() == 1
    assert (await batch.ainfo()).cancel_reason is None
    async with work(any_app):
        assert await batch.await_(PATIENCE) is FlowState.FAILED
        await until(lambda: told, "the callback has run")
    assert await batch.acancel() is False
