"""Middleware in the worker: around each run, after each settlement; and one that fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import App, Failure, NoRetry, Snooze, TaskContext, TaskState
from taskq.domain.message import Delivery
from taskq.domain.outcome import CancelledRun, Complete, Failed, Outcome, Rejected, Settlement, Snoozed, Succeeded
from taskq.middleware import CallNext, Draft, Middleware
from tests.worker import jobs
from tests.worker.support import adopt, ended, gated, until, until_state, work


class Notes(Middleware):
    """Writes down what it sees."""

    def __init__(self, name: str, seen: list[Any]) -> None:
        self.name = name
        self.seen = seen

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
        self.seen.append((self.name, "before", context.id))
        outcome = await call_next()
        self.seen.append((self.name, "after", type(outcome).__name__))
        return outcome


async def test_it_lies_around_each_run_the_first_outermost(any_app: App) -> None:
    seen: list[Any] = []
    any_app.add_middleware(Notes("outer", seen))
    any_app.add_middleware(Notes("inner", seen))

    @any_app.task
    async def quick() -> str:
        return "done"

    @any_app.task
    def fails() -> None:
        raise Snooze(3600)

    add = adopt(any_app, jobs.add)
    async with work(any_app):
        for task, arguments, outcome in ((quick, (), "Succeeded"), (fails, (), "Snoozed"), (add, (1, 2), "Succeeded")):
            handle: Any = await task.aenqueue(*arguments)
            await until_state(handle, TaskState.COMPLETED, TaskState.SCHEDULED)
            assert seen == [
                ("outer", "before", handle.id),
                ("inner", "before", handle.id),
                ("inner", "after", outcome),
                ("outer", "after", outcome),
            ]
            seen.clear()


async def test_its_outcome_is_the_one_that_counts(app: App) -> None:
    class Vetoes:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            if context.metadata.get("veto"):
                return CancelledRun("vetoed")
            outcome = await call_next()
            assert isinstance(outcome, Succeeded)
            return Succeeded(b'"replaced"')

    app.add_middleware(Vetoes())
    ran = []

    @app.task
    async def quick() -> str:
        ran.append(1)
        return "done"

    async with work(app):
        assert await (await quick.aenqueue()).aresult(30) == "replaced"
        record = await ended(await quick.options(metadata={"veto": True}).aenqueue())
    assert (record.state, record.reason, len(ran)) == (TaskState.CANCELLED, "vetoed", 1)


async def test_one_that_raises_fails_the_run_and_not_the_worker(app: App) -> None:
    class Broken:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            if context.name == "unlucky":
                raise SystemExit("out of order")
            return await call_next()

    app.add_middleware(Broken())

    @app.task(name="unlucky", retry=NoRetry())
    async def unlucky() -> None: ...

    @app.task(name="lucky")
    async def lucky() -> str:
        return "done"

    async with work(app):
        record = await ended(await unlucky.aenqueue())
        assert record.state is TaskState.DEAD
        assert record.failure is not None
        assert record.failure.type == "SystemExit"
        assert await (await lucky.aenqueue()).aresult(30) == "done"


async def test_what_it_raises_when_the_worker_stops_costs_the_task_no_attempt(app: App) -> None:
    class Untidy:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            try:
                return await call_next()
            finally:
                raise RuntimeError("the connection is gone already")

    app.add_middleware(Untidy())
    gate, waits = gated(app)
    async with work(app, shutdown_timeout=0.5):
        handle = await waits.aenqueue()
        await gate.until_arrived(1)
    record = await handle.ainfo()
    assert (record.state, record.attempt, gate.interrupted) == (TaskState.PENDING, 0, 1)


@pytest.mark.parametrize("error", [RuntimeError("a counter overflows"), SystemExit(4)])
async def test_on_settled_is_told_what_the_store_has_accepted(any_app: App, error: BaseException) -> None:
    settled: list[tuple[str, type]] = []

    class Counts:
        def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
            settled.append((delivery.name, type(settlement)))
            raise error

    any_app.add_middleware(Counts())

    @any_app.task(name="quick")
    async def quick() -> None: ...

    async with work(any_app):
        await ended(await quick.aenqueue())
        await ended(await quick.aenqueue())
        await until(lambda: len(settled) == 2, "both were told")
    assert settled == [("quick", Complete)] * 2


async def test_on_enqueue_adds_what_the_run_reads(any_app: App) -> None:
    class Stamps:
        def on_enqueue(self, draft: Draft) -> None:
            draft.metadata["by"] = draft.name

    any_app.add_middleware(Stamps())

    @any_app.task(name="reads")
    async def reads(ctx: TaskContext) -> str:
        by: str = ctx.metadata["by"]
        return by

    async with work(any_app):
        assert await (await reads.aenqueue()).aresult(30) == "reads"


async def test_one_that_forgets_to_return_the_outcome_is_told_so(app: App) -> None:
    class Forgetful:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Any:
            await call_next()

    app.add_middleware(Forgetful())

    @app.task(retry=NoRetry())
    async def quick() -> None: ...

    async with work(app):
        record = await ended(await quick.aenqueue())
    assert record.failure is not None
    assert record.failure.type == "MiddlewareError"
    assert "call_next()" in record.failure.message


@pytest.mark.parametrize(
    "given",
    [Failed("no"), Rejected("no"), Rejected(Failure("No", ValueError("no"))), Snoozed("no"), Succeeded("no")],  # type: ignore[arg-type]
    ids=repr,
)
async def test_an_outcome_that_cannot_be_settled_fails_the_run_and_costs_no_slot(app: App, given: Outcome) -> None:
    class Careless:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            outcome = await call_next()
            return given if context.name == "unlucky" else outcome

    app.add_middleware(Careless())

    @app.task(name="unlucky", retry=NoRetry())
    async def unlucky() -> None: ...

    @app.task(name="lucky")
    async def lucky() -> str:
        return "done"

    async with work(app, concurrency=1):
        record = await ended(await unlucky.aenqueue())
        assert (record.state, len(record.attempts)) == (TaskState.DEAD, 1)
        assert await (await lucky.aenqueue()).aresult(30) == "done"


async def test_its_own_timeout_around_a_run_is_its_own(app: App) -> None:
    class Hasty:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            try:
                async with asyncio.timeout(0.05):
                    return await call_next()
            except TimeoutError:
                return Succeeded(b'"in vain"')

    app.add_middleware(Hasty())

    @app.task
    async def waits() -> str:
        await asyncio.Event().wait()
        return "never"

    async with work(app):
        assert await (await waits.aenqueue()).aresult(30) == "in vain"
