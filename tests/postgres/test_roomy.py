"""Enqueues that do without a look at their queue: for a second after the store had nothing to tell of it."""

from __future__ import annotations

import pytest

from taskq.ports import EnqueueStatus, QueueConfig
from taskq.testing.conformance import Bench
from taskq_postgres import PostgresBackend, roomy
from taskq_postgres.roomy import LASTS, MOST, Roomy

CREATED, FULL = EnqueueStatus.CREATED, EnqueueStatus.FULL


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which what was said of queues is believed."""
    clock = Clock()
    monkeypatch.setattr(roomy, "monotonic", clock)
    return clock


def test_what_was_said_is_believed_for_a_second(clock: Clock) -> None:
    known = Roomy()
    assert not known.are({"a"})
    known.note({"a", "b"}, clock.now)
    assert known.are({"a", "b"})
    assert not known.are({"a", "c"})
    known.forget("a")
    assert (known.are({"a"}), known.are({"b"})) == (False, True)
    clock.now += LASTS
    assert not known.are({"b"})


def test_so_many_queues_are_remembered(clock: Clock) -> None:
    known = Roomy()
    for number in range(3 * MOST):
        known.note({f"q{number}"}, clock.now)
    assert len(known._until) <= MOST + 1
    assert known.are({f"q{3 * MOST - 1}"})


async def put(bench: Bench) -> EnqueueStatus:
    """What becomes of one more task."""
    [status] = await bench.enqueue(bench.message())
    return status


async def looked_at(bench: Bench) -> None:
    """Enqueue until the queue needs no look: at first it is counted."""
    for _ in range(2):
        assert await put(bench) is CREATED


async def test_what_this_process_sets_holds_at_once(bench: Bench) -> None:
    await looked_at(bench)
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=2))
    assert await put(bench) is FULL
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size="default"))
    assert await put(bench) is CREATED


async def test_what_another_one_sets_holds_within_a_second(
    bench: Bench, backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await looked_at(bench)
    async with backend.clone() as other:
        await other.queues.configure(bench.queue, QueueConfig(max_size=2))
    monkeypatch.setattr(roomy, "monotonic", lambda: float("inf"))
    assert await put(bench) is FULL


async def test_a_queue_whose_size_is_set_is_looked_at_each_time(bench: Bench, backend: PostgresBackend) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=50_000))
    await looked_at(bench)
    async with backend.clone() as other:
        await other.queues.configure(bench.queue, QueueConfig(max_size=2))
    assert await put(bench) is FULL


async def test_a_queue_with_a_time_to_live_is_looked_at_each_time(bench: Bench) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(expires=60.0))
    messages = [await bench.put() for _ in range(4)]
    records = [await bench.record(message.id) for message in messages]
    assert all(record.expires_at is not None for record in records)
