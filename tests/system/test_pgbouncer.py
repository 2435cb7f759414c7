"""The private PgBouncer, before whatever is tested through it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.servers import PgBouncer, PostgresServer
from tests.servers.postgres import create_database, drop_database


@pytest.fixture
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    with PgBouncer(postgres_server.url) as server:
        yield server


def test_transactions_of_one_client_share_the_connections_of_all(pgbouncer: PgBouncer) -> None:
    with (
        psycopg.connect(pgbouncer.url, autocommit=True, prepare_threshold=None) as first,
        psycopg.connect(pgbouncer.url, autocommit=True, prepare_threshold=None) as second,
    ):
        pids = [client.execute("SELECT pg_backend_pid()").fetchone() for client in (first, second)]
    assert pids[0] == pids[1]


def test_a_database_made_through_it_is_reached_through_it(pgbouncer: PgBouncer) -> None:
    template = create_database(pgbouncer.url)
    with psycopg.connect(template, prepare_threshold=None) as client:
        client.execute("CREATE TABLE copied ()")
    copy = create_database(pgbouncer.url, template.rpartition("/")[2])
    with psycopg.connect(copy, prepare_threshold=None) as client:
        assert client.execute("SELECT count(*) FROM copied").fetchone() == (0,)
    drop_database(pgbouncer.url, copy)
    drop_database(pgbouncer.url, template)


def test_it_serves_again_after_a_kill(pgbouncer: PgBouncer) -> None:
    pgbouncer.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(pgbouncer.url)
    pgbouncer.restart()
    with psycopg.connect(pgbouncer.url) as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
