"""What a claim costs: HOT updates, index walks, and one round trip."""

from __future__ import annotations

import psycopg
import pytest

from taskq.domain.outcome import Complete
from taskq.ports import BackendOptions, Settled
from taskq.testing.conformance import Bench
from taskq.testing.conformance.kit import Kit
from taskq_postgres import PostgresBackend, create_backend
from taskq_postgres.statements import statements
from tests.postgres.support import count_commands, eventually


async def test_a_claim_writes_no_index_entry(postgres_url: str) -> None:
    async with create_backend(postgres_url, BackendOptions()) as backend:
        bench = Bench(Kit(), backend)
        await bench.put_many(200, body=b"x" * 160)
        for _ in range(4):
            await bench.take(50, worker="w")

    def updates() -> tuple[int, int]:
        with psycopg.connect(postgres_url) as connection:
            row = connection.execute(
                "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relid = 'taskq.task'::regclass"
            ).fetchone()
        assert row is not None
        return row

    await eventually(lambda: updates() == (200, 200))


async def test_a_claim_walks_along_the_lane_even_when_statistics_say_that_nothing_is_there(
    backend: PostgresBackend, postgres_url: str
) -> None:
    bench = Bench(Kit(), backend)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("analyze taskq.task")
        await bench.put_many(3000)
        plans: list[str] = []
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        connection.execute("load 'auto_explain'")
        for setting in ("log_min_duration = 0", "log_nested_statements = on"):
            connection.execute(f"set auto_explain.{setting}")
        connection.execute("set client_min_messages = log")
        rows = connection.execute(
            statements("taskq")["fetch"], ([bench.queue], 50, "w", "r", 30.0, 60.0, [0] * 4, 0)
        ).fetchall()
    assert len(rows) == 51
    claims = [plan for plan in plans if "lease_until is null" in plan]
    assert claims
    for plan in claims:
        assert "Index Scan using task_" in plan
        assert "Seq Scan on task" not in plan
        assert "Sort" not in plan or "ready_at" in plan, plan


async def test_each_call_is_one_round_trip(bench: Bench, backend: PostgresBackend, sent: list[str]) -> None:
    ids = await bench.put_many(1000)
    deliveries = await bench.take(1000)
    await backend.broker.extend(deliveries, 30.0)
    await backend.broker.settle([Settled(delivery, Complete()) for delivery in deliveries])
    await backend.broker.cancel(ids)
    assert sent == ["enqueue", "fetch", "extend", "settle", "cancel"]


@pytest.mark.parametrize("listen", ["on", "off"])
async def test_an_idle_worker_sends_a_command_a_second(postgres_url: str, listen: str) -> None:
    async with create_backend(f"{postgres_url}?listen={listen}", BackendOptions()) as backend:
        bench, sent = Bench(Kit(), backend), count_commands(backend)
        for _ in range(12):
            await backend.broker.wait([bench.queue], 0.1)
            await bench.take(worker="w")
        sent.clear()
        await backend.broker.wait([bench.queue], 2.5)
        await bench.take(worker="w")
        assert len(sent) <= 3


async def test_a_backlog_of_running_tasks_is_passed_over_by_the_cursor(bench: Bench) -> None:
    ids = await bench.put_many(300)
    assert [id for _ in range(3) for id in await bench.take_ids(100, worker="w")] == ids


async def test_a_transaction_that_commits_late_is_found(
    bench: Bench, backend: PostgresBackend, postgres_url: str
) -> None:
    late = bench.message()
    with psycopg.connect(postgres_url) as connection:
        backend.enqueue_in(connection, [late])
        await bench.put_many(20)
        assert len(await bench.take(20, worker="w")) == 20
    assert await eventually(lambda: bench.take_ids(worker="w")) == [late.id]


@pytest.fixture
def sent(backend: PostgresBackend) -> list[str]:
    """The names of the statements that the backend sends, hints apart."""
    return count_commands(backend)
