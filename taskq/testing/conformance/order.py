"""Order: the front lane, one in eight for what has waited too long, then strictly by priority, first in first out."""

from __future__ import annotations

from taskq.domain.message import Delivery, Priority
from taskq.domain.outcome import Crash, Release, Retry, Snooze
from taskq.domain.routing import AGED_EVERY
from taskq.testing.conformance.bench import FAILURE, Bench
from taskq.testing.conformance.kit import Kit


class OrderRules(Kit):
    """Which task comes next within one queue."""

    async def test_first_in_first_out(self, bench: Bench) -> None:
        ids = [(await bench.put()).id for _ in range(5)]
        assert await bench.take_ids_one_by_one(5) == ids

    async def test_a_batch_keeps_its_order(self, bench: Bench) -> None:
        ids = await bench.put_many(20) + await bench.put_many(20)
        assert await bench.take_ids(15) + await bench.take_ids(25) == ids

    async def test_priorities_are_strict(self, bench: Bench) -> None:
        by_priority = {priority: await bench.put_many(2, priority=priority) for priority in Priority}
        expected = [id for priority in sorted(Priority, reverse=True) for id in by_priority[priority]]
        assert await bench.take_ids_one_by_one(8) == expected

    async def test_priorities_are_strict_within_one_claim(self, bench: Bench) -> None:
        by_priority = {priority: await bench.put_many(2, priority=priority) for priority in Priority}
        expected = [id for priority in sorted(Priority, reverse=True) for id in by_priority[priority]]
        assert await bench.take_ids(8) == expected

    async def test_an_urgent_task_overtakes_a_backlog(self, bench: Bench) -> None:
        await bench.put_many(30, priority=Priority.HIGH)
        await bench.take(3)
        urgent = await bench.put(priority=Priority.CRITICAL)
        assert (await bench.take_one()).id == urgent.id

    async def test_what_comes_back_for_a_retry_stands_behind_what_waits(self, bench: Bench) -> None:
        first = await bench.running()
        waiting = await bench.put()
        await bench.apply(first, Retry(0.0, FAILURE))
        assert await bench.take_ids_one_by_one(2) == [waiting.id, first.id]

    async def test_what_comes_back_from_a_snooze_stands_behind_what_waits(self, bench: Bench) -> None:
        first = await bench.running()
        waiting = await bench.put()
        await bench.apply(first, Snooze(0.0))
        assert await bench.take_ids_one_by_one(2) == [waiting.id, first.id]


class FrontLaneRules(Kit):
    """What comes back through no fault of its own is claimed first, even before a backlog of higher priority."""

    async def test_a_released_task_comes_first(self, bench: Bench) -> None:
        released = await bench.running(priority=Priority.LOW)
        backlog = await bench.put_many(3, priority=Priority.CRITICAL)
        await bench.apply(released, Release())
        assert await bench.take_ids_one_by_one(2) == [released.id, backlog[0]]

    async def test_a_task_whose_lease_was_lost_comes_first(self, bench: Bench) -> None:
        lost = await bench.lost(priority=Priority.LOW)
        backlog = await bench.put_many(3, priority=Priority.CRITICAL)
        assert await bench.take_ids_one_by_one(2) == [lost.id, backlog[0]]

    async def test_a_crashed_task_comes_first(self, bench: Bench) -> None:
        crashed = await bench.running(priority=Priority.LOW)
        backlog = await bench.put_many(3, priority=Priority.CRITICAL)
        await bench.apply(crashed, Crash(FAILURE))
        assert await bench.take_ids_one_by_one(2) == [crashed.id, backlog[0]]

    async def test_the_front_lane_keeps_the_order_of_arrival(self, bench: Bench) -> None:
        held = await self._held(bench, [Priority.NORMAL] * 3)
        for delivery in reversed(held):
            await bench.apply(delivery, Release())
        assert await bench.take_ids(3) == [delivery.id for delivery in held]

    async def test_the_front_lane_goes_by_priority(self, bench: Bench) -> None:
        low, critical = await self._held(bench, [Priority.LOW, Priority.CRITICAL])
        for delivery in (low, critical):
            await bench.apply(delivery, Release())
        assert await bench.take_ids_one_by_one(2) == [critical.id, low.id]

    async def test_a_task_may_come_back_again_and_again(self, bench: Bench) -> None:
        first = await bench.running()
        await bench.put_many(2)
        for _ in range(4):
            await bench.apply(first, Release())
            again = await bench.take_one()
            assert again.id == first.id
            first = again

    @staticmethod
    async def _held(bench: Bench, priorities: list[Priority]) -> list[Delivery]:
        held = []
        for priority in priorities:
            held.append(await bench.running(priority=priority))
            await bench.pass_time(bench.short)
        return held


