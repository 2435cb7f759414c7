"""Rules about tenants: who has much goes last, nobody has more than it may, and nobody waits for another's backlog."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from taskq.domain.limits import Rate, Slots
from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Cancel, Complete, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.routing import NOISY_LEAST
from taskq.domain.state import TaskState
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.ports import EnqueueStatus, Settled, TenantLoad
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, eventually
from taskq.testing.conformance.kit import Kit

MUCH = NOISY_LEAST + 5
"""Running tasks with which a tenant is noisy, if nobody else has any."""
ENDS: dict[str, Settlement] = {
    "complete": Complete(),
    "retry": Retry(LONG, FAILURE),
    "snooze": Snooze(LONG),
    "bury": Bury("x", FAILURE),
    "fail": Fail("x", FAILURE),
    "cancel": Cancel(),
}


def shards_of(bench: Bench) -> int:
    """Among how many shards the limits of a tenant are divided."""
    return len({bench.backend.shard_of(f"{bench.queue}-{n}") for n in range(300)})


async def restrict(bench: Bench, running: int | None = None, rate: Rate | None = None) -> None:
    """Set how many tasks of "acme" may run or start, so that the bench's shard has so much of it."""
    whole = None if running is None else running * shards_of(bench)
    await bench.backend.tenants.configure("acme", Quota(running=whole, rate=rate))


async def bound(bench: Bench, unfinished: int | None = None, payload_bytes: int | None = None) -> None:
    """Set how many tasks of "acme" may be there, likewise."""
    shards = shards_of(bench)
    number = None if unfinished is None else unfinished * shards
    size = None if payload_bytes is None else payload_bytes * shards
    await bench.backend.tenants.configure("acme", Quota(unfinished=number, payload_bytes=size))


