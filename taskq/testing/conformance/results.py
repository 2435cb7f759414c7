"""Results: how one waits for the end of a task, and results kept for tasks of another backend."""

from __future__ import annotations

import asyncio

import pytest

from taskq.domain.outcome import Bury, Cancel, Complete, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.state import TaskState
from taskq.errors import TaskNotFound
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_id
from taskq.testing.conformance.kit import Kit

ENDS: tuple[tuple[Settlement, TaskState], ...] = (
    (Complete(b'{"sum":3}'), TaskState.COMPLETED),
    (Bury("rejected", FAILURE), TaskState.DEAD),
    (Fail("exhausted", FAILURE), TaskState.FAILED),
    (Cancel("enough"), TaskState.CANCELLED),
)


class WaitForResultRules(Kit):
    """`wait` tells how a task ended, as soon as it has."""

    async def test_a_finished_task_is_told_at_once(self, bench: Bench) -> None:
        for settlement, state in ENDS:
            delivery = await bench.running()
            await bench.apply(delivery, settlement)
            finished = await bench.finish(bench.backend.results.wait(delivery.id, LONG))
            assert finished is not None, settlement
            assert (finished.state, finished.fence) == (state, 1), settlement
            assert finished.result == getattr(settlement, "result", None), settlement
            assert finished.failure == getattr(settlement, "failure", None), settlement
            assert finished.reason == getattr(settlement, "reason", ""), settlement

    async def test_those_who_wait_are_woken_by_the_end(self, bench: Bench) -> None:
        for settlement, state in ENDS:
            delivery = await bench.running()
            waiters = [asyncio.create_task(bench.backend.results.wait(delivery.id, LONG)) for _ in range(3)]
            await bench.let_wait()
            await bench.apply(delivery, settlement)
            ends = await bench.finish(asyncio.gather(*waiters))
            assert [end and end.state for end in ends] == [state] * 3, settlement

    async def test_a_cancel_wakes_those_who_wait(self, bench: Bench) -> None:
        task = await bench.put()
        waiting = asyncio.create_task(bench.backend.results.wait(task.id, LONG))
        await bench.let_wait()
        await bench.backend.broker.cancel([task.id], "enough")
        finished = await bench.finish(waiting)
        assert finished is not None
        assert (finished.state, finished.fence, finished.reason) == (TaskState.CANCELLED, 0, "enough")

    async def test_expiry_and_poison_wake_those_who_wait(self, bench: Bench) -> None:
        poison = await bench.running(bench.short, max_lost_leases=1)
        expired = await bench.put(expires=bench.short)
        waiters = [asyncio.create_task(bench.backend.results.wait(id, LONG)) for id in (poison.id, expired.id)]
        await bench.let_wait()
        await bench.lapse()
        await bench.reap()
        await bench.backend.maintenance.expire()
        ends = await bench.finish(asyncio.gather(*waiters))
        assert [end and end.state for end in ends] == [TaskState.DEAD, TaskState.EXPIRED]

    async def test_a_task_that_does_not_end_in_time_is_none(self, bench: Bench) -> None:
        running, waiting = await bench.running(), await bench.put()
        for id in (running.id, waiting.id):
            assert await bench.finish(bench.backend.results.wait(id, 0.0)) is None
            patient = asyncio.create_task(bench.backend.results.wait(id, bench.short))
            await asyncio.sleep(0)
            await bench.lapse()
            assert await bench.finish(patient) is None

    async def test_another_run_is_not_an_end(self, bench: Bench) -> None:
        delivery = await bench.running()
        waiting = asyncio.create_task(bench.backend.results.wait(delivery.id, LONG))
        settlements: list[Settlement] = [Retry(0.0, FAILURE), Snooze(0.0), Release()]
        for settlement in settlements:
            await bench.apply(delivery, settlement)
            delivery = await bench.take_one()
        await bench.apply(delivery, Complete(b"4"))
        finished = await bench.finish(waiting)
        assert finished is not None
        assert (finished.state, finished.fence, finished.result) == (TaskState.COMPLETED, 4, b"4")

    async def test_waiting_for_a_task_without_a_record_is_an_error(self, bench: Bench) -> None:
        with pytest.raises(TaskNotFound):
            await bench.finish(bench.backend.results.wait(new_id(bench.backend.shard_of(bench.queue)), LONG))

    async def test_waiting_may_be_given_up_at_any_moment(self, bench: Bench) -> None:
        delivery = await bench.running()
        for n in range(15):
            waiting = asyncio.create_task(bench.backend.results.wait(delivery.id, LONG))
            if n % 3:
                await asyncio.sleep(0)
            if n % 3 == 2:
                await bench.let_wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bench.finish(waiting)
        waiting = asyncio.create_task(bench.backend.results.wait(delivery.id, LONG))
        await bench.let_wait()
        await bench.apply(delivery, Complete(b"1"))
        assert await bench.finish(waiting) is not None
        assert await bench.finish(bench.backend.results.wait(delivery.id, LONG)) is not None


class ResultStoreRules(Kit):
    """Results that are kept here for tasks that live on another backend, each under its fence."""

    async def test_a_result_is_found_under_its_fence(self, bench: Bench) -> None:
        id = new_id()
        await bench.backend.results.put(id, 1, b"first", LONG)
        await bench.backend.results.put(id, 2, bytes(range(256)), LONG)
        assert await bench.backend.results.get(id, 1) == b"first"
        assert await bench.backend.results.get(id, 2) == bytes(range(256))
        assert await bench.backend.results.get(id, 3) is None
        assert await bench.backend.results.get(new_id(), 1) is None

    async def test_a_repeated_put_is_one_result(self, bench: Bench) -> None:
        id = new_id()
        for _ in range(2):
            await bench.backend.results.put(id, 1, b"same", LONG)
        assert await bench.backend.results.get(id, 1) == b"same"

    async def test_many_results_come_in_the_order_asked_for(self, bench: Bench) -> None:
        ids = [new_id() for _ in range(3)]
        for n, id in enumerate(ids):
            await bench.backend.results.put(id, 1, b"%d" % n, LONG)
        keys = [(ids[2], 1), (ids[0], 2), (ids[0], 1), (ids[2], 1)]
        assert await bench.backend.results.get_many(keys) == [b"2", None, b"0", b"2"]
        assert await bench.backend.results.get_many([]) == []

    async def test_a_result_goes_when_its_retention_is_over(self, bench: Bench) -> None:
        id = new_id()
        await bench.backend.results.put(id, 1, b"short", bench.short)
        await bench.backend.results.put(id, 2, b"long", LONG)
        await bench.lapse()
        assert await bench.backend.results.get_many([(id, 1), (id, 2)]) == [None, b"long"]
        await bench.backend.results.expire()
        assert await bench.backend.results.get_many([(id, 1), (id, 2)]) == [None, b"long"]
