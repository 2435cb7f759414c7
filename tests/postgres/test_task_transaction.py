"""`ctx.transaction()` in tasks that a worker runs: what is committed, rolled back, refused, and told."""

from __future__ import annotations

import asyncio
import logging
import time

import psycopg
import pytest

from taskq import (
    App,
    Fixed,
    LeaseLost,
    Middleware,
    TaskContext,
    TaskState,
)
from taskq.domain.message import Delivery
from taskq.domain.outcome import Complete, Settlement
from taskq.ports import CancelStatus
from taskq.runtime.run import StopReason
from taskq_postgres.frames import AsyncFrame
from tests.postgres.effects import INSERT, Refusals, effects, impatient
from tests.worker.support import Gate, parts, registered, until


class Noting(Middleware):
    """Remembers what was settled."""

    def __init__(self) -> None:
        self.settled: list[Settlement] = []

    def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """See Middleware."""
        self.settled.append(settlement)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_the_effect_and_the_completion_come_together(app: App, postgres_url: str, kind: str) -> None:
    seen: list[tuple[list[str], TaskState]] = []

    def look(ctx: TaskContext) -> None:
        with psycopg.connect(postgres_url) as connection:
            row = connection.execute("select state, lease_until from taskq.record where id = %s", (ctx.id,)).fetchone()
        seen.append((effects(postgres_url), TaskState.COMPLETED if row == (10, None) else TaskState.RUNNING))

    @app.task(name="async")
    async def in_the_loop(ctx: TaskContext) -> str:
        async with ctx.transaction() as tx:
            await tx.connection.execute(INSERT, ("x",))
            await tx.complete("both")
            look(ctx)
        look(ctx)
        return "ignored"

    @app.task(name="thread")
    def in_a_thread(ctx: TaskContext) -> str:
        with ctx.transaction() as tx:
            tx.connection.execute(INSERT, ("x",))
            tx.complete("both")
            look(ctx)
        look(ctx)
        return "ignored"

    noting = Noting()
    app.add_middleware(noting)
    async with impatient(app) as worker:
        handle = await app.aenqueue(kind)
        assert await handle.aresult(30) == "both"
        await until(lambda: noting.settled, "it was told of")
        assert parts(worker).settler.settled == 1
    assert seen == [([], TaskState.RUNNING), (["x"], TaskState.COMPLETED)]
    assert noting.settled == [Complete(b'"both"')]
    record = await handle.ainfo()
    assert (record.attempt, record.fence, len(record.attempts)) == (1, 1, 1)


