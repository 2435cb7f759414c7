"""Unique keys, limits and the size of a queue, for tasks in the caller's own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from taskq import App, Concurrency, Debounce, KeepLatest, QueueFull, RateLimit, Unique
from taskq.config import WorkerOptions
from taskq.domain.limits import Slots
from taskq.domain.message import Message
from taskq.domain.unique import UniqueKey
from taskq.ids import new_id
from taskq.ports import EnqueueStatus, QueueConfig
from taskq.runtime.worker import Worker
from taskq_postgres.backend import PostgresBackend

CREATED, DUPLICATE, REPLACED = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.REPLACED
ran: list[int] = []


@pytest.fixture
async def app(postgres_url: str) -> AsyncIterator[App]:
    app = App(postgres_url)

    @app.task(name="once", unique=Unique(key="order"))
    async def once(order: int) -> None:
        ran.append(order)

    @app.task(name="later", unique=Debounce(3600.0, key=()))
    async def later(order: int) -> None:
        ran.append(order)

    @app.task(name="latest", unique=KeepLatest())
    async def latest(order: int) -> None:
        ran.append(order)

    @app.task(name="bound", concurrency=Concurrency(1), rate_limit=RateLimit("100/s", key="order"))
    async def bound(order: int) -> None:
        ran.append(order)

    ran.clear()
    async with app:
        yield app


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        yield connection


async def test_a_key_is_free_again_where_its_task_was_rolled_back(
    app: App, connection: psycopg.AsyncConnection
) -> None:
    once = app.tasks.get("once")
    first = await once.options(connection=connection).aenqueue(1)
    again = await once.options(connection=connection).aenqueue(1)
    assert (first.enqueued, again.enqueued, again.id) == (CREATED, DUPLICATE, first.id)
    await connection.rollback()
    second = await once.aenqueue(1)
    assert (second.enqueued, second.id != first.id) == (CREATED, True)
    found = await once.options(connection=connection).aenqueue(1)
    assert (found.enqueued, found.id) == (DUPLICATE, second.id)


async def test_who_wants_a_key_waits_for_the_transaction_that_takes_it(
    app: App, connection: psycopg.AsyncConnection
) -> None:
    once = app.tasks.get("once")
    first = await once.options(connection=connection).aenqueue(1)
    second = asyncio.create_task(once.aenqueue(1))
    await asyncio.sleep(0)
    await connection.commit()
    handle = await second
    assert (handle.enqueued, handle.id) == (DUPLICATE, first.id)


@pytest.mark.parametrize("name", ["later", "latest"])
async def test_newer_arguments_take_their_place_with_the_commit(
    app: App, connection: psycopg.AsyncConnection, name: str
) -> None:
    task = app.tasks.get(name)
    first = await task.aenqueue(1)
    undone = await task.options(connection=connection).aenqueue(2)
    assert (undone.enqueued, undone.id) == (REPLACED, first.id)
    await connection.rollback()
    await task.options(connection=connection).aenqueue(3)
    await connection.commit()
    if name == "latest":
        async with Worker(app, WorkerOptions(poll=0.05)).running():
            await first.await_(10)
        assert ran == [3]
    else:
        assert b'"order":3' in (await first.ainfo()).body


async def test_limits_are_kept_with_the_task(app: App, connection: psycopg.AsyncConnection) -> None:
    handle = await app.tasks.get("bound").options(connection=connection).aenqueue(1)
    await connection.commit()
    slots, rate = (await handle.ainfo()).limits
    assert slots == Slots("bound", 1)
    assert rate.key.startswith("bound:")
    async with Worker(app, WorkerOptions(poll=0.05)).running():
        await handle.await_(10)
    assert ran == [1]


async def test_a_full_queue_refuses_and_leaves_the_transaction_whole(
    app: App, connection: psycopg.AsyncConnection
) -> None:
    await (await app.backend()).queues.configure("default", QueueConfig(max_size=1))
    bound = app.tasks.get("bound")
    first = await bound.options(connection=connection).aenqueue(1)
    with pytest.raises(QueueFull, match="1 tasks of at most 1") as caught:
        await bound.options(connection=connection).aenqueue(2)
    assert (caught.value.depth, caught.value.limit) == (1, 1)
    await connection.commit()
    assert (await first.ainfo()).limits != ()


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_one_that_is_refused_holds_no_key_against_the_next_of_its_call(
    app: App, connection: psycopg.AsyncConnection, is_blocking: bool
) -> None:
    await app.tasks.get("bound").aenqueue(1)
    backend = await app.backend()
    assert isinstance(backend, PostgresBackend)
    await backend.queues.configure("default", QueueConfig(max_size=1))
    queues, key = ("default", "default", "beside", "beside"), UniqueKey("k")
    messages = [Message(new_id(), "once", queue=queue, unique=key) for queue in queues]
    if is_blocking:
        with psycopg.connect(app.url) as blocking:
            answers = backend.enqueue_in(blocking, messages)
    else:
        answers = await backend.aenqueue_in(connection, messages)
    assert [(answer.id, answer.status) for answer in answers] == [
        *((message.id, EnqueueStatus.FULL) for message in messages[:2]),
        (messages[2].id, CREATED),
        (messages[2].id, DUPLICATE),
    ]


@pytest.mark.parametrize("waiting", [0, 1])
async def test_all_find_room_or_none(app: App, connection: psycopg.AsyncConnection, waiting: int) -> None:
    once, queues = app.tasks.get("once"), (await app.backend()).queues
    await once.aenqueue_many([(-1,)] * waiting)
    await queues.configure("default", QueueConfig(max_size=waiting + 2))
    with pytest.raises(QueueFull):
        await once.options(connection=connection).aenqueue_many([(1,), (2,), (3,)], atomic=True)
    await connection.commit()
    with psycopg.connect(app.url) as blocking, pytest.raises(QueueFull):
        once.options(connection=blocking).enqueue_many([(1,), (2,), (3,)], atomic=True)
    await queues.configure("default", QueueConfig(max_size=waiting + 3))
    handles = await once.options(connection=connection).aenqueue_many([(1,), (2,), (3,)], atomic=True)
    assert [handle.enqueued for handle in handles] == [CREATED] * 3
