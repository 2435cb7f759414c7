"""Batches under the harness: callbacks run, and are listed, like any other task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from taskq import App, Fixed, NoRetry, TaskContext
from taskq.domain.flow import FlowState
from taskq.domain.message import Message
from taskq.middleware import Draft
from taskq.ports import Enqueued
from taskq.testing import Harness

app = App("redis://nobody.listens.example:1")
bad: set[int] = set()
told: list[tuple[str, str]] = []


@app.task(retry=NoRetry())
def load(number: int) -> None:
    if number in bad:
        raise ValueError(number)


@app.task(queue="callbacks")
async def callback(ctx: TaskContext, when: str) -> None:
    told.append((when, ctx.flow))


@app.task
def walks(ctx: TaskContext, depth: int) -> None:
    """A blocking task that adds to its own batch."""
    if depth:
        app.find_batch(ctx.flow).enqueue_many(walks, [(depth - 1,), (depth - 1,)])


@app.task
def fills(rows: int) -> str:
    """A blocking task that makes a batch."""
    with app.batch(on_success=callback.s("success")) as batch:
        for row in range(rows):
            batch.enqueue(load, row)
    return batch.id


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    bad.clear()
    told.clear()
    async with Harness(app) as opened:
        yield opened


def whens(harness: Harness) -> list[str]:
    """The callbacks that were enqueued, as the harness tells of them."""
    return sorted(task.kwargs["when"] for task in harness.enqueued(callback))


async def test_callbacks_are_listed_once_they_are_due(harness: Harness) -> None:
    async with app.batch(on_success=callback.s("success"), on_failure=callback.s("failure")) as batch:
        await batch.aenqueue_many(load, [(1,), (2,)])
    assert (len(harness.enqueued(load)), whens(harness)) == (2, [])
    assert await harness.run_until_idle() == 3
    assert whens(harness) == ["success"]
    assert told == [("success", batch.id)]
    assert harness.enqueued(callback).one().queue == "callbacks"
    assert await batch.astatus() is FlowState.COMPLETED


async def test_partial_failure_and_a_retry(harness: Harness) -> None:
    bad.add(2)
    async with app.batch(on_success=callback.s("success"), on_failure=callback.s("failure")) as batch:
        await batch.aenqueue_many(load, [(1,), (2,), (3,)])
    await harness.run_until_idle()
    progress = await batch.aprogress()
    assert (progress.completed, progress.failed, whens(harness)) == (2, 1, ["failure"])
    assert [record.name for record in await batch.afailed()] == [load.name]
    bad.clear()
    assert await batch.aretry(only_failed=True) == 1
    await harness.run_until_idle()
    assert whens(harness) == ["failure", "success"]


async def test_an_empty_batch(harness: Harness) -> None:
    async with app.batch(on_complete=callback.s("complete")) as batch:
        pass
    assert whens(harness) == ["complete"]
    await harness.run_until_idle()
    assert told == [("complete", batch.id)]


async def test_blocking_tasks_make_batches_and_add_to_their_own(harness: Harness) -> None:
    handle = await fills.aenqueue(250)
    await harness.run_until_idle()
    made = app.find_batch(await handle.aresult(0))
    assert (await made.aprogress()).completed == 250
    async with app.batch(on_success=callback.s("success")) as batch:
        await batch.aenqueue(walks, 2)
    await harness.run_until_idle()
    assert (await batch.aprogress()).completed == 7
    assert told == [("success", made.id), ("success", batch.id)]


async def test_the_cancel_of_a_batch(harness: Harness) -> None:
    async with app.batch(on_complete=callback.s("complete"), on_failure=callback.s("failure")) as batch:
        await batch.aenqueue(load.options(delay=60), 1)
    assert await batch.acancel("not today")
    assert whens(harness) == ["complete"]
    assert await harness.advance(minutes=2) == 1


async def test_the_cancel_of_its_only_task_is_an_end_too(harness: Harness) -> None:
    async with app.batch(on_failure=callback.s("failure")) as batch:
        await batch.aenqueue(load.options(delay=60), 1)
    await harness.enqueued(load).one().handle.acancel()
    assert whens(harness) == ["failure"]
    assert await harness.run_until_idle() == 1
    assert told == [("failure", batch.id)]


async def test_what_expires_is_an_end_too(harness: Harness) -> None:
    async with app.batch(on_failure=callback.s("failure")) as batch:
        await batch.aenqueue(load.options(delay=60, expires=30), 1)
    assert await harness.advance(minutes=2) == 1
    assert (whens(harness), told) == (["failure"], [("failure", batch.id)])
    assert (await batch.aprogress()).failed == 1


async def test_a_batch_ends_when_the_last_retry_has(harness: Harness) -> None:
    bad.add(1)
    async with app.batch(on_complete=callback.s("complete")) as batch:
        await batch.aenqueue(load.options(retry=Fixed(3600, max_retries=1)), 1)
    await harness.run_until_idle()
    assert (await batch.astatus(), whens(harness)) == (FlowState.RUNNING, [])
    bad.clear()
    assert await harness.advance(hours=2) == 2
    assert (await batch.astatus(), whens(harness)) == (FlowState.COMPLETED, ["complete"])


async def test_a_callback_with_a_delay(harness: Harness) -> None:
    async with app.batch(on_success=callback.s("success").options(delay=3600)):
        pass
    assert await harness.run_until_idle() == 0
    assert whens(harness) == ["success"]
    assert await harness.advance(hours=2) == 1


async def test_a_large_call_is_written_and_sent_step_by_step() -> None:
    own, written, sent = App(), 0, list[int]()

    class Counts:
        def on_enqueue(self, draft: Draft) -> None:
            nonlocal written
            written += 1

    own.add_middleware(Counts())

    @own.task(name="row")
    def row(number: int) -> None: ...

    async with Harness(own) as harness:
        step = own.stores.step
        async with own.batch() as batch:
            broker = (await own.backend()).broker
            enqueue = broker.enqueue

            async def noted(messages: Sequence[Message], **options: Any) -> list[Enqueued]:
                sent.append(written)
                return await enqueue(messages, **options)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(broker, "enqueue", noted)
                await batch.aenqueue_many(row, [(number,) for number in range(2 * step + 1)])
        assert sent == [step, 2 * step, 2 * step + 1]
        assert len(harness.enqueued(row)) == 2 * step + 1
