"""Hints: who waits for a result is told of its end, whoever notices it; and what is no hint does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest
import pytest_asyncio

from taskq.domain.outcome import Complete
from taskq.domain.state import TaskState
from taskq.ports import Event
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import LONG, SILENCE, moved
from taskq.testing.conformance.kit import Kit
from taskq_postgres import PostgresBackend, results
from tests.postgres.support import count_commands, eventually

Act = Callable[[Bench, str], Awaitable[object]]


@pytest.fixture(autouse=True)
def _who_waits_never_looks_by_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("FIRST_LOOK", "LAST_LOOK"):
        monkeypatch.setattr(results, pause, LONG)


@pytest_asyncio.fixture
async def there(bench: Bench, backend: PostgresBackend) -> AsyncIterator[Bench]:
    """The same queue, seen by another process."""
    async with backend.clone() as other:
        yield Bench(Kit(), other, bench.queue)


async def waiting(bench: Bench, there: Bench, id: str) -> asyncio.Task[object]:
    """Somebody there waits for the end of a task: he has looked, and hears."""
    backend = there.backend
    assert isinstance(backend, PostgresBackend)
    looks = count_commands(backend)
    task: asyncio.Task[object] = asyncio.create_task(backend.results.wait(id, LONG))
    await eventually(lambda: "result_wait" in looks and backend._hints._knows_waiters)
    await eventually(lambda: looks.count("result_wait") > 1)
    return task


async def cancel(bench: Bench, id: str) -> None:
    await bench.backend.broker.cancel([id])


async def purge(bench: Bench, id: str) -> None:
    assert await bench.backend.inspector.purge(bench.queue) == 1


async def expire(bench: Bench, id: str) -> None:
    await overdue(bench, "expires_at")
    assert await bench.backend.maintenance.expire() == 1


async def claim(bench: Bench, id: str) -> None:
    await bench.take(queues=["another"])
    await known(bench, id)
    await overdue(bench, "expires_at")
    assert await bench.take() == []


async def known(bench: Bench, id: str) -> None:
    """This process, which has begun to listen, has been told that somebody waits."""
    backend = bench.backend
    assert isinstance(backend, PostgresBackend)
    await eventually(lambda: id in backend._hints._awaited)


async def reap(bench: Bench, id: str) -> None:
    delivery = await bench.take_one()
    await known(bench, id)
    await bench.backend.broker.extend([delivery], 0.0)
    assert (await bench.backend.maintenance.reap(renewal=SILENCE)).buried == 1


async def settle(bench: Bench, id: str) -> None:
    delivery = await bench.take_one()
    await known(bench, id)
    await bench.settle(delivery, Complete())


async def overdue(bench: Bench, column: str) -> None:
    assert isinstance(bench.backend, PostgresBackend)
    async with bench.backend._store.pool.connection() as connection:
        await connection.execute(f"update taskq.task set {column} = now()".encode())


@pytest.mark.parametrize("act", [cancel, purge, expire, claim, reap, settle])
async def test_who_waits_elsewhere_is_woken_by_the_first_end(bench: Bench, there: Bench, act: Act) -> None:
    task = await bench.put(max_lost_leases=1, expires=LONG)
    wait = await waiting(bench, there, task.id)
    await act(bench, task.id)
    finished = await there.finish(wait)
    assert finished is not None


async def test_an_end_for_which_nobody_waits_is_told_to_nobody(bench: Bench, backend: PostgresBackend) -> None:
    await bench.put_many(2)
    await bench.take()
    await eventually(lambda: backend._hints._knows_waiters)
    await eventually(lambda: not backend._hints._outbox)
    await bench.backend.inspector.purge(bench.queue)
    assert not backend._hints._outbox


async def test_a_hint_wakes_those_only_who_wait_for_it(bench: Bench, backend: PostgresBackend) -> None:
    hints = backend._hints
    mine, anothers = asyncio.Event(), asyncio.Event()
    stops = [hints.await_end(id, event) for id, event in (("1", mine), ("2", anothers))]
    hints.ended(["1"])
    assert (mine.is_set(), anothers.is_set()) == (True, False)
    for stop in stops:
        stop()
    assert hints._waiters == {}


@pytest.mark.parametrize(
    "payload", ["", ":", "?", "e:", "e:{", "e:5", 'e:["a"]', 'e:[[], "b"]', "w:", "w:nobody", "f:nobody", "q:"]
)
async def test_a_notification_that_is_no_hint_is_passed_over(
    backend: PostgresBackend, postgres_url: str, payload: str
) -> None:
    events = backend.events.subscribe(["topic"])
    next_event = asyncio.ensure_future(anext(events))
    await eventually(lambda: backend._hints._knows_waiters)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("select pg_notify('taskq', %s)", (payload,))
        connection.execute("select pg_notify('taskq', %s)", ('e:["topic", "data"]',))
    assert await asyncio.wait_for(next_event, 20.0) == Event("topic", "data")
    assert backend._hints._awaited == {}
    await events.aclose()


async def test_an_id_that_is_none_is_unknown(bench: Bench, backend: PostgresBackend) -> None:
    waiting = await bench.put()
    assert await backend.inspector.get("nonsense") is None
    assert await backend.inspector.get("\0") is None
    assert moved(await backend.inspector.redrive(["nonsense"])) == [False]
    assert await backend.broker.cancel(["nonsense", waiting.id]) == ["unknown", "cancelled"]
    assert await backend.broker.cancel(["nonsense"]) == ["unknown"]
    assert await bench.counts() == {TaskState.CANCELLED: 1}