class FairRules(Kit):
    """A tenant that has more than its share of what runs goes last, and nobody stands idle for it."""

    async def test_who_has_much_goes_behind_who_has_little(self, bench: Bench) -> None:
        much = await self._much(bench)
        few = await bench.put_many(3, group="few")
        assert await bench.take_ids_one_by_one(3) == few
        assert await bench.take_ids_one_by_one(2) == much[:2]

    async def test_who_has_much_goes_behind_within_one_claim(self, bench: Bench) -> None:
        much = await self._much(bench)
        few = await bench.put_many(3, group="few")
        assert await bench.take_ids(5) == [*few, *much[:2]]

    async def test_who_has_much_goes_behind_what_has_no_tenant(self, bench: Bench) -> None:
        much = await self._much(bench)
        plain = await bench.put_many(3)
        assert await bench.take_ids(4) == [*plain, much[0]]

    async def test_several_that_have_much_take_turns(self, bench: Bench) -> None:
        for tenant in ("a", "b"):
            await bench.put_many(MUCH, group=tenant)
            assert len(await bench.take(MUCH)) == MUCH
        for tenant in ("a", "b"):
            await bench.put_many(3, group=tenant)
        records = [await bench.record(id) for id in await bench.take_ids(4)]
        assert Counter(record.group for record in records) == {"a": 2, "b": 2}

    async def test_a_priority_comes_before_a_share(self, bench: Bench) -> None:
        await self._much(bench)
        urgent = await bench.put(group="much", priority=2)
        few = await bench.put_many(2, group="few")
        assert await bench.take_ids_one_by_one(3) == [urgent.id, *few]

    async def test_a_share_is_of_one_queue(self, bench: Bench) -> None:
        await self._much(bench)
        there = bench.beside("other")
        much, few = await there.put_many(4, group="much"), await there.put_many(4, group="few")
        taken = await there.take_ids(4)
        assert sorted(taken) == sorted([*much[:2], *few[:2]])

    async def test_a_weight_allows_a_greater_share(self, bench: Bench) -> None:
        await bench.backend.tenants.configure("much", Quota(weight=20.0))
        much = await self._much(bench)
        few = await bench.put_many(4, group="few")
        taken = await bench.take_ids(4)
        assert sorted(taken) == sorted([*much[:2], *few[:2]])

    @pytest.mark.parametrize("end", ENDS)
    async def test_what_has_ended_is_no_longer_held(self, bench: Bench, end: str) -> None:
        much, held = await self._much_held(bench)
        await bench.backend.broker.settle([Settled(delivery, ENDS[end]) for delivery in held[:20]])
        few = await bench.put_many(4, group="few")
        taken = await bench.take_ids(4)
        assert sorted(taken) == sorted([*much[:2], *few[:2]])

    async def test_what_has_come_back_is_no_longer_held(self, bench: Bench) -> None:
        much, held = await self._much_held(bench)
        await bench.backend.broker.settle([Settled(delivery, Release()) for delivery in held])
        await bench.backend.broker.cancel([delivery.id for delivery in held])
        few = await bench.put_many(4, group="few")
        taken = await bench.take_ids(4)
        assert sorted(taken) == sorted([*much[:2], *few[:2]])

    async def test_a_lost_lease_is_no_longer_held(self, bench: Bench) -> None:
        much, held = await self._much_held(bench, lease=bench.short)
        await bench.lapse()
        await bench.reap()
        await bench.backend.broker.cancel([delivery.id for delivery in held])
        few = await bench.put_many(4, group="few")
        taken = await bench.take_ids(4)
        assert sorted(taken) == sorted([*much[:2], *few[:2]])

    async def test_a_backlog_of_one_tenant_delays_no_other(self, bench: Bench) -> None:
        for _ in range(4):
            await bench.put_many(500, group="much")
        await bench.take(100)
        for tenant in ("few", "fewer"):
            task = await bench.put(group=tenant)
            assert task.id in await bench.take_ids(2)

    async def test_thousands_of_tenants_are_all_served(self, bench: Bench) -> None:
        waiting = {(await bench.put(group=f"tenant-{n}")).id for n in range(300)}
        taken: set[str] = set()
        while some := await bench.take_ids(70):
            assert taken.isdisjoint(some)
            taken.update(some)
        assert taken == waiting

    async def _much(self, bench: Bench) -> list[str]:
        """More tasks of a tenant that has much already."""
        return (await self._much_held(bench))[0]

    async def _much_held(self, bench: Bench, lease: float = LONG) -> tuple[list[str], list[Delivery]]:
        await bench.put_many(MUCH, group="much")
        held = await bench.take(MUCH, lease=lease)
        assert len(held) == MUCH
        return await bench.put_many(10, group="much"), held


