"""Damage that is done by hand to a Redis store: it is found, named, mended, and every task runs once after that."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import redis

from taskq.domain.flow import FlowKind
from taskq.domain.limits import Slots
from taskq.domain.message import Delivery
from taskq.domain.outcome import Complete, Retry
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.domain.workflow import Edge
from taskq.ports import BackendOptions, Damage, NewFlow, QueueConfig, TaskQuery
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import FAILURE, LONG, new_id
from taskq_redis import RedisBackend, create_backend
from taskq_redis.keys import Keys
from tests.damage import drain, drain_all, found, mend
from tests.redis.helpers import backend_of

ONE = Slots("one", 1)
GONE = "01980000-0000-7000-8000-0000000000"


@pytest.fixture(params=["redis", "redis_cluster"])
def any_url(request: pytest.FixtureRequest) -> str:
    """A plain Redis, and a cluster with four shards."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest_asyncio.fixture
async def backend(any_url: str, options: BackendOptions) -> AsyncIterator[RedisBackend]:
    """A backend on each."""
    async with create_backend(any_url, options) as backend:
        yield backend


@pytest.fixture
def outside(any_url: str) -> Iterator[redis.Redis]:
    """The server, seen by another client."""
    with redis.Redis(port=urlsplit(any_url).port or 6379, decode_responses=True) as client:
        yield client


def keys_of(bench: Bench) -> Keys:
    """The names of the shard of the bench's queue."""
    return backend_of(bench)._store.keys[bench.backend.shard_of(bench.queue)]


