"""Tasks in the caller's own transaction."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.rows import dict_row

from taskq.domain.state import TaskState
from taskq.errors import ConfigError
from taskq.ports import EnqueueStatus
from taskq.testing.conformance import Bench
from taskq_postgres import PostgresBackend

CREATED, DUPLICATE = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE


async def test_what_is_committed_runs(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    messages = [bench.message(body=b"\x00\xff", priority=3), bench.message(delay=900.0)]
    with psycopg.connect(postgres_url) as connection:
        connection.execute("create table own (n int)")
        answers = backend.enqueue_in(connection, messages)
        assert [answer.status for answer in answers] == [CREATED, CREATED]
        assert await bench.counts() == {}
    assert await bench.counts() == {TaskState.PENDING: 1, TaskState.SCHEDULED: 1}
    delivery = await bench.take_one()
    assert (delivery.id, delivery.body, delivery.priority) == (messages[0].id, b"\x00\xff", 3)


async def test_what_is_rolled_back_never_was(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    message = bench.message()
    with psycopg.connect(postgres_url) as connection:
        backend.enqueue_in(connection, [message])
        connection.rollback()
    assert await bench.take() == []
    assert await backend.inspector.get(message.id) is None


async def test_an_asynchronous_connection(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    kept, undone = bench.message(), bench.message()
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await backend.aenqueue_in(connection, [undone])
        await connection.rollback()
        await backend.aenqueue_in(connection, [kept])
        await connection.commit()
        [answer] = await backend.aenqueue_in(connection, [kept])
        assert answer.status == DUPLICATE
    assert await bench.take_ids() == [kept.id]


async def test_a_cursor_will_do(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    message = bench.message()
    with psycopg.connect(postgres_url) as connection, connection.cursor() as cursor:
        backend.enqueue_in(cursor, [message])
    assert await bench.take_ids() == [message.id]


async def test_autocommit_is_refused_outside_a_block(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        with pytest.raises(ConfigError, match="transaction"):
            backend.enqueue_in(connection, [bench.message()])
        with connection.transaction():
            backend.enqueue_in(connection, [bench.message()])
    assert await bench.counts() == {TaskState.PENDING: 1}


async def test_a_strange_object_is_refused(bench: Bench, backend: PostgresBackend) -> None:
    with pytest.raises(ConfigError, match=r"builtins\.object"):
        backend.enqueue_in(object(), [bench.message()])
    with pytest.raises(ConfigError, match=r"builtins\.object"):
        await backend.aenqueue_in(object(), [bench.message()])


async def test_a_hint_after_the_commit_wakes_a_worker(
    bench: Bench, backend: PostgresBackend, postgres_url: str
) -> None:
    await bench.take()
    with psycopg.connect(postgres_url) as connection:
        backend.enqueue_in(connection, [bench.message()])
    backend.hint(bench.queue)
    assert await backend.broker.wait([bench.queue], 20.0)


async def test_rows_of_any_kind(bench: Bench, backend: PostgresBackend, postgres_url: str) -> None:
    messages = [bench.message(), bench.message()]
    with psycopg.connect(postgres_url, row_factory=dict_row) as connection:
        backend.enqueue_in(connection, messages[:1])
    async with await psycopg.AsyncConnection.connect(postgres_url, row_factory=dict_row) as connection:
        await backend.aenqueue_in(connection, messages[1:])
    assert await bench.take_ids(2) == [message.id for message in messages]
