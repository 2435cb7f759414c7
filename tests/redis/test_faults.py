"""Lost replies, lost connections, lost scripts, a killed server: nothing acknowledged is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis
from hiredis import ReplyError

from taskq.domain.outcome import Complete
from taskq.domain.state import TaskState
from taskq.errors import BackendUnavailable, OutcomeUnknown, UnsafeStore
from taskq.ports import (
    BackendOptions,
    CancelStatus,
    Enqueued,
    EnqueueStatus,
    Order,
    Settled,
    SettleStatus,
    WorkerCommand,
    WorkerInfo,
    WorkerState,
)
from taskq.testing.conformance import Bench, Kit
from taskq.testing.conformance.bench import LONG, moved, new_worker
from taskq_redis import RedisBackend, create_backend
from taskq_redis.connection import Address, Login, connect, pack
from taskq_redis.errors import ConnectionLost
from tests.redis.fake import FakeRedis
from tests.redis.helpers import backend_of, clients, until
from tests.redis.proxy import LossyProxy
from tests.servers import RedisServer, free_port


@pytest_asyncio.fixture
async def proxy(redis_url: str) -> AsyncIterator[LossyProxy]:
    """A proxy before the server."""
    async with LossyProxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def lossy(proxy: LossyProxy, options: BackendOptions) -> AsyncIterator[Bench]:
    """A bench whose backend speaks through the proxy."""
    async with create_backend(f"redis://127.0.0.1:{proxy.port}/0", options) as backend:
        await backend.migrate()
        yield Bench(Kit(), backend)


class TestLostReplies:
    """A command whose reply was lost is repeated, with the same effect as once."""

    async def test_of_an_enqueue(self, lossy: Bench, proxy: LossyProxy) -> None:
        await lossy.put()
        message = lossy.message()
        proxy.lose_reply_to(message.id)
        assert await lossy.enqueue(message) in ([EnqueueStatus.CREATED], [EnqueueStatus.DUPLICATE])
        assert proxy.lost == 1
        assert await lossy.counts() == {TaskState.PENDING: 2}

    async def test_of_a_fetch(self, lossy: Bench, proxy: LossyProxy) -> None:
        ids = await lossy.put_many(3)
        worker = new_worker()
        proxy.lose_reply_to(worker)
        deliveries = await lossy.take(2, worker=worker)
        assert proxy.lost == 1
        assert [(delivery.id, delivery.fence) for delivery in deliveries] == [(id, 1) for id in ids[:2]]
        assert await lossy.counts() == {TaskState.RUNNING: 2, TaskState.PENDING: 1}

    async def test_of_a_settlement(self, lossy: Bench, proxy: LossyProxy) -> None:
        await lossy.apply(await lossy.running(), Complete())
        delivery = await lossy.running()
        proxy.lose_reply_to(delivery.id)
        assert await lossy.settle(delivery, Complete(b"1")) == SettleStatus.REPEATED
        assert proxy.lost == 1
        assert len((await lossy.record(delivery.id)).attempts) == 1

    async def test_of_a_cancel(self, lossy: Bench, proxy: LossyProxy) -> None:
        message = await lossy.put()
        proxy.lose_reply_to(message.id)
        assert await lossy.backend.broker.cancel([message.id], "enough") == [CancelStatus.CANCELLED]
        assert proxy.lost == 1

    async def test_of_a_redrive(self, lossy: Bench, proxy: LossyProxy) -> None:
        message = await lossy.put()
        await lossy.backend.broker.cancel([message.id])
        proxy.lose_reply_to(message.id)
        assert moved(await lossy.backend.inspector.redrive([message.id])) == [True]
        assert proxy.lost == 1

    async def test_of_a_line_of_a_log(self, lossy: Bench, proxy: LossyProxy) -> None:
        delivery = await lossy.running()
        await lossy.backend.annotations.log(delivery, ["first"])
        proxy.lose_reply_to("second")
        assert await lossy.backend.annotations.log(delivery, ["second"])
        assert await lossy.backend.annotations.log(delivery, ["second"])
        assert proxy.lost == 1
        assert (await lossy.record(delivery.id)).logs == ("first", "second", "second")

    async def test_of_a_line_of_a_log_while_others_are_written(self, lossy: Bench) -> None:
        delivery = await lossy.running()
        run = (delivery.id, delivery.fence, delivery.worker, "log")
        store = backend_of(lossy)._store
        for token in ("0001", *(f"{n:04}" for n in range(2, 9)), "0001"):
            assert await store.run(0, "annotate", *run, token, token) == 1
        assert len((await lossy.record(delivery.id)).logs) == 8

    async def test_of_a_command_to_a_worker(self, lossy: Bench, proxy: LossyProxy) -> None:
        registry = lossy.backend.registry
        info = WorkerInfo(id=new_worker(), name="w", host="h", pid=1, queues=("a",), state=WorkerState.IDLE)
        await registry.report(info, LONG)
        assert await registry.command(info.id, WorkerCommand.PAUSE)
        proxy.lose_reply_to(WorkerCommand.RESUME.value)
        assert await registry.command(info.id, WorkerCommand.RESUME)
        assert proxy.lost == 1
        assert list(await registry.report(info, LONG)) == [Order(WorkerCommand.PAUSE), Order(WorkerCommand.RESUME)]

    async def test_of_a_report(self, lossy: Bench, proxy: LossyProxy) -> None:
        registry = lossy.backend.registry
        info = WorkerInfo(id=new_worker(), name="w", host="h", pid=1, queues=("a",), state=WorkerState.IDLE)
        await registry.report(info, LONG)
        await registry.command(info.id, WorkerCommand.PAUSE)
        proxy.lose_reply_to(info.id)
        assert list(await registry.report(info, LONG)) == [Order(WorkerCommand.PAUSE)]
        assert proxy.lost == 1
        assert list(await registry.report(info, LONG)) == []

    async def test_of_a_purge(self, lossy: Bench, proxy: LossyProxy) -> None:
        await lossy.put()
        assert await lossy.backend.inspector.purge(lossy.queue) == 1
        await lossy.put_many(5)
        proxy.lose_reply_to("purged")
        assert await lossy.backend.inspector.purge(lossy.queue, 2) == 2
        assert proxy.lost == 1
        assert await lossy.counts() == {TaskState.CANCELLED: 3, TaskState.PENDING: 3}
        proxy.lose_reply_to("purged")
        assert await lossy.backend.inspector.purge(lossy.queue) == 3


class TestConnections:
    """A connection that is lost, or a caller that gives up, never mixes up replies."""

    async def test_a_cancelled_caller_leaves_no_reply_behind(self, redis_url: str) -> None:
        connection = await connect(_address(redis_url), Login(), 5.0)
        first = connection.send(pack("ECHO", "first"), 5.0)
        second = connection.send(pack("ECHO", "second"), 5.0)
        first.cancel()
        assert await second == b"second"
        connection.close()

    async def test_nothing_is_sent_twice_below_our_own_loop(self, redis_url: str, proxy: LossyProxy) -> None:
        connection = await connect(Address("127.0.0.1", proxy.port), Login(), 5.0)
        proxy.lose_reply_to("tests:counter")
        with pytest.raises(ConnectionLost) as caught:
            await connection.execute("INCR", "tests:counter", timeout=5.0)
        assert caught.value.was_sent
        direct = await connect(_address(redis_url), Login(), 5.0)
        assert await direct.execute("GETDEL", "tests:counter", timeout=5.0) == b"1"
        direct.close()

    async def test_silence_counts_as_a_lost_connection(self) -> None:
        async with FakeRedis(lambda command: b"") as server:
            server.may_greet.clear()
            with pytest.raises(ConnectionLost):
                await connect(Address("127.0.0.1", server.port), Login(), 0.05)

    async def test_a_server_that_is_away_is_named_without_its_password(self) -> None:
        url = f"redis://somebody:secret@127.0.0.1:{free_port()}/0"
        async with create_backend(url, BackendOptions(retry_for=0.05)) as backend:
            with pytest.raises(BackendUnavailable) as caught:
                await backend.migrate()
        assert "127.0.0.1" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(backend._store.target)

    async def test_callers_wait_together_for_a_server_that_is_away(self) -> None:
        async with create_backend(f"redis://127.0.0.1:{free_port()}/0", BackendOptions(retry_for=0.3)) as backend:
            started = asyncio.get_running_loop().time()
            calls = [backend.inspector.counts() for _ in range(20)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(answer) for answer in answers} == {BackendUnavailable}
            assert asyncio.get_running_loop().time() - started < 3.0

    async def test_an_unknown_outcome_is_told_as_one(self, redis_url: str, proxy: LossyProxy) -> None:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with create_backend(url, BackendOptions(namespace="unknown", retry_for=0.0)) as backend:
            await backend.migrate()
            bench = Bench(Kit(), backend)
            await bench.put()
            message = bench.message()
            proxy.lose_reply_to(message.id)
            with pytest.raises(OutcomeUnknown):
                await backend.broker.enqueue([message])
            assert (await bench.record(message.id)).state == TaskState.PENDING

    async def test_callers_who_share_a_call_share_its_error(self, redis_url: str, proxy: LossyProxy) -> None:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with create_backend(url, BackendOptions(namespace="shared", retry_for=0.0)) as backend:
            await backend.migrate()
            bench = Bench(Kit(), backend)
            await bench.put()
            messages = [bench.message() for _ in range(3)]
            proxy.lose_reply_to(messages[2].id)
            calls = [asyncio.create_task(backend.broker.enqueue([message])) for message in messages]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(answer) for answer in answers] == [list, OutcomeUnknown, OutcomeUnknown]
            await backend.broker.enqueue([messages[1]])
            assert await bench.counts() == {TaskState.PENDING: 4}

    async def test_a_caller_who_gives_up_holds_up_nobody(self, bench: Bench) -> None:
        messages = [bench.message() for _ in range(3)]
        calls = [asyncio.create_task(bench.backend.broker.enqueue([message])) for message in messages]
        await bench.backend.inspector.counts()
        calls[0].cancel()
        calls[1].cancel()
        [answer] = await calls[2]
        assert answer == Enqueued(messages[2].id, EnqueueStatus.CREATED)

    async def test_many_callers_at_once_each_get_their_own(self, bench: Bench) -> None:
        messages = [bench.message() for _ in range(300)]
        await asyncio.gather(*(bench.backend.broker.enqueue([message]) for message in messages))
        records = await asyncio.gather(*(bench.record(message.id) for message in messages))
        assert [record.id for record in records] == [message.id for message in messages]


class TestServer:
    """What happens to the server."""

    async def test_a_flushed_script_is_loaded_again(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.put()
        outside.script_flush()
        claim = asyncio.create_task(bench.take())
        messages = await asyncio.gather(*(bench.put() for _ in range(20)))
        [delivery] = await claim
        outside.script_flush()
        assert await bench.settle(delivery, Complete()) == SettleStatus.APPLIED
        assert len({message.id for message in messages}) == 20

    async def test_a_waiting_connection_that_is_killed_is_a_hint(self, bench: Bench, outside: redis.Redis) -> None:
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], 60.0))
        await until(lambda: clients(outside, "blpop"))
        for client in clients(outside, "blpop"):
            outside.client_kill_filter(_id=client["id"])
        assert await asyncio.wait_for(waiting, 10.0) is True
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], 60.0))
        await until(lambda: clients(outside, "blpop"))
        await bench.put()
        assert await asyncio.wait_for(waiting, 10.0) is True

    async def test_a_listener_hears_again_after_its_connection_was_killed(
        self, bench: Bench, outside: redis.Redis
    ) -> None:
        delivery = await bench.running()
        waiting = asyncio.create_task(bench.backend.results.wait(delivery.id, 60.0))
        await until(lambda: clients(outside, "subscribe"))
        for client in clients(outside, "subscribe"):
            outside.client_kill_filter(_id=client["id"])
        await until(lambda: outside.pubsub_channels())
        await bench.settle(delivery, Complete(b"7"))
        finished = await asyncio.wait_for(waiting, 10.0)
        assert finished is not None
        assert finished.result == b"7"

    async def test_a_killed_server_loses_nothing_that_was_acknowledged(self) -> None:
        with RedisServer() as server:
            async with create_backend(server.url, BackendOptions(retry_for=20.0)) as backend:
                await backend.migrate()
                acknowledged, ran = await _work_through_a_kill(server, backend)
                bench = Bench(Kit(), backend, "default")
                records = [await bench.record(id) for id in acknowledged]
        assert {record.state for record in records} == {TaskState.COMPLETED}
        assert set(acknowledged) <= ran

    async def test_a_store_that_came_back_empty_is_not_worked_on(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.put()
        assert len(await bench.take()) == 1
        outside.flushdb()
        with pytest.raises(UnsafeStore, match="came back empty"):
            await bench.fetch()
        async with bench.backend.clone() as restarted:
            assert await Bench(Kit(), restarted, bench.queue).take() == []

    async def test_a_store_that_came_back_from_an_old_copy_is_not_worked_on(
        self, bench: Bench, outside: redis.Redis, backend: RedisBackend
    ) -> None:
        meta = backend._store.keys[0].meta
        await bench.fetch()
        outside.hset(meta, "age", 5000)
        await bench.fetch()
        outside.hset(meta, "age", 4970)
        await bench.fetch()
        outside.hset(meta, "age", 4000)
        with pytest.raises(UnsafeStore, match="older copy"):
            await bench.fetch()


async def _work_through_a_kill(server: RedisServer, backend: RedisBackend) -> tuple[list[str], set[str]]:
    """Enqueue and run tasks while the server is killed and started again; (acknowledged ids, ids that ran)."""
    bench = Bench(Kit(), backend, "default")
    acknowledged: list[str] = []
    ran: set[str] = set()
    is_restarted = asyncio.Event()

    async def enqueue() -> None:
        while not is_restarted.is_set() or len(acknowledged) < 200:
            message = bench.message()
            answers = await backend.broker.enqueue([message])
            assert answers[0].status in (EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE)
            acknowledged.append(message.id)

    async def work() -> None:
        worker = new_worker()
        while not is_restarted.is_set() or len(ran) < len(acknowledged):
            deliveries = await bench.take(10, worker=worker)
            await backend.broker.settle([Settled(delivery, Complete()) for delivery in deliveries])
            ran.update(delivery.id for delivery in deliveries)

    async def kill() -> None:
        await until(lambda: len(ran) > 50)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.restart)
        is_restarted.set()

    await asyncio.gather(enqueue(), enqueue(), work(), kill())
    await work()
    return acknowledged, ran


async def test_an_error_reply_is_a_value_until_it_is_asked_for(redis_url: str) -> None:
    connection = await connect(_address(redis_url), Login(), 5.0)
    with pytest.raises(ReplyError):
        await connection.execute("NO-SUCH-COMMAND", timeout=5.0)
    assert await connection.execute("PING", timeout=5.0) == b"PONG"
    connection.close()


def _address(url: str) -> Address:
    return Address("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))
