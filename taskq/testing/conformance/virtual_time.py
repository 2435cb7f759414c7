"""Rules about long and exact spans, which only a store whose clock can be turned can show."""

from __future__ import annotations

import pytest

from taskq.domain.message import DEAD_RETENTION, DIGEST_RETENTION, TOMBSTONE
from taskq.domain.outcome import Bury, Complete
from taskq.ports import EnqueueStatus, Reaped
from taskq.testing.conformance.bench import FAILURE, Bench
from taskq.testing.conformance.kit import Kit


class VirtualTimeRules(Kit):
    """Nothing happens a second too early or too late."""

    async def test_the_hold_is_exactly_one_renewal_period(self, bench: Bench) -> None:
        await bench.running(5.0)
        assert not (await bench.reap(renewal=10.0)).is_holding
        await bench.pass_time(10.5)
        assert (await bench.reap(renewal=10.0)).is_holding
        await bench.pass_time(9.9)
        assert (await bench.reap(renewal=10.0)).is_holding
        await bench.pass_time(0.2)
        assert await bench.reap(renewal=10.0) == Reaped(requeued=1)

    async def test_a_task_is_ready_when_its_delay_is_over_and_not_before(self, bench: Bench) -> None:
        task = await bench.put(delay=3600.0)
        await bench.pass_time(3599.0)
        assert await bench.take() == []
        assert (await bench.fetch()).next_due == pytest.approx(1.0)
        await bench.pass_time(1.0)
        delivery = await bench.take_one()
        assert delivery.id == task.id
        assert delivery.age == pytest.approx(3600.0)

    async def test_a_tombstone_is_kept_for_ten_minutes(self, bench: Bench) -> None:
        task = await bench.put(retention=1.0)
        await bench.apply(await bench.take_one(), Complete())
        await bench.pass_time(2.0)
        await bench.backend.maintenance.prune()
        await bench.pass_time(TOMBSTONE - 1.0)
        assert await bench.enqueue(task) == [EnqueueStatus.DUPLICATE]
        await bench.pass_time(2.0)
        assert await bench.enqueue(task) == [EnqueueStatus.CREATED]

    async def test_a_digest_is_remembered_for_a_day(self, bench: Bench) -> None:
        task = await bench.put(retention=1.0, digest="d1")
        changed = task._replace(digest="d2")
        await bench.apply(await bench.take_one(), Complete())
        await bench.pass_time(2.0)
        await bench.backend.maintenance.prune()
        await bench.pass_time(DIGEST_RETENTION - 10.0)
        await bench.backend.maintenance.prune()
        assert await bench.enqueue(changed) == [EnqueueStatus.CONFLICT]
        await bench.pass_time(20.0)
        assert await bench.enqueue(changed) == [EnqueueStatus.CREATED]

    async def test_a_key_is_free_again_after_a_day(self, bench: Bench) -> None:
        task = await bench.put(retention=1.0, digest="d1")
        await bench.apply(await bench.take_one(), Complete())
        await bench.pass_time(DIGEST_RETENTION / 2)
        await bench.backend.maintenance.prune()
        await bench.pass_time(DIGEST_RETENTION / 2 - 10.0)
        assert await bench.enqueue(task) == [EnqueueStatus.DUPLICATE]
        await bench.pass_time(20.0)
        assert await bench.enqueue(task) == [EnqueueStatus.CREATED]

    async def test_a_message_without_a_key_is_new_once_the_tombstone_is_gone(self, bench: Bench) -> None:
        task = await bench.put(retention=1.0, digest="d1")
        await bench.apply(await bench.take_one(), Complete())
        await bench.pass_time(2.0)
        await bench.backend.maintenance.prune()
        await bench.pass_time(TOMBSTONE + 1.0)
        await bench.backend.maintenance.prune()
        assert await bench.enqueue(task._replace(digest="")) == [EnqueueStatus.CREATED]
        assert await bench.enqueue(task._replace(digest="d2"), task) == [
            EnqueueStatus.CONFLICT,
            EnqueueStatus.DUPLICATE,
        ]

    async def test_a_dead_letter_goes_after_thirty_days(self, bench: Bench) -> None:
        delivery = await bench.running(retention=1.0)
        await bench.apply(delivery, Bury("rejected", FAILURE))
        await bench.pass_time(DEAD_RETENTION - 1.0)
        assert await bench.backend.maintenance.prune() == 0
        await bench.pass_time(2.0)
        assert await bench.backend.maintenance.prune() == 1
        assert await bench.backend.inspector.get(delivery.id) is None
