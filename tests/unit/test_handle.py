"""The handle of a task: every end, cancelling, progress, and a task that is not there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import (
    App,
    BackendUnavailable,
    Failure,
    InvalidOption,
    InvalidPayload,
    OutcomeUnknown,
    Progress,
    ResultTimeout,
    Task,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskNotFound,
    TaskqError,
    TaskState,
)
from taskq.domain.outcome import Bury, Cancel, Complete, Fail, Retry
from taskq.handle import TaskHandle
from taskq.ports.events import CONTROL, Event
from taskq.testing.clock import VirtualClock
from taskq_memory.events import MemoryEvents
from tests.unit.shapes import Color, Model, Point
from tests.unit.support import claim, settle

FAILURE = Failure("ValueError", "no such user", "Traceback …")


@pytest.fixture
def job(app: App) -> Task[..., list[Point]]:
    @app.task(name="job", expires=3600)
    def job() -> list[Point]:
        return []

    return job


async def test_a_result_is_what_the_annotation_says(app: App, job: Task[..., list[Point]]) -> None:
    handle = await job.aenqueue()
    await settle(app, await claim(app), Complete(b'[{"x":1,"at":"2026-01-01T00:00:00Z"}]'))
    assert await handle.aresult() == [Point(1, datetime(2026, 1, 1, tzinfo=UTC))]
    assert await handle.aresult(timeout=0) == [Point(1, datetime(2026, 1, 1, tzinfo=UTC))]
    assert await handle.await_() is TaskState.COMPLETED
    assert await handle.astatus() is TaskState.COMPLETED


async def test_a_result_by_id_alone_is_json_data(app: App, job: Task[..., list[Point]]) -> None:
    handle = await job.aenqueue()
    await settle(app, await claim(app), Complete(b'[{"x":1}]'))
    assert await app.handle(handle.id).aresult() == [{"x": 1}]


async def test_a_result_that_does_not_fit_its_annotation(app: App, job: Task[..., list[Point]]) -> None:
    handle = await job.aenqueue()
    await settle(app, await claim(app), Complete(b'[{"x":"one"}]'))
    with pytest.raises(InvalidPayload, match="job: the result does not fit its annotation"):
        await handle.aresult()


@pytest.mark.parametrize("settlement", [Bury("exhausted", FAILURE), Fail("exhausted", FAILURE)])
async def test_a_failed_task(app: App, job: Task[..., list[Point]], settlement: Any) -> None:
    handle = await job.aenqueue()
    await settle(app, await claim(app), settlement)
    with pytest.raises(TaskFailed, match=r"^ValueError: no such user$") as caught:
        await handle.aresult()
    error = caught.value
    assert (error.type, error.message, error.traceback) == ("ValueError", "no such user", "Traceback …")
    assert await handle.await_() in (TaskState.DEAD, TaskState.FAILED)


@pytest.mark.parametrize(("reason", "message"), [("", "was cancelled$"), ("by hand", "was cancelled: by hand$")])
async def test_a_cancelled_task(app: App, job: Task[..., list[Point]], reason: str, message: str) -> None:
    handle = await job.aenqueue()
    assert await handle.acancel(reason) is True
    assert await handle.acancel(reason) is False
    assert await handle.await_() is TaskState.CANCELLED
    with pytest.raises(TaskCancelled, match=message):
        await handle.aresult()


async def test_cancelling_a_running_task_tells_its_worker(app: App, job: Task[..., list[Point]]) -> None:
    handle = await job.aenqueue()
    delivery = await claim(app)
    events = (await app.backend()).events.subscribe([CONTROL])
    hint = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # one turn of the loop, in which the listener begins to listen
    assert await handle.acancel("enough") is True
    assert await hint == Event(CONTROL, handle.id)
    assert (await handle.ainfo()).cancel_requested
    assert await handle.astatus() is TaskState.RUNNING
    await settle(app, delivery, Cancel("enough"))
    assert await handle.astatus() is TaskState.CANCELLED


@pytest.mark.parametrize("error", [BackendUnavailable("away"), OutcomeUnknown("broke")])
async def test_a_cancel_that_was_applied_stays_applied_though_its_hint_is_lost(
    app: App, job: Task[..., list[Point]], monkeypatch: pytest.MonkeyPatch, error: TaskqError
) -> None:
    async def away(_: MemoryEvents, events: Any) -> None:
        raise error

    handle = await job.aenqueue()
    await claim(app)
    monkeypatch.setattr(MemoryEvents, "publish", away)
    assert await handle.acancel("enough") is True
    assert (await handle.ainfo()).cancel_requested


async def test_an_expired_task(app: App, clock: VirtualClock, job: Task[..., list[Point]]) -> None:
    handle = await job.aenqueue()
    clock.advance(3601)
    await (await app.backend()).maintenance.expire()
    assert await handle.await_() is TaskState.EXPIRED
    with pytest.raises(TaskExpired, match="nobody began it in time"):
        await handle.aresult()


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
async def test_a_result_that_is_not_there_in_time(app: App, job: Task[..., list[Point]], timeout: float) -> None:
    handle = await job.aenqueue()
    for wait in (handle.aresult, handle.await_):
        with pytest.raises(ResultTimeout, match=rf"task {handle.id} has not ended within {timeout} s; it goes on"):
            await wait(timeout)
    await settle(app, await claim(app), Retry(60, FAILURE))
    with pytest.raises(ResultTimeout):
        await handle.aresult(timeout)
    assert await handle.astatus() is TaskState.RETRYING


async def test_no_such_task(app: App) -> None:
    handle = app.handle("01980000-0000-7000-8000-000000000000")
    for ask in (handle.astatus, handle.ainfo, handle.aprogress, handle.aresult, handle.await_):
        with pytest.raises(TaskNotFound):
            await ask()
    assert await handle.acancel() is False


@pytest.mark.parametrize("id", ["", "x", "{a}", "a" * 5000, "\0", "01980000-0000-7000-8000-00000000000G"])
async def test_what_is_no_id(app: App, id: str) -> None:
    with pytest.raises(TaskNotFound):
        await app.handle(id).ainfo()


async def test_progress(app: App, job: Task[..., list[Point]]) -> None:
    handle = await job.aenqueue()
    assert await handle.aprogress() is None
    progress = Progress(0.5, "half", b'{"rows":7}')
    assert await (await app.backend()).annotations.progress(await claim(app), progress)
    assert await handle.aprogress() == progress
    assert (await handle.ainfo()).progress == progress


async def test_info_tells_each_attempt(app: App, clock: VirtualClock, job: Task[..., list[Point]]) -> None:
    handle = await job.aenqueue()
    await settle(app, await claim(app), Retry(5, FAILURE))
    clock.advance(5)
    await settle(app, await claim(app), Complete(b"[]"))
    record = await handle.ainfo()
    assert [attempt.failure for attempt in record.attempts] == [FAILURE, None]
    assert (record.id, record.attempt, record.state) == (handle.id, 2, TaskState.COMPLETED)


def test_the_blocking_twins(app: App, job: Task[..., list[Point]]) -> None:
    handle = job.enqueue()
    assert handle.status() is TaskState.PENDING
    assert handle.info().id == handle.id
    assert handle.progress() is None
    with pytest.raises(ResultTimeout):
        handle.result(timeout=0)
    with pytest.raises(ResultTimeout):
        handle.wait(0)
    assert handle.cancel("by hand") is True
    assert handle.wait() is TaskState.CANCELLED
    with pytest.raises(TaskCancelled, match="by hand"):
        handle.result()
    app.close()


def test_every_method_has_its_twin() -> None:
    twins = {"status", "result", "cancel", "progress", "info"}
    assert all(callable(getattr(TaskHandle, f"a{name}")) for name in twins)
    assert callable(TaskHandle.await_)  # `await` is a keyword


@pytest.fixture
def detached() -> App:
    """An application that keeps its results in a second memory."""
    return App("memory://", results="memory://")


async def test_results_on_another_backend(detached: App) -> None:
    @detached.task(name="job")
    def job() -> dict[Color, Model]:
        return {}

    handle = await job.aenqueue()
    delivery = await claim(detached)
    results = await detached.stores.detached_results()
    assert results is not None
    await results.put(handle.id, delivery.fence, b'{"red":{"a":1}}', 60)
    await results.put(handle.id, delivery.fence + 1, b'"of another run"', 60)
    await settle(detached, delivery, Complete())
    assert await handle.aresult() == {Color.RED: Model(a=1)}
    assert (await handle.ainfo()).result == b"null"


async def test_a_result_on_another_backend_that_is_no_longer_kept(detached: App) -> None:
    handle = await detached.aenqueue("job")
    await settle(detached, await claim(detached), Complete())
    with pytest.raises(TaskNotFound, match="completed, but its result is no longer kept"):
        await handle.aresult()


@pytest.mark.parametrize("value", [None, 3, "x", [1, {"a": None}]])
async def test_a_task_without_annotations_gives_its_data_back(app: App, value: Any) -> None:
    untyped: Callable[..., Any] = lambda: value  # noqa: E731
    job = app.task(name="job")(untyped)
    handle = await job.aenqueue()
    await settle(app, await claim(app), Complete(job.codec.encode_result(value)))
    assert await handle.aresult() == value


@pytest.mark.parametrize("timeout", ["5", True, [], math.nan])
async def test_a_timeout_that_is_no_number_of_seconds(job: Task[..., list[Point]], timeout: Any) -> None:
    handle = await job.aenqueue()
    for wait in (handle.await_, handle.aresult):
        with pytest.raises(InvalidOption, match=r"^timeout must be a number of seconds or None, not "):
            await wait(timeout)


async def test_the_reason_of_a_cancel_is_text(job: Task[..., list[Point]]) -> None:
    handle = await job.aenqueue()
    for reason in (3, None, b"why"):
        given: Any = reason
        with pytest.raises(InvalidOption, match=r"^the reason of a cancel must be text, not "):
            await handle.acancel(given)
    assert await handle.astatus() is TaskState.PENDING
