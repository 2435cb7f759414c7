"""What a running task knows and says of itself, wherever it runs; and what it enqueues under its own fence."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest

from taskq import App, InvalidOption, LeaseLost, NoRetry, Progress, Task, TaskContext, TaskState, current
from taskq.domain.outcome import Release
from taskq.ports import Settled
from tests.worker import jobs
from tests.worker.support import Gate, adopt, ended, until, work

KINDS = ("async", "thread", "process")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_context_says_what_is_known(any_app: App, kind: str) -> None:
    describe = jobs.describes.function

    async def on_the_loop(ctx: TaskContext) -> dict[str, Any]:
        described: dict[str, Any] = describe(ctx)
        return described

    if kind == "process":
        task = adopt(any_app, jobs.describes, timeout=60)
    elif kind == "thread":
        task = any_app.task(name=jobs.describes.name, executor="thread", timeout=60)(describe)
    else:
        task = any_app.task(name=jobs.describes.name, timeout=60)(on_the_loop)
    async with work(any_app, queues={"mail": 1.0}) as worker:
        call = task.options(queue="mail", metadata={"order": 17}, tenant="acme")
        handle = await call.aenqueue()
        found: Any = await handle.aresult(30)
    assert found.pop("pid")
    assert found == {
        "id": handle.id,
        "name": jobs.describes.name,
        "queue": "mail",
        "attempt": 1,
        "fence": 1,
        "worker_id": worker.id,
        "metadata": {"order": 17},
        "tenant": "acme",
        "cancelled": False,
        "has_deadline": True,
        "is_current": True,
    }


async def test_a_task_without_a_timeout_has_no_deadline(app: App) -> None:
    @app.task(timeout=None)
    async def endless(ctx: TaskContext) -> bool:
        return ctx.deadline is None

    async with work(app):
        assert await (await endless.aenqueue()).aresult(30)


async def test_the_context_follows_into_threads_and_tasks(app: App) -> None:
    def here() -> str:
        return current().id

    @app.task
    async def spreads() -> list[str]:
        copied = contextvars.copy_context()
        inner: list[str] = []
        thread = threading.Thread(target=lambda: inner.append(copied.run(here)))
        thread.start()
        await asyncio.to_thread(thread.join)
        child = asyncio.create_task(asyncio.to_thread(here))
        return [here(), await asyncio.to_thread(here), await child, *inner]

    @app.task
    def in_a_thread() -> str:
        return here()

    async with work(app):
        handle = await spreads.aenqueue()
        assert await handle.aresult(30) == [handle.id] * 4
        thread_handle = await in_a_thread.aenqueue()
        assert await thread_handle.aresult(30) == thread_handle.id
    with pytest.raises(LookupError, match="outside of a task"):
        current()


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_arrives_while_the_task_runs(any_app: App, kind: str, tmp_path: Path) -> None:
    gate, released = Gate(), threading.Event()

    @any_app.task(name="loop")
    async def on_the_loop(path: str) -> str:
        current().progress(0.25, "a quarter", done=1)
        await gate.passed()
        return current().id

    @any_app.task(name="thread")
    def in_a_thread(path: str) -> str:
        current().progress(0.25, "a quarter", done=1)
        released.wait()
        return current().id

    tasks: dict[str, Task[..., Any]]
    tasks = {"async": on_the_loop, "thread": in_a_thread, "process": adopt(any_app, jobs.reports)}
    path = tmp_path / "go"
    try:
        async with work(any_app):
            handle = await tasks[kind].aenqueue(str(path))
            progress = await until(handle.aprogress, "the progress has arrived")
            assert progress == Progress(0.25, "a quarter", b'{"done":1}')
            path.touch()
            gate.open()
            released.set()
            assert await handle.aresult(30) == handle.id
    finally:
        released.set()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_last_progress_is_written_before_the_end(any_app: App, kind: str) -> None:
    @any_app.task(name="async")
    async def on_the_loop() -> None:
        for step in range(1, 21):
            current().progress(step / 20)

    @any_app.task(name="thread")
    def in_a_thread() -> None:
        for step in range(1, 21):
            current().progress(step / 20)

    tasks: dict[str, Task[..., Any]]
    tasks = {"async": on_the_loop, "thread": in_a_thread, "process": adopt(any_app, jobs.counts_to_the_end)}
    async with work(any_app):
        record = await ended(await tasks[kind].aenqueue())
    assert record.progress is not None
    assert record.progress.fraction == 1.0


async def test_only_the_newest_progress_is_written(app: App) -> None:
    gate = Gate()

    @app.task
    async def reports(ctx: TaskContext) -> None:
        for step in range(100):
            ctx.progress(step / 100)
        await gate.passed()

    async with work(app):
        handle = await reports.aenqueue()
        progress = await until(handle.aprogress, "the progress has arrived")
        assert progress.fraction == 0.99
        gate.open()


async def test_the_loggers_lines_carry_the_task(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def talks(ctx: TaskContext) -> None:
        ctx.logger.info("halfway")

    with caplog.at_level(logging.INFO, "taskq.task"):
        async with work(app) as worker:
            handle = await talks.aenqueue()
            await handle.aresult(30)
    [line] = [record for record in caplog.records if record.name == "taskq.task"]
    fields = vars(line)["taskq"]
    assert (fields["task_id"], fields["attempt"], fields["worker_id"]) == (handle.id, 1, worker.id)


async def test_the_lifespan_wraps_the_worker_and_gives_the_state() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[dict[str, int]]:
        seen.append("open")
        yield {"pool": 7}
        seen.append("close")

    app = App("memory://", lifespan=lifespan)

    @app.task
    async def uses(ctx: TaskContext) -> int:
        assert seen == ["open"]
        pool: int = ctx.state["pool"]
        return pool

    async with work(app):
        assert await (await uses.aenqueue()).aresult(30) == 7
    assert seen == ["open", "close"]


async def test_a_task_enqueues_another_from_the_loop_and_from_a_thread(any_app: App) -> None:
    @any_app.task(name="child")
    async def child(x: int) -> int:
        return x + 1

    @any_app.task
    async def on_the_loop() -> str:
        return (await child.aenqueue(1)).id

    @any_app.task
    def in_a_thread() -> int:
        return child.enqueue(2).result(timeout=30)

    async with work(any_app):
        handle = await on_the_loop.aenqueue()
        assert await any_app.handle(await handle.aresult(30)).aresult(30) == 2
        assert await (await in_a_thread.aenqueue()).aresult(30) == 3


async def test_a_run_that_lost_its_lease_enqueues_nothing(any_app: App) -> None:
    refusals = {"loop": threading.Event(), "thread": threading.Event()}
    children: list[str] = []

    @any_app.task(name="child")
    async def child(of: str) -> None:
        children.append(of)

    async def lose_lease(context: TaskContext) -> None:
        # This run is settled behind its own back, as when another worker had taken the task over. The queue is paused,
        # for a worker that claims the task anew cancels the older run.
        backend = await any_app.backend()
        await backend.queues.pause("default")
        await backend.broker.settle([Settled(context.delivery, Release())])

    @any_app.task(retry=NoRetry())
    async def on_the_loop(ctx: TaskContext) -> None:
        if ctx.fence == 1:
            await lose_lease(ctx)
            try:
                await child.aenqueue("loop")
            except LeaseLost:
                refusals["loop"].set()
                raise

    @any_app.task(retry=NoRetry())
    def in_a_thread(ctx: TaskContext) -> None:
        if ctx.fence == 1:
            from taskq import blocking

            blocking.run(lose_lease(ctx), "lose_lease()", "lose_lease()")
            try:
                child.enqueue("thread")
            except LeaseLost:
                refusals["thread"].set()
                raise

    async with work(any_app):
        for task, refused in ((on_the_loop, refusals["loop"]), (in_a_thread, refusals["thread"])):
            handle = await task.aenqueue()
            await until(refused.is_set, "it was refused")
            await (await any_app.backend()).queues.resume("default")
            record = await ended(handle)
            assert record.state is TaskState.COMPLETED
            assert record.fence > 1
    assert children == []


async def test_a_child_process_says_that_it_cannot_reach_a_store_in_memory(app: App) -> None:
    task = adopt(app, jobs.enqueues, retry=NoRetry())
    async with work(app):
        record = await ended(await task.aenqueue())
    assert record.failure is not None
    assert record.failure.type == "CapabilityMissing"
    assert 'executor="process"' in record.failure.message


class Scalar:
    """A number as those of numerical libraries are: it can be made a float, and is none."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __float__(self) -> float:
        return self._value


