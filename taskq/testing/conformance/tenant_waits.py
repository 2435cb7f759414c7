"""Rules about tenants that have as much as they may: what waits for that comes on as soon as it may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq.domain.limits import Rate, Slots
from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Complete, Release
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.domain.unique import UniqueKey
from taskq.ports import EnqueueStatus
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, eventually
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.tenants import bound, restrict, shards_of


class Crowd:
    """Tasks of a tenant of which one may run: it runs, the next has been looked at, the last has not."""

    def __init__(self, running: Delivery, parked: str, last: str) -> None:
        self.running = running
        self.parked = parked
        self.last = last


async def crowd(bench: Bench, **parked: Any) -> Crowd:
    """Have a tenant wait for the end of its one task."""
    await restrict(bench, running=1)
    running = await bench.running(group="acme")
    first = await bench.put(group="acme", **parked)
    assert await bench.take(10) == []
    last = await bench.put(group="acme")
    assert await bench.take(10) == []
    return Crowd(running, first.id, last.id)


async def heed_hints(bench: Bench) -> None:
    """Follow hints of work that is none, of which there must be an end."""
    hints = 0
    while await bench.backend.broker.wait([bench.queue], bench.kit.tick):
        fetched = await bench.fetch(10)
        assert fetched.deliveries == []
        assert fetched.next_due is None or fetched.next_due >= 1.0
        hints += 1
        assert hints < 10, "hints without end of tasks that nobody may take"


class QuotaWaitRules(Kit):
    """Who waits for a tenant's quota is let on when there is room, whatever became of those before."""

    @pytest.mark.parametrize("end", ["cancel", "expire", "replace"])
    async def test_who_comes_behind_one_that_goes_elsewhere_is_let_on(self, bench: Bench, end: str) -> None:
        unique = UniqueKey(bench.queue)
        expires = bench.kit.tick * 2 if end == "expire" else None
        found = await crowd(bench, expires=expires, unique=unique)
        await heed_hints(bench)
        if end == "cancel":
            await bench.backend.broker.cancel([found.parked])
        elif end == "expire":
            await bench.pass_time(bench.kit.tick * 3)
            await bench.backend.maintenance.expire()
        else:
            newer = bench.message(id=found.parked, group="acme", unique=unique, replaces=True, delay=LONG)
            assert await bench.enqueue(newer) == [EnqueueStatus.REPLACED]
        await self._is_let_on(bench, found.running, found.last)

    async def test_who_comes_behind_one_that_is_settled_late_is_let_on(self, bench: Bench) -> None:
        await restrict(bench, running=1)
        lost = await bench.lost(group="acme")
        running = await bench.running(group="acme", priority=3, queue=(await self._other(bench)).queue)
        assert await bench.take(10) == []
        last = await bench.put(group="acme")
        assert await bench.take(10) == []
        await heed_hints(bench)
        await bench.apply(lost, Complete())
        await self._is_let_on(bench, running, last.id)

    async def test_who_comes_behind_one_that_goes_elsewhere_is_let_on_by_a_greater_quota(self, bench: Bench) -> None:
        found = await crowd(bench)
        await heed_hints(bench)
        await bench.backend.broker.cancel([found.parked])
        await restrict(bench, running=2)
        await self._is_hinted_at(bench, found.last)

    async def test_a_purge_takes_them_all(self, bench: Bench) -> None:
        found = await crowd(bench)
        await bench.put(group="acme", priority=2)
        assert await bench.take(10) == []
        assert await bench.backend.inspector.purge(bench.queue) == 3
        await bench.apply(found.running, Complete())
        assert await bench.take(10) == []
        task = await bench.put(group="acme")
        assert await bench.take_ids() == [task.id]

    async def test_what_waits_is_no_hint(self, bench: Bench) -> None:
        await crowd(bench)
        await bench.put_many(5, group="acme")
        await bench.put(group="acme", priority=3)
        await heed_hints(bench)

    async def test_many_that_have_what_they_may_hold_up_nobody(self, bench: Bench) -> None:
        names = [f"t{n:03}" for n in range(100)]
        for name in names:
            await bench.backend.tenants.configure(name, Quota(running=shards_of(bench)))
        for _ in range(4):
            await bench.enqueue(*(bench.message(group=name) for name in names))
            for _ in range(4):
                await bench.take(100)
        for group in ("t080x", "t070x", "", "t060x"):  # no other is among the next of those that it comes behind
            task = await bench.put(group=group)
            assert await bench.take_ids(1) == [task.id]
        await heed_hints(bench)

    async def test_all_of_many_are_let_on(self, bench: Bench) -> None:
        names = [f"t{n:02}" for n in range(30)]
        for name in names:
            await bench.backend.tenants.configure(name, Quota(running=shards_of(bench)))
        waiting = {id for name in names for id in await bench.put_many(4, group=name)}
        while waiting:
            deliveries = await bench.take(7)
            assert deliveries, "some wait for nothing"
            waiting -= {delivery.id for delivery in deliveries}
            for delivery in deliveries:
                await bench.settle(delivery, Complete())

    async def test_an_urgent_task_comes_before_those_that_have_waited(self, bench: Bench) -> None:
        found = await crowd(bench, priority=0)
        urgent = await bench.put(group="acme", priority=3)
        assert await bench.take(10) == []
        await bench.apply(found.running, Complete())
        delivery = await bench.take_one()
        assert delivery.id == urgent.id
        assert await bench.take(10) == []
        await bench.apply(delivery, Complete())
        delivery = await bench.take_one()
        assert delivery.id == found.last
        await bench.apply(delivery, Complete())
        assert await bench.take_ids(10) == [found.parked]

    async def test_a_place_is_for_all_queues(self, bench: Bench) -> None:
        there = await self._other(bench)
        here = await crowd(bench)
        first, _ = await there.put_many(2, group="acme")
        assert await there.take(10) == []
        waiting = asyncio.create_task(bench.backend.broker.wait([there.queue], LONG))
        await bench.let_wait()
        await bench.apply(here.running, Complete())
        assert await bench.finish(waiting)
        running = await there.take_one()
        assert running.id == first
        assert await bench.take(10) == []
        await bench.apply(running, Complete())
        assert await bench.take_ids(10) == [here.parked]

    async def test_a_rate_that_is_taken_away_holds_nobody(self, bench: Bench) -> None:
        ids = await self._rated(bench)
        await bench.backend.tenants.configure("acme", NO_QUOTA)
        assert sorted(await bench.take_ids(10)) == sorted(ids)

    async def test_a_rate_that_is_raised_lets_on(self, bench: Bench) -> None:
        waiting = set(await self._rated(bench))
        shards = shards_of(bench)
        await restrict(bench, rate=Rate("", shards / bench.kit.tick, shards))
        while waiting:
            fetched = await bench.fetch(10)
            assert len(fetched.deliveries) <= 1
            waiting -= {delivery.id for delivery in fetched.deliveries}
            assert not waiting or fetched.deliveries or fetched.next_due is not None
            await bench.pass_time(fetched.next_due or 0.0)

    async def test_a_quota_of_another_kind_takes_the_place_of_one(self, bench: Bench) -> None:
        found = await crowd(bench)
        shards = shards_of(bench)
        await restrict(bench, rate=Rate("", shards / LONG, shards))
        [delivery] = await bench.take(10)
        assert delivery.id in (found.parked, found.last)
        assert await bench.take(10) == []
        await restrict(bench, running=3)
        assert sorted([delivery.id, *await bench.take_ids(10)]) == sorted([found.parked, found.last])

    async def test_limits_of_a_task_and_of_its_tenant_are_waited_for_both(self, bench: Bench) -> None:
        await restrict(bench, running=2)
        limit = Slots(bench.queue, 1)
        one, two = await bench.put_many(2, group="acme", limits=(limit,))
        free = await bench.put_many(2, group="acme")
        running = {delivery.id: delivery for delivery in await bench.take(10)}
        assert sorted(running) == sorted([one, free[0]])
        await bench.apply(running[one], Complete())
        assert await bench.take_ids(1) == [two]
        await bench.apply(running[free[0]], Complete())
        assert await bench.take_ids(10) == [free[1]]

    async def _is_let_on(self, bench: Bench, running: Delivery, last: str) -> None:
        await bench.apply(running, Complete())
        await self._is_hinted_at(bench, last)

    async def _is_hinted_at(self, bench: Bench, id: str) -> None:
        taken: list[str] = []
        for _ in range(10):
            assert await bench.finish(bench.backend.broker.wait([bench.queue], LONG))
            taken = await bench.take_ids(10)
            if taken:
                break
        assert taken == [id]

    async def _rated(self, bench: Bench) -> list[str]:
        """Tasks that wait for a rate that lets none start."""
        await restrict(bench, rate=Rate("", shards_of(bench) / LONG, shards_of(bench)))
        await bench.running(group="acme")
        first = await bench.put(group="acme")
        assert await bench.take(10) == []
        others = await bench.put_many(2, group="acme")
        assert await bench.take(10) == []
        return [first.id, *others]

    async def _other(self, bench: Bench) -> Bench:
        return bench.beside("other")


