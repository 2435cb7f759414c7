"""Being told of failures: of the last ones, or of all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import App, Cancel, ConfigError, Fixed, NoRetry, Reject, TaskContext, TaskState
from taskq.contrib import ErrorHook, error_hook
from taskq.domain.message import Message
from taskq.domain.record import Failure
from tests.worker import jobs
from tests.worker.support import adopt, ended, until, work

Told = list[tuple[str, int, str, dict[str, Any]]]


def hook(app: App, **said: Any) -> Told:
    """What an ErrorHook of this application is told."""
    told: Told = []

    def note(context: TaskContext, failure: Failure) -> None:
        assert failure.fingerprint
        told.append((context.name, context.attempt, failure.type, dict(context.metadata)))

    app.add_middleware(ErrorHook(note, **said))
    return told


async def fails() -> None:
    raise ValueError("no")


async def test_it_is_told_of_failures_that_are_not_retried(app: App) -> None:
    told = hook(app)
    task = app.task(name="fails", retry=Fixed(0, max_retries=2))(fails)
    async with work(app):
        await ended(await task.options(metadata={"a": 1}).aenqueue())
        await until(lambda: told, "it was told")
    assert told == [("fails", 3, "ValueError", {"a": 1})]


async def test_it_may_be_told_of_all(app: App) -> None:
    told = hook(app, retried=True)
    task = app.task(name="fails", retry=Fixed(0, max_retries=2))(fails)
    async with work(app):
        await ended(await task.aenqueue())
        await until(lambda: len(told) == 3, "it was told")
    assert [attempt for _, attempt, _, _ in told] == [1, 2, 3]


async def test_what_is_no_failure_is_not_told(app: App) -> None:
    told = hook(app, retried=True)

    @app.task(name="ends")
    async def ends(how: str) -> None:
        match how:
            case "rejected":
                raise Reject("not wanted")
            case "cancelled":
                raise Cancel("no longer wanted")

    async with work(app):
        for how in ("completed", "cancelled", "rejected"):
            await ended(await ends.aenqueue(how))
        await until(lambda: told, "it was told")
    assert [kind for _, _, kind, _ in told] == ["Reject"]


async def test_a_run_that_is_ended_by_its_timeout_is_told_with_its_context(app: App) -> None:
    told = hook(app)

    @app.task(name="slow", timeout=0.1, retry=NoRetry())
    async def slow() -> None:
        await asyncio.Event().wait()

    async with work(app):
        await ended(await slow.options(metadata={"a": 1}).aenqueue())
        await until(lambda: told, "it was told")
    assert told == [("slow", 1, "TaskTimeout", {"a": 1})]


@pytest.mark.parametrize("retried", [True, False])
async def test_a_process_that_dies_is_told_as_the_last_where_it_is(app: App, retried: bool) -> None:
    told = hook(app, retried=retried)
    task = adopt(app, jobs.exits, max_lost_leases=2)
    async with work(app):
        record = await ended(await task.aenqueue(3))
        await until(lambda: len(told) == (2 if retried else 1), "it was told")
    assert record.state is TaskState.DEAD
    assert {kind for _, _, kind, _ in told} == {"ProcessCrashed"}


async def test_what_never_ran_is_told_without_metadata(app: App) -> None:
    told = hook(app)
    app.task(name="fails")(fails)
    async with work(app):
        broker = (await app.backend()).broker
        await broker.enqueue([Message("0198f3b2-7c1d-7e7a-9f6e-2b1a6f0c8d00", "fails", b"damaged")])
        await until(lambda: told, "it was told")
    assert told == [("fails", 1, "CorruptRecord", {})]


async def test_contexts_do_not_pile_up(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_hook, "MOST_CONTEXTS", 2)
    middleware = ErrorHook(lambda context, failure: None)
    app.add_middleware(middleware)
    gate, arrived = asyncio.Event(), 0

    @app.task(name="waits")
    async def waits() -> None:
        nonlocal arrived
        arrived += 1
        await gate.wait()

    async with work(app):
        handles = await waits.aenqueue_many([()] * 5)
        await until(lambda: arrived == 5, "all run")
        assert len(middleware._contexts) == 2
        gate.set()
        for handle in handles:
            await handle.aresult(30)
    assert len(middleware._contexts) == 0


async def _pages(context: TaskContext, failure: Failure) -> None: ...


@pytest.mark.parametrize("callback", [5, _pages])
def test_what_cannot_be_called_back_is_refused(callback: Any) -> None:
    with pytest.raises(ConfigError, match="the callback of an ErrorHook must be a plain function, not "):
        ErrorHook(callback)
