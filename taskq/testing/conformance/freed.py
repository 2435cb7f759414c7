"""Rules about who waits at a gate that opens: none is forgotten, whatever becomes of the one who was let out first."""

from __future__ import annotations

import pytest

from taskq.domain.limits import Circuit
from taskq.domain.message import Delivery, Priority
from taskq.domain.outcome import Bury, Complete, Release, Retry
from taskq.domain.routing import AGED_EVERY
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.ports import EnqueueStatus
from taskq.testing.conformance.bench import FAILURE, LONG, Bench
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.limits import one_at_a_time


class FreedSlotRules(Kit):
    """A slot that came free is never forgotten, whatever becomes of the one who was let out for it."""

    async def test_one_who_was_let_out_and_meets_another_closed_gate_makes_way(self, bench: Bench) -> None:
        one, other = one_at_a_time(bench, "-one"), one_at_a_time(bench, "-other")
        blocker = await bench.running(limits=(other,))
        running = await bench.running(limits=(one,))
        both = await bench.put(limits=(one, other))
        alone = await bench.put(limits=(one,))
        assert await bench.take(3) == []
        await bench.apply(running, Complete())
        assert await self._take(bench) == alone.id
        await bench.apply(blocker, Complete())
        assert await bench.state(both.id) is TaskState.PENDING

    async def test_one_who_was_let_out_and_is_put_off_by_a_late_settlement_makes_way(self, bench: Bench) -> None:
        limit, there = one_at_a_time(bench), bench.beside("there")
        lost = await bench.lost(limits=(limit,))
        running = await there.running(limits=(limit,))
        second = await bench.put(limits=(limit,))
        assert await bench.take(3) == []
        await self._let_one_out(bench, running)
        assert (await bench.apply(lost, Retry(LONG, FAILURE))).state is TaskState.RETRYING
        assert await self._take(bench) == second.id

    async def test_one_who_was_let_out_and_is_replaced_by_a_later_one_makes_way(self, bench: Bench) -> None:
        limit, unique = one_at_a_time(bench), UniqueKey(bench.queue)
        running = await bench.running(limits=(limit,))
        first = await bench.put(limits=(limit,), unique=unique)
        second = await bench.put(limits=(limit,))
        assert await bench.take(3) == []
        await self._let_one_out(bench, running)
        later = bench.message(id=first.id, unique=unique, replaces=True, delay=LONG)
        assert await bench.enqueue(later) == [EnqueueStatus.REPLACED]
        assert await self._take(bench) == second.id

    async def test_one_who_waits_and_is_given_other_limits_is_let_out(self, bench: Bench) -> None:
        limit, there = one_at_a_time(bench), bench.beside("there")
        lost = await bench.lost(limits=(limit,))
        running = await there.running(limits=(limit,))
        assert await bench.take(3) == []
        await bench.apply(lost, Release(limits=(one_at_a_time(bench, "-other"),)))
        await bench.apply(running, Complete())
        assert await self._take(bench) == lost.id

    async def test_a_gate_that_is_open_for_all_lets_all_out(self, bench: Bench) -> None:
        circuit = Circuit(bench.queue, 0.5, LONG, 1, LONG, 1)
        await bench.apply(await bench.running(limits=(circuit,)), Bury("rejected", FAILURE))
        ids = await bench.put_many(450, limits=(circuit,))
        for _ in range(5):
            assert await bench.take(450) == []
        await bench.backend.queues.reset(bench.queue, circuit.gate)
        taken: list[str] = []
        while fetched := await bench.take_ids(450):
            taken += fetched
        assert taken == ids

    async def test_those_who_were_let_out_wake_one_after_another(self, bench: Bench) -> None:
        circuit = Circuit(bench.queue, 0.5, LONG, 1, LONG, 1)
        await bench.apply(await bench.running(limits=(circuit,)), Bury("rejected", FAILURE))
        ids = await bench.put_many(3, limits=(circuit,))
        assert await bench.take(3) == []
        while await bench.backend.broker.wait([bench.queue], bench.short):  # earlier hints
            assert await bench.take(3) == []
        await bench.backend.queues.reset(bench.queue, circuit.gate)
        for id in ids:
            assert await bench.finish(bench.backend.broker.wait([bench.queue], LONG))
            assert await bench.take_ids(1) == [id]

    async def _let_one_out(self, bench: Bench, running: Delivery) -> None:
        """End a run while another task fills the claim that lets one out for it."""
        filler = await bench.put(priority=Priority.CRITICAL)
        await bench.apply(running, Complete())
        assert await bench.take_ids(1) == [filler.id]

    @pytest.mark.parametrize("end", ["cancel", "expire", "purge"])
    async def test_one_who_was_let_out_and_ends_makes_way(self, bench: Bench, end: str) -> None:
        limit = one_at_a_time(bench)
        running = await bench.running(limits=(limit,))
        expires = bench.kit.tick * 2 if end == "expire" else None
        first = await bench.put(limits=(limit,), expires=expires)
        second = await bench.put(limits=(limit,))
        assert await bench.take(3) == []
        await self._let_one_out(bench, running)
        if end == "cancel":
            await bench.backend.broker.cancel([first.id])
        elif end == "purge":
            assert await bench.backend.inspector.purge(bench.queue, limit=1) == 1
        else:
            await bench.pass_time(bench.kit.tick * 3)
            await bench.backend.maintenance.expire()
        assert await self._take(bench) == second.id

    async def test_nobody_starves_at_a_gate(self, bench: Bench) -> None:
        limit = one_at_a_time(bench)
        running = await bench.running(limits=(limit,))
        low = await bench.put(limits=(limit,), priority=Priority.LOW)
        await bench.lapse()
        await bench.put_many(12, limits=(limit,), priority=Priority.HIGH)
        assert await bench.take(13) == []
        taken: list[str] = []
        while low.id not in taken:
            assert len(taken) <= AGED_EVERY, "an endless stream of urgent ones keeps it waiting"
            await bench.apply(running, Complete())
            running = await bench.take_one(aging=bench.short)
            taken.append(running.id)

    @staticmethod
    async def _take(bench: Bench) -> str:
        """The next task, which is there at once, perhaps after one more look."""
        for _ in range(2):
            fetched = await bench.fetch(1)
            if fetched.deliveries:
                return fetched.deliveries[0].id
            assert fetched.next_due == pytest.approx(0.0, abs=0.01)
        pytest.fail("a slot is free, and nobody is let in")
