"""`ctx.transaction(connection)`: a task completed in a transaction of its own, through each library that users have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from django.db import transaction
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from taskq import App, ConfigError, Fixed, LeaseLost, TaskContext, TaskState
from taskq.runtime import transactions
from tests.postgres.django_database import django_connection
from tests.postgres.effects import effects, impatient
from tests.worker.support import Gate, parts, until, until_state

TEXT = "insert into effect (note) values ('x')"
Open = Callable[[str], AbstractContextManager[Any]]
AOpen = Callable[[str], AbstractAsyncContextManager[Any]]


@contextmanager
def _psycopg(url: str) -> Any:
    with psycopg.connect(url) as connection:
        yield connection, lambda: connection.execute(TEXT)


@contextmanager
def _session(url: str) -> Any:
    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with Session(engine) as session, session.begin():
        yield session, lambda: session.execute(sqlalchemy.text(TEXT))


@contextmanager
def _django(url: str) -> Any:
    with django_connection(url) as connection, transaction.atomic():
        yield connection, lambda: connection.cursor().execute(TEXT)


@asynccontextmanager
async def _async_psycopg(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection, lambda: connection.execute(TEXT)


@asynccontextmanager
async def _asyncpg(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield connection, lambda: connection.execute(TEXT)
    finally:
        await connection.close()


@asynccontextmanager
async def _async_session(url: str, driver: str = "asyncpg") -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql:", f"postgresql+{driver}:"), poolclass=NullPool)
    async with AsyncSession(engine) as session, session.begin():
        yield session, lambda: session.execute(sqlalchemy.text(TEXT))


def _async_session_on_psycopg(url: str) -> Any:
    return _async_session(url, "psycopg")


@pytest.mark.parametrize("is_undone", [False, True], ids=["committed", "undone"])
@pytest.mark.parametrize("begin", [_psycopg, _session, _django])
async def test_blocking_libraries(app: App, postgres_url: str, begin: Open, is_undone: bool) -> None:
    @app.task(retry=Fixed(0))
    def pays(ctx: TaskContext) -> int:
        with begin(postgres_url) as (connection, act):
            act()
            ctx.transaction(connection).complete(ctx.attempt)
            if is_undone and ctx.attempt == 1:
                raise KeyError
        return -1

    async with impatient(app):
        handle = await pays.aenqueue()
        assert await handle.aresult(30) == 1 + is_undone
    assert effects(postgres_url) == ["x"]
    assert (await handle.ainfo()).fence == 1 + is_undone


@pytest.mark.parametrize("is_undone", [False, True], ids=["committed", "undone"])
@pytest.mark.parametrize("begin", [_async_psycopg, _asyncpg, _async_session, _async_session_on_psycopg])
async def test_asynchronous_libraries(app: App, postgres_url: str, begin: AOpen, is_undone: bool) -> None:
    @app.task(retry=Fixed(0))
    async def pays(ctx: TaskContext) -> int:
        async with begin(postgres_url) as (connection, act):
            await act()
            await ctx.transaction(connection).complete(ctx.attempt)
            if is_undone and ctx.attempt == 1:
                raise KeyError
        return -1

    async with impatient(app):
        handle = await pays.aenqueue()
        assert await handle.aresult(30) == 1 + is_undone
    assert effects(postgres_url) == ["x"]
    assert (await handle.ainfo()).fence == 1 + is_undone


async def test_a_stale_run_is_told_at_once(app: App, postgres_url: str) -> None:
    raised: list[str] = []

    @app.task
    async def pays(ctx: TaskContext) -> str:
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            await connection.execute(TEXT)
            async with await psycopg.AsyncConnection.connect(postgres_url) as other:
                await other.execute(
                    "update taskq.task set fence = fence + 1, lease_until = lease_until + interval '1 h'"
                )
            try:
                await ctx.transaction(connection).complete("first")
            except LeaseLost as error:
                raised.append(str(error))
                await connection.rollback()
        return "stale"

    async with impatient(app) as worker:
        await pays.aenqueue()
        await until(lambda: raised and not parts(worker).executor.runs, "it was refused")
    assert "another run's" in raised[0]
    assert effects(postgres_url) == []


async def test_what_is_rolled_back_and_returned_from_counts(
    app: App, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    async def pays(ctx: TaskContext) -> str:
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            await connection.execute(TEXT)
            await ctx.transaction(connection).complete("in the transaction")
            await connection.rollback()
        return "returned"

    async with impatient(app):
        assert await (await pays.aenqueue()).aresult(30) == "returned"
    assert effects(postgres_url) == []
    assert "did not commit: what it returned counts" in caplog.text


async def test_an_undone_transaction_may_be_tried_again(app: App, postgres_url: str) -> None:
    @app.task
    async def pays(ctx: TaskContext) -> int:
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            for turn in range(3):
                await connection.execute(TEXT)
                try:
                    result = await ctx.transaction(connection).complete(turn)
                except LeaseLost:
                    await connection.rollback()
                    continue
                await (connection.rollback() if turn == 0 else connection.commit())
        return result

    async with impatient(app):
        assert await (await pays.aenqueue()).aresult(30) == 1
    assert effects(postgres_url) == ["x"]


async def test_a_transaction_that_nobody_ends_leaves_the_task_to_its_lease(
    app: App, postgres_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "PATIENCE", 0.1)
    forgotten: list[psycopg.AsyncConnection] = []

    @app.task
    async def pays(ctx: TaskContext) -> int:
        connection = await psycopg.AsyncConnection.connect(postgres_url)
        await connection.execute(TEXT)
        await ctx.transaction(connection).complete(ctx.fence)
        if ctx.fence == 1:
            forgotten.append(connection)
        else:
            await connection.commit()
            await connection.close()
        return -1

    async with impatient(app):
        handle = await pays.aenqueue()
        await until(lambda: "is left to its lease" in caplog.text, "it is said")
        assert (await handle.ainfo()).state is TaskState.RUNNING
        await forgotten[0].close()
        assert await handle.aresult(30) == 2
    assert effects(postgres_url) == ["x"]


async def test_a_session_that_a_middleware_commits(app: App, postgres_url: str) -> None:
    class Sessions:
        async def around_run(self, context: TaskContext, call_next: Any) -> Any:
            async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
                context.connection = connection  # type: ignore[attr-defined]
                return await call_next()

    app.add_middleware(Sessions())

    @app.task
    async def pays(ctx: TaskContext) -> str:
        connection = ctx.connection  # type: ignore[attr-defined]
        await connection.execute(TEXT)
        await ctx.transaction(connection).complete("committed")
        return "ignored"

    async with impatient(app):
        assert await (await pays.aenqueue()).aresult(30) == "committed"
    assert effects(postgres_url) == ["x"]


async def test_misuse_is_refused(app: App, postgres_url: str) -> None:
    raised: list[Exception] = []

    @app.task
    async def misuses(ctx: TaskContext) -> str:
        anything: Any = object()
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as loose:
            for wrong in (anything, loose):
                try:
                    answer = ctx.transaction(wrong).complete("x")
                    await answer
                except ConfigError as error:
                    raised.append(error)
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            tx = ctx.transaction(connection)
            await tx.complete("once")
            try:
                await ctx.transaction(connection).complete("twice")
            except LeaseLost as error:
                raised.append(error)
        return "ignored"

    async with impatient(app):
        assert await (await misuses.aenqueue()).aresult(30) == "once"
    assert [type(error) for error in raised] == [ConfigError, ConfigError, LeaseLost]


async def test_a_lease_is_kept_while_a_transaction_of_its_own_is_undone(app: App, postgres_url: str) -> None:
    gate = Gate()

    @app.task
    async def pays(ctx: TaskContext) -> str:
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            await ctx.transaction(connection).complete("undone")
            await connection.rollback()
            await gate.passed()
        return "returned"

    async with impatient(app) as worker:
        handle = await pays.aenqueue()
        await gate.until_arrived(1)
        run = parts(worker).executor.runs[handle.id]
        enough = asyncio.get_running_loop().time() + 2 * worker.options.lease
        await until(lambda: (run.renewed_at or 0.0) > enough, "the lease is extended")
        gate.open()
        assert (await until_state(handle, TaskState.COMPLETED)).fence == 1
