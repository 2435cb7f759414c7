"""Tasks in the caller's own transaction, through each library that users have: committed, rolled back, refused."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from django.db import transaction
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from taskq.domain.message import Message
from taskq.errors import ConfigError, SchemaMismatch
from taskq.ports import BackendOptions
from taskq.testing.conformance import Bench
from taskq_postgres import PostgresBackend, create_backend
from tests.postgres.django_database import django_connection

ASYNC_DRIVERS = ["asyncpg", "psycopg"]


def sqlalchemy_url(url: str, driver: str) -> str:
    """The URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", f"postgresql+{driver}://", 1)


async def test_asyncpg(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    kept, undone = bench.message(body=b"\x00\xff"), bench.message()
    connection = await asyncpg.connect(postgres_url)
    try:
        async with connection.transaction():
            await backend.aenqueue_in(connection, [kept])
            assert await bench.take() == []
        with pytest.raises(KeyError):
            async with connection.transaction():
                await backend.aenqueue_in(connection, [undone])
                raise KeyError
        with pytest.raises(ConfigError, match="open a transaction"):
            await backend.aenqueue_in(connection, [undone])
        with pytest.raises(ConfigError, match="a-twin"):
            backend.enqueue_in(connection, [undone])
    finally:
        await connection.close()
    delivery = await bench.take_one()
    assert (delivery.id, delivery.body) == (kept.id, b"\x00\xff")
    assert await bench.take() == []


async def test_asyncpg_from_a_pool(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    message = bench.message()
    async with (
        asyncpg.create_pool(postgres_url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        await backend.aenqueue_in(connection, [message])
    assert await bench.take_ids() == [message.id]


async def test_sqlalchemy(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    messages = [bench.message() for _ in range(4)]
    engine = sqlalchemy.create_engine(sqlalchemy_url(postgres_url, "psycopg"), poolclass=NullPool)
    with Session(engine) as session, session.begin():
        backend.enqueue_in(session, messages[:1])
        assert await bench.take() == []
    with engine.begin() as connection:
        backend.enqueue_in(connection, messages[1:2])
    with Session(engine) as session:
        backend.enqueue_in(session, messages[2:3])
        session.rollback()
    with engine.connect() as connection:
        backend.enqueue_in(connection, messages[3:])
        connection.rollback()
    assert sorted(await bench.take_ids(4)) == sorted(message.id for message in messages[:2])


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
async def test_asynchronous_sqlalchemy(bench: Bench, backend: PostgresBackend, postgres_url: str, driver: str) -> None:
    messages = [bench.message() for _ in range(4)]
    engine = create_async_engine(sqlalchemy_url(postgres_url, driver), poolclass=NullPool)
    async with AsyncSession(engine) as session, session.begin():
        await backend.aenqueue_in(session, messages[:1])
        assert await bench.take() == []
    async with engine.begin() as connection:
        await backend.aenqueue_in(connection, messages[1:2])
    async with AsyncSession(engine) as session:
        await backend.aenqueue_in(session, messages[2:3])
        await session.rollback()
    async with engine.connect() as connection:
        await backend.aenqueue_in(connection, messages[3:])
        await connection.rollback()
    assert sorted(await bench.take_ids(4)) == sorted(message.id for message in messages[:2])


async def test_sqlalchemy_that_commits_each_statement_is_refused(
    bench: Bench, backend: PostgresBackend, postgres_url: str
) -> None:
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
    engine = sqlalchemy.create_engine(sqlalchemy_url(postgres_url, "psycopg"), **options)
    with engine.connect() as connection, pytest.raises(ConfigError, match="open a transaction"):
        backend.enqueue_in(connection, [bench.message()])
    for driver in ASYNC_DRIVERS:
        async_engine = create_async_engine(sqlalchemy_url(postgres_url, driver), **options)
        async with async_engine.connect() as connection:
            with pytest.raises(ConfigError, match="open a transaction"):
                await backend.aenqueue_in(connection, [bench.message()])
    assert await bench.take() == []


async def test_django(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    kept, undone = bench.message(), bench.message()
    # Django's connections belong to a thread, and its blocking calls refuse a thread with an event loop.
    await asyncio.to_thread(_in_django, backend, postgres_url, kept, undone)
    assert await bench.take_ids() == [kept.id]


def _in_django(backend: PostgresBackend, url: str, kept: Message, undone: Message) -> None:
    with django_connection(url) as connection:
        with transaction.atomic():
            backend.enqueue_in(connection, [kept])
        with pytest.raises(KeyError), transaction.atomic():
            backend.enqueue_in(connection, [undone])
            raise KeyError
        with pytest.raises(ConfigError, match="open a transaction"):
            backend.enqueue_in(connection, [undone])


async def test_a_database_without_our_schema_is_told_of(bench: Bench, postgres_url: str) -> None:
    elsewhere = create_backend(postgres_url, BackendOptions(namespace="elsewhere"))
    message = bench.message()
    with psycopg.connect(postgres_url) as connection, pytest.raises(SchemaMismatch, match="taskq migrate"):
        elsewhere.enqueue_in(connection, [message])
    engine = sqlalchemy.create_engine(sqlalchemy_url(postgres_url, "psycopg"), poolclass=NullPool)
    with engine.connect() as connected, pytest.raises(SchemaMismatch, match="taskq migrate"):
        elsewhere.enqueue_in(connected, [message])
    asynchronous = await asyncpg.connect(postgres_url)
    transaction = asynchronous.transaction()
    await transaction.start()
    with pytest.raises(SchemaMismatch, match="taskq migrate"):
        await elsewhere.aenqueue_in(asynchronous, [message])
    await transaction.rollback()
    await asynchronous.close()