class QuotaRules(Kit):
    """What is set for a tenant holds for its tasks, and for nobody else's."""

    async def test_so_many_run_at_once_and_the_others_wait(self, bench: Bench) -> None:
        await restrict(bench, running=2)
        ids = await bench.put_many(5, group="acme")
        held = await bench.take(10)
        assert [delivery.id for delivery in held] == ids[:2]
        assert await bench.take(10) == []
        await bench.settle(held[0], Complete())
        assert await bench.take_ids(10) == [ids[2]]

    async def test_others_go_on(self, bench: Bench) -> None:
        await restrict(bench, running=1)
        limited, free = await bench.put_many(300, group="acme"), await bench.put_many(3, group="other")
        plain = await bench.put_many(2)
        taken: list[str] = []
        while some := await bench.take_ids(4):
            taken += some
        assert sorted(taken) == sorted([limited[0], *free, *plain])

    async def test_it_holds_for_all_queues(self, bench: Bench) -> None:
        await restrict(bench, running=1)
        there = bench.beside("other")
        await bench.put_many(2, group="acme")
        theirs = await there.put_many(2, group="acme")
        [held] = await bench.take(5)
        assert await there.take(5) == []
        await bench.settle(held, Complete())
        assert await there.take_ids(5) == theirs[:1]

    async def test_so_many_start_in_a_time(self, bench: Bench) -> None:
        await restrict(bench, rate=Rate("", shards_of(bench) / bench.kit.tick, shards_of(bench)))
        ids = await bench.put_many(3, group="acme")
        assert await bench.take_ids(5) == ids[:1]
        taken = ids[:1]
        while len(taken) < 3:
            fetched = await bench.fetch(3)
            assert fetched.deliveries or fetched.next_due is not None
            taken += [delivery.id for delivery in fetched.deliveries]
            await bench.pass_time(fetched.next_due or 0.0)
        assert taken == ids

    async def test_a_quota_holds_for_what_waits_already(self, bench: Bench) -> None:
        ids = await bench.put_many(5, group="acme")
        await restrict(bench, running=2)
        assert await bench.take_ids(10) == ids[:2]

    async def test_a_quota_that_is_raised_lets_more_pass(self, bench: Bench) -> None:
        await restrict(bench, running=1)
        ids = await bench.put_many(5, group="acme")
        assert await bench.take_ids(10) == ids[:1]
        assert await bench.take(10) == []
        await restrict(bench, running=3)
        assert await bench.take_ids(10) == ids[1:3]
        await bench.backend.tenants.configure("acme", NO_QUOTA)
        assert await bench.take_ids(10) == ids[3:]

    async def test_a_quota_that_is_lowered_takes_nothing_away(self, bench: Bench) -> None:
        ids = await bench.put_many(5, group="acme")
        await restrict(bench, running=3)
        held = await bench.take(10)
        await restrict(bench, running=1)
        await bench.settle(held[0], Complete())
        await bench.settle(held[1], Complete())
        assert await bench.take(10) == []
        await bench.settle(held[2], Complete())
        assert await bench.take_ids(10) == ids[3:4]

    async def test_it_composes_with_the_limits_of_a_task(self, bench: Bench) -> None:
        await restrict(bench, running=2)
        one = await bench.put_many(2, group="acme", limits=(Slots(bench.queue, 1),))
        free = await bench.put_many(2, group="acme")
        assert sorted(await bench.take_ids(10)) == sorted([one[0], free[0]])

    async def test_what_comes_back_keeps_to_it(self, bench: Bench) -> None:
        await restrict(bench, running=2)
        ids = await bench.put_many(3, group="acme")
        held = await bench.take(10)
        await bench.settle(held[0], Release())
        assert await bench.take_ids(10) == ids[:1]
        assert await bench.take(10) == []

    async def test_a_lost_lease_frees_its_place(self, bench: Bench) -> None:
        await restrict(bench, running=1)
        ids = await bench.put_many(2, group="acme")
        await bench.take(10, lease=bench.short)
        await bench.lapse()
        await bench.reap()
        assert await bench.take_ids(10) == ids[:1]
        assert await bench.take(10) == []

    async def test_a_delivery_says_nothing_of_it(self, bench: Bench) -> None:
        await restrict(bench, running=5)
        await bench.put(group="acme")
        assert not (await bench.take_one()).is_limited
        await bench.put(group="acme", limits=(Slots(bench.queue, 1),))
        assert (await bench.take_one()).is_limited

    async def test_who_waits_is_woken_where_a_place_is_free(self, bench: Bench) -> None:
        await restrict(bench, running=1)
        ids = await bench.put_many(2, group="acme")
        [held] = await bench.take(10)
        assert await bench.take(10) == []
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], LONG))
        await asyncio.sleep(0)
        await bench.settle(held, Complete())
        assert await bench.finish(waiting)
        assert await bench.take_ids(10) == ids[1:]


