"""A connection that breaks in the middle of a commit, or before it: what is known then, and how the task goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from taskq import App, BackendUnavailable, Fixed, OutcomeUnknown, TaskContext
from taskq.domain.outcome import Complete, Retry
from taskq.domain.record import Failure
from taskq.errors import LeaseLost, NotApplied
from taskq.ports import BackendOptions, Settled
from taskq.runtime import transactions
from taskq.testing.conformance import Bench
from taskq.testing.conformance.kit import Kit
from taskq_postgres import PostgresBackend, create_backend
from taskq_postgres.frames import AsyncFrame, Frame
from taskq_postgres.lending import PostgresLender
from tests.postgres.effects import INSERT, Refusals, effects, impatient
from tests.postgres.proxy import LossyProxy
from tests.postgres.support import eventually
from tests.worker.support import parts, until

Happening = Callable[[], None]


@pytest_asyncio.fixture
async def proxy(app: App, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LossyProxy]:
    """What the connections that are lent go through."""
    async with LossyProxy(postgres_url) as proxy:

        async def aconnect(self: PostgresLender) -> Any:
            return await psycopg.AsyncConnection.connect(proxy.url, prepare_threshold=None)

        def connect(self: PostgresLender) -> Any:
            return psycopg.connect(proxy.url, prepare_threshold=None)

        monkeypatch.setattr(PostgresLender, "_aconnect", aconnect)
        monkeypatch.setattr(PostgresLender, "_connect", connect)
        yield proxy


def before(monkeypatch: pytest.MonkeyPatch, step: str, happening: Happening) -> None:
    """Have something happen once, before a step of the next end of a transaction."""
    left = [happening]
    for kind in (AsyncFrame, Frame):
        method = getattr(kind, step)

        def call(*args: Any, method: Any = method) -> Any:
            if left:
                left.pop()()
            return method(*args)

        monkeypatch.setattr(kind, step, call)


def pay(app: App, raised: Refusals) -> None:
    """Two tasks that pay once, and note what their transactions raise."""

    @app.task(name="async", retry=Fixed(0))
    async def in_the_loop(ctx: TaskContext) -> int:
        try:
            async with ctx.transaction() as tx:
                await tx.connection.execute(INSERT, (f"run {ctx.fence}",))
                await tx.complete(ctx.fence)
        except Exception as error:
            raised.append(error)
            raise
        return -1

    @app.task(name="thread", retry=Fixed(0))
    def in_a_thread(ctx: TaskContext) -> int:
        try:
            with ctx.transaction() as tx:
                tx.connection.execute(INSERT, (f"run {ctx.fence}",))
                tx.complete(ctx.fence)
        except Exception as error:
            raised.append(error)
            raise
        return -1


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_lost_reply_to_a_commit_is_found_out(
    app: App, postgres_url: str, proxy: LossyProxy, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    raised = Refusals()
    pay(app, raised)
    before(monkeypatch, "_commit", proxy.lose_next_reply)
    async with impatient(app):
        assert await (await app.aenqueue(kind)).aresult(30) == 1
    assert (proxy.lost, raised, effects(postgres_url)) == (1, [], ["run 1"])


@pytest.mark.parametrize("kind", ["async", "thread"])
@pytest.mark.parametrize("step", ["_complete", "_commit"])
async def test_a_commit_that_never_arrived_is_known_to_be_undone(
    app: App, postgres_url: str, proxy: LossyProxy, monkeypatch: pytest.MonkeyPatch, kind: str, step: str
) -> None:
    raised = Refusals()
    pay(app, raised)
    before(monkeypatch, step, proxy.lose_next_request)
    async with impatient(app):
        handle = await app.aenqueue(kind)
        assert await handle.aresult(30) == 2
    assert [type(error) for error in raised] == [BackendUnavailable]
    assert effects(postgres_url) == ["run 2"]
    assert (await handle.ainfo()).lost_leases == 0


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_what_nobody_can_tell_is_left_to_the_lease(
    app: App,
    postgres_url: str,
    proxy: LossyProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    monkeypatch.setattr(transactions, "PATIENCE", 0.2)
    raised = Refusals()
    pay(app, raised)
    before(monkeypatch, "_commit", partial(proxy.lose_next_request, is_noticed=False))
    async with impatient(app) as worker:
        handle = await app.aenqueue(kind)
        await until(lambda: "is left to its lease" in caplog.text, "it is said")
        assert not parts(worker).executor.runs
        assert parts(worker).settler.settled == 0
        proxy.let_go()
        assert await handle.aresult(30) == 2
    assert [type(error) for error in raised] == [OutcomeUnknown]
    assert effects(postgres_url) == ["run 2"]
    assert (await handle.ainfo()).lost_leases == 1


async def test_a_commit_without_a_completion_is_not_asked_after(
    app: App, proxy: LossyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = Refusals()

    @app.task
    async def pays(ctx: TaskContext) -> str:
        try:
            async with ctx.transaction() as tx:
                await tx.connection.execute(INSERT, ("x",))
        except OutcomeUnknown as error:
            raised.append(error)
        return "returned"

    before(monkeypatch, "_commit", proxy.lose_next_reply)
    async with impatient(app):
        assert await (await pays.aenqueue()).aresult(30) == "returned"
    assert len(raised) == 1


async def test_a_client_that_falls_silent_is_cut_off(postgres_url: str) -> None:
    async with create_backend(postgres_url, BackendOptions(command_timeout=1.0)) as backend:
        bench = Bench(Kit(), backend)
        delivery = await bench.running()
        frame = await backend.lender(1).abegin(None)
        await frame._complete(frame._terms(delivery, b"1"))
        assert await backend.is_settled(delivery) is None

        async def is_known() -> bool:
            return await backend.is_settled(delivery) is False

        await eventually(is_known)
        with pytest.raises(BackendUnavailable):
            await frame.commit()
        assert (await backend.broker.settle([Settled(delivery, Complete(b"2"))]))[0] == "applied"


async def test_what_is_settled(bench: Bench, backend: PostgresBackend) -> None:
    completed, retried, running = await bench.running(), await bench.running(), await bench.running()
    await bench.settle(completed, Complete())
    await bench.settle(retried, Retry(900.0, Failure("E", "no")))
    answers = [await backend.is_settled(delivery) for delivery in (completed, retried, running)]
    assert answers == [True, True, False]
    stale = completed._replace(fence=completed.fence + 1)
    gone = running._replace(id=bench.message().id)
    assert [await backend.is_settled(delivery) for delivery in (stale, gone)] == [False, True]


@pytest.mark.parametrize("is_blocking", [False, True], ids=["async", "thread"])
async def test_a_transaction_that_cannot_be_committed_is_refused(
    bench: Bench, backend: PostgresBackend, is_blocking: bool
) -> None:
    lender = backend.lender(1)
    for ending, error in (("rollback", NotApplied), ("select 1/0", NotApplied), ("", LeaseLost)):
        stale = (await bench.running())._replace(fence=99)
        if is_blocking:
            frame: Any = await asyncio.to_thread(lender.begin, None)
            with pytest.raises(error):
                await asyncio.to_thread(_spoil_and_commit, frame, ending, stale)
            continue
        aframe = await lender.abegin(None)
        if ending:
            try:
                await aframe.connection.execute(ending)
            except psycopg.DataError:
                pass
        with pytest.raises(error):
            await aframe.commit(stale, b"1")
    assert await bench.counts() == {"running": 3}


def _spoil_and_commit(frame: Frame, ending: str, delivery: Any) -> None:
    if ending:
        try:
            frame.connection.execute(ending)
        except psycopg.DataError:
            pass
    frame.commit(delivery, b"1")


async def test_a_deferred_constraint_undoes_the_completion(app: App, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("alter table effect add unique (note) deferrable initially deferred")
        connection.execute(INSERT, ("taken",))
    raised = Refusals()

    @app.task
    async def pays(ctx: TaskContext) -> str:
        try:
            async with ctx.transaction() as tx:
                await tx.connection.execute(INSERT, ("taken",))
                return await tx.complete("paid")
        except psycopg.errors.UniqueViolation as error:
            raised.append(error)
        return "taken already"

    async with impatient(app):
        for _ in range(2):
            assert await (await pays.aenqueue()).aresult(30) == "taken already"
    assert (len(raised), effects(postgres_url)) == (2, ["taken"])


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_connection_that_died_idle_costs_nothing(app: App, postgres_url: str, kind: str) -> None:
    raised = Refusals()
    pay(app, raised)
    async with impatient(app):
        assert await (await app.aenqueue(kind)).aresult(30) == 1
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and lower(query) = 'discard all'"
            )
        assert await (await app.aenqueue(kind)).aresult(30) == 1
    assert (raised, effects(postgres_url)) == ([], ["run 1", "run 1"])