class LoadEndRules(Kit):
    """What is over counts no more, whatever has ended it, and what begins anew counts again."""

    async def test_what_has_expired_counts_no_more(self, bench: Bench) -> None:
        await bound(bench, unfinished=1)
        await bench.put(group="acme", expires=bench.short)
        assert await bench.enqueue(bench.message(group="acme")) == [EnqueueStatus.OVER_QUOTA]
        await bench.lapse()
        await bench.backend.maintenance.expire()
        await eventually(lambda: self._is_taken(bench))

    async def test_a_replacement_counts_with_its_own_size(self, bench: Bench) -> None:
        unique = UniqueKey(bench.queue)
        held = await bench.put(group="acme", unique=unique, body=b"x" * 1000)
        newer = bench.message(id=held.id, group="acme", unique=unique, replaces=True, body=b"y" * 10)
        assert await bench.enqueue(newer) == [EnqueueStatus.REPLACED]
        await eventually(lambda: self._has(bench, 1, range(10, 200)))

    async def test_what_is_redriven_to_another_queue_counts_again(self, bench: Bench) -> None:
        there = bench.beside("there")
        delivery = await bench.running(group="acme")
        await bench.apply(delivery, Bury("x", FAILURE))
        await eventually(lambda: self._has(bench, 0, range(1)))
        await bench.backend.inspector.redrive([delivery.id], there.queue)
        await eventually(lambda: self._has(bench, 1, range(1, 200)))
        await there.apply(await there.take_one(), Complete())
        await eventually(lambda: self._has(bench, 0, range(1)))

    async def test_a_release_changes_nothing(self, bench: Bench) -> None:
        await restrict(bench, running=1)
        delivery = await bench.running(group="acme")
        await bench.put(group="acme")
        await bench.apply(delivery, Release())
        await eventually(lambda: self._has(bench, 2, range(1, 400)))

    async def _is_taken(self, bench: Bench) -> bool:
        return await bench.enqueue(bench.message(group="acme")) == [EnqueueStatus.CREATED]

    async def _has(self, bench: Bench, unfinished: int, sizes: range) -> bool:
        [load] = await bench.backend.tenants.loads(["acme"])
        return load.unfinished == unfinished and load.payload_bytes in sizes