class LoadRules(Kit):
    """What is set for tenants is kept, and what they have is counted."""

    async def test_what_is_set_is_kept(self, bench: Bench) -> None:
        tenants = bench.backend.tenants
        assert await tenants.quota("acme") == NO_QUOTA
        quota = Quota(2.5, 10, Rate("@acme", 5.0, 2.0), 1000, 1 << 30)
        await tenants.configure("acme", quota)
        found = await tenants.quota("acme")
        assert found._replace(rate=None) == quota._replace(rate=None)
        assert found.rate is not None
        assert (found.rate.per_second, found.rate.burst) == (5.0, 2.0)
        await tenants.configure("acme", Quota(unfinished=3))
        assert await tenants.quota("acme") == Quota(unfinished=3)
        await tenants.configure("acme", NO_QUOTA)
        assert await tenants.quota("acme") == NO_QUOTA
        assert (await tenants.quotas()).quotas == {}

    async def test_tenants_are_listed_in_pages(self, bench: Bench) -> None:
        tenants = bench.backend.tenants
        names = [f"t{n}" for n in range(5)]
        for number, name in enumerate(reversed(names), 1):
            await tenants.configure(name, Quota(unfinished=number))
        found, cursor = [], None
        while True:
            page = await tenants.quotas(2, cursor)
            assert len(page.quotas) <= 2
            found += list(page.quotas.items())
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == [(name, Quota(unfinished=5 - n)) for n, name in enumerate(names)]

    async def test_an_enqueue_over_the_quota_is_refused(self, bench: Bench) -> None:
        await bound(bench, unfinished=2)
        messages = [bench.message(group="acme") for _ in range(3)]
        created, over = EnqueueStatus.CREATED, EnqueueStatus.OVER_QUOTA
        assert await bench.enqueue(*messages) == [created, created, over]
        assert await bench.enqueue(bench.message(group="acme")) == [over]
        assert await bench.enqueue(bench.message(group="other"), bench.message()) == [created, created]
        assert await bench.enqueue(messages[0]) == [EnqueueStatus.DUPLICATE]
        assert await bench.backend.inspector.get(messages[2].id) is None
        await bench.backend.broker.cancel([messages[0].id])
        assert await bench.enqueue(messages[2]) == [created]

    async def test_what_runs_and_what_is_delayed_counts(self, bench: Bench) -> None:
        await bound(bench, unfinished=3)
        await bench.running(group="acme")
        await bench.put(group="acme", delay=LONG)
        last = await bench.put(group="acme")
        assert await bench.enqueue(bench.message(group="acme")) == [EnqueueStatus.OVER_QUOTA]
        await bench.apply(await bench.take_one(), Retry(LONG, FAILURE))
        assert await bench.enqueue(bench.message(group="acme")) == [EnqueueStatus.OVER_QUOTA]
        assert (await bench.record(last.id)).state == TaskState.RETRYING

    async def test_all_or_none(self, bench: Bench) -> None:
        await bound(bench, unfinished=2)
        messages = [bench.message(group="acme") for _ in range(3)]
        assert await bench.enqueue(*messages, atomic=True) == [EnqueueStatus.OVER_QUOTA] * 3
        assert await bench.counts() == {}
        assert await bench.enqueue(*messages[:2], atomic=True) == [EnqueueStatus.CREATED] * 2

    async def test_payloads_are_counted_in_bytes(self, bench: Bench) -> None:
        body = b"1 00000000 0\n" + b'"' + b"x" * 1000 + b'"'
        await bound(bench, payload_bytes=2 * len(body) + 100)
        created, over = EnqueueStatus.CREATED, EnqueueStatus.OVER_QUOTA
        messages = [bench.message(group="acme", body=body) for _ in range(3)]
        assert await bench.enqueue(*messages) == [created, created, over]
        delivery = await bench.take_one()
        await bench.settle(delivery, Complete())
        assert await bench.enqueue(messages[2]) == [created]

    async def test_what_tenants_have_is_told(self, bench: Bench) -> None:
        body = bench.message().body
        await bench.put_many(3, group="acme")
        await bench.put(group="other", delay=LONG)
        await bench.apart("plain").put()

        async def has(acme: int, other: int) -> bool:
            found = await bench.backend.tenants.loads(["other", "acme", "nobody"])
            numbers = [load.unfinished for load in found]
            assert all(load.payload_bytes >= load.unfinished * len(body) for load in found)
            return numbers == [other, acme, 0]

        await eventually(lambda: has(3, 1))
        delivery = await bench.take_one()
        await eventually(lambda: has(3, 1))
        await bench.settle(delivery, Bury("x", FAILURE))
        await eventually(lambda: has(2, 1))
        await bench.backend.inspector.redrive([delivery.id])
        await eventually(lambda: has(3, 1))
        await bench.backend.inspector.purge(bench.queue)
        await eventually(lambda: has(0, 0))
        assert await bench.backend.tenants.loads(["acme"]) == [TenantLoad()]
