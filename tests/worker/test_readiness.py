"""A worker, or a beat, is ready while its store has the schema that it needs and answers its claims."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
import redis

from taskq import App
from taskq.errors import BackendUnavailable, SchemaMismatch, UnsafeStore
from taskq.runtime.beat import Beat
from taskq.runtime.fitness import AGAIN, EVERY, Fitness
from taskq.runtime.health import health_of
from taskq.runtime.worker import Worker
from taskq_postgres.migrate import newest
from tests.worker.support import options, parts, until, work, wrap


@pytest_asyncio.fixture
async def on_postgres(postgres_url: str) -> AsyncIterator[App]:
    """An application on Postgres."""
    async with App(postgres_url) as app:
        yield app


def execute(url: str, *statements: str) -> None:
    """Have somebody else change the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def test_it_is_ready_once_a_claim_was_answered(any_app: App) -> None:
    wrapped, asked, answer = wrap(any_app), asyncio.Event(), asyncio.Event()
    worker = Worker(any_app, options())
    assert (health_of(worker).is_live, health_of(worker).is_ready) == (True, False)
    clone = wrapped.clone

    def held_up() -> Any:
        backend: Any = clone()
        fetch = backend.broker.fetch

        async def held(*args: Any, **said: Any) -> Any:
            asked.set()
            await answer.wait()
            return await fetch(*args, **said)

        backend.broker.fetch = held
        return backend

    wrapped.clone = held_up  # type: ignore[method-assign]
    async with worker.running():
        await asked.wait()
        health = health_of(worker)
        assert (health.is_ready, health.checks["claims"]) == (False, "none yet")
        answer.set()
        await until(lambda: health_of(worker).is_ready, "a claim was answered")
        assert health_of(worker).checks == {
            "loop": "turns",
            "store": "answers",
            "schema": "fits",
            "claims": "answered",
            "worker": "idle",
        }
    assert not health_of(worker).is_ready


async def test_it_does_not_wait_for_its_next_claim_to_be_ready(any_app: App) -> None:
    wrapped = wrap(any_app)
    async with work(any_app, poll=60.0) as worker:
        await until(lambda: health_of(worker).is_ready, "its first claim, of nothing, was answered", timeout=20.0)
    assert wrapped.calls["fetch"] == 1


@pytest.mark.parametrize(
    ("error", "check", "said"),
    [
        (BackendUnavailable("gone"), "store", "does not answer"),
        (TimeoutError(), "store", "does not answer"),
        (SchemaMismatch("run: taskq migrate"), "schema", "run: taskq migrate"),
        (UnsafeStore("it came back empty"), "claims", "refused: it came back empty"),
    ],
)
async def test_it_is_not_ready_while_claims_of_all_its_queues_are_refused(
    any_app: App, error: Exception, check: str, said: str
) -> None:
    wrapped = wrap(any_app)
    refused: list[Exception] = []

    def refuse(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name == "fetch" and refused:
            raise refused[0]

    wrapped.switch.on_call = refuse
    async with work(any_app, queues={"a": None, "b": 2.0}, poll=0.05) as worker:
        await until(lambda: health_of(worker).is_ready, "a claim was answered")
        refused.append(error)
        await until(lambda: not health_of(worker).is_ready, "a claim was refused")
        health = health_of(worker)
        assert (health.is_live, health.checks[check]) == (True, said)
        refused.clear()
        await until(lambda: health_of(worker).is_ready, "claims are answered again")


async def test_it_is_not_ready_while_its_functions_are_not_there(on_postgres: App, postgres_url: str) -> None:
    async with work(on_postgres, poll=0.05) as worker:
        await until(lambda: health_of(worker).is_ready, "a claim was answered")
        execute(postgres_url, "alter schema taskq rename to put_away")
        await until(lambda: not health_of(worker).is_ready, "a claim was refused")
        assert "run: taskq migrate" in health_of(worker).checks["schema"]
        execute(postgres_url, "alter schema put_away rename to taskq")
        await until(lambda: health_of(worker).is_ready, "claims are answered again")


async def test_it_is_not_ready_on_a_schema_that_claims_alone_do_not_tell_of(
    on_postgres: App, postgres_url: str
) -> None:
    async with work(on_postgres) as worker:
        await until(lambda: health_of(worker).is_ready, "a claim was answered")
        fitness = parts(worker).fitness
        later = newest() + 1
        execute(postgres_url, f"insert into taskq.migration values ({later}, 'later', 'abc', {later})")
        assert await fitness.tick() == AGAIN
        health = health_of(worker)
        assert (health.is_live, health.is_ready) == (True, False)
        assert "upgrade taskq" in health.checks["schema"]
        execute(postgres_url, f"delete from taskq.migration where version = {later}")
        assert await fitness.tick() == EVERY
        assert health_of(worker).is_ready


async def test_it_is_not_ready_on_a_redis_that_came_back_empty(redis_url: str) -> None:
    async with App(redis_url) as app, work(app, poll=0.05) as worker:
        await until(lambda: health_of(worker).is_ready, "a claim was answered")
        with redis.Redis.from_url(redis_url) as outside:
            outside.flushdb()
        await until(lambda: not health_of(worker).is_ready, "a claim was refused")
        assert health_of(worker).checks["claims"].startswith("refused: ")


async def test_a_store_that_is_away_is_asked_again_soon_and_said_by_the_claims(any_app: App) -> None:
    class Away:
        async def check(self) -> list[str]:
            raise BackendUnavailable("gone")

    fitness = Fitness(Away())  # type: ignore[arg-type]
    assert [await fitness.tick(), await fitness.tick()] == [EVERY, AGAIN]
    assert fitness.trouble is None


async def test_a_beat_is_not_ready_while_its_schema_is_not_there(on_postgres: App, postgres_url: str) -> None:
    beat = Beat(on_postgres)
    await beat.check()
    await beat._turn()
    execute(postgres_url, "alter schema taskq rename to put_away")
    with pytest.raises(SchemaMismatch):
        await beat.tick()
    health = beat.health()
    assert (health.is_live, health.is_ready) == (True, False)
    assert "run: taskq migrate" in health.checks["schema"]
    execute(postgres_url, "alter schema put_away rename to taskq")
    await beat.tick()
    assert beat.health().is_ready
    execute(postgres_url, "alter schema taskq rename to put_away")
    with pytest.raises(SchemaMismatch):
        await beat.tick()
    assert (beat.health().is_ready, beat.health().checks["store"]) == (False, "answers")