class TestPlaces:
    """Records that are in no place, and places without a record."""

    async def test_a_task_that_is_in_no_lane(self, bench: Bench, outside: redis.Redis) -> None:
        ids = await bench.put_many(3)
        lane = keys_of(bench).part("lane", bench.queue, "1:")
        entries: Any = outside.xrange(lane)
        [first, *_] = entries
        assert outside.xdel(lane, first[0]) == 1
        await mend(bench, Damage.UNPLACED, ids[0])
        assert await drain(bench) == [*ids[1:], ids[0]]

    async def test_a_lane_that_is_gone(self, bench: Bench, outside: redis.Redis) -> None:
        ids = await bench.put_many(3)
        outside.delete(keys_of(bench).part("lane", bench.queue, "1:"), keys_of(bench).of("lanes", bench.queue))
        await mend(bench, Damage.UNPLACED, *ids)
        assert sorted(await drain(bench)) == sorted(ids)

    async def test_a_task_that_is_gone_from_its_lane(self, bench: Bench, outside: redis.Redis) -> None:
        ids = await bench.put_many(2)
        outside.delete(keys_of(bench).task(ids[0]))
        await mend(bench, Damage.MISPLACED, ids[0])
        assert await drain(bench) == [ids[1]]
        assert await bench.counts() == {TaskState.COMPLETED: 1}

    async def test_a_task_that_lies_in_its_lane_twice_runs_once(self, bench: Bench, outside: redis.Redis) -> None:
        id = (await bench.put()).id
        outside.xadd(keys_of(bench).part("lane", bench.queue, "1:"), {"i": id})
        await mend(bench, Damage.MISPLACED, id)
        assert await drain(bench) == [id]

    async def test_a_task_that_came_back_and_is_not_in_front(self, bench: Bench, outside: redis.Redis) -> None:
        delivery = await bench.lost()
        outside.delete(keys_of(bench).of("front", bench.queue))
        await mend(bench, Damage.UNPLACED, delivery.id)
        # Nobody has claimed it since: its run may still be settled.
        await bench.apply(delivery, Complete())
        assert await drain(bench) == []

    @pytest.mark.parametrize("kind", ["due", "retry"])
    async def test_a_task_that_waits_for_its_time_unknown(self, bench: Bench, outside: redis.Redis, kind: str) -> None:
        if kind == "due":
            id = (await bench.put(delay=bench.kit.tick)).id
        else:
            delivery = await bench.running()
            await bench.apply(delivery, Retry(bench.kit.tick, FAILURE))
            id = delivery.id
        outside.delete(keys_of(bench).of(kind, bench.queue))
        await mend(bench, Damage.UNPLACED, id)
        await bench.pass_time(2 * bench.kit.tick)
        assert await drain(bench) == [id]

    async def test_a_time_without_a_task(self, bench: Bench, outside: redis.Redis) -> None:
        id = (await bench.put()).id
        outside.zadd(keys_of(bench).of("due", bench.queue), {id: 5})
        await mend(bench, Damage.MISPLACED, id)
        assert await drain(bench) == [id]

    async def test_a_task_that_is_not_in_the_room_of_its_gate(self, bench: Bench, outside: redis.Redis) -> None:
        runs, waits = await self._one_waits(bench)
        outside.delete(keys_of(bench).part("room", bench.queue, ONE.gate))
        outside.delete(keys_of(bench).of("gates", bench.queue))
        await mend(bench, Damage.UNPLACED, waits)
        await bench.apply(runs, Complete())
        assert await drain(bench) == [waits]

    async def test_a_gate_without_a_room_lets_claims_fail_no_more(self, bench: Bench, outside: redis.Redis) -> None:
        runs, waits = await self._one_waits(bench)
        outside.zadd(keys_of(bench).of("gates", bench.queue), {"c:nobody": 0})
        await mend(bench, Damage.MISPLACED, f"{bench.queue} c:nobody")
        await bench.apply(runs, Complete())
        assert await drain(bench) == [waits]

    async def test_a_room_with_a_task_that_is_gone(self, bench: Bench, outside: redis.Redis) -> None:
        runs, waits = await self._one_waits(bench)
        outside.delete(keys_of(bench).task(waits))
        await mend(bench, Damage.MISPLACED, waits)
        await bench.apply(runs, Complete())
        assert await drain(bench) == []
        assert outside.exists(keys_of(bench).of("gates", bench.queue)) == 0

    async def test_claims_pass_over_a_gate_whose_room_is_damaged(self, bench: Bench, outside: redis.Redis) -> None:
        runs, waits = await self._one_waits(bench)
        outside.zadd(keys_of(bench).of("gates", bench.queue), {"c:nobody": 0})
        outside.delete(keys_of(bench).task(waits))
        free = await bench.put()
        assert await bench.take_ids(10) == [free.id]
        await bench.apply(runs, Complete())
        assert await bench.take_ids(10) == []
        assert not outside.exists(keys_of(bench).task(waits))

    async def test_an_unlisted_queue(self, bench: Bench, outside: redis.Redis) -> None:
        id = (await bench.put(delay=bench.short)).id
        outside.srem(keys_of(bench).queues, bench.queue)
        await mend(bench, Damage.UNLISTED, id)
        await bench.lapse()
        assert await bench.backend.maintenance.promote() == 1

    async def test_an_expiry_that_nobody_sees(self, bench: Bench, outside: redis.Redis) -> None:
        id = (await bench.put(expires=bench.kit.tick)).id
        outside.delete(f"{keys_of(bench).prefix}expiring")
        await mend(bench, Damage.UNEXPIRED, id)
        await bench.pass_time(2 * bench.kit.tick)
        assert await bench.backend.maintenance.expire() == 1

    async def test_an_end_that_would_never_be_forgotten(self, bench: Bench, outside: redis.Redis) -> None:
        delivery = await bench.running(retention=bench.kit.tick)
        await bench.apply(delivery, Complete())
        lanes: Any = outside.hkeys(keys_of(bench).of("ends", bench.queue))
        [lane] = lanes
        outside.delete(keys_of(bench).part("end", bench.queue, lane))
        await mend(bench, Damage.UNFORGOTTEN, delivery.id)
        page = await bench.backend.inspector.list(TaskQuery(queue=bench.queue, state=TaskState.COMPLETED))
        assert [record.id for record in page.records] == [delivery.id]
        await bench.pass_time(2 * bench.kit.tick)
        assert await bench.backend.maintenance.prune() == 1

    async def test_an_ended_task_that_is_gone_is_found_no_more(self, bench: Bench, outside: redis.Redis) -> None:
        gone, kept = await bench.running(tags=("vip",)), await bench.running(tags=("vip",))
        for delivery in (gone, kept):
            await bench.apply(delivery, Complete())
        await bench.backend.search.catch_up()
        assert await found(bench) == {}
        outside.delete(keys_of(bench).task(gone.id))
        outside.hincrby(keys_of(bench).of("queue", bench.queue), "c", -1)
        await mend(bench, Damage.OVERFOUND, gone.id)
        assert outside.zrange(keys_of(bench).prefix + "found:c:g:vip", 0, -1) == [kept.id]
        outside.delete(keys_of(bench).task(kept.id))
        await bench.backend.diagnosis.repair(None)
        assert outside.exists(keys_of(bench).prefix + "found:c:g:vip", keys_of(bench).prefix + "values:g") == 0

    @staticmethod
    async def _one_waits(bench: Bench) -> tuple[Delivery, str]:
        _, waits = await bench.put_many(2, limits=(ONE,))
        [runs] = await bench.take(2)
        return runs, waits


