"""Migrations: fresh, repeated, at once, refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import psycopg
import pytest

from taskq.domain.outcome import Complete
from taskq.errors import SchemaMismatch
from taskq.ports import BackendOptions
from taskq.testing.conformance import Bench
from taskq_postgres import PostgresBackend, create_backend
from taskq_postgres.migrate import migrations, newest, sql
from tests.servers.postgres import create_database, drop_database


@pytest.fixture
def empty_url(postgres_admin_url: str) -> Iterator[str]:
    """URL of a database without our schema."""
    url = create_database(postgres_admin_url)
    yield url
    drop_database(postgres_admin_url, url)


async def test_a_fresh_schema_takes_every_step_once(empty_url: str) -> None:
    async with create_backend(empty_url, BackendOptions()) as backend:
        assert await backend.migrate() == [step.name for step in migrations()]
        assert await backend.migrate() == []
        assert await backend.check() == []


async def test_many_may_migrate_at_once(empty_url: str) -> None:
    backends = [create_backend(empty_url, BackendOptions()) for _ in range(5)]
    taken = await asyncio.gather(*(backend.migrate() for backend in backends))
    assert sorted(name for names in taken for name in names) == [step.name for step in migrations()]


async def test_a_missing_schema_says_what_to_do(empty_url: str) -> None:
    async with create_backend(empty_url, BackendOptions()) as backend:
        with pytest.raises(SchemaMismatch, match="run: taskq migrate"):
            await backend.check()
        with pytest.raises(SchemaMismatch, match="run: taskq migrate"):
            await backend.broker.fetch(["default"], 1, worker="w", lease=1, request_id="r")


async def test_an_older_schema_says_what_to_do(backend: PostgresBackend, postgres_url: str) -> None:
    _execute(postgres_url, f"delete from taskq.migration where version = {newest()}")
    with pytest.raises(SchemaMismatch, match="run: taskq migrate"):
        await backend.check()


async def test_a_schema_that_was_only_expanded_is_spoken(
    bench: Bench, backend: PostgresBackend, postgres_url: str
) -> None:
    _execute(postgres_url, f"insert into taskq.migration values ({newest() + 1}, 'later', 'abc', {newest()})")
    assert await backend.check() == []
    assert await backend.migrate() == []
    await bench.put()


async def test_a_schema_that_left_this_release_behind_is_refused(backend: PostgresBackend, postgres_url: str) -> None:
    _execute(postgres_url, f"insert into taskq.migration values ({newest() + 1}, 'later', 'abc', {newest() + 1})")
    _execute(postgres_url, f"insert into taskq.migration values ({newest() + 2}, 'last', 'abc', {newest() + 1})")
    with pytest.raises(SchemaMismatch, match="upgrade taskq"):
        await backend.check()
    with pytest.raises(SchemaMismatch, match="upgrade taskq"):
        await backend.migrate()


async def test_a_step_with_another_content_is_refused(backend: PostgresBackend, postgres_url: str) -> None:
    _execute(postgres_url, "update taskq.migration set checksum = 'another' where version = 1")
    with pytest.raises(SchemaMismatch, match="migration 1"):
        await backend.migrate()


async def test_the_printed_text_makes_the_same_schema(empty_url: str) -> None:
    _execute(empty_url, sql("taskq"))
    async with create_backend(empty_url, BackendOptions()) as backend:
        assert await backend.check() == []
        assert await backend.migrate() == []
    assert sql("taskq", newest()) == ""


def test_each_step_says_whom_it_breaks_and_leaves_nothing_to_be_filled_in() -> None:
    for step in migrations():
        assert step.oldest_speaking <= newest()
        assert set(re.findall(r"\{([a-z_]+)\}", step.text)) <= {"schema", "literal"}


async def test_the_day_of_an_end_is_made_on_demand(bench: Bench, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        days = connection.execute("select inhrelid::regclass::text from pg_inherits").fetchall()
        for (day,) in days:
            connection.execute(f"drop table if exists {day}")
    record = await bench.apply(await bench.running(), Complete(b"1"))
    assert record.result == b"1"


async def test_a_day_that_is_over_is_dropped(backend: PostgresBackend, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table taskq.finished_20200101 (like taskq.finished including defaults)")
        connection.execute(
            "alter table taskq.finished attach partition taskq.finished_20200101 "
            "for values from ('2020-01-01 00:00:00+00') to ('2020-01-02 00:00:00+00')"
        )
        await backend.maintenance.prune()
        found = connection.execute("select to_regclass('taskq.finished_20200101')").fetchone()
    assert found == (None,)


def _execute(url: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text)
