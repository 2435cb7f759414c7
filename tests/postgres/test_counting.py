"""Large queues are counted by the workers, seldom, because whoever enqueues would wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from taskq.ports import EnqueueStatus, QueueConfig
from taskq.testing.conformance import Bench
from taskq_postgres.statements import COUNT_WITHIN

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


async def test_a_full_queue_takes_tasks_again_as_soon_as_it_is_counted(bench: Bench, depth: Depth) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=SIZE))
    await enqueue(bench)
    depth.set(f"waiting = {SIZE}, counted_at = now() - interval '1 hour'")
    assert await enqueue(bench) is FULL
    await bench.backend.maintenance.reap()
    assert await enqueue(bench) is CREATED


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
    depth.set("wanted_since = now()")
    await bench.backend.maintenance.reap()
    assert depth.ask() == (3, False)