class TestRuns:
    """Leases and slots."""

    async def test_a_run_without_a_lease_is_taken_for_lost(self, bench: Bench, outside: redis.Redis) -> None:
        delivery = await bench.running()
        outside.delete(keys_of(bench).leases)
        await mend(bench, Damage.UNLEASED, delivery.id)
        assert await drain(bench) == [delivery.id]
        assert (await bench.record(delivery.id)).lost_leases == 1

    async def test_a_lease_without_a_run(self, bench: Bench, outside: redis.Redis) -> None:
        id = (await bench.put()).id
        outside.zadd(keys_of(bench).leases, {f"{id}:7:nobody": 4e12})
        await mend(bench, Damage.OVERLEASED, id)
        assert await drain(bench) == [id]

    async def test_a_wish_to_cancel_what_does_not_run(self, bench: Bench, outside: redis.Redis) -> None:
        id = (await bench.put()).id
        outside.sadd(f"{keys_of(bench).prefix}cancels", id)
        await mend(bench, Damage.OVERLEASED, id)
        assert await drain(bench) == [id]

    async def test_a_slot_of_a_task_that_is_over(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.apply(await bench.running(), Complete())
        outside.sadd(keys_of(bench).prefix + f"holders:{ONE.gate}", GONE + "00")
        ids = await bench.put_many(2, limits=(ONE,))
        assert await bench.take() == []
        await mend(bench, Damage.OVERLIMITED, GONE + "00")
        assert sorted(await drain(bench)) == sorted(ids)

    async def test_a_run_without_its_slot(self, bench: Bench, outside: redis.Redis) -> None:
        ids = await bench.put_many(2, limits=(ONE,))
        [runs] = await bench.take(2)
        outside.delete(keys_of(bench).prefix + f"holders:{ONE.gate}")
        await mend(bench, Damage.UNLIMITED, runs.id)
        assert await bench.take(2) == []
        await bench.apply(runs, Complete())
        assert [runs.id, *await drain(bench)] == ids


class TestKeys:
    """Unique keys."""

    async def test_a_task_without_its_key(self, bench: Bench, outside: redis.Redis) -> None:
        id = (await bench.put(unique=UniqueKey("k"))).id
        outside.delete(keys_of(bench).prefix + "unique:k")
        await mend(bench, Damage.KEYLESS, id)
        [answer] = await bench.backend.broker.enqueue([bench.message(unique=UniqueKey("k"))])
        assert (answer.id, str(answer.status)) == (id, "duplicate")
        assert await drain(bench) == [id]

    async def test_a_key_of_a_task_that_is_over(self, bench: Bench, outside: redis.Redis) -> None:
        outside.set(keys_of(bench).prefix + "unique:k", f"d{GONE}00")
        await bench.put()
        await mend(bench, Damage.OVERKEYED, "k")
        assert outside.exists(keys_of(bench).prefix + "unique:k") == 0


class TestParents:
    """Tasks that wait for others."""

    async def test_a_task_that_forgot_for_what_it_waits(self, bench: Bench, outside: redis.Redis) -> None:
        parent, child = await self._family(bench)
        outside.delete(keys_of(bench).prefix + f"waits:{child}")
        await mend(bench, Damage.UNTOLD, child)
        assert await drain(bench) == [parent, child]

    async def test_a_parent_that_forgot_its_children(self, bench: Bench, outside: redis.Redis) -> None:
        parent, child = await self._family(bench)
        outside.delete(keys_of(bench).prefix + f"children:{parent}")
        await mend(bench, Damage.UNTOLD, child)
        assert await drain(bench) == [parent, child]

    async def test_a_parent_that_is_gone(self, bench: Bench, outside: redis.Redis) -> None:
        _, child = await self._family(bench)
        await bench.apply(await bench.take_one(), Complete())
        outside.hset(keys_of(bench).task(child), mapping={"s": "b"})
        assert await bench.state(child) == TaskState.BLOCKED
        broken = await found(bench)
        assert {Damage.UNTOLD, Damage.UNPLACED} <= set(broken)
        await bench.backend.diagnosis.repair(None)
        assert await drain(bench) == [child]

    async def test_a_member_that_a_flow_holds_starts_when_it_is_closed(
        self, bench: Bench, outside: redis.Redis
    ) -> None:
        flow = new_id(bench.backend.shard_of(bench.queue))
        await bench.backend.flows.create(NewFlow(id=flow, kind=FlowKind.WORKFLOW, is_held=True))
        id = (await bench.put(flow=flow, parents=(Edge(flow),))).id
        outside.delete(keys_of(bench).prefix + f"children:{flow}")
        await mend(bench, Damage.UNTOLD, id)
        assert await drain(bench) == []
        await bench.backend.flows.close(flow)
        assert await drain(bench) == [id]

    async def test_a_flow_that_counts_wrongly(self, bench: Bench, outside: redis.Redis) -> None:
        flow = new_id(bench.backend.shard_of(bench.queue))
        await bench.backend.flows.create(NewFlow(id=flow, kind=FlowKind.BATCH))
        id = (await bench.put(flow=flow)).id
        await bench.backend.flows.close(flow)
        outside.hincrby(keys_of(bench).prefix + f"flow:{flow}", "n", 1)
        await mend(bench, Damage.MISTALLIED, flow)
        assert await drain(bench) == [id]
        record = await bench.backend.flows.get(flow)
        assert record is not None
        assert record.ended_at is not None

    @staticmethod
    async def _family(bench: Bench) -> tuple[str, str]:
        parent = (await bench.put()).id
        return parent, (await bench.put(parents=(Edge(parent),))).id


class TestCounts:
    """What queues count."""

    @pytest.mark.parametrize("field", ["w", "gw", "r", "c", "x", "d", "k", "e"])
    async def test_a_number_that_is_wrong(self, bench: Bench, outside: redis.Redis, field: str) -> None:
        await bench.put_many(3)
        await bench.apply(await bench.take_one(), Complete())
        await bench.take_one()
        before = await bench.counts()
        outside.hincrby(keys_of(bench).of("queue", bench.queue), field, 7)
        await mend(bench, Damage.MISCOUNTED, bench.queue)
        assert await bench.counts() == before

    async def test_a_queue_that_is_full_of_nothing_takes_tasks_again(self, bench: Bench, outside: redis.Redis) -> None:
        await bench.put()
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=5))
        outside.hincrby(keys_of(bench).of("queue", bench.queue), "w", 4)
        [refused] = await bench.enqueue(bench.message())
        await mend(bench, Damage.MISCOUNTED, bench.queue)
        [taken] = await bench.enqueue(bench.message())
        assert (refused, taken) == ("full", "created")

    async def test_what_ended_meanwhile_is_no_wrong_number(self, bench: Bench, outside: redis.Redis) -> None:
        ids = await bench.put_many(300)
        ended = asyncio.create_task(drain_all(bench, len(ids)))
        while not ended.done():
            assert await found(bench) == {}
        await ended


