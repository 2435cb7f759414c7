"""Counts of tasks are kept where they are written, summed up by whoever is about, and go with the days."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from taskq.domain.outcome import Complete
from taskq.domain.state import TaskState
from taskq.ports import BackendOptions
from taskq.testing.conformance.bench import Bench
from taskq_postgres import PostgresBackend, create_backend
from tests.postgres.test_conformance import PostgresKit


@pytest.fixture
async def bench(postgres_url: str) -> AsyncIterator[Bench]:
    async with create_backend(postgres_url, BackendOptions()) as backend:
        yield Bench(PostgresKit(), backend)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def do(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_a_look_reads_no_task(bench: Bench, postgres_url: str) -> None:
    await bench.running()
    await bench.put_many(5)
    do(postgres_url, "alter table taskq.finished rename to gone", "alter table taskq.dead rename to gone_too")
    assert await bench.counts() == {TaskState.PENDING: 5, TaskState.RUNNING: 1}


async def test_changes_are_summed_up_and_the_counts_stay_what_they_are(bench: Bench, postgres_url: str) -> None:
    await bench.apply(await bench.running(), Complete())
    await bench.put_many(3)
    await bench.put(delay=900.0)
    before = await bench.counts()
    [(changes,)] = ask(postgres_url, "select count(*) from taskq.change")
    assert changes > 3
    await bench.backend.search.catch_up()
    assert ask(postgres_url, "select count(*) from taskq.change") == [(0,)]
    assert await bench.counts() == before
    await bench.backend.inspector.purge(bench.queue)
    await bench.backend.search.catch_up()
    assert await bench.counts() == {TaskState.CANCELLED: before[TaskState.PENDING] + 1, TaskState.COMPLETED: 1}
    assert ask(postgres_url, "select count(*) from taskq.total where number = 0") == [(0,)]


async def test_who_looks_sums_up_where_it_is_much(bench: Bench, postgres_url: str) -> None:
    await bench.put()
    do(postgres_url, "insert into taskq.change select 'other', 0, null, 1 from generate_series(1, 10001)")
    assert await bench.counts("other") == {TaskState.PENDING: 10_001}
    assert ask(postgres_url, "select count(*) from taskq.change") == [(0,)]
    assert await bench.counts("other") == {TaskState.PENDING: 10_001}


async def test_while_one_sums_up_another_does_not_wait(bench: Bench, postgres_url: str) -> None:
    await bench.put()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("select taskq.sum_up_v1(100)")
        await bench.finish(bench.backend.search.catch_up())
        await bench.put()
        assert await bench.counts() == {TaskState.PENDING: 2}
    assert await bench.counts() == {TaskState.PENDING: 2}


async def test_a_day_that_is_dropped_takes_its_count_along(bench: Bench, postgres_url: str) -> None:
    task = await bench.apply(await bench.running(), Complete())
    await bench.apply(await bench.running(), Complete())
    day = "2001-01-01"
    do(
        postgres_url,
        "create table taskq.finished_20010101 partition of taskq.finished "
        f"for values from ('{day} 00:00:00+00') to ('2001-01-02 00:00:00+00')",
        f"update taskq.finished set completed_at = '{day} 12:00:00+00', retention = 1, prune_at = now() "
        f"where id = '{task.id}'",
        "insert into taskq.change select queue, state, day, -1 from taskq.change where state = 10 limit 1",
        f"insert into taskq.change values ('{bench.queue}', 10, '{day}', 1)",
    )
    assert await bench.counts() == {TaskState.COMPLETED: 2}
    await bench.backend.search.catch_up()
    assert isinstance(bench.backend, PostgresBackend)
    ask(postgres_url, "select taskq.drop_day_v1()")
    assert await bench.counts() == {TaskState.COMPLETED: 1}
