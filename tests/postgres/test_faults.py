"""Connections cut and the server killed under load: what was acknowledged is there, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import psycopg

from taskq.domain.outcome import Complete
from taskq.domain.state import TaskState
from taskq.errors import TaskqError
from taskq.ports import BackendOptions, Settled
from taskq.testing.conformance import Bench
from taskq.testing.conformance.kit import Kit
from taskq_postgres import PostgresBackend, create_backend
from tests.postgres.support import eventually
from tests.servers import PostgresServer

OPTIONS = BackendOptions(retry_for=60.0, command_timeout=5.0)


async def test_connections_that_are_cut_again_and_again_lose_nothing(postgres_url: str) -> None:
    async with create_backend(postgres_url, OPTIONS) as backend:
        await _under_fire(backend, lambda: asyncio.to_thread(_terminate_all, postgres_url), strikes=20)


async def test_a_killed_server_loses_nothing_that_it_acknowledged() -> None:
    with PostgresServer() as server:

        async def kill_and_restart() -> None:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)

        async with create_backend(server.url, OPTIONS) as backend:
            await backend.migrate()
            await _under_fire(backend, kill_and_restart, strikes=3)


async def test_a_listener_that_was_cut_hears_again(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    async with backend.clone() as other:
        for _ in range(3):
            await bench.take()
            waiting = asyncio.create_task(backend.broker.wait([bench.queue], 20.0))
            await eventually(lambda: asyncio.to_thread(_listeners, postgres_url))
            await asyncio.to_thread(_terminate_all, postgres_url)
            await other.broker.enqueue([bench.message()])
            assert await waiting
            assert len(await bench.take()) == 1


async def _under_fire(backend: PostgresBackend, strike: Callable[[], Awaitable[None]], strikes: int) -> None:
    """Enqueue, claim and settle while something strikes again and again.

    The next strike waits for a call that came through: at a fixed pace, a machine slower than that pace would never
    get one through, whatever the backend does.
    """
    bench = Bench(Kit(), backend)
    acknowledged: list[str] = []
    came_through = asyncio.Event()
    produced = asyncio.Event()

    async def fire() -> None:
        for _ in range(strikes):
            await strike()
            came_through.clear()
            await came_through.wait()

    async def produce(firing: asyncio.Task[None]) -> None:
        while not firing.done():
            batch = [bench.message() for _ in range(25)]
            await backend.broker.enqueue(batch)
            came_through.set()
            acknowledged.extend(message.id for message in batch)
        produced.set()

    async def work(worker: str) -> None:
        while not (produced.is_set() and not (await bench.counts()).get(TaskState.PENDING)):
            fetched = await backend.broker.fetch([bench.queue], 40, worker=worker, lease=900, request_id=str(uuid4()))
            await backend.broker.settle([Settled(delivery, Complete()) for delivery in fetched.deliveries])
            came_through.set()
            if not fetched.deliveries:
                await backend.broker.wait([bench.queue], 0.05)

    async with asyncio.TaskGroup() as group:
        group.create_task(produce(group.create_task(fire())))
        for number in range(2):
            group.create_task(work(f"worker-{number}"))
    assert await bench.counts() == {TaskState.COMPLETED: len(acknowledged)}
    for id in acknowledged[:: max(1, len(acknowledged) // 20)]:
        assert (await bench.record(id)).fence == 1


def _listeners(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'"
        ).fetchone()
    return row is not None and row[0] > 0


def _terminate_all(url: str) -> None:
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'taskq' and datname = current_database()"
            )
    except psycopg.Error as error:
        raise TaskqError(str(error)) from error