async def test_without_complete_the_task_completes_afterwards(app: App, postgres_url: str) -> None:
    @app.task
    async def only_commits(ctx: TaskContext) -> str:
        for note in ("first", "second"):
            async with ctx.transaction() as tx:
                await tx.connection.execute(INSERT, (note,))
        return "returned"

    async with impatient(app):
        assert await (await only_commits.aenqueue()).aresult(30) == "returned"
    assert effects(postgres_url) == ["first", "second"]


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_what_raises_is_rolled_back_and_runs_again(app: App, postgres_url: str, kind: str) -> None:
    def fail(ctx: TaskContext) -> None:
        if ctx.attempt == 1:
            raise KeyError

    @app.task(name="async", retry=Fixed(0))
    async def in_the_loop(ctx: TaskContext) -> int:
        async with ctx.transaction() as tx:
            await tx.connection.execute(INSERT, (f"attempt {ctx.attempt}",))
            result = await tx.complete(ctx.attempt)
            fail(ctx)
        return result

    @app.task(name="thread", retry=Fixed(0))
    def in_a_thread(ctx: TaskContext) -> int:
        with ctx.transaction() as tx:
            tx.connection.execute(INSERT, (f"attempt {ctx.attempt}",))
            result = tx.complete(ctx.attempt)
            fail(ctx)
        return result

    async with impatient(app):
        assert await (await app.aenqueue(kind)).aresult(30) == 2
    assert effects(postgres_url) == ["attempt 2"]


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_run_that_is_no_longer_the_newest_is_rolled_back(app: App, postgres_url: str, kind: str) -> None:
    gate, raised = Gate(), Refusals()

    @app.task(name="async")
    async def in_the_loop(ctx: TaskContext) -> int:
        try:
            async with ctx.transaction() as tx:
                await tx.connection.execute(INSERT, (f"run {ctx.fence}",))
                await tx.complete(ctx.fence)
                if ctx.fence == 1:
                    await gate.passed()
        except LeaseLost as error:
            raised.append(error)
            raise
        return ctx.fence

    @app.task(name="thread")
    def in_a_thread(ctx: TaskContext) -> int:
        try:
            with ctx.transaction() as tx:
                tx.connection.execute(INSERT, (f"run {ctx.fence}",))
                tx.complete(ctx.fence)
                if ctx.fence == 1:
                    asyncio.run_coroutine_threadsafe(gate.passed(), loop).result()
        except LeaseLost as error:
            raised.append(error)
            raise
        return ctx.fence

    loop = asyncio.get_running_loop()
    handle = await app.aenqueue(kind)
    # It may claim once: a claim of the same task again would end the run before.
    async with impatient(app, lease=300.0, heartbeat=100.0, rate=0.001) as worker:
        await gate.until_arrived(1)
        await registered(app, worker)  # its heartbeat, which would tell it to end the run, comes no more
        take_away(postgres_url)
        async with impatient(app, lease=300.0, heartbeat=100.0):
            newest = await handle.aresult(30)
        gate.open()
        await until(lambda: raised, "the stale run was refused")
    assert newest == 2
    assert effects(postgres_url) == ["run 2"]
    assert "lease was lost" in str(raised[0])
    assert (await handle.ainfo()).result == b"2"


def take_away(url: str) -> None:
    """Have all leases run out, and whatever is said of them afterwards come too late."""
    with psycopg.connect(url) as connection:
        connection.execute("update taskq.task set lease_until = null, front = true, lost_leases = 1")


@pytest.mark.parametrize("is_undone", [False, True], ids=["committed", "undone"])
async def test_what_it_enqueues_there_is_part_of_it(app: App, is_undone: bool) -> None:
    @app.task
    async def child() -> None: ...

    @app.task
    async def parent(ctx: TaskContext) -> str:
        try:
            async with ctx.transaction() as tx:
                ids.append((await child.options(connection=tx.connection).aenqueue()).id)
                if is_undone:
                    raise KeyError
                return await tx.complete("committed")
        except KeyError:
            return "undone"

    ids: list[str] = []
    async with impatient(app):
        assert await (await parent.aenqueue()).aresult(30) == ("undone" if is_undone else "committed")
        inspector = (await app.backend()).inspector
        assert (await inspector.get(ids[0]) is None) == is_undone
        if not is_undone:
            assert await app.handle(ids[0]).await_(30) is TaskState.COMPLETED


async def test_completing_wins_over_a_cancel(app: App, postgres_url: str) -> None:
    gate = Gate()

    @app.task
    async def quick(ctx: TaskContext) -> str:
        async with ctx.transaction() as tx:
            await tx.connection.execute(INSERT, ("x",))
            await gate.passed()
            return await tx.complete("done")

    async with impatient(app, lease=300.0, heartbeat=100.0) as worker:
        handle = await quick.aenqueue()
        await gate.until_arrived(1)
        await registered(app, worker)  # its heartbeat, which would bring the cancel, comes no more
        assert await (await app.backend()).broker.cancel([handle.id]) == [CancelStatus.REQUESTED]
        gate.open()
        assert await handle.aresult(30) == "done"
    assert effects(postgres_url) == ["x"]


