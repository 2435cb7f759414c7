"""Arguments of an older version are lifted before the run; those of a newer one wait for a newer worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskq import App, Task, TaskState
from taskq.domain.outcome import VERSION
from taskq.domain.record import TaskRecord
from taskq.testing import Harness
from taskq.testing.clock import VirtualClock
from tests.worker import jobs
from tests.worker.support import adopt, ended, twin, until, until_state, work

KINDS = ("async", "thread", "process")


def adder(app: App, kind: str) -> Task[..., int]:
    """A task of version 2, whose parameters were `a` and `b` in version 1."""
    name = jobs.adds_renamed.name
    if kind == "process":
        return adopt(app, jobs.adds_renamed, version=2, upcast={1: jobs.rename})

    async def on_the_loop(x: int, y: int) -> int:
        return x + y

    def in_a_thread(x: int, y: int) -> int:
        return x + y

    function: Any = on_the_loop if kind == "async" else in_a_thread
    task: Task[..., int] = app.task(name=name, version=2, upcast={1: jobs.rename})(function)
    return task


@pytest.mark.parametrize("kind", KINDS)
async def test_old_arguments_are_lifted_wherever_the_task_runs(any_app: App, kind: str) -> None:
    add, older = adder(any_app, kind), twin(any_app)
    async with work(any_app):
        old = await older.aenqueue(add.name, {"a": 1, "b": 2})
        new = await add.aenqueue(3, 4)
        by_name = await older.aenqueue(add.name, {"x": 5, "y": 6}, version=2)
        assert [await handle.aresult(30) for handle in (old, new, by_name)] == [3, 7, 11]
    await older.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_upcast_that_raises_buries_the_task_and_says_which_step(app: App, kind: str) -> None:
    add = adder(app, kind)
    async with work(app):
        record = await ended(await app.aenqueue(add.name, {"a": 1}, version=1))
    assert (record.state, record.reason) == (TaskState.DEAD, "undecodable")
    assert record.failure is not None
    assert record.failure.type == "InvalidPayload"
    assert "the upcast from version 1 to 2 raised KeyError: 'b'" in record.failure.message
    assert "in rename" in record.failure.traceback


async def test_what_an_upcast_gives_is_checked_against_the_signature(app: App) -> None:
    @app.task(name="job", version=2, upcast={1: lambda old: {"x": "one"}})
    async def job(x: int) -> None: ...

    async with work(app):
        record = await ended(await app.aenqueue("job", {}, version=1))
    assert (record.state, record.reason) == (TaskState.DEAD, "undecodable")
    assert record.failure is not None
    assert "parameter x" in record.failure.message


async def test_a_missing_step_buries_the_task(app: App) -> None:
    @app.task(name="job", version=3, upcast={2: dict})
    async def job() -> None: ...

    async with work(app):
        record = await ended(await app.aenqueue("job", {}, version=1))
    assert (record.state, record.reason) == (TaskState.DEAD, "undecodable")
    assert record.failure is not None
    assert "there is no upcast from version 1 to 2" in record.failure.message


async def test_newer_arguments_wait_for_a_newer_worker(any_app: App) -> None:
    ran: list[dict[str, Any]] = []

    @any_app.task(name=jobs.adds_renamed.name)
    async def of_before(**arguments: Any) -> None:
        ran.append(arguments)

    newer = twin(any_app)
    add = adder(newer, "thread")
    async with work(any_app):
        handle = await add.aenqueue(1, 2)
        record = await until_state(handle, TaskState.SCHEDULED)
    assert (record.attempt, ran) == (0, [])
    assert record.attempts[-1].failure is not None
    assert record.attempts[-1].failure.type == "NewerVersion"
    assert "version 2 of the arguments of" in record.attempts[-1].failure.message
    async with work(newer):
        assert await handle.aresult(30) == 3
    assert (await handle.ainfo()).attempt == 1
    await newer.aclose()


async def test_newer_arguments_are_buried_after_a_day(
    virtual_app: App, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    @virtual_app.task(name="job", executor="async")
    async def job() -> None:
        raise AssertionError("this was not to run")

    async with work(virtual_app, poll=0.05):
        handle = await virtual_app.aenqueue("job", {"new": 1}, version=7)
        delays: list[float] = []

        async def put_off_again() -> TaskRecord | None:
            record = await handle.ainfo()
            waits = record.state is TaskState.SCHEDULED and record.fence == len(delays) + 1
            return record if waits or record.state is TaskState.DEAD else None

        while (record := await until(put_off_again, "put off, or buried")).state is TaskState.SCHEDULED:
            delays.append((record.due_at - record.attempts[-1].ended_at) / timedelta(seconds=1))
            assert record.attempt == 0
            clock.advance(delays[-1] + 0.001)
    assert max(delays) == pytest.approx(VERSION.longest)
    assert VERSION.grace <= sum(delays) < VERSION.grace + VERSION.longest
    assert record.reason == "unknown version"
    assert record.failure is not None
    assert record.failure.message.startswith("for 24 hours no worker knew a version 7 of the arguments of 'job'")
    assert caplog.text.count("no version 7 of the arguments of 'job' (the newest here is 1) is known here") == 1


async def test_newer_arguments_are_no_attempt_and_no_middleware_s_affair_in_the_harness() -> None:
    app, seen = App(), []

    @app.task(name="job", version=2, upcast={1: lambda old: {"x": old["a"]}})
    async def job(x: int) -> int:
        return x

    class Watch:
        async def around_run(self, context: Any, call_next: Any) -> Any:
            seen.append(context.id)
            return await call_next()

    app.add_middleware(Watch())
    async with Harness(app) as harness:
        old, new = await app.aenqueue("job", {"a": 5}, version=1), await app.aenqueue("job", {"z": 5}, version=3)
        await harness.run_until_idle()
        assert (await old.aresult(0), seen) == (5, [old.id])
        record = await new.ainfo()
        assert (record.state, record.attempt) == (TaskState.SCHEDULED, 0)
