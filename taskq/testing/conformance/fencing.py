"""Fencing: whatever a run writes whose fence is not the newest changes nothing, and is told so."""

from __future__ import annotations

from typing import Protocol

from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Cancel, Complete, Release, Retry, Snooze
from taskq.domain.record import Progress
from taskq.domain.state import TaskState
from taskq.ports import EnqueueStatus, Extension, Parent, SettleStatus
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_worker
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import SETTLEMENTS


class Stale(Protocol):
    """Brings about a run that is not the newest of its task."""

    __name__: str

    async def __call__(self, bench: Bench) -> Delivery:
        """The run."""
        ...


async def wrong_fence(bench: Bench) -> Delivery:
    """A run of a fence that was never handed out."""
    delivery = await bench.running()
    return delivery._replace(fence=delivery.fence + 1)


async def wrong_worker(bench: Bench) -> Delivery:
    """The newest fence, from a worker that does not hold it."""
    return (await bench.running())._replace(worker=new_worker())


async def older_fence(bench: Bench) -> Delivery:
    """A run whose lease was lost and whose task another worker has claimed since."""
    delivery = await bench.lost()
    await bench.take_one()
    return delivery


async def older_fence_of_the_same_worker(bench: Bench) -> Delivery:
    """A run whose lease was lost and whose task the same worker has claimed since."""
    delivery = await bench.lost()
    await bench.take_one(worker=delivery.worker)
    return delivery


async def released(bench: Bench) -> Delivery:
    """A run that was settled, its task waiting again."""
    delivery = await bench.running()
    await bench.apply(delivery, Release())
    return delivery


async def snoozed(bench: Bench) -> Delivery:
    """A run that was settled, its task waiting for its time."""
    delivery = await bench.running()
    await bench.apply(delivery, Snooze(LONG))
    return delivery


async def completed(bench: Bench) -> Delivery:
    """A run that was settled, its task at its end."""
    delivery = await bench.running()
    await bench.apply(delivery, Complete())
    return delivery


async def cancelled_while_lost(bench: Bench) -> Delivery:
    """A run whose lease was lost and whose task was cancelled then."""
    delivery = await bench.lost()
    await bench.backend.broker.cancel([delivery.id])
    return delivery


async def redriven(bench: Bench) -> Delivery:
    """A run that was settled, its task redriven since."""
    delivery = await bench.running()
    await bench.apply(delivery, Bury("rejected", FAILURE))
    await bench.backend.inspector.redrive([delivery.id])
    return delivery


STALE_RUNS: tuple[Stale, ...] = (
    wrong_fence,
    wrong_worker,
    older_fence,
    older_fence_of_the_same_worker,
    released,
    snoozed,
    completed,
    cancelled_while_lost,
    redriven,
)


class FencedWrites(Kit):
    """Each write of a running task, by each run that is not the newest."""

    async def test_a_stale_settle_is_refused(self, bench: Bench) -> None:
        for stale, there in self._cases(bench):
            delivery = await stale(there)
            before = await there.record(delivery.id)
            for settlement in SETTLEMENTS:
                status = await there.settle(delivery, settlement)
                assert status in {SettleStatus.STALE, SettleStatus.REPEATED}, stale.__name__
            assert await there.record(delivery.id) == before, stale.__name__

    async def test_a_stale_extension_is_refused(self, bench: Bench) -> None:
        for stale, there in self._cases(bench):
            delivery = await stale(there)
            before = await there.record(delivery.id)
            extension = await there.backend.broker.extend([delivery], LONG)
            assert extension == Extension(lost=frozenset({delivery.id})), stale.__name__
            assert await there.record(delivery.id) == before, stale.__name__

    async def test_a_stale_annotation_is_refused(self, bench: Bench) -> None:
        annotations = bench.backend.annotations
        for stale, there in self._cases(bench):
            delivery = await stale(there)
            before = await there.record(delivery.id)
            assert not await annotations.progress(delivery, Progress(0.9, "stale")), stale.__name__
            assert not await annotations.checkpoint(delivery, b"stale"), stale.__name__
            assert not await annotations.log(delivery, ["stale"]), stale.__name__
            assert await there.record(delivery.id) == before, stale.__name__

    async def test_a_child_of_a_stale_run_is_refused(self, bench: Bench) -> None:
        for stale, there in self._cases(bench):
            delivery = await stale(there)
            parent = Parent(delivery.id, delivery.fence, delivery.worker)
            before = await there.counts()
            children = [there.message(), there.message(delay=LONG)]
            for atomic in (False, True):
                answers = await there.enqueue(*children, parent=parent, atomic=atomic)
                assert answers == [EnqueueStatus.STALE_PARENT] * 2, stale.__name__
            assert await there.counts() == before, stale.__name__
            assert await there.enqueue(*children) == [EnqueueStatus.CREATED] * 2

    async def test_a_child_of_a_run_without_a_record_is_refused(self, bench: Bench) -> None:
        delivery = await bench.running(retention=bench.short)
        await bench.apply(delivery, Complete())
        await bench.lapse()
        assert await bench.backend.maintenance.prune() == 1
        parent = Parent(delivery.id, delivery.fence, delivery.worker)
        assert await bench.enqueue(bench.message(), parent=parent) == [EnqueueStatus.STALE_PARENT]

    @staticmethod
    def _cases(bench: Bench) -> list[tuple[Stale, Bench]]:
        return [(stale, bench.apart(stale.__name__)) for stale in STALE_RUNS]


class FreshWrites(Kit):
    """The newest run writes all it likes, also when its lease was lost and nobody has claimed since."""

    async def test_a_child_of_a_live_run_is_stored(self, bench: Bench) -> None:
        delivery = await bench.running()
        parent = Parent(delivery.id, delivery.fence, delivery.worker)
        child = bench.message()
        assert await bench.enqueue(child, parent=parent) == [EnqueueStatus.CREATED]
        assert await bench.enqueue(child, parent=parent) == [EnqueueStatus.DUPLICATE]
        assert await bench.take_ids() == [child.id]

    async def test_a_child_of_a_lost_run_that_nobody_has_claimed_is_stored(self, bench: Bench) -> None:
        delivery = await bench.lost()
        parent = Parent(delivery.id, delivery.fence, delivery.worker)
        assert await bench.enqueue(bench.message(), parent=parent) == [EnqueueStatus.CREATED]

    async def test_a_fence_is_never_reused(self, bench: Bench) -> None:
        delivery = await bench.running()
        fences = [delivery.fence]
        for settlement in (Release(), Snooze(0.0), Retry(0.0, FAILURE), Bury("x", FAILURE), Cancel()):
            await bench.apply(delivery, settlement)
            await bench.backend.inspector.redrive([delivery.id])
            delivery = await bench.take_one()
            fences.append(delivery.fence)
        assert fences == [1, 2, 3, 4, 5, 6]
        assert await bench.state(delivery.id) == TaskState.RUNNING
