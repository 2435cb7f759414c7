"""Which servers are trusted."""

from __future__ import annotations

import psycopg
import pytest

from taskq.errors import ConfigError, UnsafeStore
from taskq.ports import BackendOptions
from taskq_postgres import create_backend
from taskq_postgres.durability import look

SAFE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": ""}


def test_a_missing_fsync_is_warned_of_or_refused() -> None:
    settings = {**SAFE, "fsync": "off"}
    assert len(look(settings, "process")) == 1
    with pytest.raises(UnsafeStore, match="fsync"):
        look(settings, "disk")


def test_a_replica_must_be_waited_for() -> None:
    with pytest.raises(UnsafeStore, match="synchronous_standby_names"):
        look(SAFE, "replica")
    assert look({**SAFE, "synchronous_standby_names": "*"}, "replica") == []


def test_there_are_three_levels() -> None:
    with pytest.raises(ConfigError, match="process, disk, replica"):
        look(SAFE, "some")


async def test_a_server_that_does_not_wait_for_its_log_is_refused(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'alter database "{name}" set synchronous_commit = off')
    async with create_backend(postgres_url, BackendOptions()) as backend:
        with pytest.raises(UnsafeStore, match="synchronous_commit"):
            await backend.check()
