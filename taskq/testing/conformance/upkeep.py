"""Upkeep: due tasks become ready, waiting ones expire, finished ones are forgotten; said twice it is done once."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.domain.message import Priority
from taskq.domain.outcome import Bury, Complete, Release, Retry, Settlement, Snooze
from taskq.domain.state import TaskState
from taskq.errors import TaskNotFound
from taskq.ports import EnqueueStatus, QueueConfig
from taskq.testing.conformance.bench import FAILURE, LONG, Bench
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import name_of


class PromoteRules(Kit):
    """SCHEDULED and RETRYING → PENDING, when their time has come."""

    async def test_a_due_task_becomes_ready(self, bench: Bench) -> None:
        task = await bench.put(delay=bench.short)
        await bench.lapse()
        assert await bench.backend.maintenance.promote() == 1
        assert await bench.state(task.id) == TaskState.PENDING
        assert await bench.backend.maintenance.promote() == 0
        assert await bench.take_ids() == [task.id]

    async def test_a_task_is_not_ready_before_its_time(self, bench: Bench) -> None:
        task = await bench.put(delay=LONG)
        assert await bench.backend.maintenance.promote() == 0
        assert await bench.state(task.id) == TaskState.SCHEDULED

    async def test_retries_and_snoozes_become_ready(self, bench: Bench) -> None:
        settlements: list[Settlement] = [Retry(bench.short, FAILURE), Snooze(bench.short)]
        # Both run before the first has ended: a claim makes ready what is due.
        deliveries = [await bench.running() for _ in settlements]
        for delivery, settlement in zip(deliveries, settlements, strict=True):
            await bench.apply(delivery, settlement)
        ids = [delivery.id for delivery in deliveries]
        await bench.lapse()
        assert await bench.backend.maintenance.promote() == 2
        assert await bench.counts() == {TaskState.PENDING: 2}
        assert sorted(await bench.take_ids()) == sorted(ids)

    async def test_due_tasks_become_ready_in_the_order_of_their_time(self, bench: Bench) -> None:
        moment = await bench.now()
        ids = [(await bench.put(eta=moment + bench.kit.tick * factor)).id for factor in (0.9, 0.5, 0.7)]
        await bench.pass_time(bench.kit.tick * 1.2)
        assert await bench.backend.maintenance.promote() == 3
        assert await bench.take_ids() == [ids[1], ids[2], ids[0]]

    async def test_a_due_task_stands_behind_what_is_ready_and_keeps_its_priority(self, bench: Bench) -> None:
        due = await bench.put(delay=bench.short)
        urgent = await bench.put(delay=bench.short, priority=Priority.HIGH)
        ready = await bench.put()
        await bench.lapse()
        await bench.backend.maintenance.promote()
        assert await bench.take_ids_one_by_one(3) == [urgent.id, ready.id, due.id]

    async def test_promotion_takes_no_more_than_its_limit(self, bench: Bench) -> None:
        await bench.put_many(5, delay=bench.short)
        await bench.lapse()
        assert [await bench.backend.maintenance.promote(2) for _ in range(4)] == [2, 2, 1, 0]


class ExpireRules(Kit):
    """SCHEDULED, PENDING and RETRYING → EXPIRED, when their time to live is over."""

    async def test_a_waiting_task_expires(self, bench: Bench) -> None:
        pending = await bench.put(expires=bench.short)
        scheduled = await bench.put(expires=bench.short, delay=LONG)
        await bench.lapse()
        assert await bench.backend.maintenance.expire() == 2
        for id in (pending.id, scheduled.id):
            record = await bench.record(id)
            assert record.state == TaskState.EXPIRED
            assert record.completed_at is not None
        assert await bench.backend.maintenance.expire() == 0
        assert await bench.take() == []

    async def test_what_waits_again_expires_too(self, bench: Bench) -> None:
        settlements: list[Settlement] = [Release(), Retry(LONG, FAILURE), Snooze(LONG)]
        for settlement in settlements:
            await bench.apply(
                await bench.running(queue=f"{bench.queue}-{name_of(settlement)}", expires=self.tick * 2), settlement
            )
        await bench.pass_time(self.tick * 2.5)
        assert await bench.backend.maintenance.expire() == 3

    async def test_a_running_task_does_not_expire(self, bench: Bench) -> None:
        delivery = await bench.running(expires=self.tick)
        await bench.pass_time(self.tick * 1.5)
        assert await bench.backend.maintenance.expire() == 0
        assert (await bench.apply(delivery, Complete())).state == TaskState.COMPLETED

    async def test_a_task_whose_time_ran_out_while_it_ran_expires_when_it_waits_again(self, bench: Bench) -> None:
        delivery = await bench.running(expires=self.tick)
        await bench.pass_time(self.tick * 1.5)
        assert await bench.backend.maintenance.expire() == 0
        await bench.apply(delivery, Release())
        assert await bench.backend.maintenance.expire() == 1
        assert await bench.state(delivery.id) == TaskState.EXPIRED

    async def test_a_task_does_not_expire_before_its_time(self, bench: Bench) -> None:
        task = await bench.put(expires=LONG)
        forever = await bench.put()
        await bench.lapse()
        assert await bench.backend.maintenance.expire() == 0
        assert await bench.take_ids() == [task.id, forever.id]

    async def test_an_expired_task_is_not_made_ready(self, bench: Bench) -> None:
        task = await bench.put(expires=bench.short, delay=bench.short * 2)
        await bench.lapse()
        await bench.backend.maintenance.expire()
        assert await bench.backend.maintenance.promote() == 0
        assert await bench.state(task.id) == TaskState.EXPIRED

    async def test_a_lost_run_of_an_expired_task_comes_too_late(self, bench: Bench) -> None:
        delivery = await bench.lost(expires=self.tick * 2)
        await bench.pass_time(self.tick * 2.5)
        await bench.backend.maintenance.expire()
        assert await bench.settle(delivery, Complete()) == "stale"
        assert await bench.state(delivery.id) == TaskState.EXPIRED

    async def test_expiry_takes_no_more_than_its_limit(self, bench: Bench) -> None:
        await bench.put_many(5, expires=bench.short)
        await bench.lapse()
        assert [await bench.backend.maintenance.expire(2) for _ in range(4)] == [2, 2, 1, 0]


class PruneRules(Kit):
    """Finished tasks go by age and by count; what is left of them is a tombstone."""

    async def test_a_finished_task_goes_when_its_retention_is_over(self, bench: Bench) -> None:
        delivery = await self._finished(bench, retention=bench.short)
        await bench.lapse()
        assert await bench.backend.maintenance.prune() == 1
        assert await bench.backend.inspector.get(delivery) is None
        assert await bench.counts() == {}
        assert await bench.backend.maintenance.prune() == 0
        with pytest.raises(TaskNotFound):
            await bench.backend.results.wait(delivery, 0.0)

    async def test_a_finished_task_stays_for_its_retention(self, bench: Bench) -> None:
        id = await self._finished(bench, retention=LONG)
        await bench.lapse()
        assert await bench.backend.maintenance.prune() == 0
        assert await bench.state(id) == TaskState.COMPLETED

    async def test_an_unfinished_task_stays_however_old(self, bench: Bench) -> None:
        await bench.put(retention=bench.short)
        await bench.put(retention=bench.short, delay=LONG)
        await bench.take_one()
        await bench.lapse()
        assert await bench.backend.maintenance.prune() == 0

    async def test_every_kind_of_end_goes(self, bench: Bench) -> None:
        await self._finished(bench, retention=bench.short)
        task = await bench.put(retention=bench.short)
        await bench.backend.broker.cancel([task.id])
        await bench.put(retention=bench.short, expires=bench.short / 2)
        await bench.lapse()
        await bench.backend.maintenance.expire()
        await bench.lapse()
        assert await bench.backend.maintenance.prune() == 3
        assert await bench.counts() == {}

    async def test_a_dead_letter_is_kept_longer(self, bench: Bench) -> None:
        id = await self._finished(bench, Bury("rejected", FAILURE), retention=bench.short)
        await bench.lapse()
        assert await bench.backend.maintenance.prune() == 0
        assert await bench.state(id) == TaskState.DEAD

    async def test_the_newest_finished_tasks_of_a_queue_are_kept(self, bench: Bench) -> None:
        ids = await self._finish_one_by_one(bench, 4)
        other = await self._finished(bench, queue=bench.queue + "-other")
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=2))
        assert await bench.backend.maintenance.prune() == 2
        assert [await bench.backend.inspector.get(id) is None for id in [*ids, other]] == [True, True, *[False] * 3]

    async def test_dead_letters_count_apart(self, bench: Bench) -> None:
        dead = await self._finish_one_by_one(bench, 3, Bury("rejected", FAILURE))
        done = await self._finish_one_by_one(bench, 3)
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=2))
        assert await bench.backend.maintenance.prune() == 2
        assert [await bench.backend.inspector.get(id) is None for id in dead] == [True, False, False]
        assert [await bench.backend.inspector.get(id) is None for id in done] == [True, False, False]

    async def test_a_forgotten_task_is_known_by_its_tombstone(self, bench: Bench) -> None:
        task = await bench.put(retention=bench.short, digest="d1")
        await bench.apply(await bench.take_one(), Complete())
        await bench.lapse()
        assert await bench.backend.maintenance.prune() == 1
        assert await bench.enqueue(task, task._replace(digest="d2")) == [
            EnqueueStatus.DUPLICATE,
            EnqueueStatus.CONFLICT,
        ]
        assert await bench.take() == []

    async def test_a_forgotten_task_is_gone_for_its_worker(self, bench: Bench) -> None:
        delivery = await bench.running(retention=bench.short)
        await bench.apply(delivery, Complete())
        await bench.lapse()
        await bench.backend.maintenance.prune()
        assert await bench.settle(delivery, Complete()) == "gone"

    async def test_pruning_takes_no_more_than_its_limit(self, bench: Bench) -> None:
        await self._finish_one_by_one(bench, 5, retention=bench.short)
        await bench.lapse()
        assert [await bench.backend.maintenance.prune(2) for _ in range(4)] == [2, 2, 1, 0]

    @staticmethod
    async def _finished(bench: Bench, settlement: Settlement | None = None, **fields: Any) -> str:
        delivery = await bench.running(**fields)
        await bench.apply(delivery, settlement or Complete())
        return delivery.id

    async def _finish_one_by_one(
        self, bench: Bench, count: int, settlement: Settlement | None = None, **fields: Any
    ) -> list[str]:
        ids = []
        for _ in range(count):
            ids.append(await self._finished(bench, settlement, **fields))
            await bench.pass_time(bench.short)
        return ids


class RelayRules(Kit):
    """What one shard has to tell another."""

    async def test_nothing_to_relay_is_nothing_done(self, bench: Bench) -> None:
        await bench.put()
        assert await bench.backend.maintenance.relay() == 0
        assert await bench.counts() == {TaskState.PENDING: 1}
