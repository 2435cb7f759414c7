"""What cannot be said of a batch: each is refused where it is said, in one line of taskq's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App, ConfigError, Debounce, InvalidOption, InvalidPayload, KeepLatest, Unique, Workflow, chain
from taskq.errors import TaskqError, WouldBlock
from taskq.task import Task
from tests.unit.batches import GHOST
from tests.unit.support import count


def a_loop(value: list[Any]) -> list[Any]:
    """A list within itself."""
    value.append(value)
    return value


NO_JSON = "batch batch: the metadata cannot be written as JSON: "
MISTAKES: dict[str, tuple[Callable[[Any], dict[str, Any]], type[TaskqError], str]] = {
    "a task": (lambda load: {"on_success": load}, ConfigError, "on_success of a batch is a call .*, not Task"),
    "a function": (lambda load: {"on_failure": print}, ConfigError, r"on_failure .* task.s\(its arguments…\), not <"),
    "an empty text": (lambda load: {"on_complete": ""}, ConfigError, "on_complete of a batch is a call .*, not ''"),
    "no callback": (lambda load: {"on_complete": False}, ConfigError, "on_complete of a batch is a call .*, not False"),
    "a workflow": (lambda load: {"on_success": chain(load.s())}, ConfigError, "on_success of a batch .*, not Workflow"),
    "a wrong argument": (lambda load: {"on_success": load.s("x")}, InvalidPayload, "load: parameter row: expected"),
    "an output": (
        lambda load: {"on_success": load.s(Workflow().add(load.s()).output)},
        ConfigError,
        "on_success of a batch: load cannot take the output of a workflow's task",
    ),
    "a task of another App": (
        lambda load: {"on_success": App("memory://").task(name="theirs")(load.function).s()},
        ConfigError,
        "on_success of a batch: theirs is a task of another App: give a task of the App that has the batch",
    ),
    "a key": (
        lambda load: {"on_success": load.s().options(idempotency_key="k")},
        InvalidOption,
        "on_success of a batch: load cannot have idempotency_key: the store enqueues it, when it is due",
    ),
    "a unique key": (
        lambda load: {"on_success": load.s().options(unique_key="k")},
        InvalidOption,
        "on_success of a batch: load cannot have unique_key",
    ),
    "a connection": (
        lambda load: {"on_success": load.s().options(connection=object())},
        InvalidOption,
        "on_success of a batch: load cannot have connection",
    ),
    "a parent": (
        lambda load: {"on_success": load.s().options(depends_on=GHOST)},
        InvalidOption,
        "on_success of a batch: load cannot have depends_on",
    ),
    "patience": (
        lambda load: {"on_success": load.s().options(block=5)},
        InvalidOption,
        "on_success of a batch: load cannot have block",
    ),
    "a webhook": (
        lambda load: {"on_success": load.s().options(on_complete_url="https://example.com/")},
        InvalidOption,
        "on_success of a batch: load cannot have on_complete_url",
    ),
    "an instant of which nobody knows how far it is": (
        lambda load: {"on_success": load.s().options(expires=datetime.now(UTC) + timedelta(hours=1))},
        InvalidOption,
        "on_success of a batch: load cannot have expires as an instant",
    ),
    "metadata that are none": (lambda load: {"metadata": [1]}, InvalidOption, "batch: metadata must be a mapping, not"),
    "metadata without JSON": (lambda load: {"metadata": {"x": object()}}, InvalidOption, NO_JSON),
    "metadata without end": (lambda load: {"metadata": {"x": a_loop([])}}, InvalidOption, NO_JSON),
    "metadata without a number": (
        lambda load: {"name": "import", "metadata": {"x": [math.nan]}},
        InvalidOption,
        "batch import: the metadata holds NaN or infinity, which JSON cannot hold",
    ),
    "no name": (lambda load: {"name": ""}, InvalidOption, "the name of a batch must have 1 to 255 printable char"),
    "a name that is none": (lambda load: {"name": 3}, InvalidOption, "the name of a batch must have .*, not 3"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_no_batch_can_have(app: App, load: Task[..., None], mistake: str) -> None:
    said, kind, message = MISTAKES[mistake]
    with pytest.raises(kind, match=message):
        app.batch(**said(load))


@pytest.mark.parametrize("unique", [Unique(), KeepLatest(), Debounce(5)])
def test_a_unique_task_is_no_callback(app: App, unique: Unique | KeepLatest | Debounce) -> None:
    """It would be lost where another task holds the key, and nobody would be told."""

    @app.task(name="report", unique=unique)
    def report() -> None: ...

    with pytest.raises(
        InvalidOption, match=r"report has a unique key, and would be lost where .*: give a task that enq"
    ):
        app.batch(on_failure=report.s())


@pytest.mark.parametrize(
    ("given", "shown"), [(print, "<built-in"), ("load", "'load'"), (None, "None"), (Workflow("w"), "Workflow")]
)
async def test_what_is_no_task(app: App, given: Any, shown: str) -> None:
    async with app.batch() as batch:
        for add in (batch.aenqueue(given), batch.aenqueue_many(given, [])):
            with pytest.raises(ConfigError, match=f"added to a batch is a task of the application, .*, not {shown}"):
                await add


async def test_a_call_that_is_written_down_is_no_task(app: App, load: Any) -> None:
    async with app.batch() as batch:
        with pytest.raises(ConfigError, match=r"batch.enqueue\(task, its arguments…\), not load.s\(1\)"):
            await batch.aenqueue(load.s(1))


async def test_a_task_of_another_app(app: App, load: Task[..., None]) -> None:
    async with App("memory://").batch() as batch:
        with pytest.raises(ConfigError, match="a task of its batch: load is a task of another App"):
            await batch.aenqueue(load, 1)
    assert await count(app) == 0


async def test_a_connection(app: App, load: Task[..., None]) -> None:
    inside = load.options(connection=object())
    async with app.batch() as batch:
        for add in (batch.aenqueue(inside, 1), batch.aenqueue_many(inside, [(1,)])):
            with pytest.raises(InvalidOption, match="load: a task of a batch cannot be enqueued with connection=…"):
                await add


async def test_items_that_are_none(app: App, load: Any) -> None:
    async with app.batch() as batch:
        with pytest.raises(InvalidPayload, match="the items must be tuples or mappings, one for each task, not int"):
            await batch.aenqueue_many(load, 3)  # type: ignore[arg-type]
        with pytest.raises(InvalidPayload, match="item 0: load: give the arguments as a tuple"):
            await batch.aenqueue_many(load, [1])  # type: ignore[list-item]


@pytest.mark.parametrize("id", ["", "x", None, "0198000A-0000-7000-8000-000000000000", f"{GHOST}\n"])
def test_what_is_no_id(app: App, id: Any) -> None:
    with pytest.raises(InvalidOption, match="the id of a batch must be a UUID in text form, not "):
        app.find_batch(id)
    with pytest.raises(InvalidOption, match="the id of a workflow must be a UUID in text form, not "):
        app.find_workflow(id)


def test_a_task_that_belongs_to_no_batch_is_told_so(app: App) -> None:
    with pytest.raises(InvalidOption, match=r"ctx.flow is '' in a task that belongs to none"):
        app.find_batch("")


async def test_a_new_batch_is_a_block(app: App, load: Task[..., None]) -> None:
    batch = app.batch()
    for add in (batch.aenqueue(load, 1), batch.aenqueue_many(load, [(1,)])):
        with pytest.raises(ConfigError, match=r"within the block of a new batch: with app.batch\(…\) as batch"):
            await add
    assert await count(app) == 0


async def test_a_block_is_entered_once(app: App, load: Task[..., None]) -> None:
    said = r"the block of a batch is that of app.batch\(…\), which makes a new one"
    async with app.batch() as batch:
        await batch.aenqueue(load, 1)
    for once in (batch, app.find_batch(batch.id)):
        with pytest.raises(ConfigError, match=said):
            async with once:
                pytest.fail("it was entered")
    assert (await batch.aprogress()).total == 1


async def test_blocking_calls_in_a_loop(app: App, load: Task[..., None]) -> None:
    said = r"with app.batch\(…\) would block .*: write `async with app.batch\(…\)`"
    with pytest.raises(WouldBlock, match=said), app.batch():
        pytest.fail("it was entered")
    async with app.batch() as batch:
        # The first as well as the hundredth: one that only fails where there is much to do is found too late.
        with pytest.raises(WouldBlock, match=r"batch.enqueue\(\) would block .*: write `await batch.aenqueue\(…\)`"):
            batch.enqueue(load, 1)
        with pytest.raises(WouldBlock, match=r"batch.enqueue_many\(\) .*: write `await batch.aenqueue_many\(…\)`"):
            batch.enqueue_many(load, [(1,)])
        for ask in (batch.info, batch.status, batch.progress, batch.cancel, batch.retry, batch.failed):
            with pytest.raises(WouldBlock):
                ask()
    assert (await batch.aprogress()).total == 0


async def test_what_cannot_be_asked(app: App) -> None:
    batch = app.find_batch(GHOST)
    with pytest.raises(InvalidOption, match="the reason of a cancel must be text, not 3"):
        await batch.acancel(3)  # type: ignore[arg-type]
    for limit in (0, -1, True, "5", 1.5, None):
        with pytest.raises(InvalidOption, match="limit must be a whole number from 1, not "):
            await batch.afailed(limit)  # type: ignore[arg-type]


def test_a_batch_that_was_refused_is_not_in_the_store(app: App, load: Task[..., None]) -> None:
    with suppress(InvalidOption):
        app.batch(name="")
    batch = app.batch(on_success=load.s())
    assert not app.find_batch(batch.id).cancel()


async def test_a_workflow_is_no_batch_nor_the_other_way_round(app: App, load: Task[..., None]) -> None:
    run = await chain(load.s(1), load.si(2)).aenqueue()
    found = app.find_batch(run.id)
    asked: list[Callable[[], Any]] = [
        lambda: found.aenqueue(load, 3),
        lambda: found.aenqueue_many(load, [(3,)]),
        found.aclose,
        lambda: asyncio.to_thread(found.enqueue, load, 3),
        lambda: asyncio.to_thread(found.enqueue_many, load, [(3,)]),
        lambda: asyncio.to_thread(found.close),
    ]
    for ask in asked:
        with pytest.raises(ConfigError, match=f"{run.id} is a workflow: its own tasks add to it, while they run"):
            await ask()
    async with app.batch() as batch:
        await batch.aenqueue(load, 1)
    with pytest.raises(InvalidOption, match=f"{batch.id} is a batch, which has no result"):
        await app.find_workflow(batch.id).aresult(0)
    assert await count(app) == 3
