"""Each operation, when its reply is lost on the way: done once, and known to be done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from taskq.domain.outcome import Complete, Retry
from taskq.domain.record import Failure
from taskq.domain.state import TaskState
from taskq.errors import BackendUnavailable, OutcomeUnknown
from taskq.ports import BackendOptions, CancelStatus, EnqueueStatus, Order, Settled, SettleStatus, WorkerCommand
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import moved
from taskq.testing.conformance.fleet import worker_info
from taskq.testing.conformance.kit import Kit
from taskq_postgres import create_backend
from taskq_postgres.statements import statements
from taskq_postgres.store import new_token
from tests.postgres.proxy import LossyProxy
from tests.postgres.support import eventually


@pytest_asyncio.fixture
async def proxy(postgres_url: str) -> AsyncIterator[LossyProxy]:
    async with LossyProxy(postgres_url) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def lossy(proxy: LossyProxy) -> AsyncIterator[Bench]:
    """A bench behind the proxy, with its connection open."""
    async with create_backend(proxy.url + "?listen=off", BackendOptions()) as backend:
        await backend.check()
        yield Bench(Kit(), backend)


async def test_an_enqueue_is_known_when_it_is_said_again(proxy: LossyProxy, lossy: Bench) -> None:
    message = lossy.message()
    proxy.lose_next_reply()
    assert await lossy.enqueue(message) == [EnqueueStatus.DUPLICATE]
    assert await lossy.counts() == {TaskState.PENDING: 1}


async def test_a_claim_hands_out_the_same_tasks_again(proxy: LossyProxy, lossy: Bench) -> None:
    ids = await lossy.put_many(5)
    await lossy.take(1, queues=["another"])
    proxy.lose_next_reply()
    assert await lossy.take_ids(3) == ids[:3]
    assert proxy.lost == 1
    assert await lossy.counts() == {TaskState.RUNNING: 3, TaskState.PENDING: 2}
    assert (await lossy.record(ids[0])).fence == 1


@pytest.mark.parametrize("settlement", [Complete(b"7"), Retry(900.0, Failure("E", "no"))], ids=["complete", "retry"])
async def test_a_settle_is_repeated(proxy: LossyProxy, lossy: Bench, settlement: Complete | Retry) -> None:
    deliveries = [await lossy.running() for _ in range(2)]
    proxy.lose_next_reply()
    statuses = await lossy.backend.broker.settle([Settled(delivery, settlement) for delivery in deliveries])
    assert statuses == [SettleStatus.REPEATED] * 2
    assert len((await lossy.record(deliveries[0].id)).attempts) == 1


async def test_a_cancel_is_answered_as_it_was(proxy: LossyProxy, lossy: Bench) -> None:
    running, waiting = await lossy.running(), await lossy.put()
    ids = [waiting.id, running.id, lossy.message().id]
    proxy.lose_next_reply()
    answers = [CancelStatus.CANCELLED, CancelStatus.REQUESTED, CancelStatus.UNKNOWN]
    assert await lossy.backend.broker.cancel(ids) == answers
    assert await lossy.backend.broker.cancel(ids[:1]) == [CancelStatus.FINAL]


async def test_a_redrive_is_answered_as_it_was(proxy: LossyProxy, lossy: Bench) -> None:
    ids = await lossy.put_many(2)
    await lossy.backend.broker.cancel(ids[:1])
    proxy.lose_next_reply()
    assert moved(await lossy.backend.inspector.redrive(ids)) == [True, False]
    assert moved(await lossy.backend.inspector.redrive(ids)) == [False, False]


async def test_a_purge_is_answered_as_it_was(proxy: LossyProxy, lossy: Bench) -> None:
    await lossy.put_many(3)
    proxy.lose_next_reply()
    assert await lossy.backend.inspector.purge(lossy.queue) == 3
    assert await lossy.backend.inspector.purge(lossy.queue) == 0


async def test_a_worker_is_told_its_commands_again(proxy: LossyProxy, lossy: Bench) -> None:
    registry, info = lossy.backend.registry, worker_info()
    await registry.report(info, 60.0)
    await registry.command(info.id, WorkerCommand.SHUTDOWN)
    proxy.lose_next_reply()
    assert list(await registry.report(info, 60.0)) == [Order(WorkerCommand.SHUTDOWN)]
    assert list(await registry.report(info, 60.0)) == []


async def test_lines_are_logged_once(proxy: LossyProxy, lossy: Bench) -> None:
    delivery = await lossy.running()
    proxy.lose_next_reply()
    assert await lossy.backend.annotations.log(delivery, ["once"])
    assert (await lossy.record(delivery.id)).logs == ("once",)


async def test_nothing_is_remembered_of_a_call_that_changed_nothing(lossy: Bench, postgres_url: str) -> None:
    delivery, info, backend = await lossy.running(), worker_info(), lossy.backend
    await lossy.settle(delivery, Complete())
    await backend.broker.cancel([delivery.id, lossy.message().id])
    await backend.inspector.redrive([delivery.id])
    await backend.inspector.purge(lossy.queue)
    await backend.annotations.log(delivery, ["too late"])
    for _ in range(2):
        await backend.registry.report(info, 60.0)
    assert answers(postgres_url) == 0


async def test_a_repetition_waits_for_the_first_saying(lossy: Bench, postgres_url: str) -> None:
    message, token = await lossy.put(), new_token()

    def cancel(connection: psycopg.Connection) -> Any:
        return connection.execute(statements("taskq")["cancel"], ([message.id], "", token)).fetchone()

    with psycopg.connect(postgres_url) as first, psycopg.connect(postgres_url) as second:
        said = cancel(first)
        again = asyncio.create_task(asyncio.to_thread(cancel, second))
        await eventually(lambda: waits_for_a_lock(postgres_url, second))
        first.commit()
        assert await again == said == ([0],)
        second.commit()
    assert answers(postgres_url) == 1


def waits_for_a_lock(url: str, waiting: psycopg.Connection) -> bool:
    with psycopg.connect(url) as connection:
        query = "select 1 from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        return connection.execute(query, (waiting.info.backend_pid,)).fetchone() is not None


def answers(url: str) -> int:
    """How many answers are remembered."""
    with psycopg.connect(url) as connection:
        return len(connection.execute("select 1 from taskq.answer").fetchall())


async def test_the_caller_is_told_whether_something_was_sent(proxy: LossyProxy) -> None:
    async with create_backend(proxy.url + "?listen=off", BackendOptions(retry_for=0)) as backend:
        bench = Bench(Kit(), backend)
        await backend.check()
        proxy.lose_next_reply()
        with pytest.raises(OutcomeUnknown, match="Postgres"):
            await bench.enqueue(bench.message())


async def test_a_server_that_is_not_there_has_changed_nothing() -> None:
    url = "postgresql://user:hunter2@127.0.0.1:1/none"
    async with create_backend(url, BackendOptions(retry_for=0.1)) as backend:
        bench = Bench(Kit(), backend)
        with pytest.raises(BackendUnavailable) as caught:
            await bench.enqueue(bench.message())
        assert "hunter2" not in str(caught.value)
