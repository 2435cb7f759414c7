"""Who waits for whom: calls that meet in the same rows never wait for each other in a circle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest

from taskq.domain.message import Delivery
from taskq.domain.outcome import Complete, Release, Retry
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.ports import CancelStatus, EnqueueStatus, Extension, Settled
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import FAILURE, LONG, SILENCE, moved
from taskq_postgres import PostgresBackend
from taskq_postgres.errors import LostConnection, map_errors
from taskq_postgres.statements import statements
from tests.postgres.support import eventually

CREATED = EnqueueStatus.CREATED


class Meeting:
    """Makes two calls meet: both are held up by a row that a third one holds, and then let go.

    `refusals` are the calls that the server has ended for another's sake; the store repeats them in silence.
    """

    def __init__(self, url: str, refusals: list[str]) -> None:
        self._url = url
        self._refusals = refusals

    async def of(self, row: str, first: Awaitable[Any], second: Awaitable[Any]) -> tuple[Any, Any]:
        """The answers of two calls; the second begins when the first waits for `row`, or for who does."""
        with psycopg.connect(self._url) as holder:
            holder.execute(f"select 1 from {row} for update")
            one = asyncio.ensure_future(first)
            await eventually(lambda: waiting(self._url, 1))
            two = asyncio.ensure_future(second)
            await eventually(lambda: two.done() or self._refusals or waiting(self._url, 2))
        return await one, await two


def waiting(url: str, number: int) -> bool:
    """Whether so many calls wait for somebody's lock."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
    return row == (number,)


@pytest.fixture
def meeting(backend: PostgresBackend, postgres_url: str) -> Iterator[Meeting]:
    """Two calls that meet; fails where the server found a circle."""
    refusals = note_refusals(backend)
    yield Meeting(postgres_url, refusals)
    assert not [refusal for refusal in refusals if "deadlock" in refusal]


def note_refusals(backend: PostgresBackend) -> list[str]:
    """What the server says to the calls of this backend that it refuses, from now on."""
    send, refusals = backend._store.try_once, list[str]()

    async def noting(name: str, *rest: Any) -> Any:
        try:
            return await send(name, *rest)
        except LostConnection as lost:
            refusals.append(f"{name}: {lost.detail}")
            raise

    backend._store.try_once = noting  # type: ignore[method-assign, assignment]
    return refusals


def in_order(deliveries: list[Delivery]) -> list[Delivery]:
    """The deliveries in the order of their ids."""
    return sorted(deliveries, key=lambda delivery: delivery.id)


async def test_a_settle_of_several_kinds_and_a_cancel(bench: Bench, meeting: Meeting) -> None:
    await bench.put_many(2)
    low, high = in_order(await bench.take(2))
    broker = bench.backend.broker
    await meeting.of(
        f"taskq.task where id = '{low.id}'",
        broker.cancel([low.id, high.id]),
        broker.settle([Settled(low, Retry(LONG, FAILURE)), Settled(high, Complete())]),
    )
    assert await bench.counts() == {TaskState.CANCELLED: 1, TaskState.COMPLETED: 1}


async def test_a_cancel_of_a_task_that_comes_between_its_two_looks(
    bench: Bench, backend: PostgresBackend, postgres_url: str
) -> None:
    message = bench.message()
    with psycopg.connect(postgres_url) as holder:
        # Whoever has looked at the tasks that wait looks at those that have ended next, and is held up there.
        holder.execute("lock table taskq.dead in access exclusive mode")
        backend.enqueue_in(holder, [message])
        cancel = asyncio.ensure_future(backend.broker.cancel([message.id]))
        await eventually(lambda: waiting(postgres_url, 1))
    assert await cancel == [CancelStatus.CANCELLED]
    assert await bench.counts() == {TaskState.CANCELLED: 1}


async def test_an_extension_waits_for_nobody(bench: Bench, postgres_url: str) -> None:
    await bench.put_many(3)
    locked, stale, free = in_order(await bench.take(3))
    before = leases(postgres_url)
    with psycopg.connect(postgres_url) as holder:
        holder.execute("select 1 from taskq.task where id = any(%s) for update", ([locked.id, stale.id],))
        asked = [locked, stale._replace(fence=stale.fence - 1), free]
        extension = await asyncio.wait_for(bench.backend.broker.extend(asked, 2 * LONG), 5)
    assert extension == Extension(lost=frozenset({stale.id}))
    after = leases(postgres_url)
    assert {id for id in after if after[id] > before[id]} == {free.id}


