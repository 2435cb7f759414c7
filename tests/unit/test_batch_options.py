"""What the options of a call mean for a task of a batch, and what becomes of a batch of which one is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App, Debounce, DuplicateTask, IdempotencyConflict, KeepLatest, QueueFull, Unique
from taskq.domain.flow import FlowState
from taskq.domain.message import Priority
from taskq.domain.state import TaskState
from taskq.errors import FlowOver, ParentNotFound, PayloadTooLarge
from tests.hooks import call_of, calls_in
from tests.unit.batches import GHOST, Loads, all_of, due, fill_queue, records, rows
from tests.unit.support import count, headers_of, payload_of


async def test_each_option_of_a_call_holds_in_a_batch(app: App, load: Loads) -> None:
    before = await load.aenqueue(0)
    eta = datetime.now(UTC) + timedelta(hours=1)
    async with app.batch() as batch:
        await batch.aenqueue(load.options(delay=60), 1)
        await batch.aenqueue(load.options(eta=eta), 2)
        await batch.aenqueue(load.options(priority="critical", queue="slow", tenant="acme"), 3)
        await batch.aenqueue(load.options(depends_on=before), 4)
        await batch.aenqueue(load.options(expires=timedelta(minutes=1), retention=60, timeout=5), 5)
    late, at, urgent, after, short = await records(app, batch)
    assert [one.state for one in (late, at, urgent, after)] == [
        *(TaskState.SCHEDULED, TaskState.SCHEDULED, TaskState.PENDING, TaskState.BLOCKED),
    ]
    assert at.due_at == eta
    assert (urgent.priority, urgent.queue, urgent.tenant) == (Priority.CRITICAL, "slow", "acme")
    assert [edge.parent for edge in after.parents] == [before.id]
    assert (short.retention, headers_of(short).timeout, short.expires_at is None) == (60, 5, False)
    assert {one.flow for one in (late, at, urgent, after, short)} == {batch.id}
    assert {headers_of(one).flow for one in (late, at, urgent, after, short)} == {batch.id}


async def test_a_key_makes_one_task(app: App, load: Loads) -> None:
    once = load.options(idempotency_key="row 1")
    async with app.batch() as batch:
        await batch.aenqueue(once, 1)
        await batch.aenqueue(once, 1)
        await batch.aenqueue(once.options(block=0.0), 1)
        await batch.aenqueue(once.options(block=0.0), 1)
    assert await rows(app, batch) == [("load", {"row": 1})]
    with pytest.raises(IdempotencyConflict, match="load: this idempotency key was used before with other arguments"):
        async with app.batch() as batch:
            await batch.aenqueue(load, 2)
            await batch.aenqueue(once, 3)
    assert await batch.astatus() is FlowState.CANCELLED


async def test_what_holds_a_unique_key_already_is_no_member(app: App) -> None:
    @app.task(name="sync", unique=Unique())
    def sync(user: int) -> None: ...

    held = await sync.aenqueue(1)
    async with app.batch() as batch:
        for user in (1, 2, 2, 3):
            await batch.aenqueue(sync, user)
    assert await rows(app, batch) == [("sync", {"user": 2}), ("sync", {"user": 3})]
    assert (await held.ainfo()).flow == ""


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("block", [None, 0.0])
async def test_a_task_that_asks_to_be_told_of_duplicates_is_told(app: App, before: int, block: float | None) -> None:
    @app.task(name="sync", unique=Unique(on_duplicate="raise"))
    def sync(user: int) -> None: ...

    held = await sync.aenqueue(1)
    with pytest.raises(DuplicateTask, match=f"sync: task {held.id} holds the same unique key"):
        async with app.batch() as batch:  # alone, or together with another
            await batch.aenqueue_many(sync.options(block=block), [(user,) for user in range(2, 2 + before)])
            await batch.aenqueue(sync.options(block=block), 1)
    assert await batch.astatus() is FlowState.CANCELLED


@pytest.mark.parametrize("unique", [KeepLatest(), Debounce(10)])
async def test_the_newest_arguments_take_the_place_of_those_that_wait(app: App, unique: Any) -> None:
    @app.task(name="index", unique=unique)
    def index(page: int) -> None: ...

    async with app.batch() as batch:
        for page in (1, 1, 1):
            await batch.aenqueue(index, page)
    [(_, payload)] = await rows(app, batch)
    assert payload == {"page": 1}
    assert (await batch.aprogress()).total == 1


async def test_a_task_that_is_to_wait_for_one_that_is_not_known_is_refused(app: App, load: Loads) -> None:
    later = load.options(depends_on=GHOST)
    with pytest.raises(ParentNotFound, match=f"load: it is to wait for task {GHOST}, of which there is no record"):
        async with app.batch() as batch:
            await batch.aenqueue_many(later, [(1,), (2,)])
    assert await batch.astatus() is FlowState.CANCELLED


async def test_a_full_queue_ends_the_block(app: App, load: Loads) -> None:
    await fill_queue(app, 2)
    with pytest.raises(QueueFull, match="load: its queue holds"):
        async with app.batch() as batch:
            await batch.aenqueue_many(load, [(row,) for row in range(5)])
    assert [record.state for record in await records(app, batch)] == [TaskState.CANCELLED] * 2
    assert (await batch.ainfo()).cancel_reason == "the block of the batch raised QueueFull"


async def test_a_full_queue_can_be_waited_for(app: App, load: Loads) -> None:
    await fill_queue(app, 1)
    async with app.batch() as batch:
        await batch.aenqueue(load, 1)
        adding = asyncio.create_task(batch.aenqueue_many(load.options(block=30), [(row,) for row in range(2, 102)]))
        while (await batch.aprogress()).total == 0:  # noqa: ASYNC110 - the store has no event for this
            await asyncio.sleep(0)
        assert not adding.done()
        await fill_queue(app, 1000)
        await adding
    assert (await batch.aprogress()).total == 101


async def test_a_refusal_that_the_block_catches_is_told_at_its_end(app: App, load: Loads, done: Any) -> None:
    await fill_queue(app, 2)
    with pytest.raises(
        FlowOver, match="not all of its tasks could be stored: QueueFull: load: its queue holds"
    ) as told:
        async with app.batch(**all_of(done)) as batch:
            with pytest.raises(QueueFull):
                await batch.aenqueue_many(load, [(row,) for row in range(200)])
            await fill_queue(app, 1000)
            with pytest.raises(FlowOver, match="takes no more tasks: one before could not be stored: QueueFull"):
                await batch.aenqueue(load, 3)
    assert isinstance(told.value.__cause__, QueueFull)
    assert await batch.astatus() is FlowState.CANCELLED
    assert await due(app) == ["complete"]


async def test_too_large_a_payload(app: App) -> None:
    @app.task(name="keep")
    def keep(text: str) -> None: ...

    with pytest.raises(PayloadTooLarge, match=r"keep take .* over max_payload"):
        async with app.batch() as batch:
            await batch.aenqueue(keep, "x" * 2_000_000)
    assert (await batch.astatus(), await count(app)) == (FlowState.CANCELLED, 0)


async def test_the_end_of_each_member_is_told_and_the_call_is_no_member(app: App, load: Loads, done: Any) -> None:
    told = load.options(on_complete_url="https://example.com/done")
    async with app.batch(**all_of(done)) as batch:
        await batch.aenqueue(load, 1)
        await batch.aenqueue(told, 2)
        await batch.aenqueue_many(told, [(row,) for row in range(3, 123)])
        await batch.aenqueue(load, 123)
    members = await records(app, batch)
    assert [payload_of(record)["row"] for record in members] == list(range(1, 124))
    calls = await calls_in(app)
    assert calls == sorted(call_of(app, app.handle(record.id)).id for record in members[1:-1])
    assert {(await app.handle(id).ainfo()).flow for id in calls} == {""}
    assert (await batch.aprogress()).total == 123
