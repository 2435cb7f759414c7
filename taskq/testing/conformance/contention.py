"""Contention: what touches the same tasks at the same time, round after round, neither fails nor blocks the other."""

from __future__ import annotations

import asyncio
from collections import Counter

from taskq.domain.message import Delivery, Priority
from taskq.domain.outcome import Complete, Release, Settlement
from taskq.domain.state import TaskState
from taskq.ports import CancelStatus, Settled, SettleStatus
from taskq.testing.conformance.bench import Bench
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import SETTLEMENTS, name_of

ROUNDS = 24
TASKS = 8 * len(SETTLEMENTS)
_ENDS = {"Complete": TaskState.COMPLETED, "Bury": TaskState.DEAD, "Fail": TaskState.FAILED}


class ContentionRules(Kit):
    """Two ways into the store, the same tasks, another order."""

    async def test_verdicts_extensions_and_cancels_of_the_same_tasks(self, bench: Bench) -> None:
        async with bench.backend.clone() as other:
            there = Bench(self, other, bench.queue)
            expected: Counter[TaskState] = Counter()
            for number in range(ROUNDS):
                await bench.put_many(TASKS)
                held = sorted(await bench.take(TASKS), key=lambda delivery: delivery.id)
                verdicts = self._verdicts(number)
                await bench.finish(self._all_at_once(bench, there, held, verdicts))
                # Where the task went on, the cancel met it before or after; where it ended, it came too late.
                expected.update(_ENDS.get(name_of(verdict), TaskState.CANCELLED) for verdict in verdicts)
                assert await bench.counts() == expected

    @staticmethod
    def _verdicts(number: int) -> list[Settlement]:
        """Each kind for some tasks in a row, which ones changes with the round."""
        kinds = SETTLEMENTS[number % len(SETTLEMENTS) :] + SETTLEMENTS[: number % len(SETTLEMENTS)]
        return [kinds[n * len(kinds) // TASKS] for n in range(TASKS)]

    @staticmethod
    async def _all_at_once(bench: Bench, there: Bench, held: list[Delivery], verdicts: list[Settlement]) -> None:
        ids = [delivery.id for delivery in held]
        settled = [Settled(delivery, verdict) for delivery, verdict in zip(held, verdicts, strict=True)]
        statuses, extended, cancels, again = await asyncio.gather(
            bench.backend.broker.settle(settled),
            there.backend.broker.extend(held[::-1], 30.0),
            there.backend.broker.cancel(ids[::-1], "enough"),
            there.backend.broker.extend(held, 30.0),
        )
        assert set(statuses) == {SettleStatus.APPLIED}
        assert extended.lost | again.lost <= set(ids)
        for verdict, status in zip(verdicts, reversed(cancels), strict=True):
            ends = name_of(verdict) in {*_ENDS, "Cancel"}
            assert status in {CancelStatus.REQUESTED, CancelStatus.FINAL if ends else CancelStatus.CANCELLED}

    async def test_claims_from_the_same_queues_in_another_order(self, bench: Bench) -> None:
        queues = [f"{bench.queue}-{n}" for n in range(2)]
        async with bench.backend.clone() as other:
            there = Bench(self, other, bench.queue)
            for _ in range(ROUNDS):
                ids = await self._fill(bench, queues)
                await bench.finish(self._claim_all(bench, there, queues, ids))
        assert [await bench.counts(queue) for queue in queues] == [{TaskState.COMPLETED: ROUNDS * 40}] * 2

    @staticmethod
    async def _fill(bench: Bench, queues: list[str]) -> list[str]:
        """Front lanes, and lanes whose heads have waited too long beside urgent ones, in each queue."""
        ids: list[str] = []
        for queue in queues:
            ids += await bench.put_many(10, queue)
        held = await bench.take(20, queues=queues)
        await bench.backend.broker.settle([Settled(delivery, Release()) for delivery in held])
        for priority in (Priority.LOW, Priority.HIGH, Priority.NORMAL):
            for queue in queues:
                ids += await bench.put_many(10, queue, priority=priority)
        await bench.pass_time(bench.short)
        return ids

    @staticmethod
    async def _claim_all(bench: Bench, there: Bench, queues: list[str], ids: list[str]) -> None:
        """Two claims that meet in the middle, and one for what they left."""
        aging = bench.short / 10
        first, second = await asyncio.gather(
            bench.take(60, queues=queues, aging=aging), there.take(60, queues=queues[::-1], aging=aging)
        )
        taken = [*first, *second, *await bench.take(len(ids), queues=queues)]
        assert sorted(delivery.id for delivery in taken) == sorted(ids)
        settled = [Settled(delivery, Complete()) for delivery in taken]
        assert set(await bench.backend.broker.settle(settled)) == {SettleStatus.APPLIED}
