"""What one script or one page may take: a few hundred tasks, however many there are."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from taskq.domain.message import Priority
from taskq.domain.outcome import Complete, Fail
from taskq.domain.state import TaskState
from taskq.ports import Settled, TaskQuery
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import FAILURE, LONG, moved, new_worker
from taskq_redis import broker
from taskq_redis.scripts import TASKS_PER_CALL
from tests.redis.helpers import backend_of, calls


async def _claim_once(bench: Bench, limit: int, *queues: str) -> list[Any]:
    """One call of fetch.lua; its reply."""
    store = backend_of(bench)._store
    args = (limit, new_worker(), 900_000, new_worker(), 60_000, 0, await store.epoch(0), 0)
    reply: list[Any] = await store.run(0, "fetch", *args, *(queues or (bench.queue,)))
    return reply


class TestExpiredTasks:
    """A fetch that comes upon a backlog of expired tasks."""

    @pytest.mark.parametrize("limit", [1, 100])
    async def test_one_script_ends_a_bounded_number(self, bench: Bench, limit: int) -> None:
        await bench.put_many(TASKS_PER_CALL + 150, expires=bench.short)
        await bench.lapse()
        assert (await _claim_once(bench, limit))[3] == 1
        counts = await bench.counts()
        assert TASKS_PER_CALL <= counts[TaskState.EXPIRED] < TASKS_PER_CALL + limit
        assert (await _claim_once(bench, limit))[3] == 0
        assert await bench.counts() == {TaskState.EXPIRED: TASKS_PER_CALL + 150}

    async def test_what_waits_behind_them_is_handed_out_by_the_same_fetch(self, bench: Bench) -> None:
        await bench.put_many(3 * TASKS_PER_CALL, expires=bench.short)
        last = await bench.put()
        await bench.lapse()
        assert await bench.take_ids(10) == [last.id]

    async def test_what_is_found_on_the_way_is_handed_out_at_once(self, bench: Bench) -> None:
        first = await bench.put()
        await bench.put_many(2 * TASKS_PER_CALL, expires=bench.short)
        last = await bench.put()
        await bench.lapse()
        assert await bench.take_ids(10) == [first.id]
        assert await bench.take_ids(10) == [last.id]

    async def test_a_fetch_that_found_nothing_else_is_followed_by_another(
        self, bench: Bench, outside: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "_MOST_VAIN_CALLS", 2)
        await bench.put_many(3 * TASKS_PER_CALL, expires=bench.short)
        last = await bench.put()
        await bench.lapse()
        outside.delete(backend_of(bench)._store.keys[0].of("wake", bench.queue))
        assert await bench.take(1) == []
        assert await bench.finish(bench.backend.broker.wait([bench.queue], LONG))
        assert await bench.take_ids(1) == [last.id]

    async def test_other_queues_are_claimed_from_all_the_same(self, bench: Bench) -> None:
        await bench.put_many(2 * TASKS_PER_CALL, expires=bench.short)
        ids = await bench.put_many(20, bench.queue + "-other")
        await bench.lapse()
        taken = await bench.take_ids(30, queues=[bench.queue, bench.queue + "-other"])
        assert taken == ids


class TestGhosts:
    """Ids of redriven tasks, left behind in the streams of what has ended."""

    async def test_one_script_looks_at_a_bounded_number(self, bench: Bench, outside: redis.Redis) -> None:
        ids = await bench.put_many(40, retention=bench.short)
        failed = [Settled(delivery, Fail("x", FAILURE)) for delivery in await bench.take(40)]
        await bench.backend.broker.settle(failed)
        assert all(moved(await bench.backend.inspector.redrive(ids[:30])))
        await bench.put(retention=bench.short)
        await bench.lapse()
        store = backend_of(bench)._store
        assert await store.run(0, "prune", 10, bench.queue) == [0, 10]
        assert outside.hvals(store.keys[0].of("ends", bench.queue)) == [b"10"]
        assert await store.run(0, "prune", 25, bench.queue) == [5, 25]
        assert await bench.backend.maintenance.prune() == 5
        assert await bench.counts() == {TaskState.PENDING: 31}

    async def test_maintenance_passes_over_them(self, bench: Bench) -> None:
        count = 2 * TASKS_PER_CALL
        ids = await bench.put_many(count, retention=bench.short)
        for _ in range(count // 100):
            failed = [Settled(delivery, Fail("x", FAILURE)) for delivery in await bench.take(100)]
            await bench.backend.broker.settle(failed)
        await bench.backend.inspector.redrive(ids)
        await bench.apply(await bench.take_one(), Complete())
        await bench.lapse()
        assert await bench.backend.maintenance.prune() == 1

    async def test_the_place_within_an_entry_is_not_taken_over_to_the_next(self, bench: Bench) -> None:
        for redriven in (True, False):
            ids = await bench.put_many(5, retention=bench.short)
            failed = [Settled(delivery, Fail("x", FAILURE)) for delivery in await bench.take(5)]
            await bench.backend.broker.settle(failed)
            if redriven:
                await bench.backend.inspector.redrive(ids)
                await bench.backend.inspector.purge(bench.queue)
        await bench.lapse()
        store = backend_of(bench)._store
        pruned = 0
        for _ in range(5):
            pruned += (await store.run(0, "prune", 3, bench.queue))[0]
        assert pruned == 10
        assert await bench.counts() == {}


class TestReads:
    """How much is read."""

    async def test_a_claim_reads_the_heads_of_other_lanes_only(self, bench: Bench, outside: redis.Redis) -> None:
        for priority in Priority:
            await bench.put_many(100, priority=priority)
        await bench.take(1)
        with outside.monitor() as monitor:
            deliveries = await bench.take(80)
            outside.ping()
            commands = iter(lambda: str(monitor.next_command()["command"]), "PING")
            reads = [command for command in commands if command.startswith("XRANGE")]
        assert {delivery.priority for delivery in deliveries} == {Priority.CRITICAL}
        assert [int(read.rpartition(" ")[2]) for read in reads] == [1, 1, 1, 1, 80]

    async def test_a_page_of_running_tasks_reads_the_records_of_its_queue(
        self, bench: Bench, outside: redis.Redis
    ) -> None:
        mine = [await bench.running() for _ in range(3)]
        other = bench.queue + "-other"
        await bench.put_many(100, other)
        await bench.take(100, queues=[other])
        before = calls(outside).get("hgetall", 0)
        page = await bench.backend.inspector.list(TaskQuery(queue=bench.queue, state=TaskState.RUNNING))
        assert {record.id for record in page.records} == {delivery.id for delivery in mine}
        assert calls(outside)["hgetall"] - before == 3
