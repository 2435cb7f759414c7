"""Days of finished tasks that are dropped, and what else is forgotten, in bounded steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from taskq.domain.message import DAY, DEFAULT_RETENTION
from taskq.domain.outcome import Complete
from taskq.domain.state import TaskState
from taskq.ports import QueueConfig, TaskQuery
from taskq.testing.conformance import Bench
from taskq_postgres import PostgresBackend

YEAR = 365 * DAY


class Days:
    """Days of long ago, with finished tasks in them."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def make(self, ago: int, retentions: list[float]) -> str:
        """A day with a finished task for each retention; returns the name of its table."""
        [(day, next_day, name)] = self._all(
            "select d::text, (d + 1)::text, 'finished_' || to_char(d, 'YYYYMMDD') "
            f"from (select (now() at time zone 'UTC')::date - {ago}) x(d)"
        )
        self._run(f"create table taskq.{name} (like taskq.finished including defaults including constraints)")
        self._run(
            f"alter table taskq.finished attach partition taskq.{name} "
            f"for values from ('{day} 00:00:00+00') to ('{next_day} 00:00:00+00')"
        )
        for retention in retentions:
            self._run(
                "insert into taskq.finished (id, dead_letter, state, priority, max_lost_leases, created_at, retention, "
                "queue, lane_group, tenant, name, body, completed_at, reason, prune_at) select gen_random_uuid(), "
                "true, 10, 1, 3, at, k, 'q', '', '', 't', '', at, '', at + k * interval '1 s' "
                f"from (select timestamptz '{day} 12:00:00+00', {retention}::float8) x(at, k)"
            )
        return str(name)

    def old(self) -> list[str]:
        """The days before this week, by the names of their tables."""
        return [
            name
            for (name,) in self._all(
                "select relname::text from pg_inherits join pg_class on oid = inhrelid "
                "where inhparent = 'taskq.finished'::regclass "
                "and relname < 'finished_' || to_char(now() - interval '7 days', 'YYYYMMDD') order by 1"
            )
        ]

    def _run(self, text: str) -> None:
        self.connection.execute(text)

    def _all(self, text: str) -> list[Any]:
        return self.connection.execute(text).fetchall()


@pytest.fixture
def days(postgres_url: str) -> Iterator[Days]:
    days = Days(postgres_url)
    yield days
    days.connection.close()


async def test_a_task_that_is_kept_for_long_keeps_its_own_day_only(backend: PostgresBackend, days: Days) -> None:
    kept = days.make(40, [YEAR, DEFAULT_RETENTION])
    days.make(39, [DEFAULT_RETENTION] * 3)
    days.make(38, [DEFAULT_RETENTION])
    pruned = [await backend.maintenance.prune() for _ in range(3)]
    assert pruned == [3, 1, 0]
    assert days.old() == [kept]


async def test_a_long_retention_that_is_over_keeps_nothing(backend: PostgresBackend, days: Days) -> None:
    days.make(40, [30 * DAY])
    assert await backend.maintenance.prune() == 1
    assert days.old() == []


async def test_a_day_that_somebody_reads_is_dropped_later(
    backend: PostgresBackend, days: Days, postgres_url: str
) -> None:
    name = days.make(40, [DEFAULT_RETENTION])
    with psycopg.connect(postgres_url) as reader:
        reader.execute("select count(*) from taskq.finished")
        assert await backend.maintenance.prune() == 0
        assert days.old() == [name]
    assert await backend.maintenance.prune() == 1
    assert days.old() == []


KINDS = {
    "tombstone": "(id, forget_at) select gen_random_uuid(), now()",
    "digest": "(id, digest, forget_at) select gen_random_uuid(), 'd', now()",
    "answer": "(token, answer, forget_at) select gen_random_uuid(), '{}', now()",
    "event": "(topic, data, at) select 't', 'd', now() - interval '1 hour'",
    "worker": "(id, info, seen_at, lapses_at) select gen_random_uuid(), '{}', now(), now() - interval '1 second'",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_remembered_is_forgotten_in_bounded_steps(
    backend: PostgresBackend, postgres_url: str, kind: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"insert into taskq.{kind} {KINDS[kind]} from generate_series(1, 5)")

        def left() -> int:
            row = connection.execute(f"select count(*) from taskq.{kind}").fetchone()
            assert row is not None
            return int(row[0])

        assert await backend._store.value("forget", (2,)) == 2
        assert left() == 3
        assert await backend.maintenance.prune(2) == 0
        assert left() == 0


async def finish(bench: Bench, count: int) -> None:
    """Run so many tasks to their end."""
    await bench.put_many(count)
    for delivery in await bench.take(count):
        await bench.settle(delivery, Complete())


def cuts(days: Days) -> int:
    """From how many places on it is known that there is more to forget."""
    [(count,)] = days._all("select count(*) from taskq.cut")
    return int(count)


async def test_the_place_from_which_on_a_queue_is_pruned_is_looked_for_once(bench: Bench, days: Days) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=2))
    await finish(bench, 7)
    maintenance = bench.backend.maintenance
    assert (await maintenance.prune(2), cuts(days)) == (2, 1)
    await finish(bench, 2)  # newer ones do not move it
    assert (await maintenance.prune(2), cuts(days)) == (2, 1)
    assert (await maintenance.prune(2), cuts(days)) == (1, 0)
    assert (await maintenance.prune(2), cuts(days)) == (2, 1)
    assert (await maintenance.prune(2), cuts(days)) == (0, 0)


async def test_who_takes_newer_ones_away_has_the_place_looked_for_anew(bench: Bench, days: Days) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=4))
    await finish(bench, 10)
    maintenance, inspector = bench.backend.maintenance, bench.backend.inspector
    assert (await maintenance.prune(2), cuts(days)) == (2, 1)
    page = await inspector.list(TaskQuery(queue=bench.queue, state=TaskState.COMPLETED))
    assert await inspector.discard([record.id for record in page.records[:4]]) == 4
    assert (await maintenance.prune(2), cuts(days)) == (0, 0)


async def test_a_place_is_known_for_a_few_seconds(bench: Bench, days: Days) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=2))
    await finish(bench, 7)
    assert (await bench.backend.maintenance.prune(2), cuts(days)) == (2, 1)
    days._run("update taskq.cut set made_at = now() - interval '11 seconds', completed_at = 'infinity'")
    assert [await bench.backend.maintenance.prune(2) for _ in range(3)] == [2, 1, 0]


async def test_a_queue_that_keeps_more_from_now_on_is_pruned_no_further(bench: Bench, days: Days) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=2))
    await finish(bench, 7)
    assert (await bench.backend.maintenance.prune(2), cuts(days)) == (2, 1)
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=5, warn_at=0.5))
    assert (await bench.backend.maintenance.prune(2), cuts(days)) == (0, 0)
