"""What the doctor says of a Postgres server."""

from __future__ import annotations

import psycopg
import pytest

from taskq.ports import BackendOptions, Finding, FindingStatus
from taskq_postgres import PostgresBackend, create_backend, migrate, servers
from taskq_postgres.servers import Activity, Table

SOUND = {
    "autovacuum": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "max_connections": "100",
    "superuser_reserved_connections": "3",
    "server_version": "16.2",
    "server_version_num": "160002",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
    "connections": "5",
}
TASK = Table("task", 1000, 10, 1 << 20, True)


async def found(backend: PostgresBackend) -> dict[str, Finding]:
    """The findings about the server by their names."""
    return {finding.check: finding for finding in await backend.diagnosis.servers()}


def do(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def test_a_sound_server(backend: PostgresBackend) -> None:
    findings = await found(backend)
    wrong = {finding.check for finding in findings.values() if finding.status is not FindingStatus.OK}
    assert wrong <= {"postgres.latency"}  # which is for the machine to say
    assert set(findings) == {
        *("postgres.version", "postgres.durability", "postgres.connections", "postgres.transactions"),
        *("postgres.indexes", "postgres.autovacuum", "postgres.bloat", "postgres.days"),
        *("postgres.latency", "postgres.clock"),
    }


async def test_the_expected_indexes_are_those_of_a_new_schema(backend: PostgresBackend) -> None:
    there = {name for name, _ in await backend._store.run("server_indexes", reads=True)}
    assert migrate.indexes() <= there
    # Made by the ledger, or without a name of ours.
    assert {name for name in there - migrate.indexes() if not name.endswith("_idx")} == {"migration_pkey"}


async def test_a_missing_index(backend: PostgresBackend, postgres_url: str) -> None:
    do(postgres_url, "drop index taskq.task_lane", "drop index taskq.finished_browse")
    finding = (await found(backend))["postgres.indexes"]
    assert (finding.status, finding.sample) == (FindingStatus.FAULT, ("finished_browse", "task_lane"))


async def test_an_invalid_index(backend: PostgresBackend, postgres_url: str) -> None:
    do(
        postgres_url,
        "update pg_index set indisvalid = false where indexrelid = 'taskq.task_due'::regclass",
    )
    finding = (await found(backend))["postgres.indexes"]
    assert (finding.status, finding.detail) == (FindingStatus.FAULT, "indexes are invalid: task_due")


async def test_a_table_that_nobody_vacuums(backend: PostgresBackend, postgres_url: str) -> None:
    do(postgres_url, "alter table taskq.task set (autovacuum_enabled = false)")
    finding = (await found(backend))["postgres.autovacuum"]
    assert (finding.status, finding.detail) == (FindingStatus.FAULT, "autovacuum is off for task")


async def test_a_day_that_is_missing(backend: PostgresBackend, postgres_url: str) -> None:
    tomorrow = "to_char((now() + interval '1 day') at time zone 'UTC', 'YYYYMMDD')"
    do(postgres_url, f"do $$ begin execute 'drop table taskq.finished_' || {tomorrow}; end $$")
    finding = (await found(backend))["postgres.days"]
    assert finding.status is FindingStatus.WARNING
    assert finding.detail.startswith("days of finished tasks are missing: finished_20")
    await backend.maintenance.prune()
    assert (await found(backend))["postgres.days"].status is FindingStatus.OK


async def test_a_day_that_nobody_has_dropped(backend: PostgresBackend, postgres_url: str) -> None:
    do(
        postgres_url,
        "create table taskq.finished_20200102 partition of taskq.finished "
        "for values from ('2020-01-02 00:00:00+00') to ('2020-01-03 00:00:00+00')",
    )
    finding = (await found(backend))["postgres.days"]
    assert finding.detail == "days are kept too long: finished_20200102"
    await backend.maintenance.prune()
    assert (await found(backend))["postgres.days"].status is FindingStatus.OK


async def test_a_transaction_that_was_forgotten(
    backend: PostgresBackend, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "LONG_TRANSACTION", 0.0)
    with psycopg.connect(postgres_url, application_name="report") as forgotten:
        forgotten.execute("select 'a secret'")
        pid = forgotten.info.backend_pid
        finding = (await found(backend))["postgres.transactions"]
    assert finding.status is FindingStatus.WARNING
    assert f"pid {pid} of report (idle in transaction, 0 min)" in finding.detail
    assert "secret" not in finding.detail


async def test_a_durability_that_is_not_given(postgres_url: str) -> None:
    async with create_backend(postgres_url, BackendOptions(durability="replica")) as backend:
        finding = (await found(backend))["postgres.durability"]
    assert finding.status is FindingStatus.FAULT
    assert "synchronous_standby_names" in finding.detail


@pytest.mark.parametrize(
    ("finding", "status", "words"),
    [
        (servers._version(SOUND | {"server_version": "13.1", "server_version_num": "130001"}), "fault", "13.1"),
        (servers._durability(SOUND | {"fsync": "off"}, "process"), "warning", "fsync is off"),
        (servers._durability(SOUND | {"synchronous_commit": "off"}, "process"), "fault", "synchronous_commit is off"),
        (servers._connections(SOUND), "ok", "5 of 97"),
        (servers._connections(SOUND | {"connections": "90"}), "warning", "90 of 97"),
        (servers._transactions([Activity(3600.0, "", "prepared", "bob")]), "warning", "prepared transaction of bob"),
        (servers._vacuum(SOUND | {"autovacuum": "off"}, [TASK]), "fault", "autovacuum is off"),
        (servers._bloat([TASK]), "ok", "dead rows: task 10"),
        (servers._bloat([TASK._replace(dead=0)]), "ok", "dead rows: none"),
        (servers._bloat([TASK._replace(dead=300_000)]), "warning", "task has 300,000 dead rows and 1,000 live ones"),
        (servers._bloat([TASK._replace(size=1 << 30)]), "warning", "task takes 1,024 MiB for 1,000 live rows"),
    ],
)
def test_what_is_said(finding: Finding, status: str, words: str) -> None:
    assert (str(finding.status), words in finding.detail) == (status, True)
    assert bool(finding.advice) == (status != "ok") or finding.check == "postgres.durability"
