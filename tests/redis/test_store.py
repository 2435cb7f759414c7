"""What lies in the store: known names, one slot, nothing left over; and how many commands it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis

import taskq_redis
from taskq.domain.message import Priority
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.record import Failure, Progress
from taskq.domain.state import TaskState
from taskq.errors import BackendUnavailable, ConfigError
from taskq.ports import (
    BackendOptions,
    Capability,
    Change,
    QueueConfig,
    ScheduleEntry,
    Settled,
    TaskQuery,
    WorkerCommand,
    WorkerInfo,
    WorkerState,
)
from taskq.testing.conformance import Bench, Kit
from taskq.testing.conformance.bench import LONG, moved, new_worker
from taskq_redis import RedisBackend, create_backend
from taskq_redis.keys import SLOTS, Keys, is_ours
from taskq_redis.scripts import QUEUES_PER_CALL, script
from tests.redis.helpers import calls, clients, until

SCRIPTS = sorted(path.stem for path in (Path(taskq_redis.__file__).parent / "lua").glob("[a-z]*.lua"))
FAILURE = Failure("ValueError", "no")


class TestKeys:
    """Every key has a known name, and nothing stays of a task that was forgotten."""

    async def test_nothing_stays_of_a_pruned_task_but_its_tombstone(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=0))
        settled: list[Settlement] = [
            Complete(b"1"),
            Fail("x", FAILURE),
            Bury("x", FAILURE),
            Cancel("x"),
            Crash(FAILURE),
        ]
        for settlement in settled:
            delivery = await bench.running(
                max_lost_leases=1, expires=LONG, group="g", tenant="t", priority=Priority.LOW
            )
            await bench.backend.annotations.log(delivery, ["one", "two"])
            await bench.backend.annotations.progress(delivery, Progress(0.5))
            await bench.backend.annotations.checkpoint(delivery, b"here")
            await bench.apply(delivery, settlement)
        assert await bench.backend.maintenance.prune() == len(settled)
        kinds = {key.split(b":")[3] for key in outside.scan_iter()}
        assert kinds == {b"meta", b"gone", b"queue", b"claim"}
        assert outside.hkeys(_keys(bench).of("queue", bench.queue)) == [b"mf"]

    async def test_nothing_stays_of_a_redriven_task(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=0))
        delivery = await bench.running()
        await bench.apply(delivery, Bury("x", FAILURE))
        assert moved(await bench.backend.inspector.redrive([delivery.id])) == [True]
        await bench.settle(await bench.take_one(), Complete())
        assert await bench.backend.maintenance.prune() == 1
        assert {key.split(b":")[3] for key in outside.scan_iter()} == {b"meta", b"gone", b"queue", b"claim"}

    async def test_nothing_stays_of_a_worker_that_said_goodbye(self, bench: Bench, outside: redis.Redis) -> None:
        info = WorkerInfo(id=new_worker(), name="w", host="h", pid=1, queues=("a",), state=WorkerState.IDLE)
        await bench.backend.registry.report(info, LONG)
        await bench.backend.registry.command(info.id, WorkerCommand.PAUSE)
        await bench.fetch(worker=info.id)
        await bench.backend.registry.forget(info.id)
        assert {key.split(b":")[3] for key in outside.scan_iter()} == {b"meta"}

    async def test_every_key_has_a_known_name_and_the_tag(
        self, bench: Bench, outside: redis.Redis, options: BackendOptions
    ) -> None:
        await _do_everything(bench)
        prefix = f"taskq:{{{options.namespace}:0}}:".encode()
        keys = list(outside.scan_iter())
        assert len({key[len(prefix) :].split(b":")[0] for key in keys}) > 12
        assert [key for key in keys if not key.startswith(prefix) or not is_ours(key)] == []

    async def test_counters_say_what_the_indexes_hold(self, bench: Bench, outside: redis.Redis) -> None:
        await _do_everything(bench)
        counts = await bench.counts()
        assert counts[TaskState.RUNNING] == outside.zcard(_keys(bench).leases)
        for state, n in counts.items():
            page = await bench.backend.inspector.list(_query(bench, state))
            assert len(page.records) == n, state

    async def test_a_queue_may_have_any_name(self, bench: Bench) -> None:
        for queue in ("a:b", "lane:3:x", "{x}", "straße", "a b", "*"):
            for group in ("", "g:1", "{y}"):
                message = await bench.put(queue, group=group, delay=None)
                delivery = await bench.take_one(queues=[queue])
                assert (delivery.id, delivery.queue) == (message.id, queue)
                await bench.apply(delivery, Release())
                assert (await bench.record(message.id)).group == group
                await bench.settle(await bench.take_one(queues=[queue]), Complete())

    def test_the_slot_is_the_one_of_the_cluster_specification(self, redis_cluster_url: str) -> None:
        with redis.Redis(port=int(redis_cluster_url.rpartition(":")[2].partition("?")[0])) as client:
            for keys in (Keys("default", 0), Keys("straße", 17)):
                assert client.execute_command("CLUSTER", "KEYSLOT", keys.meta) == keys.slot < SLOTS


class TestScripts:
    """The scripts as the server sees them."""

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_each_compiles_and_says_what_it_takes(self, name: str, outside: redis.Redis) -> None:
        loaded: object = outside.script_load(script(name).source.decode())
        assert loaded in (script(name).sha, script(name).sha.encode())
        head = (Path(taskq_redis.__file__).parent / "lua" / f"{name}.lua").read_text("utf-8")
        assert "-- KEYS" in head

    async def test_a_full_server_refuses_work_and_still_drains(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.put_many(3)
        outside.config_set("maxmemory", "1mb")
        try:
            with pytest.raises(BackendUnavailable, match="maxmemory"):
                await bench.put()
            for delivery in await bench.take(3):
                await bench.apply(delivery, Complete(b"1"))
        finally:
            outside.config_set("maxmemory", "0")
        assert await bench.counts() == {TaskState.COMPLETED: 3}


class TestRoundTrips:
    """How many commands things take."""

    async def test_a_thousand_messages_are_ten_calls(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.put()
        before = calls(outside)["evalsha"]
        await bench.put_many(1000)
        assert calls(outside)["evalsha"] - before == 10

    async def test_single_messages_of_many_callers_share_calls(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.put()
        before = calls(outside)["evalsha"]
        messages = [bench.message() for _ in range(150)]
        answers = await asyncio.gather(*(bench.backend.broker.enqueue([message]) for message in messages))
        assert [answer.id for [answer] in answers] == [message.id for message in messages]
        assert calls(outside)["evalsha"] - before == 3
        first = await bench.take_ids(151)
        assert first[1:] == [message.id for message in messages]

    async def test_a_hundred_settlements_are_one_call(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.put_many(100)
        deliveries = await bench.take(100)
        for _ in range(2):  # once for the scripts to be loaded
            before = calls(outside)["evalsha"]
            await bench.backend.broker.settle([Settled(delivery, Complete()) for delivery in deliveries])
            await bench.backend.broker.extend(deliveries, LONG)
        assert calls(outside)["evalsha"] - before == 2

    async def test_an_idle_worker_is_quiet(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.fetch()
        before = calls(outside)
        for _ in range(3):
            assert await bench.backend.broker.wait([bench.queue], 0.2) is False
            await bench.fetch()
        after = calls(outside)
        spent = {name: after.get(name, 0) - before.get(name, 0) for name in ("evalsha", "blpop", "eval", "script|load")}
        # A wait and a fetch for each time that the wait lasts: with the worker's two seconds, one command a second.
        assert spent.pop("blpop") <= 3
        assert spent == {"evalsha": 3, "eval": 0, "script|load": 0}

    async def test_a_look_at_all_queues_is_one_call_where_they_are_few(
        self, bench: Bench, outside: redis.Redis
    ) -> None:
        backend = bench.backend
        await bench.put()
        await asyncio.gather(backend.inspector.counts(), backend.queues.standings())
        before = calls(outside)
        counts, standings = await asyncio.gather(backend.inspector.counts(), backend.queues.standings())
        assert calls(outside)["evalsha"] - before["evalsha"] == 2
        assert (counts, set(standings)) == ({bench.queue: {TaskState.PENDING: 1}}, {bench.queue})

    async def test_many_queues_are_looked_at_some_at_a_time(self, bench: Bench) -> None:
        backend, queues = bench.backend, [f"q{number}" for number in range(2 * QUEUES_PER_CALL + 1)]
        await backend.broker.enqueue([bench.message(queue=queue) for queue in queues])
        counts, standings = await asyncio.gather(backend.inspector.counts(), backend.queues.standings())
        assert counts == {queue: {TaskState.PENDING: 1} for queue in queues}
        assert {queue: sum(standing.pending) for queue, standing in standings.items()} == dict.fromkeys(queues, 1)

    async def test_a_new_task_ends_the_wait_at_once(self, bench: Bench, outside: redis.Redis) -> None:
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], 60.0))
        await until(lambda: clients(outside, "blpop"))
        await bench.put()
        assert await asyncio.wait_for(waiting, 5.0) is True

    async def test_an_earlier_due_task_wakes_who_waits_for_a_later_one(
        self, bench: Bench, outside: redis.Redis
    ) -> None:
        await bench.put(delay=LONG)
        assert await bench.backend.broker.wait([bench.queue], 5.0) is True
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], 60.0))
        await until(lambda: clients(outside, "blpop"))
        await bench.put(delay=LONG / 2)
        assert await asyncio.wait_for(waiting, 5.0) is True

    async def test_tokens_are_bounded(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.put_many(50)
        for _ in range(10):
            await bench.take(2)
        assert outside.llen(_keys(bench).of("wake", bench.queue)) == 4

    async def test_a_cancelled_wait_takes_nothing(self, bench: Bench, outside: redis.Redis) -> None:
        for _ in range(5):
            waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], 60.0))
            await until(lambda: clients(outside, "blpop"))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await until(lambda: not clients(outside, "blpop"))
        task = await bench.put()
        assert await bench.backend.broker.wait([bench.queue], 5.0) is True
        assert await bench.take_ids() == [task.id]


class TestLayout:
    """How a store is laid out is written once."""

    async def test_another_number_of_shards_is_refused(self, redis_url: str, options: BackendOptions) -> None:
        async with create_backend(f"{redis_url}?shards=2", options) as first:
            await first.migrate()
        async with create_backend(redis_url, options) as second:
            with pytest.raises(ConfigError, match="shards=2"):
                await second.migrate()

    async def test_shards_work_on_one_server_too(self, redis_url: str, options: BackendOptions) -> None:
        async with create_backend(f"{redis_url}?shards=4", options) as backend:
            queues = [f"q{n}" for n in range(12)]
            bench = Bench(Kit(), backend)
            ids = [(await bench.put(queue)).id for queue in queues]
            assert len({backend.shard_of(queue) for queue in queues}) == 4
            assert [int(id[-2:], 16) for id in ids] == [backend.shard_of(queue) for queue in queues]
            assert sorted(await bench.take_ids(100, queues=queues)) == sorted(ids)
            await bench.put(queues[5])
            assert await backend.broker.wait(queues, 5.0) is True

    def test_a_backend_says_what_it_can_do(self, backend: RedisBackend) -> None:
        assert backend.capabilities == {Capability.SHARED, Capability.SCHEDULES, Capability.LIMITS_SPAN_QUEUES}


async def _do_everything(bench: Bench) -> None:
    """Leave tasks in every state, and a trace of every port."""
    backend = bench.backend
    for settlement in (
        *(Complete(b"1"), Complete(), Fail("x", FAILURE), Bury("x", FAILURE), Cancel("x"), Crash(FAILURE)),
        *(Retry(LONG, FAILURE), Snooze(LONG)),
    ):
        await bench.apply(await bench.running(max_lost_leases=1), settlement)
        await bench.apply(await bench.running(), Release())
        await bench.take_one()
    for message in (await bench.put(expires=LONG), await bench.put(delay=LONG, expires=LONG)):
        assert message
    expired = await bench.put(bench.queue, expires=bench.short, delay=LONG)
    await bench.lapse()
    assert await backend.maintenance.expire() == 1
    assert await bench.state(expired.id) == TaskState.EXPIRED
    delivery = await bench.running(digest="d", group="g", priority=Priority.CRITICAL, retention=5.0)
    await backend.annotations.log(delivery, ["line"])
    await backend.broker.cancel([delivery.id], "why")
    await backend.results.put(delivery.id, 1, b"1", LONG)
    await backend.maintenance.reap()
    await backend.registry.report(
        WorkerInfo(id="w", name="w", host="h", pid=1, queues=("a",), state=WorkerState.IDLE), LONG
    )
    await backend.registry.command("w", WorkerCommand.PAUSE)
    assert backend.scheduler is not None
    await backend.scheduler.commit([Change(ScheduleEntry(name="s\n1", queue=bench.queue, spec=b"{}"))])


def _keys(bench: Bench) -> Keys:
    backend = bench.backend
    assert isinstance(backend, RedisBackend)
    return backend._store.keys[0]


def _query(bench: Bench, state: TaskState) -> TaskQuery:
    return TaskQuery(queue=bench.queue, state=state)
