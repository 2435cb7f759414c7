"""Rules about limits: decided in the claim, for the whole fleet; what is over one waits and holds up nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq.domain.limits import Circuit, Limit, Rate, Slots
from taskq.domain.message import Priority
from taskq.domain.outcome import Bury, Complete, Crash, Release, Retry, Snooze
from taskq.domain.record import TaskRecord
from taskq.domain.routing import AGED_EVERY
from taskq.domain.state import TaskState
from taskq.ports import CancelStatus, GateState, SettleStatus, TaskQuery
from taskq.testing.conformance.bench import FAILURE, LONG, Bench
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import SETTLEMENTS, name_of

NEVER = 1 / LONG
"""Starts a second: no second one within a test."""


def one_at_a_time(bench: Bench, name: str = "") -> Slots:
    """A concurrency limit that nobody else counts."""
    return Slots(f"{bench.queue}{name}", 1)


async def gate(bench: Bench, limit: Limit) -> GateState:
    """How a limit stands."""
    [state] = await bench.backend.queues.gates(bench.queue, [limit.gate])
    return state


class RateRules(Kit):
    """So many starts in a time, and the others wait where they are."""

    async def test_a_rate_lets_its_burst_pass_and_holds_the_rest(self, bench: Bench) -> None:
        ids = await bench.put_many(5, limits=(Rate(bench.queue, NEVER, 2.0),))
        assert await bench.take_ids() == ids[:2]
        assert await bench.take() == []
        waiting = await bench.record(ids[2])
        assert (waiting.state, waiting.attempt, waiting.fence, waiting.attempts) == (TaskState.PENDING, 0, 0, ())
        assert await bench.counts() == {TaskState.PENDING: 3, TaskState.RUNNING: 2}

    async def test_what_is_over_a_limit_holds_up_nobody(self, bench: Bench) -> None:
        rate = Rate(bench.queue, NEVER, 1.0)
        limited = await bench.put_many(30, limits=(rate,), priority=Priority.HIGH)
        free = await bench.put_many(3)
        assert await bench.take_ids(3) == [limited[0], *free[:2]]
        assert await bench.take_ids(3) == free[2:]
        assert (await gate(bench, rate)).parked == 29

    async def test_a_token_comes_back_and_the_next_one_starts(self, bench: Bench) -> None:
        rate = Rate(bench.queue, 1 / bench.kit.tick, 1.0)
        ids = await bench.put_many(3, limits=(rate,))
        taken = await bench.take_ids()
        while len(taken) < 3:
            fetched = await bench.fetch(3)
            taken += [delivery.id for delivery in fetched.deliveries]
            if len(taken) < 3:
                assert fetched.next_due is not None
                assert fetched.next_due <= bench.kit.tick + 0.01
                await bench.pass_time(fetched.next_due)
        assert taken == ids

    async def test_those_who_waited_at_a_gate_go_by_priority_and_then_first_come(self, bench: Bench) -> None:
        rate = Rate(bench.queue, 4 / bench.kit.tick, 1.0)
        [first] = await bench.put_many(1, limits=(rate,))
        low = await bench.put_many(2, limits=(rate,), priority=Priority.LOW)
        high = await bench.put_many(2, limits=(rate,), priority=Priority.HIGH)
        assert await bench.take_ids(1) == [high[0]]
        taken: list[str] = []
        while len(taken) < 4:
            await bench.pass_time(bench.kit.tick / 4)
            taken += await bench.take_ids(1)
        assert taken == [high[1], first, *low]

    async def test_those_who_were_let_out_go_before_their_priority_and_behind_a_higher(self, bench: Bench) -> None:
        limit = one_at_a_time(bench)
        running = await bench.running(limits=(limit,))
        [waits] = await bench.put_many(1, limits=(limit,))
        assert await bench.take() == []
        [later] = await bench.put_many(1)
        [urgent] = await bench.put_many(1, priority=Priority.HIGH)
        await bench.apply(running, Complete())
        assert await bench.take_ids_one_by_one(3) == [urgent, waits, later]

    async def test_keys_are_counted_apart_and_one_key_together_over_queues(self, bench: Bench) -> None:
        there = bench.beside("there")
        one, other = Rate(f"{bench.queue}-1", NEVER, 1.0), Rate(f"{bench.queue}-2", NEVER, 1.0)
        first = (await bench.put(limits=(one,))).id
        await there.put(limits=(one,))
        second = (await bench.put(limits=(other,))).id
        assert await bench.take_ids() == [first, second]
        assert await there.take_ids() == []

    async def test_nothing_is_used_up_while_another_gate_is_closed(self, bench: Bench) -> None:
        slot, rate = one_at_a_time(bench), Rate(bench.queue, NEVER, 2.0)
        running = await bench.running(limits=(rate, slot))
        [waits] = await bench.put_many(1, limits=(rate, slot))
        assert [await bench.take() for _ in range(3)] == [[], [], []]
        await bench.apply(running, Complete())
        assert await bench.take_ids() == [waits]
        assert [await bench.take() for _ in range(2)] == [[], []]

    async def test_too_many_requests_halve_an_adaptive_rate_once_for_a_burst(self, bench: Bench) -> None:
        rate = Rate(bench.queue, 1000.0, 1000.0, adaptive=True)
        deliveries = [await bench.running(limits=(rate,)) for _ in range(3)]
        for delivery in deliveries:
            record = await bench.apply(delivery, Snooze(LONG, throttled=True))
            assert (record.state, record.attempt) == (TaskState.SCHEDULED, 0)
        bucket = (await gate(bench, rate)).bucket
        assert bucket is not None
        assert bucket.share == pytest.approx(0.5, abs=0.1)

    async def test_a_rate_that_is_not_adaptive_stays(self, bench: Bench) -> None:
        rate = Rate(bench.queue, 1000.0, 1000.0)
        await bench.apply(await bench.running(limits=(rate,)), Snooze(LONG, throttled=True))
        bucket = (await gate(bench, rate)).bucket
        assert bucket is not None
        assert bucket.share == 1.0

    async def test_limits_that_came_late_hold_from_then_on(self, bench: Bench) -> None:
        limit = one_at_a_time(bench)
        deliveries = [await bench.running() for _ in range(2)]
        for delivery in deliveries:
            record = await bench.apply(delivery, Release(limits=(limit,)))
            assert record.limits == (limit,)
        assert len(await bench.take()) == 1
        assert await bench.take() == []

    async def test_a_reset_fills_the_bucket(self, bench: Bench) -> None:
        rate = Rate(bench.queue, NEVER, 1.0)
        ids = await bench.put_many(2, limits=(rate,))
        assert await bench.take_ids() == ids[:1]
        assert await bench.take() == []
        await bench.backend.queues.reset(bench.queue, rate.gate)
        assert await bench.take_ids() == ids[1:]


class SlotRules(Kit):
    """At most so many at once."""

    async def test_no_more_run_at_once_than_may(self, bench: Bench) -> None:
        limit = Slots(bench.queue, 3)
        ids = await bench.put_many(7, limits=(limit,))
        deliveries = await bench.take(7)
        assert [delivery.id for delivery in deliveries] == ids[:3]
        assert all(delivery.is_limited for delivery in deliveries)
        assert await bench.take(7) == []
        state = await gate(bench, limit)
        assert (set(state.holders), state.parked) == (set(ids[:3]), 4)
        await bench.apply(deliveries[1], Complete())
        assert await bench.take_ids() == ids[3:4]

    @pytest.mark.parametrize("settlement", SETTLEMENTS, ids=name_of)
    async def test_each_end_of_a_run_frees_its_slot(self, bench: Bench, settlement: Any) -> None:
        limit = one_at_a_time(bench)
        delivery = await bench.running(limits=(limit,))
        await bench.apply(delivery, settlement)
        assert (await gate(bench, limit)).holders == ()

    async def test_a_lost_lease_frees_its_slot_and_the_task_takes_one_again(self, bench: Bench) -> None:
        limit = one_at_a_time(bench)
        lost = await bench.lost(limits=(limit,))
        assert (await gate(bench, limit)).holders == ()
        assert await bench.take_ids() == [lost.id]
        assert (await gate(bench, limit)).holders == (lost.id,)

    async def test_those_of_one_call_keep_their_order_however_often_they_meet_a_closed_gate(self, bench: Bench) -> None:
        ids = await bench.put_many(4, limits=(one_at_a_time(bench),))
        [first] = await bench.take(4)
        await bench.apply(first, Release())
        # The second is let out, and waits again: the first is in front.
        [again] = await bench.take(4)
        assert again.id == ids[0]
        for id in ids[1:]:
            await bench.apply(again, Complete())
            [again] = await bench.take(4)
            assert again.id == id

    async def test_a_stale_or_repeated_settlement_frees_nothing(self, bench: Bench) -> None:
        limit = one_at_a_time(bench)
        lost = await bench.lost(limits=(limit,))
        again = await bench.take_one()
        assert await bench.settle(lost, Complete()) == SettleStatus.STALE
        assert (await gate(bench, limit)).holders == (lost.id,)
        await bench.apply(again, Retry(0.0, FAILURE))
        await bench.backend.maintenance.promote()
        third = await bench.take_one()
        assert await bench.settle(again, Retry(0.0, FAILURE)) in {SettleStatus.REPEATED, SettleStatus.STALE}
        assert (await gate(bench, limit)).holders == (third.id,)

    async def test_a_claim_that_is_said_again_holds_its_slots_once(self, bench: Bench) -> None:
        limit = Slots(bench.queue, 2)
        ids = await bench.put_many(3, limits=(limit,))
        for _ in range(2):
            assert await bench.take_ids(worker="w1", request_id="r1") == ids[:2]
        assert set((await gate(bench, limit)).holders) == set(ids[:2])

    async def test_a_freed_slot_wakes_who_waits(self, bench: Bench) -> None:
        limit = one_at_a_time(bench)
        running = await bench.running(limits=(limit,))
        [waits] = await bench.put_many(1, limits=(limit,))
        assert await bench.take() == []
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], LONG))
        await bench.let_wait()
        await bench.apply(running, Complete())
        assert await bench.finish(waiting)
        assert await bench.take_ids() == [waits]

    async def test_who_waits_at_a_gate_can_be_cancelled(self, bench: Bench) -> None:
        limit, ids = await self._with_two_parked(bench)
        assert await bench.backend.broker.cancel([ids[0]], "enough") == [CancelStatus.CANCELLED]
        assert (await gate(bench, limit)).parked == 1
        assert await bench.counts() == {TaskState.RUNNING: 1, TaskState.PENDING: 1, TaskState.CANCELLED: 1}

    async def test_who_waits_at_a_gate_expires(self, bench: Bench) -> None:
        limit = one_at_a_time(bench)
        await bench.running(limits=(limit,))
        [waits] = await bench.put_many(1, limits=(limit,), expires=bench.kit.tick)
        assert await bench.take() == []
        await bench.pass_time(bench.kit.tick)
        await bench.backend.maintenance.expire()
        assert await bench.state(waits) is TaskState.EXPIRED
        assert (await gate(bench, limit)).parked == 0

    async def test_who_waits_at_a_gate_is_listed_counted_and_purged(self, bench: Bench) -> None:
        limit, ids = await self._with_two_parked(bench)
        page = await bench.backend.inspector.list(TaskQuery(queue=bench.queue, state=TaskState.PENDING))
        assert {record.id for record in page.records} == set(ids)
        assert {record.waits_at for record in page.records} == {limit.gate}
        assert await bench.backend.inspector.purge(bench.queue) == 2
        assert (await gate(bench, limit)).parked == 0

    async def test_what_was_let_out_is_listed_counted_and_purged(self, bench: Bench) -> None:
        limit, ids = await self._with_two_parked(bench, running=Priority.HIGH)
        await bench.backend.queues.pause(bench.queue)
        await self._end_running(bench)
        await bench.take()
        page = await bench.backend.inspector.list(TaskQuery(queue=bench.queue, state=TaskState.PENDING, limit=1))
        rest = await bench.backend.inspector.list(
            TaskQuery(queue=bench.queue, state=TaskState.PENDING, cursor=page.next_cursor)
        )
        assert {record.id for record in [*page.records, *rest.records]} == set(ids)
        assert await bench.backend.inspector.purge(bench.queue) == 2
        assert (await gate(bench, limit)).parked == 0

    async def test_a_front_lane_that_meets_a_closed_gate_leaves_the_claim_to_the_groups(self, bench: Bench) -> None:
        limit, there = one_at_a_time(bench), bench.beside("there")
        lost = await bench.lost(limits=(limit,))
        await there.running(limits=(limit,))
        first = await bench.put(group="a")
        second = await bench.put(group="b")
        assert await bench.take_ids(1) == [first.id]
        assert (await bench.record(lost.id)).waits_at == limit.gate
        assert await bench.take_ids(1) == [second.id]

    async def test_an_over_aged_task_passes_its_gate_once_though_others_of_the_claim_are_held_back(
        self, bench: Bench
    ) -> None:
        one, other = one_at_a_time(bench, "-one"), one_at_a_time(bench, "-other")
        await bench.beside("there").running(limits=(other,))
        passes = await bench.put(limits=(one,), priority=Priority.LOW)
        waits = await bench.put(limits=(other,))
        free = await bench.put()
        await bench.lapse()
        taken = await bench.take_ids(3 * AGED_EVERY, aging=bench.short)
        assert set(taken) == {passes.id, free.id}
        assert (await gate(bench, one)) == GateState(one.gate, holders=(passes.id,))
        assert (await bench.record(waits.id)).waits_at == other.gate

    async def _end_running(self, bench: Bench) -> None:
        await bench.apply(self._running, Complete())

    async def _with_two_parked(self, bench: Bench, running: Priority = Priority.NORMAL) -> tuple[Slots, list[str]]:
        limit = one_at_a_time(bench)
        self._running = await bench.running(limits=(limit,), priority=running)
        ids = await bench.put_many(2, limits=(limit,))
        assert await bench.take() == []
        return limit, ids

    async def test_a_late_settlement_reaches_a_task_that_waits_at_a_gate(self, bench: Bench) -> None:
        limit, there = one_at_a_time(bench), bench.beside("there")
        lost = await bench.lost(limits=(limit,))
        holder = await there.running(limits=(limit,))
        assert await bench.take() == []
        record = await bench.record(lost.id)
        assert (record.state, record.waits_at) == (TaskState.PENDING, limit.gate)
        record = await bench.apply(lost, Complete(b"1"))
        assert (record.state, record.result, record.waits_at) == (TaskState.COMPLETED, b"1", "")
        assert (await gate(bench, limit)) == GateState(limit.gate, holders=(holder.id,))


class BreakerRules(Kit):
    """A name that keeps failing is held back, probed, and let go."""

    def circuit(self, bench: Bench, cooldown: float = LONG, probes: int = 1) -> Circuit:
        """One that opens at the second of two failures."""
        return Circuit(bench.queue, 0.5, LONG, 2, cooldown, probes)

    async def test_failures_open_it_and_its_tasks_wait(self, bench: Bench) -> None:
        circuit = self.circuit(bench)
        await self._fail_twice(bench, circuit)
        ids = await bench.put_many(2, limits=(circuit,))
        [free] = await bench.put_many(1)
        assert await bench.take_ids() == [free]
        record = await bench.record(ids[0])
        assert (record.state, record.attempt, record.waits_at) == (TaskState.PENDING, 0, circuit.gate)
        state = await gate(bench, circuit)
        assert state.breaker is not None
        assert (state.breaker.opened_at is not None, state.parked) == (True, 2)

    async def test_a_success_among_few_failures_keeps_it_closed(self, bench: Bench) -> None:
        circuit = Circuit(bench.queue, 0.75, LONG, 2, LONG, 1)
        for settlement in (Complete(), Bury("rejected", FAILURE), Complete(), Bury("rejected", FAILURE)):
            await bench.apply(await bench.running(limits=(circuit,)), settlement)
        assert len(await bench.put_many(1, limits=(circuit,))) == len(await bench.take())

    async def test_what_says_nothing_of_the_task_is_not_counted(self, bench: Bench) -> None:
        circuit = self.circuit(bench)
        for settlement in (Snooze(LONG), Release(), Snooze(LONG, throttled=True)):
            await bench.apply(await bench.running(limits=(circuit,)), settlement)
            await bench.backend.inspector.purge(bench.queue)
        await bench.apply(await bench.running(limits=(circuit,)), Crash(FAILURE))
        state = (await gate(bench, circuit)).breaker
        assert state is not None
        assert (state.runs, state.failures, state.opened_at) == (1, 1, None)

    async def test_after_the_cooldown_one_probe_passes_and_its_success_closes_it(self, bench: Bench) -> None:
        circuit = self.circuit(bench, cooldown=bench.kit.tick)
        await self._fail_twice(bench, circuit)
        ids = await bench.put_many(3, limits=(circuit,))
        assert await bench.take() == []
        await bench.pass_time(bench.kit.tick)
        [probe] = await bench.take(3)
        assert probe.id == ids[0]
        await bench.apply(probe, Complete())
        assert await bench.take_ids() == ids[1:]
        state = (await gate(bench, circuit)).breaker
        assert state is None or state.opened_at is None

    async def test_a_probe_that_fails_opens_it_again(self, bench: Bench) -> None:
        circuit = self.circuit(bench, cooldown=bench.kit.tick * 3)
        await self._fail_twice(bench, circuit)
        await bench.put_many(3, limits=(circuit,))
        assert await bench.take() == []
        await bench.pass_time(bench.kit.tick * 3)
        [probe] = await bench.take(3)
        await bench.apply(probe, Bury("rejected", FAILURE))
        assert await bench.take() == []

    async def test_a_reset_closes_it(self, bench: Bench) -> None:
        circuit = self.circuit(bench)
        await self._fail_twice(bench, circuit)
        ids = await bench.put_many(2, limits=(circuit,))
        assert await bench.take() == []
        await bench.backend.queues.reset(bench.queue, circuit.gate)
        assert await bench.take_ids() == ids

    @staticmethod
    async def _fail_twice(bench: Bench, circuit: Circuit) -> TaskRecord:
        for _ in range(2):
            record = await bench.apply(await bench.running(limits=(circuit,)), Bury("rejected", FAILURE))
        return record
