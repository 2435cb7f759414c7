"""Webhooks of tasks in the caller's own transaction: a commit brings both, a rollback neither."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from taskq import App, QueueFull, Task, Unique
from taskq.config import Settings
from taskq.ports import EnqueueStatus, QueueConfig
from tests.hooks import HookServer, call_of, calls_in, webhooks_to
from tests.unit.support import count
from tests.worker.support import ended, work

CREATED, DUPLICATE = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE


@pytest.fixture
async def app(postgres_url: str, hooks: HookServer) -> AsyncIterator[App]:
    """An application that may call it."""
    async with App(postgres_url, settings=Settings(webhooks=webhooks_to(hooks))) as app:
        yield app


@pytest.fixture
def add(app: App, hooks: HookServer) -> Task[..., Any]:
    """A task of whose end the server is told."""

    @app.task(name="add", unique=Unique())
    async def add(x: int) -> int:
        return x

    return add.options(on_complete_url=hooks.url)


async def told(app: App, hooks: HookServer, *ids: str) -> list[Any]:
    """The results that are told once all that is stored has run: that of these tasks and no others."""
    assert await calls_in(app) == sorted(call_of(app, app.handle(id)).id for id in ids)
    assert await count(app) == 2 * len(ids)
    async with work(app):
        for id in ids:
            await ended(call_of(app, app.handle(id)))
    return sorted(json.loads(request.body)["data"]["result"] for request in hooks.received)


async def test_of_blocking_code(app: App, add: Task[..., Any], hooks: HookServer, postgres_url: str) -> None:
    def enqueue() -> list[str]:
        with psycopg.connect(postgres_url) as connection:
            inside = add.options(connection=connection)
            inside.enqueue(1)
            inside.enqueue_many([(2,), (3,)])
            connection.rollback()
            ids = [inside.enqueue(4).id, *(handle.id for handle in inside.enqueue_many([(5,), (6,)], atomic=True))]
            connection.commit()
            return ids

    assert await told(app, hooks, *await asyncio.to_thread(enqueue)) == [4, 5, 6]


async def test_of_asynchronous_code(app: App, add: Task[..., Any], hooks: HookServer, postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        inside = add.options(connection=connection)
        await inside.aenqueue(1)
        await inside.aenqueue_many([(2,), (3,)])
        await connection.rollback()
        handles = [await inside.aenqueue(4), *await inside.aenqueue_many([(x,) for x in range(5, 205)], atomic=True)]
        assert await count(app) == 0  # seen from outside
        await connection.commit()
    assert await told(app, hooks, *(handle.id for handle in handles)) == list(range(4, 205))


@pytest.mark.parametrize("is_blocking", [False, True])
async def test_a_key_that_is_held(
    app: App, add: Task[..., Any], hooks: HookServer, postgres_url: str, is_blocking: bool
) -> None:
    held = await add.aenqueue(1)

    def enqueue() -> list[tuple[str, EnqueueStatus]]:
        with psycopg.connect(postgres_url) as connection:
            inside = add.options(connection=connection)
            handles = [inside.enqueue(1), *inside.enqueue_many([(1,), (2,)]), inside.enqueue(2)]
        return [(handle.id, handle.enqueued) for handle in handles]

    async def aenqueue() -> list[tuple[str, EnqueueStatus]]:
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            inside = add.options(connection=connection)
            handles = [await inside.aenqueue(1), *await inside.aenqueue_many([(1,), (2,)]), await inside.aenqueue(2)]
        return [(handle.id, handle.enqueued) for handle in handles]

    answers = await (asyncio.to_thread(enqueue) if is_blocking else aenqueue())
    new = answers[2][0]
    assert answers == [(held.id, DUPLICATE), (held.id, DUPLICATE), (new, CREATED), (new, DUPLICATE)]
    assert await told(app, hooks, held.id, new) == [1, 2]


async def test_a_full_queue_leaves_the_transaction_as_it_was(
    app: App, add: Task[..., Any], hooks: HookServer, postgres_url: str
) -> None:
    await (await app.backend()).queues.configure("default", QueueConfig(max_size=3))
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await connection.execute("create table own (n int)")
        first = await add.options(connection=connection).aenqueue(1)
        with pytest.raises(QueueFull):
            await add.options(connection=connection).aenqueue(2)
    assert await told(app, hooks, first.id) == [1]
    with psycopg.connect(postgres_url) as looking:
        assert looking.execute("select count(*) from own").fetchone() == (0,)