@pytest.mark.parametrize("fraction", [Decimal("0.5"), Fraction(1, 2), Scalar(0.5)])
async def test_progress_in_any_type_of_number(any_app: App, fraction: Any) -> None:
    @any_app.task(name="half")
    async def half(ctx: TaskContext) -> int:
        ctx.progress(fraction, "\ud800 alone")
        return 7

    async with work(any_app):
        record = await ended(await half.aenqueue())
    assert (record.state, record.progress) == (TaskState.COMPLETED, Progress(0.5, "? alone", b"{}"))
    assert isinstance(record.progress, Progress)
    assert type(record.progress.fraction) is float


async def test_all_and_nothing_of_a_task_may_be_said_as_truth(app: App) -> None:
    @app.task(name="tells")
    async def tells(ctx: TaskContext, is_done: bool) -> None:
        ctx.progress(is_done)

    async with work(app):
        for is_done in (False, True):
            found = (await ended(await tells.aenqueue(is_done))).progress
            assert found is not None
            assert (type(found.fraction), found.fraction) == (float, float(is_done))


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ((("0.5",), {}), TypeError, "progress must be a number from 0 to 1, not '0.5'"),
        (((b"0.5",), {}), TypeError, "progress must be a number from 0 to 1, not b'0.5'"),
        (((None,), {}), TypeError, "progress must be a number from 0 to 1, not None"),
        (((0.5j,), {}), TypeError, "progress must be a number from 0 to 1, not 0.5j"),
        (((10**400,), {}), TypeError, "progress must be a number from 0 to 1, not 1000"),
        (((Decimal("sNaN"),), {}), TypeError, "progress must be a number from 0 to 1, not Decimal"),
        (((Decimal("NaN"),), {}), InvalidOption, "progress must be from 0 to 1, not Decimal"),
        (((Scalar(float("nan")),), {}), InvalidOption, "progress must be from 0 to 1, not "),
        (((float("inf"),), {}), InvalidOption, "progress must be from 0 to 1, not inf"),
        (((-0.1,), {}), InvalidOption, "progress must be from 0 to 1, not -0.1"),
        (((2,), {}), InvalidOption, "progress must be from 0 to 1, not 2"),
        (((float("nan"),), {}), InvalidOption, "progress must be from 0 to 1, not nan"),
        (((0.5, None), {}), TypeError, "the message of a progress must be text, not None"),
        (((0.5,), {"rows": "x" * 70_000}), InvalidOption, "the data of a progress take at most 65,536 bytes, not 70,"),
    ],
)
def test_what_is_no_progress(app: App, said: Any, error: type[Exception], message: str) -> None:
    @app.task(name="tells")
    def tells(ctx: TaskContext) -> None:
        args, data = said
        ctx.progress(*args, **data)

    with pytest.raises(error, match=message):
        tells()


async def test_a_run_ends_whatever_the_store_makes_of_its_progress(any_app: App) -> None:
    @any_app.task(name="half")
    async def half(ctx: TaskContext) -> int:
        ctx._run.report(Progress(cast("float", Decimal("0.5"))))
        return 7

    async with work(any_app):
        assert (await ended(await half.aenqueue())).state is TaskState.COMPLETED