async def test_a_cancel_in_the_middle_of_the_commit_comes_after_it(
    app: App, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, ended = Gate(), list[str]()
    hold_commits(monkeypatch, gate)

    @app.task
    async def quick(ctx: TaskContext) -> str:
        try:
            async with ctx.transaction() as tx:
                await tx.connection.execute(INSERT, ("x",))
                return await tx.complete("done")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with impatient(app) as worker:
        handle = await quick.aenqueue()
        await gate.until_arrived(1)
        parts(worker).executor.stop_ids([handle.id], StopReason.CANCEL)
        gate.open()
        assert await handle.aresult(30) == "done"
    assert (effects(postgres_url), ended) == (["x"], ["cancelled"])


def hold_commits(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    """Stop at the gate between the settlement and the commit."""
    commit = AsyncFrame._commit

    async def held(self: AsyncFrame) -> None:
        await gate.passed()
        await commit(self)

    monkeypatch.setattr(AsyncFrame, "_commit", held)


@pytest.mark.parametrize("is_lent", [True, False], ids=["lent", "own"])
async def test_a_stalled_transaction_lets_no_other_lease_lapse(
    app: App, postgres_url: str, monkeypatch: pytest.MonkeyPatch, is_lent: bool
) -> None:
    stall, others = Gate(), Gate()
    if is_lent:
        hold_commits(monkeypatch, stall)

    @app.task
    async def stalls(ctx: TaskContext) -> str:
        if is_lent:
            async with ctx.transaction() as tx:
                return await tx.complete("stalled")
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            result = await ctx.transaction(connection).complete("stalled")
            await stall.passed()
        return result

    @app.task
    async def waits() -> None:
        await others.passed()

    async with impatient(app) as worker:
        handles = await waits.aenqueue_many([()] * 5)
        await others.until_arrived(5)
        stalled = await stalls.aenqueue()
        await stall.until_arrived(1)
        runs = [parts(worker).executor.runs[handle.id] for handle in handles]
        enough = time.monotonic() + 2.5 * worker.options.lease
        await until(lambda: all((run.renewed_at or 0.0) > enough for run in runs), "the others are extended")
        others.open()
        stall.open()
        for handle in handles:
            await handle.await_(30)
            record = await handle.ainfo()
            assert (record.state, record.fence, record.lost_leases) == (TaskState.COMPLETED, 1, 0)
        assert await stalled.aresult(30) == "stalled"
        assert (await stalled.ainfo()).fence == 1


async def test_a_waiter_is_told_with_the_commit(app: App, postgres_url: str) -> None:
    @app.task
    async def goes_on(ctx: TaskContext) -> None:
        async with ctx.transaction() as tx:
            await tx.complete()
        await gate.passed()

    gate = Gate()
    async with impatient(app), App(postgres_url) as other:
        heard = asyncio.Event()
        handle = await goes_on.aenqueue()
        stop = (await other.backend())._hints.await_end(handle.id, heard)  # type: ignore[attr-defined]
        await gate.until_arrived(1)
        await asyncio.wait_for(heard.wait(), 30)
        stop()
        gate.open()


async def test_what_it_returns_or_raises_afterwards_counts_for_nothing(
    app: App, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "taskq.worker")

    @app.task
    async def goes_on(ctx: TaskContext, raises: bool) -> object:
        async with ctx.transaction() as tx:
            await tx.complete("done")
        if raises:
            raise KeyError("secret")
        return object()

    async with impatient(app):
        for raises in (True, False):
            assert await (await goes_on.aenqueue(raises)).aresult(30) == "done"
        await until(lambda: caplog.text.count("had completed itself") == 2, "it is in the log")
    assert "failed with KeyError after it had completed itself" in caplog.text
    assert "secret" not in caplog.text


async def test_a_heartbeat_leaves_a_completed_run_alone(app: App, postgres_url: str) -> None:
    gate = Gate()

    @app.task
    async def goes_on(ctx: TaskContext) -> None:
        async with ctx.transaction() as tx:
            await tx.complete()
        ctx.progress(1.0)
        await gate.passed()

    async with impatient(app) as worker:
        handle = await goes_on.aenqueue()
        await gate.until_arrived(1)
        run = parts(worker).executor.runs[handle.id]
        assert not run.may_be_extended(0.0)
        parts(worker).executor.stop_ids([handle.id], StopReason.LOST)  # an answer that was on its way
        await parts(worker).progress.tick()
        assert run.stop_reason is None
        gate.open()
        await until(lambda: not parts(worker).executor.runs, "it has ended")
    assert gate.interrupted == 0
