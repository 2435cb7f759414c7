"""Tasks that wait for others in other shards: told through notes in the store, whoever dies in between."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from itertools import count
from uuid import uuid4

import pytest
import pytest_asyncio

from taskq.domain.flow import Callback, Tally
from taskq.domain.outcome import Complete, Fail
from taskq.domain.record import Failure
from taskq.domain.state import TaskState
from taskq.domain.workflow import Edge
from taskq.ports import BackendOptions, EnqueueStatus, NewFlow
from taskq.testing.conformance import Bench, Kit
from taskq.testing.conformance.bench import LONG, eventually, new_id
from taskq.testing.conformance.joins import after, relay
from taskq_redis import RedisBackend, create_backend
from taskq_redis import joins as joins_module
from taskq_redis.joins import Joins
from tests.redis.proxy import LossyProxy

SHARDS = 4
SETTLES_AND_DIES = """
import asyncio, os, sys
from taskq.domain.message import Delivery
from taskq.domain.outcome import Complete
from taskq.ports import BackendOptions, Settled
from taskq_redis import create_backend

async def main(url, namespace, queue):
    async with create_backend(url, BackendOptions(namespace=namespace)) as backend:
        fetched = await backend.broker.fetch([queue], 10, worker="w", lease=900, request_id="1")
        await backend.broker.settle([Settled(delivery, Complete()) for delivery in fetched.deliveries])
        os._exit(9)  # before anything else could be said

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def namespace() -> str:
    return uuid4().hex


@pytest.fixture
def url(redis_url: str) -> str:
    return f"{redis_url}?shards={SHARDS}"


@pytest_asyncio.fixture
async def backend(url: str, namespace: str) -> AsyncIterator[RedisBackend]:
    async with create_backend(url, BackendOptions(namespace=namespace)) as backend:
        yield backend


@pytest.fixture
def bench(backend: RedisBackend) -> Bench:
    return Bench(Kit(), backend)


def elsewhere(bench: Bench) -> str:
    """A queue in another shard."""
    names = (f"{bench.queue}-{n}" for n in count())
    return next(name for name in names if bench.backend.shard_of(name) != bench.backend.shard_of(bench.queue))


async def settle_and_die(url: str, namespace: str, queue: str) -> None:
    """Have a process settle what is in a queue, and die at once."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SETTLES_AND_DIES, url, namespace, queue)
    assert await process.wait() == 9


async def test_a_child_in_another_shard_is_told_though_the_worker_dies(bench: Bench, url: str, namespace: str) -> None:
    there = elsewhere(bench)
    parent = await bench.put(there)
    child = await bench.put(parents=after(parent))
    await settle_and_die(url, namespace, there)
    assert await bench.state(parent.id) == TaskState.COMPLETED
    assert await bench.state(child.id) == TaskState.BLOCKED
    assert await bench.backend.maintenance.relay() == 1
    assert await bench.take_ids() == [child.id]


async def test_many_children_are_told_though_the_worker_dies(bench: Bench, url: str, namespace: str) -> None:
    there = elsewhere(bench)
    parent = await bench.put(there)
    near = await bench.put_many(400, there, parents=after(parent))
    far = await bench.put_many(400, parents=after(parent))
    await settle_and_die(url, namespace, there)
    await relay(bench)
    assert sorted(await bench.take_ids(1000, queues=[bench.queue, there])) == sorted([*near, *far])


async def test_a_batch_in_several_shards_ends_though_the_worker_dies(bench: Bench, url: str, namespace: str) -> None:
    there, flow = elsewhere(bench), new_id(bench.backend.shard_of(bench.queue))
    done = bench.message(f"{bench.queue}-done")
    await bench.backend.flows.create(NewFlow(flow, callbacks={Callback.COMPLETE: done}))
    await bench.put_many(3, there, flow=flow)
    await bench.backend.flows.close(flow)
    await settle_and_die(url, namespace, there)
    record = await bench.backend.flows.get(flow)
    assert record is not None
    assert (record.tally, record.ended_at) == (Tally(3, 3), None)
    await relay(bench)
    assert await bench.take_ids(queues=[done.queue]) == [done.id]


async def test_relays_at_once_tell_each_child_once(bench: Bench, url: str, namespace: str) -> None:
    there = elsewhere(bench)
    parent = await bench.put(there)
    ids = await bench.put_many(300, parents=after(parent))
    await settle_and_die(url, namespace, there)
    async with bench.backend.clone() as one, bench.backend.clone() as two:
        for _ in range(5):
            await asyncio.gather(*(each.maintenance.relay() for each in (bench.backend, one, two)))
    assert sorted(await bench.take_ids(1000)) == sorted(ids)
    assert await bench.counts() == {TaskState.RUNNING: 300}


async def test_what_was_stored_and_not_bound_is_bound_by_another(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    there = elsewhere(bench)
    parent = await bench.put(there)

    async def die(*_: object, **__: object) -> None:
        raise ConnectionError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Joins, "bind", die)
        child = bench.message(parents=after(parent))
        with pytest.raises(ConnectionError):
            await bench.enqueue(child)
    delivery = await bench.take_one(queues=[there])
    await bench.apply(delivery, Complete())
    await relay(bench)
    assert await bench.state(child.id) == TaskState.BLOCKED
    monkeypatch.setattr(joins_module, "_BIND_WITHIN", 0)
    await bench.pass_time(0.002)
    await relay(bench)
    assert await bench.take_ids() == [child.id]


async def test_a_repeated_enqueue_binds_what_was_not_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = await bench.running(queue=elsewhere(bench))
    child = bench.message(parents=after(parent))

    async def die(*_: object, **__: object) -> None:
        raise ConnectionError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Joins, "bind", die)
        with pytest.raises(ConnectionError):
            await bench.enqueue(child)
    await bench.apply(parent, Complete())
    assert await bench.enqueue(child) == [EnqueueStatus.DUPLICATE]
    await relay(bench)
    assert await bench.take_ids() == [child.id]


async def test_failures_go_on_through_several_shards(bench: Bench) -> None:
    queues = [bench.queue, elsewhere(bench)]
    chain = [await bench.running(max_lost_leases=1)]
    ids: list[str] = []
    before = chain[0].id
    for number in range(40):
        child = await bench.put(queues[number % 2], parents=(Edge(before),), delay=LONG)
        ids.append(child.id)
        before = child.id
    await bench.settle(chain[0], Fail("x", Failure("E", "no")))

    async def are_told() -> bool:
        await relay(bench)  # it finds nothing while what is left is on its way behind the back of the settlement
        return {await bench.state(id) for id in ids} == {TaskState.CANCELLED}

    await eventually(are_told)


async def test_nothing_of_an_edge_is_left_once_it_is_over(bench: Bench, backend: RedisBackend) -> None:
    there = elsewhere(bench)
    one, two = await bench.running(), await bench.running(queue=there)
    child = await bench.put(parents=after(one, two))
    for parent in (one, two):
        await bench.settle(parent, Complete())
        await relay(bench)
    await bench.settle(await bench.take_one(), Complete())
    assert await backend.inspector.get(child.id) is not None
    kinds = {name.split(b"}:")[1].split(b":")[0] for name in await all_keys(backend)}
    assert not kinds & {b"waits", b"children", b"out", b"unsure", b"looks", b"blocked"}


async def test_a_member_that_ends_as_it_is_stored_has_its_callback_enqueued_without_maintenance(bench: Bench) -> None:
    flow, told = new_id(), bench.message(f"{bench.queue}-told")
    await bench.backend.flows.create(NewFlow(flow, callbacks={Callback.FAILURE: told}))
    parent = await bench.running()
    await bench.settle(parent, Fail("x", Failure("ValueError", "no")))
    await bench.put(parents=after(parent), flow=flow)

    async def is_enqueued() -> bool:
        return await bench.backend.inspector.get(told.id) is not None

    await eventually(is_enqueued)


async def all_keys(backend: RedisBackend) -> list[bytes]:
    """The keys of the backend's namespace."""
    import redis.asyncio

    port = int(backend._target.addresses[0].port)
    async with redis.asyncio.Redis(port=port) as client:
        return [key async for key in client.scan_iter(f"taskq:{{{backend._options.namespace}:*")]