class AgingRules(Kit):
    """One claimed task in eight comes from the lane whose head has waited longest, beyond `aging`."""

    async def test_one_in_eight_is_an_over_aged_task(self, bench: Bench) -> None:
        aged, urgent = await self._aged_backlog(bench)
        taken = await bench.take_ids_one_by_one(3 * AGED_EVERY, aging=bench.short)
        assert [n for n, id in enumerate(taken, 1) if id in aged] == [8, 16, 24]
        assert [id for id in taken if id in aged] == aged[:3]
        assert [id for id in taken if id in urgent] == urgent[:21]

    async def test_one_in_eight_of_a_large_claim_is_over_aged(self, bench: Bench) -> None:
        aged, urgent = await self._aged_backlog(bench)
        taken = await bench.take_ids(2 * AGED_EVERY, aging=bench.short)
        assert sorted(taken) == sorted(aged[:2] + urgent[:14])

    async def test_an_endless_stream_of_urgent_tasks_keeps_nobody_longer_than_its_age_and_eight_claims(
        self, bench: Bench
    ) -> None:
        low = await bench.put(priority=Priority.LOW)
        await bench.lapse()
        await bench.put_many(AGED_EVERY + 3, priority=Priority.HIGH)
        assert low.id not in await bench.take_ids_one_by_one(3)
        taken: list[str] = []
        for _ in range(AGED_EVERY):
            await bench.put_many(2, priority=Priority.HIGH)
            taken += await bench.take_ids_one_by_one(1, aging=bench.short)
        assert low.id in taken

    async def test_what_has_not_waited_long_enough_gets_no_share(self, bench: Bench) -> None:
        _, urgent = await self._aged_backlog(bench)
        assert await bench.take_ids_one_by_one(16, aging=10_000.0) == urgent[:16]

    async def test_the_lane_that_has_waited_longest_gets_the_share(self, bench: Bench) -> None:
        oldest = await bench.put(priority=Priority.NORMAL)
        await bench.lapse()
        aged, _ = await self._aged_backlog(bench)
        taken = await bench.take_ids_one_by_one(2 * AGED_EVERY, aging=bench.short)
        assert [taken[7], taken[15]] == [oldest.id, aged[0]]

    async def test_the_share_goes_by_claimed_tasks_not_by_claims(self, bench: Bench) -> None:
        aged, _ = await self._aged_backlog(bench)
        taken = [id for _ in range(8) for id in await bench.take_ids(3, aging=bench.short)]
        assert len([id for id in taken if id in aged]) == 3

    @staticmethod
    async def _aged_backlog(bench: Bench) -> tuple[list[str], list[str]]:
        """Tasks of LOW that have waited longest, and enough urgent ones to be busy with."""
        aged = await bench.put_many(5, priority=Priority.LOW)
        await bench.lapse()
        return aged, await bench.put_many(40, priority=Priority.CRITICAL)


class GroupRules(Kit):
    """Lanes of one priority that differ in their group take turns."""

    async def test_groups_take_turns(self, bench: Bench) -> None:
        many, few = await self._two_groups(bench)
        taken = await bench.take_ids_one_by_one(6)
        assert sorted(id in few for id in taken[:2]) == [False, True]
        assert len([id for id in taken if id in few]) == 3
        assert [id for id in taken if id in many] == many[:3]
        assert [id for id in taken if id in few] == few

    async def test_groups_take_turns_within_one_claim(self, bench: Bench) -> None:
        many, few = await self._two_groups(bench)
        taken = await bench.take_ids(6)
        assert [id for id in taken if id in many] == many[:3]
        assert [id for id in taken if id in few] == few

    async def test_a_group_does_not_outrank_a_priority(self, bench: Bench) -> None:
        many, _ = await self._two_groups(bench)
        urgent = await bench.put_many(2, priority=Priority.HIGH, group="third")
        taken = await bench.take_ids(3)
        assert taken[:2] == urgent
        assert taken[2] not in urgent
        assert many

    async def test_tasks_with_and_without_a_group_take_turns(self, bench: Bench) -> None:
        plain = await bench.put_many(10)
        grouped = await bench.put_many(2, group="tenant")
        taken = await bench.take_ids_one_by_one(4)
        assert sorted(taken) == sorted(plain[:2] + grouped)

    async def test_the_last_group_is_emptied(self, bench: Bench) -> None:
        many, few = await self._two_groups(bench)
        assert sorted(await bench.take_ids(100)) == sorted(many + few)

    @staticmethod
    async def _two_groups(bench: Bench) -> tuple[list[str], list[str]]:
        return await bench.put_many(10, group="many"), await bench.put_many(3, group="few")
