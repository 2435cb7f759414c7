"""What a run says of itself is written in order and before it is settled, and no trouble with it holds up its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from taskq import App, Fixed, Progress, TaskContext, TaskState
from taskq.domain.message import Delivery
from taskq.errors import BackendUnavailable
from taskq.runtime import progress
from taskq.runtime.run import Run
from tests.worker.support import PATIENCE, Gate, parts, state_of, until, work


class Notes:
    """Stands before the annotations of a worker's store: holds writes up, has them fail, and notes what happens.

    Attributes:
        gate: what the first checkpoint waits for.
        fails: asked before each write; may raise, or return False, as a store does for a run that is another's.
        said: what was written, and "last word" at the end of each last word.
        is_ending: set as soon as a run has its last word.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.gate = Gate()
        self.fails: Callable[[], bool] = lambda: False
        self.said: list[Any] = []
        self.is_ending = asyncio.Event()

    async def checkpoint(self, delivery: Delivery, data: bytes) -> bool:
        """Write a checkpoint."""
        if not self.gate.arrived:
            await self.gate.passed()
        if self.fails():
            return False
        is_ours: bool = await self._inner.checkpoint(delivery, data)
        self.said.append(msgspec.json.decode(data))
        return is_ours

    async def progress(self, delivery: Delivery, progress: Progress) -> bool:
        """Write a progress."""
        is_ours: bool = not self.fails() and await self._inner.progress(delivery, progress)
        return is_ours


@asynccontextmanager
async def noted(app: App) -> AsyncIterator[Notes]:
    """A worker whose notes are watched."""
    async with work(app) as worker:
        writer, executor = parts(worker).progress, parts(worker).executor
        notes = Notes(writer._annotations)
        writer._annotations = notes  # type: ignore[assignment]
        last_word = executor._last_word

        async def last(run: Run) -> None:
            notes.is_ending.set()
            await last_word(run)
            notes.said.append("last word")

        executor._last_word = last
        yield notes


@pytest.mark.parametrize("later", [[], ["two"]])
async def test_what_is_on_its_way_at_the_end_of_a_run_is_written_before_it_is_settled(
    any_app: App, later: list[str]
) -> None:
    @any_app.task(name="copy", retry=Fixed(0.01, max_retries=1))
    async def copy(ctx: TaskContext) -> Any:
        if ctx.attempt == 1:
            ctx.checkpoint("one")
            await notes.gate.until_arrived(1)
            for data in later:
                ctx.checkpoint(data)
            raise OSError("the line broke")
        return ctx.last_checkpoint

    async with noted(any_app) as notes:
        handle = await copy.aenqueue()

        async def is_ending() -> bool:
            return notes.is_ending.is_set() or await state_of(handle) not in {TaskState.PENDING, TaskState.RUNNING}

        await until(is_ending, "the run has its last word, or has ended without one")
        notes.gate.open()
        assert await handle.aresult(PATIENCE) == ["one", *later][-1]
    assert notes.said == ["one", *later, "last word"]


@pytest.mark.parametrize(("newer", "kept"), [(None, "old"), ("new", "new")])
async def test_what_could_not_be_written_is_written_later_unless_there_is_something_newer(
    any_app: App, newer: str | None, kept: str
) -> None:
    go, failures = Gate(), [BackendUnavailable("the store is away")]

    def fails() -> bool:
        if failures:
            raise failures.pop()
        return False

    @any_app.task(name="copy")
    async def copy(ctx: TaskContext) -> None:
        ctx.checkpoint("old")
        ctx.progress(0.25)
        await notes.gate.until_arrived(1)
        if newer is not None:
            ctx.checkpoint(newer)
            ctx.progress(0.75)
        notes.gate.open()
        await go.passed()

    async with noted(any_app) as notes:
        notes.fails = fails
        handle = await copy.aenqueue()
        found = await until(handle.aprogress, "its progress is written")
        assert found.fraction == (0.25 if newer is None else 0.75)
        assert notes.said == [kept]
        go.open()
        await handle.aresult(PATIENCE)


@pytest.mark.parametrize(
    ("error", "is_told"), [(TypeError("no such type"), True), (BackendUnavailable("the store is away"), False)]
)
async def test_a_run_ends_whatever_becomes_of_its_last_word(
    any_app: App, caplog: pytest.LogCaptureFixture, error: Exception, is_told: bool
) -> None:
    def fails() -> bool:
        raise error

    @any_app.task(name="half")
    async def half(ctx: TaskContext) -> str:
        ctx.progress(0.5)
        return "done"

    with caplog.at_level(logging.ERROR, "taskq.worker"):
        async with noted(any_app) as notes:
            notes.fails = fails
            handle = await half.aenqueue()
            assert await handle.aresult(PATIENCE) == "done"
    said = [line.getMessage() for line in caplog.records]
    assert any(line.startswith(f"the last progress of task {handle.id} was not written: ") for line in said) is is_told
    assert notes.said == ["last word"]


async def test_a_run_ends_although_its_last_word_does_not(any_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LAST_WORD", 0.01)

    @any_app.task(name="half")
    async def half(ctx: TaskContext) -> str:
        ctx.checkpoint("half")
        return "done"

    async with noted(any_app) as notes:
        handle = await half.aenqueue()
        assert await handle.aresult(PATIENCE) == "done"
    assert (notes.gate.arrived, notes.said) == (1, ["last word"])


async def test_a_run_whose_words_are_refused_is_ended(any_app: App) -> None:
    waits = Gate()

    @any_app.task(name="half")
    async def half(ctx: TaskContext) -> None:
        ctx.progress(0.5)
        await waits.passed()

    async with noted(any_app) as notes:
        notes.fails = lambda: True
        handle = await half.aenqueue()
        await until(lambda: waits.interrupted, "it is ended")
        assert await handle.aprogress() is None
