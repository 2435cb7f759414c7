"""Cancel: at once while a task waits, by a request that is kept while it runs, never after its end."""

from __future__ import annotations

from taskq.domain.outcome import Bury, Cancel, Complete, Retry, Snooze
from taskq.domain.state import TaskState
from taskq.ports import CancelStatus
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_id
from taskq.testing.conformance.kit import Kit

CANCELLED, REQUESTED = CancelStatus.CANCELLED, CancelStatus.REQUESTED
FINAL, UNKNOWN = CancelStatus.FINAL, CancelStatus.UNKNOWN


class CancelRules(Kit):
    """What a request to cancel does in each state."""

    async def test_a_pending_task_is_cancelled_at_once(self, bench: Bench) -> None:
        task = await bench.put()
        assert await self._cancel(bench, task.id) == CANCELLED
        record = await bench.record(task.id)
        assert (record.state, record.reason) == (TaskState.CANCELLED, "enough")
        assert record.completed_at is not None
        assert await bench.take() == []

    async def test_a_scheduled_task_is_cancelled_at_once(self, bench: Bench) -> None:
        task = await bench.put(delay=bench.short)
        assert await self._cancel(bench, task.id) == CANCELLED
        await bench.lapse()
        assert await bench.backend.maintenance.promote() == 0
        assert await bench.take() == []
        assert await bench.counts() == {TaskState.CANCELLED: 1}

    async def test_a_retrying_task_is_cancelled_at_once(self, bench: Bench) -> None:
        delivery = await bench.running()
        await bench.apply(delivery, Retry(0.0, FAILURE))
        assert await self._cancel(bench, delivery.id) == CANCELLED
        assert await bench.take() == []

    async def test_a_task_in_the_front_lane_is_cancelled_at_once(self, bench: Bench) -> None:
        delivery = await bench.lost()
        assert await self._cancel(bench, delivery.id) == CANCELLED
        assert await bench.take() == []

    async def test_a_running_task_is_asked(self, bench: Bench) -> None:
        delivery = await bench.running()
        assert await self._cancel(bench, delivery.id) == REQUESTED
        record = await bench.record(delivery.id)
        assert record.state == TaskState.RUNNING
        assert record.cancel_requested
        assert (await bench.backend.broker.extend([delivery], LONG)).cancel_wanted == {delivery.id}

    async def test_a_request_is_kept_once(self, bench: Bench) -> None:
        delivery = await bench.running()
        await self._cancel(bench, delivery.id)
        before = await bench.record(delivery.id)
        assert await self._cancel(bench, delivery.id, "another reason") == REQUESTED
        assert await bench.record(delivery.id) == before
        record = await bench.apply(delivery, Snooze(0.0))
        assert (record.state, record.reason) == (TaskState.CANCELLED, "enough")

    async def test_a_cancelled_run_gives_its_own_reason_or_that_of_the_request(self, bench: Bench) -> None:
        for reason, expected in (("", "enough"), ("by itself", "by itself")):
            delivery = await bench.running()
            await self._cancel(bench, delivery.id)
            assert (await bench.apply(delivery, Cancel(reason))).reason == expected

    async def test_a_run_that_ended_stays_ended(self, bench: Bench) -> None:
        completed, buried = await bench.running(), await bench.running()
        assert await bench.backend.broker.cancel([completed.id, buried.id]) == [REQUESTED] * 2
        assert (await bench.apply(completed, Complete(b"1"))).state == TaskState.COMPLETED
        assert (await bench.apply(buried, Bury("rejected", FAILURE))).state == TaskState.DEAD

    async def test_a_finished_task_stays_as_it_is(self, bench: Bench) -> None:
        delivery = await bench.running()
        before = await bench.apply(delivery, Complete(b"1"))
        assert await self._cancel(bench, delivery.id) == FINAL
        assert await bench.record(delivery.id) == before

    async def test_a_repeated_cancel_is_final(self, bench: Bench) -> None:
        task = await bench.put()
        await self._cancel(bench, task.id)
        assert await self._cancel(bench, task.id, "another reason") == FINAL
        assert (await bench.record(task.id)).reason == "enough"

    async def test_a_task_without_a_record_is_unknown(self, bench: Bench) -> None:
        assert await self._cancel(bench, new_id(bench.backend.shard_of(bench.queue))) == UNKNOWN

    async def test_each_id_is_answered_in_its_place(self, bench: Bench) -> None:
        finished = await bench.running()
        await bench.apply(finished, Complete())
        runs = await bench.running()
        unknown = new_id(bench.backend.shard_of(bench.queue))
        waits = await bench.put()
        ids = [unknown, finished.id, waits.id, runs.id]
        assert await bench.backend.broker.cancel(ids) == [UNKNOWN, FINAL, CANCELLED, REQUESTED]
        assert await bench.backend.broker.cancel([]) == []

    async def test_many_tasks_are_cancelled_in_one_call(self, bench: Bench) -> None:
        ids = await bench.put_many(230)
        assert await bench.backend.broker.cancel(ids) == [CANCELLED] * 230
        assert await bench.counts() == {TaskState.CANCELLED: 230}

    async def test_a_cancel_request_does_not_outlive_a_redrive(self, bench: Bench) -> None:
        delivery = await bench.running()
        await self._cancel(bench, delivery.id)
        await bench.apply(delivery, Snooze(0.0))
        await bench.backend.inspector.redrive([delivery.id])
        record = await bench.record(delivery.id)
        assert (record.state, record.cancel_requested, record.reason) == (TaskState.PENDING, False, "")
        again = await bench.take_one()
        assert not (await bench.backend.broker.extend([again], LONG)).cancel_wanted
        record = await bench.apply(again, Snooze(0.0))
        assert record.state == TaskState.SCHEDULED
        assert (await bench.apply(await bench.take_one(), Cancel())).reason == ""

    @staticmethod
    async def _cancel(bench: Bench, id: str, reason: str = "enough") -> CancelStatus:
        [status] = await bench.backend.broker.cancel([id], reason)
        return status
