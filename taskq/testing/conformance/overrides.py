"""Rules about overrides: what an operator says of a limit holds from the next claim on, and until it is taken back."""

from __future__ import annotations

from taskq.domain.limits import Circuit, Rate, Slots
from taskq.domain.outcome import Bury, Complete
from taskq.domain.overrides import Override
from taskq.testing.conformance.bench import FAILURE, LONG, Bench
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.limits import NEVER


class OverrideRules(Kit):
    """Other figures, and breakers that are forced."""

    async def test_a_narrower_rate_holds_from_the_next_claim_on(self, bench: Bench) -> None:
        rate = Rate(bench.queue, 1000.0, 1000.0)
        ids = await bench.put_many(5, limits=(rate,))
        await self._put(bench, Override(rate.gate, per_second=NEVER, burst=2.0))
        assert await bench.take_ids() == ids[:2]
        assert await bench.take() == []

    async def test_a_wider_rate_lets_those_out_who_wait(self, bench: Bench) -> None:
        rate = Rate(bench.queue, NEVER, 1.0)
        ids = await bench.put_many(3, limits=(rate,))
        assert await bench.take_ids() == ids[:1]
        assert await bench.take() == []
        await self._put(bench, Override(rate.gate, per_second=1e6, burst=100.0))
        await bench.pass_time(bench.kit.tick)
        assert await bench.take_ids(3) == ids[1:]

    async def test_more_or_fewer_run_at_once_and_then_as_many_as_before(self, bench: Bench) -> None:
        slots = Slots(bench.queue, 1)
        ids = await bench.put_many(6, limits=(slots,))
        first = await bench.take()
        assert [each.id for each in first] == ids[:1]
        await self._put(bench, Override(slots.gate, limit=3))
        more = await bench.take(3)
        assert [each.id for each in more] == ids[1:3]
        await self._put(bench, Override(slots.gate, limit=0))
        for each in (*first, *more):
            await bench.apply(each, Complete())
        assert await bench.take() == []
        assert await bench.backend.overrides.remove(bench.queue, slots.gate)
        assert await bench.take_ids(3) == ids[3:4]

    async def test_one_of_a_limit_holds_for_all_its_keys_but_for_those_with_their_own(self, bench: Bench) -> None:
        base = f"c:{bench.queue}:*"
        first, other = Slots(f"{bench.queue}:5f", 5), Slots(f"{bench.queue}:6a", 5)
        await self._put(bench, Override(base, limit=1))
        await self._put(bench, Override(first.gate, limit=2))
        ones = await bench.put_many(4, limits=(first,))
        others = await bench.put_many(4, limits=(other,))
        deep = await bench.put_many(2, limits=(Slots(f"{bench.queue}:latest:5f", 5),))
        deep += await bench.put_many(2, limits=(Slots(bench.queue, 5),))
        assert sorted(await bench.take_ids(10)) == sorted([*ones[:2], *others[:1], *deep])
        assert await bench.take() == []
        assert await bench.backend.overrides.remove(bench.queue, base)
        assert sorted(await bench.take_ids(10)) == sorted(others[1:])

    async def test_a_breaker_that_is_forced_open_holds_all_back(self, bench: Bench) -> None:
        circuit = self._circuit(bench)
        ids = await bench.put_many(2, limits=(circuit,))
        await self._put(bench, Override(circuit.gate, is_open=True, reason="the relay is away"))
        assert await bench.take() == []
        assert (await bench.record(ids[0])).waits_at == circuit.gate
        assert await bench.backend.overrides.remove(bench.queue, circuit.gate)
        assert await bench.take_ids() == ids

    async def test_a_breaker_that_is_forced_closed_lets_all_through(self, bench: Bench) -> None:
        circuit = self._circuit(bench)
        for _ in range(2):
            await bench.apply(await bench.running(limits=(circuit,)), Bury("rejected", FAILURE))
        ids = await bench.put_many(3, limits=(circuit,))
        assert await bench.take() == []
        await self._put(bench, Override(circuit.gate, is_open=False))
        assert await bench.take_ids(3) == ids
        assert await bench.backend.overrides.remove(bench.queue, circuit.gate)
        await bench.put_many(1, limits=(circuit,))
        assert await bench.take() == [], "beneath it the breaker is open as before"

    async def test_it_ends_by_itself(self, bench: Bench) -> None:
        circuit, slots = self._circuit(bench), Slots(f"{bench.queue}x", 5)
        end = await self._now(bench) + bench.kit.tick * 3
        await self._put(bench, Override(circuit.gate, is_open=True, until=end))
        await self._put(bench, Override(slots.gate, limit=0, until=end))
        ids = [*await bench.put_many(1, limits=(circuit,)), *await bench.put_many(1, limits=(slots,))]
        assert await bench.take() == []
        assert len(await bench.backend.overrides.all()) == 2
        await bench.pass_time(bench.kit.tick * 4)
        assert sorted(await bench.take_ids()) == sorted(ids)
        assert await bench.backend.overrides.all() == []
        assert not await bench.backend.overrides.remove(bench.queue, circuit.gate)

    async def test_they_are_listed_as_they_were_put(self, bench: Bench) -> None:
        assert await bench.backend.overrides.all() == []
        given = [
            Override(f"b:{bench.queue}", is_open=True, reason="größer"),
            Override(f"c:{bench.queue}", limit=0, until=4e9),
            Override(f"r:{bench.queue}", per_second=2.5, burst=7.0),
        ]
        for override in given:
            await self._put(bench, override)
        assert list(await bench.backend.overrides.all()) == given
        await self._put(bench, given[0]._replace(is_open=False))
        assert (await bench.backend.overrides.all())[0].is_open is False
        assert [await bench.backend.overrides.remove(bench.queue, each.gate) for each in given] == [True] * 3
        assert not await bench.backend.overrides.remove(bench.queue, given[0].gate)

    async def test_what_is_set_for_a_queue_is_not_overridden(self, bench: Bench) -> None:
        await self._put(bench, Override("r:queue:*", per_second=NEVER, burst=1.0))
        await self._put(bench, Override(f"r:queue:{bench.queue}", per_second=NEVER, burst=1.0))
        rate = Rate(f"queue:{bench.queue}", 1000.0, 1000.0)
        ids = await bench.put_many(3, limits=(rate,))
        assert await bench.take_ids() == ids

    @staticmethod
    async def _put(bench: Bench, override: Override) -> None:
        await bench.backend.overrides.put(bench.queue, override)

    @staticmethod
    async def _now(bench: Bench) -> float:
        assert bench.backend.scheduler is not None
        return (await bench.backend.scheduler.now(bench.queue)).timestamp()

    @staticmethod
    def _circuit(bench: Bench) -> Circuit:
        return Circuit(bench.queue, 0.5, LONG, 2, LONG, 1)
