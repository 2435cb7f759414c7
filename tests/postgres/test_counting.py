"""Large queues are counted by the workers, seldom, because whoever enqueues would wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from taskq.ports import EnqueueStatus, QueueConfig
from taskq.testing.conformance import Bench
from taskq_postgres import PostgresBackend
from taskq_postgres.statements import COUNT_WITHIN
from tests.postgres.support import count_commands

CREATED, FULL = EnqueueStatus.CREATED, EnqueueStatus.FULL
SIZE = 50_000


class Depth:
    """What is known of how full the queue is."""

    def __init__(self, url: str, queue: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.queue = queue

    def set(self, assignments: str) -> None:
        """Pretend."""
        changed = self.connection.execute(
            f"update taskq.depth set {assignments} where queue = %s",
            (self.queue,),
        )
        assert changed.rowcount == 1

    def ask(self, columns: str = "waiting, wanted_since is not null") -> tuple[Any, ...]:
        """How many waited at the last count, and whether another is wanted."""
        [row] = self.connection.execute(
            f"select {columns} from taskq.depth where queue = %s",
            (self.queue,),
        )
        return tuple(row)


@pytest.fixture
def depth(bench: Bench, postgres_url: str) -> Iterator[Depth]:
    """How full the queue of the bench is."""
    depth = Depth(postgres_url, bench.queue)
    yield depth
    depth.connection.close()


async def enqueue(bench: Bench) -> EnqueueStatus:
    """What becomes of one more task."""
    [status] = await bench.enqueue(bench.message())
    return status


async def test_a_queue_that_nobody_has_counted_is_counted_at_once(bench: Bench, depth: Depth) -> None:
    assert await enqueue(bench) is CREATED
    assert depth.ask() == (0, False)


async def test_the_workers_count_what_an_enqueue_asks_for(bench: Bench, depth: Depth) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=SIZE))
    await enqueue(bench)
    depth.set("counted_at = now() - interval '1 hour'")
    assert [await enqueue(bench) for _ in range(3)] == [CREATED] * 3
    assert depth.ask() == (0, True)
    await bench.backend.maintenance.reap()
    assert depth.ask("waiting, wanted_since is not null, counted_at > now() - interval '1 minute'") == (4, False, True)
    await enqueue(bench)
    assert depth.ask() == (4, False)


@pytest.mark.parametrize("wanted_since", ["null", "now()"])
async def test_nothing_is_refused_by_an_old_count(bench: Bench, depth: Depth, wanted_since: str) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=SIZE))
    await enqueue(bench)
    depth.set(f"waiting = {SIZE}")
    assert await enqueue(bench) is FULL, "it was counted a moment ago"
    depth.set(f"counted_at = now() - interval '2 seconds', wanted_since = {wanted_since}")
    assert await enqueue(bench) is CREATED
    assert depth.ask() == (1, False)


async def test_the_workers_count_what_looks_full_for_those_who_cannot_ask(bench: Bench, depth: Depth) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=SIZE))
    await enqueue(bench)
    depth.set(f"waiting = {SIZE}, counted_at = now() - interval '1 hour'")
    await bench.backend.maintenance.reap()
    assert depth.ask() == (1, False)


async def test_one_wish_is_one_count(bench: Bench, depth: Depth) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=SIZE))
    await enqueue(bench)
    depth.set("waiting = 77, counted_at = now(), wanted_since = now()")
    depth.connection.execute("select taskq.count_v1(%s)", (bench.queue,))
    assert depth.ask()[0] == 77, "somebody else has counted meanwhile"


async def test_counting_leaves_time_for_the_leases(bench: Bench, depth: Depth, backend: PostgresBackend) -> None:
    await enqueue(bench)
    depth.set("counted_at = now() - interval '1 hour', wanted_since = now()")
    names = count_commands(backend)
    await bench.backend.maintenance.reap(renewal=0.0)
    assert names == ["reap"]
    await bench.backend.maintenance.reap()
    assert names[1:] == ["reap", "count_queue"]


async def test_a_count_that_fails_hides_no_lease(bench: Bench, depth: Depth, caplog: pytest.LogCaptureFixture) -> None:
    await enqueue(bench)
    depth.set("counted_at = now() - interval '1 hour', wanted_since = now()")
    depth.connection.execute("alter function taskq.waiting_v1 rename to away")
    assert (await bench.backend.maintenance.reap()).requeued == 0
    assert f"queue {bench.queue} could not be counted: " in caplog.text


async def test_who_asked_in_vain_counts(bench: Bench, depth: Depth) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=SIZE))
    await enqueue(bench)
    depth.set(
        f"waiting = {SIZE}, counted_at = now() - interval '1 hour', "
        f"wanted_since = now() - interval '{COUNT_WITHIN + 1} seconds'"
    )
    assert await enqueue(bench) is CREATED
    assert depth.ask() == (1, False)


async def test_counting_takes_no_more_than_a_twentieth_of_the_time(bench: Bench, depth: Depth) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=SIZE))
    await enqueue(bench)
    depth.set("took = 60, counted_at = now() - interval '10 minutes'")
    await enqueue(bench)
    assert depth.ask() == (0, False)
    depth.set("took = 60, counted_at = now() - interval '21 minutes'")
    await enqueue(bench)
    assert depth.ask() == (0, True)


async def test_a_count_goes_no_further_than_it_must(bench: Bench, depth: Depth) -> None:
    """What lies beyond the size of a queue is not walked along."""
    await bench.put_many(5)
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=2))
    depth.set("counted_at = now() - interval '1 hour', wanted_since = now()")
    await bench.backend.maintenance.reap()
    assert depth.ask() == (3, False)