def leases(url: str) -> dict[str, datetime]:
    """When each lease runs out."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute("select id::text, lease_until from taskq.task").fetchall())


async def test_an_extension_that_finds_a_run_locked_tells_that_its_end_is_wanted(
    bench: Bench, postgres_url: str
) -> None:
    """As it would have told before who holds the row, which ends the run perhaps."""
    held, other = await bench.running(), await bench.running()
    assert await bench.backend.broker.cancel([held.id], "enough") == [CancelStatus.REQUESTED]
    with psycopg.connect(postgres_url) as holder:
        for taken in ([held.id], [held.id, other.id]):
            holder.execute("select 1 from taskq.task where id = any(%s::uuid[]) for update", (taken,))
            found = await bench.backend.broker.extend([held, other], LONG)
            assert found == Extension(frozenset(), frozenset({held.id}))
    assert await bench.backend.broker.extend([held, other], LONG) == Extension(frozenset(), frozenset({held.id}))


async def test_late_completions_and_a_cancel(bench: Bench, meeting: Meeting) -> None:
    await bench.put_many(2)
    low, high = in_order(await bench.take(2))
    broker = bench.backend.broker
    await broker.extend([low], 0.0)
    assert (await bench.backend.maintenance.reap(renewal=SILENCE)).requeued == 1
    await meeting.of(
        f"taskq.task where id = '{low.id}'",
        broker.cancel([low.id, high.id]),
        broker.settle([Settled(low, Complete()), Settled(high, Complete())]),
    )
    assert await bench.counts() == {TaskState.CANCELLED: 1, TaskState.COMPLETED: 1}


async def test_a_claim_that_is_said_again_and_a_cancel(bench: Bench, meeting: Meeting) -> None:
    low, high = sorted(bench.message().id for _ in range(2))
    await bench.enqueue(bench.message(id=high), bench.message(id=low))
    deliveries = await bench.take(2, worker="w", request_id="r")
    assert [delivery.id for delivery in deliveries] == [high, low]
    _, again = await meeting.of(
        f"taskq.task where id = '{low}'",
        bench.backend.broker.cancel([low, high]),
        bench.take_ids(2, worker="w", request_id="r"),
    )
    assert again == [high, low]


async def test_claims_from_front_lanes_in_another_order(bench: Bench, meeting: Meeting) -> None:
    queues = [bench.apart(name).queue for name in "ab"]
    ids = [(await bench.put(queue)).id for queue in queues]
    for delivery in await bench.take(2, queues=queues):
        await bench.settle(delivery, Release())
    first, second = await meeting.of(
        f"taskq.task where id = '{ids[0]}'",
        bench.take_ids(2, queues=queues),
        bench.take_ids(2, queues=queues[::-1]),
    )
    assert (first, second) == ([ids[0]], [ids[1]])


async def test_claims_that_take_turns_in_another_order(bench: Bench, meeting: Meeting, postgres_url: str) -> None:
    queues = [bench.apart(name).queue for name in "ab"]
    for queue in queues:
        for priority in (0, 3):
            await bench.put(queue, priority=priority)
    execute(postgres_url, f"insert into taskq.turn (queue) values ('{queues[0]}'), ('{queues[1]}')")
    claims = await meeting.of(
        f"taskq.turn where queue = '{queues[0]}'",
        bench.take(3, queues=queues, aging=0.0),
        bench.take(3, queues=queues[::-1], aging=0.0),
    )
    assert [len(claim) for claim in claims] == [3, 1]


async def test_redrives_in_another_order(bench: Bench, meeting: Meeting) -> None:
    ids = sorted(await bench.put_many(2))
    await bench.backend.broker.cancel(ids)
    inspector = bench.backend.inspector
    answers = await meeting.of(
        f"taskq.finished where id = '{ids[0]}'", inspector.redrive(ids), inspector.redrive(ids[::-1])
    )
    assert [moved(answer) for answer in answers] == [[True, True], [False, False]]


async def test_a_redrive_and_an_enqueue_of_the_same_keys_in_another_order(bench: Bench, meeting: Meeting) -> None:
    one, other = UniqueKey("a"), UniqueKey("b")
    old = sorted([bench.message(), bench.message()], key=lambda message: message.id)
    assert await bench.enqueue(old[0]._replace(unique=other), old[1]._replace(unique=one)) == [CREATED, CREATED]
    ids = [message.id for message in old]
    await bench.backend.broker.cancel(ids)
    redriven, enqueued = await meeting.of(
        f"taskq.finished where id = '{ids[1]}'",
        bench.backend.inspector.redrive(ids),
        bench.enqueue(bench.message(unique=one), bench.message(unique=other)),
    )
    assert enqueued == [CREATED, CREATED]
    assert moved(redriven) == [False, False]


async def test_a_redrive_answers_in_the_order_of_the_question(bench: Bench) -> None:
    waiting, ended = await bench.put_many(2)
    await bench.backend.broker.cancel([ended])
    assert moved(await bench.backend.inspector.redrive([ended, waiting, ended])) == [True, False, False]


async def test_an_over_aged_share_holds_no_task_that_it_does_not_take(bench: Bench, postgres_url: str) -> None:
    for priority in (0, 3):
        await bench.put(priority=priority)
    execute(postgres_url, f"insert into taskq.turn (queue, aging_counter) values ('{bench.queue}', 7)")
    with psycopg.connect(postgres_url) as claimer:
        claim = (([bench.queue], 1, "w", "r", LONG, 0.0, [0] * 4, 0),)
        assert len(claimer.execute(statements("taskq")["fetch"], *claim).fetchall()) == 2
        with psycopg.connect(postgres_url) as other:
            free = other.execute("select id from taskq.task for no key update skip locked").fetchall()
    assert len(free) == 1


CONTENTION = [
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.UniqueViolation,
]


@pytest.mark.parametrize("error", CONTENTION)
async def test_who_gets_into_anothers_way_keeps_the_connections(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch, error: type[psycopg.Error]
) -> None:
    left, dropped = [error("in the way")], list[str]()

    async def attempt() -> str:
        with map_errors():
            if left:
                raise left.pop()
        return "done"

    async def drop_idle() -> None:
        dropped.append("all")

    monkeypatch.setattr(backend._store.pool, "drop_idle", drop_idle)
    assert await backend._store.repeat(attempt) == "done"
    assert dropped == []


def execute(url: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text)