class TestLostReplies:
    """Whatever is said of edges and flows may be said again after a lost reply."""

    @pytest_asyncio.fixture
    async def proxy(self, redis_url: str) -> AsyncIterator[LossyProxy]:
        async with LossyProxy(int(redis_url.rpartition(":")[2].partition("/")[0])) as proxy:
            yield proxy

    @pytest_asyncio.fixture
    async def lossy(self, proxy: LossyProxy, namespace: str) -> AsyncIterator[Bench]:
        async with create_backend(f"redis://127.0.0.1:{proxy.port}/0", BackendOptions(namespace=namespace)) as backend:
            await backend.migrate()
            yield Bench(Kit(), backend)

    async def test_of_an_enqueue_behind_a_parent(self, lossy: Bench, proxy: LossyProxy) -> None:
        parent = await lossy.running()
        child = lossy.message(parents=after(parent))
        proxy.lose_reply_to(child.id)
        assert await lossy.enqueue(child) in ([EnqueueStatus.CREATED], [EnqueueStatus.DUPLICATE])
        assert proxy.lost == 1
        await lossy.settle(parent, Complete())
        await relay(lossy)
        assert await lossy.take_ids() == [child.id]

    async def test_of_a_settlement_that_frees_and_is_counted(self, lossy: Bench, proxy: LossyProxy) -> None:
        flow = new_id()
        done = lossy.message(f"{lossy.queue}-done")
        await lossy.backend.flows.create(NewFlow(flow, callbacks={Callback.SUCCESS: done}))
        parent = await lossy.running(flow=flow)
        child = await lossy.put(parents=after(parent))
        await lossy.backend.flows.close(flow)
        proxy.lose_reply_to(parent.worker)
        await lossy.settle(parent, Complete())
        assert proxy.lost == 1
        await relay(lossy)
        assert await lossy.take_ids() == [child.id]
        assert await lossy.take_ids(queues=[done.queue]) == [done.id]
        record = await lossy.backend.flows.get(flow)
        assert record is not None
        assert record.tally == Tally(1, 1)

    @pytest.mark.parametrize("verb", ["create", "close", "cancel"])
    async def test_of_what_is_done_to_a_flow(self, lossy: Bench, proxy: LossyProxy, verb: str) -> None:
        flow = new_id()
        flows = lossy.backend.flows
        if verb == "create":
            proxy.lose_reply_to(flow)
            await flows.create(NewFlow(flow))
        else:
            await flows.create(NewFlow(flow))
            await lossy.put(flow=flow)
            proxy.lose_reply_to(flow)
            assert await (flows.close(flow) if verb == "close" else flows.cancel(flow, "enough"))
        assert proxy.lost == 1
        record = await flows.get(flow)
        assert record is not None
        assert (record.closed_at is not None) == (verb != "create")
        assert record.tally == {"create": Tally(), "close": Tally(1), "cancel": Tally(1, cancelled=1)}[verb]
