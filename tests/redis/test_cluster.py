"""A cluster of two nodes, and the sentinels' master: a shard may move, a master may change, nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from taskq.domain.outcome import Complete
from taskq.domain.state import TaskState
from taskq.ports import BackendOptions, Damage, Settled
from taskq.testing.conformance import Bench, Kit
from taskq.testing.conformance.bench import new_worker
from taskq_redis import RedisBackend, create_backend
from tests.redis.helpers import until
from tests.servers import RedisServer

KEYS_PER_STEP = 10


class TwoNodes:
    """A cluster in which the first node owns every slot until one is moved."""

    def __init__(self, ports: list[int]) -> None:
        self.nodes = [redis.Redis(port=port) for port in ports]
        first, second = self.nodes
        second.execute_command("CLUSTER FLUSHSLOTS")
        second.execute_command("CLUSTER RESET HARD")
        second.execute_command("CLUSTER MEET", "127.0.0.1", ports[0], self._bus_port(first))

    def _bus_port(self, node: redis.Redis) -> int:
        return int(str(node.config_get("cluster-port")["cluster-port"]))

    def is_ready(self) -> bool:
        """Whether both nodes know of each other and all slots are served."""
        infos: list[Any] = [node.execute_command("CLUSTER INFO") for node in self.nodes]
        return all(info["cluster_known_nodes"] == "2" and info["cluster_state"] == "ok" for info in infos)

    def move_slot(self, slot: int) -> Iterator[None]:
        """Move a slot to the second node, a few keys at a time."""
        first, second = self.nodes
        old, new = (self._say(node, "CLUSTER MYID") for node in self.nodes)
        second.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old)
        first.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new)
        port = second.connection_pool.connection_kwargs["port"]
        while keys := self._keys_in(slot):
            first.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
            yield
        for node in (second, first):
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", new)
        yield

    def _keys_in(self, slot: int) -> list[Any]:
        keys: list[Any] = self.nodes[0].execute_command("CLUSTER GETKEYSINSLOT", slot, KEYS_PER_STEP)
        return keys

    @staticmethod
    def _say(node: redis.Redis, command: str) -> str:
        reply: Any = node.execute_command(command)
        return reply.decode() if isinstance(reply, bytes) else str(reply)


@pytest.fixture
def two_nodes() -> Iterator[TwoNodes]:
    """Two nodes of their own."""
    with RedisServer(cluster=True) as first, RedisServer(cluster=True) as second:
        yield TwoNodes([first.port, second.port])


async def test_a_shard_moves_to_another_node_under_load(two_nodes: TwoNodes) -> None:
    await until(two_nodes.is_ready)
    port = two_nodes.nodes[0].connection_pool.connection_kwargs["port"]
    async with create_backend(f"redis+cluster://127.0.0.1:{port}?shards=2", BackendOptions(retry_for=20.0)) as backend:
        bench = Bench(Kit(), backend)
        ids = await bench.put_many(60)
        moved = backend._store.keys[backend.shard_of(bench.queue)].slot
        steps = asyncio.create_task(asyncio.to_thread(lambda: list(two_nodes.move_slot(moved))))
        worker = new_worker()
        ran: list[str] = []
        while not steps.done() or len(ran) < len(ids):
            ids.append((await bench.put()).id)
            deliveries = await bench.take(5, worker=worker)
            await backend.broker.settle([Settled(delivery, Complete()) for delivery in deliveries])
            ran += [delivery.id for delivery in deliveries]
        await steps
        assert sorted(ran) == sorted(ids)
        assert await bench.counts() == {TaskState.COMPLETED: len(ids)}
    served = [node.execute_command("CLUSTER COUNTKEYSINSLOT", moved) for node in two_nodes.nodes]
    assert served[0] == 0
    assert served[1] > len(ids)


async def test_each_node_is_examined_and_mended(two_nodes: TwoNodes, options: BackendOptions) -> None:
    await until(two_nodes.is_ready)
    port = two_nodes.nodes[0].connection_pool.connection_kwargs["port"]
    async with create_backend(f"redis+cluster://127.0.0.1:{port}?shards=4", options) as backend:
        benches = [Bench(Kit(), backend, f"queue-{n}") for n in range(20)]
        ids = {(await bench.put()).id: bench for bench in benches}
        moved = backend._store.keys[backend.shard_of("queue-0")]
        await asyncio.to_thread(lambda: list(two_nodes.move_slot(moved.slot)))
        assert len({f.detail for f in await backend.diagnosis.servers() if f.check == "redis.version"}) == 2
        for bench in benches:
            keys = backend._store.keys[backend.shard_of(bench.queue)]
            await backend._store.command(keys.shard, "DEL", keys.part("lane", bench.queue, "1:"))
        [lost, reached] = await backend.diagnosis.examine(None)
        assert (lost.check, lost.number, reached.number) == (Damage.UNPLACED, 20, 20)
        assert await backend.diagnosis.repair(None) == {Damage.UNPLACED: 20}
        assert [finding.check for finding in await backend.diagnosis.examine(None)] == ["records"]
        for id, bench in ids.items():
            assert await bench.take_ids(2) == [id]


class Sentinel(RedisServer):
    """A sentinel that watches one master under the name `main`.

    Arguments:
        port: of the master.
    """

    def __init__(self, port: int) -> None:
        self._master_port = port
        super().__init__()

    def _command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor main 127.0.0.1 {self._master_port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        )
        return [self._program, str(config), "--sentinel"]

    def _ready(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.info("server")["process_id"] == self.pid)
        except redis.ConnectionError:
            return False


async def test_the_master_changes() -> None:
    with ExitStack() as servers:
        master = servers.enter_context(RedisServer())
        settings = {"replicaof": f"127.0.0.1 {master.port}", "repl-diskless-sync-delay": "0"}
        replica = servers.enter_context(RedisServer(config=settings))
        sentinel = servers.enter_context(Sentinel(master.port))
        watch = servers.enter_context(redis.Redis(port=sentinel.port))
        await until(lambda: _replicas(watch) == 1)
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
        async with create_backend(url, BackendOptions(retry_for=30.0)) as backend:
            bench = Bench(Kit(), backend)
            first = await bench.put()
            await until(lambda: _has(replica, backend, first.id))
            await asyncio.to_thread(master.kill)
            second = await bench.put()
            assert await bench.take_ids(10) == [first.id, second.id]
        with redis.Redis(port=replica.port) as promoted:
            assert promoted.info("replication")["role"] == "master"


def _replicas(watch: redis.Redis) -> int:
    reply: Any = watch.execute_command("SENTINEL REPLICAS", "main")
    return len(reply)


def _has(server: RedisServer, backend: RedisBackend, id: str) -> bool:
    with redis.Redis(port=server.port) as client:
        return bool(client.exists(backend._store.keys[0].task(id)))
