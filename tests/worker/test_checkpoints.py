"""What an attempt keeps, the next one finds: after a failure or a release, in a loop, a thread, a process."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from taskq import App, Fixed, InvalidOption, TaskContext, TaskState
from taskq.config import Settings
from taskq.context import MOST_CHECKPOINT
from taskq.crypto import Crypto
from taskq.testing import Harness
from tests.worker import jobs
from tests.worker.support import adopt, ended, until, work

ONCE_MORE = Fixed(0.01, max_retries=3)


@dataclass
class Share:
    """What may be kept beside plain data."""

    part: float


async def test_the_next_attempt_finds_it(any_app: App) -> None:
    seen: list[Any] = []

    @any_app.task(name="copy", retry=ONCE_MORE)
    async def copy(ctx: TaskContext) -> Any:
        seen.append(ctx.last_checkpoint)
        for row in range(3):
            ctx.checkpoint({"rows": row, "attempt": ctx.attempt})
        if ctx.attempt < 3:
            raise OSError("the line broke")
        return ctx.last_checkpoint

    async with work(any_app):
        handle = await copy.aenqueue()
        assert await handle.aresult(30) == {"rows": 2, "attempt": 2}
    assert seen == [None, {"rows": 2, "attempt": 1}, {"rows": 2, "attempt": 2}]


async def test_it_is_kept_while_the_task_runs(any_app: App) -> None:
    go = threading.Event()

    @any_app.task(name="copy")
    def copy(ctx: TaskContext) -> None:
        ctx.checkpoint([1, 2])
        go.wait(30)

    async with work(any_app):
        handle = await copy.aenqueue()

        async def kept() -> bool:
            return (await handle.ainfo()).checkpoint is not None

        await until(kept, "its checkpoint is kept")
        assert (await handle.astatus()) is TaskState.RUNNING
        go.set()
        record = await ended(handle)
    assert record.checkpoint is not None
    assert msgspec.json.decode(record.checkpoint) == [1, 2]


async def test_a_task_that_runs_in_a_process_keeps_and_finds_it(any_app: App) -> None:
    resumes = adopt(any_app, jobs.resumes)
    async with work(any_app):
        handle = await resumes.aenqueue()
        assert await handle.aresult(60) == {"row": 1}


async def test_it_survives_a_release(any_app: App) -> None:
    @any_app.task(name="copy")
    async def copy(ctx: TaskContext) -> Any:
        if ctx.last_checkpoint is None:
            ctx.checkpoint("half")
            begun.set()
            await never.wait()
        return ctx.last_checkpoint

    begun, never = asyncio.Event(), asyncio.Event()
    handle = await copy.aenqueue()
    async with work(any_app, shutdown_timeout=0.1):
        await begun.wait()
    async with work(any_app):
        assert await handle.aresult(30) == "half"


async def test_that_of_an_encrypted_task_is_encrypted(redis_url: str) -> None:
    app = App(redis_url, namespace="checkpoints", settings=Settings(crypto=Crypto({"2026-11": bytes(32)})))

    @app.task(name="copy", encrypt=True, retry=ONCE_MORE)
    async def copy(ctx: TaskContext) -> Any:
        ctx.checkpoint("secret word")
        if ctx.attempt == 1:
            raise OSError("the line broke")
        return ctx.last_checkpoint

    async with app, work(app):
        handle = await copy.aenqueue()
        assert await handle.aresult(30) == "secret word"
        checkpoint = (await handle.ainfo()).checkpoint
    assert checkpoint is not None
    assert b"secret word" not in checkpoint


async def test_what_cannot_be_kept_is_refused_at_once(any_app: App) -> None:
    @any_app.task(name="copy")
    def copy(ctx: TaskContext) -> list[str]:
        refused = []
        for data in ("x" * MOST_CHECKPOINT, object()):
            try:
                ctx.checkpoint(data)
            except (InvalidOption, TypeError) as error:
                refused.append(type(error).__name__)
        return refused

    async with work(any_app):
        assert await (await copy.aenqueue()).aresult(30) == ["InvalidOption", "TypeError"]


@pytest.mark.parametrize("data", [float("nan"), [1, float("-inf")], {"a": {"b": (float("inf"),)}}, Share(float("nan"))])
def test_what_is_no_number_is_refused_and_not_kept_as_null(app: App, data: Any) -> None:
    @app.task(name="copy")
    def copy(ctx: TaskContext) -> None:
        ctx.checkpoint(data)

    with pytest.raises(ValueError, match=r"^a checkpoint cannot hold NaN or infinity, which JSON cannot hold$"):
        copy()


def test_none_and_its_name_may_be_kept(app: App) -> None:
    @app.task(name="copy")
    def copy(ctx: TaskContext) -> None:
        ctx.checkpoint({"rest": None, "null": ["null", 1e308, Share(0.5)]})

    copy()


async def test_under_a_harness(app: App) -> None:
    @app.task(name="copy", retry=Fixed(60))
    def copy(ctx: TaskContext, rows: int) -> int:
        first = ctx.last_checkpoint or 0
        for row in range(first, rows):
            ctx.checkpoint(row + 1)
            if row == 3 and ctx.attempt == 1:
                raise OSError("the line broke")
        return rows - first

    async with Harness(app) as harness:
        handle = await copy.aenqueue(10)
        await harness.advance(minutes=2)
        assert await handle.aresult(0) == 6


def test_a_plain_call_keeps_nothing(app: App) -> None:
    @app.task(name="copy")
    def copy(size: int, ctx: TaskContext) -> Any:
        ctx.checkpoint("x" * size)
        return ctx.last_checkpoint

    assert copy(1) is None
    with pytest.raises(InvalidOption, match="a checkpoint takes at most 1,048,576 bytes, not 1,048,578"):
        copy(MOST_CHECKPOINT)
