"""`options(connection=…)`: tasks in the caller's own transaction, through the application and a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from taskq import App, CapabilityMissing, ConfigError
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker

ran: list[str] = []


@pytest.fixture
async def app(postgres_url: str) -> AsyncIterator[App]:
    app = App(postgres_url)

    @app.task(name="note")
    async def note(what: str) -> None:
        ran.append(what)

    ran.clear()
    async with app:
        yield app


def enqueue_and(connection: psycopg.Connection, app: App, what: str) -> str:
    """Enqueue in a thread, as blocking code would."""
    return app.tasks.get("note").options(connection=connection).enqueue(what).id


async def test_what_is_rolled_back_never_runs_and_what_is_committed_does(app: App, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        await asyncio.to_thread(enqueue_and, connection, app, "rolled back")
        connection.rollback()
        kept = await asyncio.to_thread(enqueue_and, connection, app, "committed")
        assert await (await app.backend()).inspector.get(kept) is None
        connection.commit()
    async with Worker(app, WorkerOptions(poll=0.05)).running():
        await app.handle(kept).await_(10)
        last = await app.aenqueue("note", {"what": "last"})
        await last.await_(10)
    assert ran == ["committed", "last"]


async def test_an_asynchronous_connection(app: App, postgres_url: str) -> None:
    note = app.tasks.get("note")
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        lost = await note.options(connection=connection).aenqueue("lost")
        await connection.rollback()
        handles = await note.options(connection=connection).aenqueue_many([("one",), ("two",)])
    inspector = (await app.backend()).inspector
    assert await inspector.get(lost.id) is None
    assert [(await handle.ainfo()).name for handle in handles] == ["note", "note"]


async def test_a_connection_of_the_wrong_kind_is_refused(app: App, postgres_url: str) -> None:
    note = app.tasks.get("note")
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        with pytest.raises(ConfigError, match="a-twin"):
            note.options(connection=connection).enqueue("x")
    with psycopg.connect(postgres_url) as blocking:
        handle = await note.options(connection=blocking).aenqueue("from async code")
    assert (await handle.ainfo()).name == "note"
    with (
        psycopg.connect(postgres_url, autocommit=True) as loose,
        pytest.raises(ConfigError, match="open a transaction"),
    ):
        await note.options(connection=loose).aenqueue("x")


def test_another_backend_says_what_it_cannot() -> None:
    app = App("memory://")

    @app.task(name="note")
    def note() -> None: ...

    with pytest.raises(CapabilityMissing, match="Postgres"):
        note.options(connection=object()).enqueue()


async def test_an_idle_worker_hears_of_it_with_the_commit(postgres_url: str) -> None:
    app = App(postgres_url)

    @app.task
    async def quick() -> str:
        return "done"

    async with Worker(app, WorkerOptions(poll=60.0)).running():
        # The worker has found nothing, and waits for a hint.
        assert await (await quick.aenqueue()).aresult(30) == "done"
        with psycopg.connect(postgres_url) as connection:
            handle = quick.options(connection=connection).enqueue()
        assert await handle.aresult(30) == "done"
    await app.aclose()
