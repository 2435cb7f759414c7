"""Each operation, when its reply is lost on the way: done once, and known to be done."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from taskq.domain.outcome import Complete, Retry
from taskq.domain.record import Failure
from taskq.domain.state import TaskState
from taskq.errors import BackendUnavailable, OutcomeUnknown
from taskq.ports import BackendOptions, CancelStatus, EnqueueStatus, Settled, SettleStatus
from taskq.testing.conformance import Bench
from taskq.testing.conformance.kit import Kit
from taskq_postgres import create_backend
from tests.postgres.proxy import LossyProxy


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


async def test_a_cancel_is_final(proxy: LossyProxy, lossy: Bench) -> None:
    message = await lossy.put()
    proxy.lose_next_reply()
    assert await lossy.backend.broker.cancel([message.id]) == [CancelStatus.FINAL]


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
