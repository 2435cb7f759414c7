"""A task that is followed through its handle: each change, the last one its end; hints of progress to who listens."""

from __future__ import annotations

import asyncio
import json

import pytest

from taskq import App, TaskContext, TaskNotFound, TaskState
from taskq.domain.record import TaskRecord
from taskq.ports.events import PROGRESS
from tests.worker.support import work


async def test_each_change_is_seen(any_app: App) -> None:
    said, gone_on = asyncio.Event(), asyncio.Event()

    @any_app.task(name="copy")
    async def copy(ctx: TaskContext) -> None:
        ctx.progress(0.4, "rows", done=4, total=10)
        await said.wait()
        ctx.progress(0.8, "rows", done=8, total=10)
        await gone_on.wait()

    seen: list[TaskRecord] = []
    handle = await copy.aenqueue()
    async with work(any_app):
        async for record in handle.awatch():
            seen.append(record)
            if record.progress is not None and record.progress.fraction == 0.4:
                said.set()
            if record.progress is not None and record.progress.fraction == 0.8:
                gone_on.set()
    fractions = [record.progress.fraction for record in seen if record.progress is not None]
    assert fractions == sorted(fractions)
    assert {0.4, 0.8} <= set(fractions)
    assert seen[-1].state is TaskState.COMPLETED
    assert [record.state.is_final for record in seen].count(True) == 1


async def test_what_has_ended_is_shown_once(any_app: App) -> None:
    handle = await any_app.aenqueue("nobody.knows")
    await handle.acancel()
    assert [record.state async for record in handle.awatch()] == [TaskState.CANCELLED]


async def test_what_is_unknown_is_not_followed(any_app: App) -> None:
    with pytest.raises(TaskNotFound, match="0190a5c1"):
        await anext(any_app.handle("0190a5c1-0000-7000-8000-000000000000").awatch())


async def test_listeners_are_told_which_task_has_made_progress(any_app: App) -> None:
    heard = asyncio.Event()

    @any_app.task(name="copy")
    async def copy(ctx: TaskContext) -> None:
        while not heard.is_set():
            ctx.progress(0.5, "secret words", secret=1)
            await asyncio.sleep(0)

    async def listen() -> str:
        async for event in (await any_app.backend()).events.subscribe([PROGRESS]):
            heard.set()
            return event.data
        raise AssertionError("the events ended")

    async with work(any_app), asyncio.TaskGroup() as group:
        listening = group.create_task(listen())
        handle = await copy.aenqueue()
        await handle.await_(30)
    assert json.loads(listening.result()) == {"id": handle.id}
