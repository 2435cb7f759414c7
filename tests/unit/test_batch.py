"""Batches as they are filled: what is sent when, with which options, and what becomes of a block that raises."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from threading import Thread
from typing import Any

import pytest

from taskq import App, InvalidPayload
from taskq.domain.flow import FlowState
from taskq.domain.message import Priority
from taskq.errors import FlowOver, TaskNotFound
from taskq.task import Task
from tests.unit.batches import GHOST, Loads, all_of, due, records, rows
from tests.unit.support import claim, count, headers_of, payload_of
from tests.worker.support import wrap

# ---------------------------------------------------------------- the block


def test_a_block(app: App, load: Loads) -> None:
    with app.batch(name="import") as batch:
        assert batch.status() is FlowState.OPEN
        for row in range(3):
            batch.enqueue(load, row)
        assert batch.progress().total == 0  # they are sent with others, or at the end
    assert (batch.status(), batch.progress().total, batch.info().name) == (FlowState.RUNNING, 3, "import")
    found = app.find_batch(batch.id).progress()
    assert (found.total, found.pending, found.completed, found.failed, found.cancelled, found.fraction) == (
        *(3, 3, 0, 0, 0),
        0.0,
    )


async def test_a_block_in_a_loop(app: App, load: Loads) -> None:
    async with app.batch() as batch:
        await batch.aenqueue(load, 1)
        await batch.aenqueue(load, row=2)
        await batch.aenqueue_many(load, [(3,), {"row": 4}])
    assert await rows(app, batch) == [("load", {"row": number}) for number in (1, 2, 3, 4)]
    assert (await batch.aprogress()).pending == 4
    assert await batch.astatus() is FlowState.RUNNING


def test_250_tasks_are_three_calls(app: App, load: Loads) -> None:
    calls = wrap(app).calls
    with app.batch() as batch:
        for row in range(250):
            batch.enqueue(load, row)
            assert calls["enqueue"] == (row + 1) // 100
    assert calls["enqueue"] == 3
    assert batch.progress().total == 250


async def test_250_tasks_of_several_kinds_are_three_calls_too(app: App, load: Loads) -> None:
    @app.task(name="other")
    def other() -> None: ...

    calls = wrap(app).calls
    async with app.batch() as batch:
        for row in range(125):
            await batch.aenqueue(load.options(priority="high", metadata={"row": row}), row)
            await batch.aenqueue(other.options(idempotency_key=f"row {row}"))
    assert calls["enqueue"] == 3
    assert await rows(app, batch) == [
        *itertools.chain.from_iterable((("load", {"row": row}), ("other", {})) for row in range(125))
    ]
    stored = await records(app, batch)
    assert [headers_of(record).metadata for record in stored[:3:2]] == [{"row": 0}, {"row": 1}]
    assert {record.priority for record in stored if record.name == "load"} == {Priority.HIGH}


async def test_many_at_once(app: App, load: Loads) -> None:
    calls = wrap(app).calls
    async with app.batch() as batch:
        await batch.aenqueue(load, 0)
        await batch.aenqueue_many(load, ((row,) for row in range(1, 250)))
        assert calls["enqueue"] == 3
    assert [payload["row"] for _, payload in await rows(app, batch)] == list(range(250))


def test_threads_may_share_a_block(app: App, load: Loads) -> None:
    def add(numbers: Iterable[int]) -> None:
        for number in numbers:
            batch.enqueue(load, number)

    with app.batch() as batch:
        threads = [Thread(target=add, args=(range(start, start + 150),)) for start in (0, 150, 300)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert batch.progress().total == 450


async def test_an_empty_batch_is_through_at_once(app: App, done: Task[..., None]) -> None:
    async with app.batch(**all_of(done)) as batch:
        await batch.aenqueue_many(done, [])
    assert (await batch.astatus(), (await batch.aprogress()).fraction) == (FlowState.COMPLETED, 1.0)
    assert await due(app) == ["complete", "success"]


# ---------------------------------------------------------------- a block that raises


async def test_a_block_that_raises_cancels_the_batch(app: App, load: Loads, done: Task[..., None]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with app.batch(**all_of(done)) as batch:
            await batch.aenqueue_many(load, [(row,) for row in range(100)])
            await batch.aenqueue(load, 100)  # is not sent yet, and never is
            raise ZeroDivisionError
    record = await batch.ainfo()
    assert (record.state, record.tally.total, record.tally.cancelled) == (FlowState.CANCELLED, 100, 100)
    assert record.cancel_reason == "the block of the batch raised ZeroDivisionError"
    assert await due(app) == ["complete"]
    with pytest.raises(FlowOver):
        await app.find_batch(batch.id).aenqueue(load, 1)


def test_so_does_one_without_a_loop(app: App, load: Loads) -> None:
    with pytest.raises(KeyboardInterrupt), app.batch() as batch:
        batch.enqueue(load, 1)
        raise KeyboardInterrupt
    assert batch.status() is FlowState.CANCELLED


async def test_what_was_wrong_first_is_seen_though_the_store_goes_away(app: App, load: Loads) -> None:
    wrapped = wrap(app)
    with pytest.raises(ZeroDivisionError) as caught:
        async with app.batch() as batch:
            await batch.aenqueue(load, 1)
            wrapped.switch.away = {"cancel"}
            raise ZeroDivisionError
    [note] = caught.value.__notes__
    assert f"app.find_batch('{batch.id}').cancel()" in note
    assert await batch.astatus() is FlowState.OPEN


async def test_a_batch_that_is_cancelled_in_its_block_takes_no_more(app: App, load: Loads) -> None:
    async with app.batch() as batch:
        await batch.aenqueue(load, 1)
        assert await batch.acancel("not today")
    assert (await batch.ainfo()).cancel_reason == "not today"
    with pytest.raises(FlowOver, match="load: its workflow or batch takes no more tasks: it has ended, was cancelled"):
        async with app.batch() as batch:
            await batch.acancel()
            await batch.aenqueue(load, 1)


async def test_an_argument_that_does_not_fit_is_refused_alone(app: App, load: Any) -> None:
    async with app.batch() as batch:
        with pytest.raises(InvalidPayload, match="load: parameter row"):
            await batch.aenqueue(load, "x")
        with pytest.raises(InvalidPayload, match="item 1: load: parameter row"):
            await batch.aenqueue_many(load, [(1,), ("x",)])
        await batch.aenqueue(load, 2)
    assert await rows(app, batch) == [("load", {"row": 2})]


# ---------------------------------------------------------------- outside of the block


async def test_a_batch_that_is_found_sends_at_once(app: App, load: Loads) -> None:
    calls = wrap(app).calls
    async with app.batch() as batch:
        await app.find_batch(batch.id).aenqueue(load, 1)
        await app.find_batch(batch.id).aenqueue_many(load, [(2,), (3,)])
        assert calls["enqueue"] == 2
        assert (await batch.aprogress()).total == 3
    await app.find_batch(batch.id).aenqueue(load, 4)  # as one of its tasks would
    assert (await batch.aprogress()).total == 4


async def test_of_one_that_is_not_known(app: App, load: Loads) -> None:
    batch = app.find_batch(GHOST)
    for ask in (batch.ainfo, batch.astatus, batch.aprogress, batch.aretry, batch.afailed):
        with pytest.raises(TaskNotFound, match=f"no record of workflow or batch {GHOST}: it never existed"):
            await ask()
    with pytest.raises(FlowOver, match=r"load: its workflow or batch takes no more tasks: .*or is not known"):
        await batch.aenqueue(load, 1)
    assert await batch.acancel() is False
    assert await count(app) == 0


def test_the_blocking_twins(app: App, load: Loads) -> None:
    with app.batch() as batch:
        batch.enqueue_many(load, [(1,), (2,)])
    found = app.find_batch(batch.id)
    found.enqueue(load, 3)
    assert (found.info().id, found.progress().total, found.cancel("enough")) == (batch.id, 3, True)
    assert (len(found.failed()), len(found.failed(2)), found.status()) == (3, 2, FlowState.CANCELLED)
    assert (found.retry(only_failed=True), found.retry(), found.status()) == (0, 3, FlowState.RUNNING)


async def test_metadata_is_kept(app: App) -> None:
    async with app.batch(metadata={"day": "2026-01-01"}) as batch:
        pass
    assert (await batch.ainfo()).metadata == {"day": "2026-01-01"}


async def test_callbacks_get_arguments_options_and_metadata(app: App, done: Task[..., None]) -> None:
    own = done.options(metadata={"own": True})
    async with app.batch(
        on_success=done.s("yes", times=3).options(queue="mail", priority="high"),
        on_complete=own.s(),
        metadata={"day": 1},
    ) as batch:
        pass
    told, tidied = await claim(app, "mail"), await claim(app, "callbacks")
    assert (payload_of(told), told.priority) == ({"what": "yes", "times": 3}, Priority.HIGH)  # type: ignore[arg-type]
    assert headers_of(told).metadata == {"day": 1}  # type: ignore[arg-type]
    assert headers_of(tidied).metadata == {"own": True}  # type: ignore[arg-type]
    assert {headers_of(one).flow for one in (told, tidied)} == {batch.id}  # type: ignore[arg-type]
    assert (await batch.aprogress()).total == 0