class TestReach:
    """How far is looked."""

    async def test_a_record_that_cannot_be_read_holds_up_no_other(self, bench: Bench, outside: redis.Redis) -> None:
        ids = await bench.put_many(4)
        entries: Any = outside.xrange(keys_of(bench).part("lane", bench.queue, "1:"))
        outside.xdel(keys_of(bench).part("lane", bench.queue, "1:"), *[entry for entry, _ in entries[1:]])
        outside.delete(keys_of(bench).task(ids[0]))
        outside.set(keys_of(bench).task(ids[0]), "nonsense")
        outside.hset(keys_of(bench).task(ids[1]), mapping={"s": "r", "g": "{"})
        findings = {each.check: each for each in await bench.backend.diagnosis.examine(None)}
        broken = findings[Damage.UNREADABLE]
        assert (broken.sample, broken.is_repairable) == (tuple(sorted(ids[:2])), False)
        mended = await bench.backend.diagnosis.repair(None)
        assert mended[Damage.UNPLACED] == 2
        assert Damage.UNREADABLE not in mended
        outside.xdel(keys_of(bench).part("lane", bench.queue, "1:"), entries[0][0])
        assert sorted(await bench.take_ids(10)) == sorted(ids[2:])

    async def test_a_bound_is_said_honestly(self, bench: Bench) -> None:
        for _ in range(3):
            await bench.put_many(1000, delay=LONG)
        *_, whole = await bench.backend.diagnosis.examine(None)
        assert (whole.detail, whole.advice) == ("looked at all 3,000 records", "")
        *_, part = await bench.backend.diagnosis.examine(500)
        far = r"looked at [\d,]+ of about 3,000 records; of lanes and other places at \d+ entries"
        assert re.fullmatch(far, part.detail)
        assert 500 <= part.number < 3000
        assert part.advice == "`--deep` looks at all"

    async def test_other_namespaces_are_left_alone(self, bench: Bench, outside: redis.Redis) -> None:
        outside.hset("taskq:{other:0}:task:" + GONE + "00", mapping={"s": "p", "q": "mail", "l": "1:"})
        assert await found(bench) == {}
        assert await bench.backend.diagnosis.repair(None) == {}
        assert outside.hgetall("taskq:{other:0}:task:" + GONE + "00")["s"] == "p"
        outside.delete("taskq:{other:0}:task:" + GONE + "00")
