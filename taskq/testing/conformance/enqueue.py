"""Enqueue: a task is stored once, whole, and where its time and its lane say."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.domain.message import Message, Priority
from taskq.domain.outcome import Complete
from taskq.domain.record import TaskRecord
from taskq.domain.retry import LONGEST
from taskq.domain.state import TaskState
from taskq.ports import EnqueueStatus
from taskq.testing.conformance.bench import LONG, Bench, new_id
from taskq.testing.conformance.kit import Kit

CREATED, DUPLICATE, CONFLICT = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.CONFLICT


class EnqueueRules(Kit):
    """What is stored, and when it becomes ready."""

    async def test_an_enqueued_task_is_pending(self, bench: Bench) -> None:
        task = await bench.put()
        record = await bench.record(task.id)
        assert record.state == TaskState.PENDING
        assert (record.fence, record.attempt, record.lost_leases, record.attempts) == (0, 0, 0, ())
        assert not record.cancel_requested
        assert await bench.counts() == {TaskState.PENDING: 1}

    async def test_every_field_of_a_message_is_kept(self, bench: Bench) -> None:
        task = await bench.put(
            name="mail.send",
            body=b"opaque",
            priority=Priority.HIGH,
            group="customer-7",
            expires=LONG,
            max_lost_leases=5,
            dead_letter=False,
            retention=4711.0,
            tenant="acme",
        )
        record = await bench.record(task.id)
        for field in ("id", "name", "body", "queue", "priority", "group", "tenant", "max_lost_leases", "dead_letter"):
            assert getattr(record, field) == getattr(task, field), field
        assert record.retention == pytest.approx(4711.0)
        assert record.expires_at is not None
        assert (record.expires_at - record.created_at).total_seconds() == pytest.approx(LONG, rel=0.001)

    async def test_every_field_that_a_worker_needs_is_delivered(self, bench: Bench) -> None:
        task = await bench.put(
            name="mail.send", body=b"opaque", priority=Priority.LOW, max_lost_leases=5, dead_letter=False, tenant="acme"
        )
        delivery = await bench.take_one()
        for field in ("id", "name", "body", "queue", "priority", "max_lost_leases", "dead_letter", "tenant"):
            assert getattr(delivery, field) == getattr(task, field), field
        assert delivery.lost_leases == 0
        assert delivery.age >= 0

    async def test_nothing_enqueued_is_nothing_stored(self, bench: Bench) -> None:
        assert await bench.enqueue() == []
        assert await bench.counts() == {}

    async def test_many_messages_of_several_queues_are_stored_in_one_call(self, bench: Bench) -> None:
        other = bench.queue + "-other"
        messages = [bench.message(other if n % 3 == 0 else None) for n in range(250)]
        assert set(await bench.enqueue(*messages)) == {CREATED}
        assert await bench.counts() == {TaskState.PENDING: 166}
        assert await bench.counts(other) == {TaskState.PENDING: 84}
        assert await bench.take_ids(250) == [message.id for message in messages if message.queue == bench.queue]

    async def test_a_body_of_one_mebibyte_arrives_whole(self, bench: Bench) -> None:
        body = bytes(range(256)) * 4096
        await bench.put(body=body)
        assert (await bench.take_one()).body == body

    async def test_a_body_may_hold_every_byte_or_none(self, bench: Bench) -> None:
        for body in (bytes(range(256)), b"", b"\0", b"\n", b"\xff\xfe", b"%s $1 {} '\"\\"):
            task = await bench.put(body=body)
            assert (await bench.take_one()).body == body
            assert (await bench.record(task.id)).body == body

    async def test_names_may_hold_any_letter(self, bench: Bench) -> None:
        for text in ("grüße", "задачи", "仕事", "🦊 {curly} %s", "a:b/c.d-e", "'; drop table task; --"):
            queue = f"{bench.queue} {text}"
            task = await bench.put(queue, name=text, tenant=text, group=text)
            delivery = await bench.take_one(queues=[queue])
            assert (delivery.id, delivery.name, delivery.queue, delivery.tenant) == (task.id, text, queue, text)
            assert (await bench.record(task.id)).group == text

    async def test_a_delayed_task_is_scheduled_by_the_stores_clock(self, bench: Bench) -> None:
        task = await bench.put(delay=LONG)
        record = await bench.record(task.id)
        assert record.state == TaskState.SCHEDULED
        assert self._due_in(record) == pytest.approx(LONG, rel=0.001)
        assert await bench.take() == []

    async def test_a_task_with_an_instant_ahead_is_scheduled_for_it(self, bench: Bench) -> None:
        eta = await bench.now() + LONG
        task = await bench.put(eta=eta)
        record = await bench.record(task.id)
        assert record.state == TaskState.SCHEDULED
        assert record.due_at is not None
        assert record.due_at.timestamp() == pytest.approx(eta, abs=0.01)
        assert await bench.take() == []

    async def test_a_task_whose_time_has_come_is_pending_at_once(self, bench: Bench) -> None:
        past = await bench.now() - 1.0
        ways: tuple[dict[str, Any], ...] = ({"delay": 0.0}, {"delay": -5.0}, {"eta": past}, {"eta": 0.0})
        for fields in ways:
            task = await bench.put(**fields)
            assert await bench.state(task.id) == TaskState.PENDING
            assert (await bench.take_one()).id == task.id

    async def test_a_task_may_be_ten_years_away(self, bench: Bench) -> None:
        task = await bench.put(delay=LONGEST, expires=LONGEST, retention=LONGEST)
        record = await bench.record(task.id)
        assert record.state == TaskState.SCHEDULED
        assert self._due_in(record) == pytest.approx(LONGEST, abs=0.5)
        assert await bench.backend.maintenance.promote() == 0
        assert await bench.backend.maintenance.expire() == 0

    @staticmethod
    def _due_in(record: TaskRecord) -> float:
        assert record.due_at is not None
        return (record.due_at - record.created_at).total_seconds()


class RepeatedEnqueueRules(Kit):
    """An id is stored once, whatever becomes of it; a digest tells another payload under the same key."""

    async def test_the_same_message_twice_is_one_task(self, bench: Bench) -> None:
        task = await bench.put()
        assert await bench.enqueue(task) == [DUPLICATE]
        assert await bench.take_ids() == [task.id]

    async def test_a_duplicate_changes_nothing(self, bench: Bench) -> None:
        task = await bench.put(body=b"first", delay=LONG)
        before = await bench.record(task.id)
        changed = task._replace(body=b"second", name="another", priority=Priority.CRITICAL, delay=None)
        assert await bench.enqueue(changed) == [DUPLICATE]
        assert await bench.record(task.id) == before

    async def test_a_running_task_is_a_duplicate_and_runs_on(self, bench: Bench) -> None:
        task = await bench.put()
        delivery = await bench.take_one()
        assert await bench.enqueue(task) == [DUPLICATE]
        assert await bench.take() == []
        assert (await bench.apply(delivery, Complete())).state == TaskState.COMPLETED

    async def test_a_finished_task_is_a_duplicate(self, bench: Bench) -> None:
        task = await bench.put()
        await bench.apply(await bench.take_one(), Complete(b"1"))
        assert await bench.enqueue(task) == [DUPLICATE]
        assert await bench.state(task.id) == TaskState.COMPLETED
        assert await bench.take() == []

    async def test_the_same_id_twice_in_one_call_is_a_duplicate(self, bench: Bench) -> None:
        task = bench.message(body=b"first")
        assert await bench.enqueue(task, task._replace(body=b"second"), bench.message()) == [
            CREATED,
            DUPLICATE,
            CREATED,
        ]
        assert (await bench.record(task.id)).body == b"first"
        assert await bench.counts() == {TaskState.PENDING: 2}

    async def test_duplicates_among_new_messages_are_told_apart(self, bench: Bench) -> None:
        known = await bench.put()
        assert await bench.enqueue(bench.message(), known, bench.message()) == [CREATED, DUPLICATE, CREATED]

    async def test_the_same_key_with_the_same_payload_is_a_duplicate(self, bench: Bench) -> None:
        task = await bench.put(digest="d1")
        assert await bench.enqueue(task) == [DUPLICATE]

    async def test_the_same_key_with_another_payload_is_a_conflict(self, bench: Bench) -> None:
        task = await bench.put(digest="d1")
        before = await bench.record(task.id)
        assert await bench.enqueue(task._replace(digest="d2")) == [CONFLICT]
        assert await bench.record(task.id) == before

    async def test_a_message_without_a_key_is_a_duplicate_of_one_with_a_key(self, bench: Bench) -> None:
        task = await bench.put(digest="d1")
        assert await bench.enqueue(task._replace(digest="")) == [DUPLICATE]
        assert await bench.enqueue(task._replace(digest="d2"), task) == [CONFLICT, DUPLICATE]

    async def test_a_duplicate_leaves_no_key(self, bench: Bench) -> None:
        task = await bench.put()
        assert await bench.enqueue(task._replace(digest="d1")) == [DUPLICATE]
        assert await bench.enqueue(task._replace(digest="d2"), task) == [DUPLICATE, DUPLICATE]
        assert await bench.take_ids() == [task.id]

    async def test_a_conflict_is_known_after_the_end(self, bench: Bench) -> None:
        task = await bench.put(digest="d1")
        await bench.apply(await bench.take_one(), Complete())
        assert await bench.enqueue(task._replace(digest="d2"), task) == [CONFLICT, DUPLICATE]

    async def test_a_conflict_within_one_call_is_known(self, bench: Bench) -> None:
        task = bench.message(digest="d1")
        assert await bench.enqueue(task, task._replace(digest="d2")) == [CREATED, CONFLICT]


class AtomicEnqueueRules(Kit):
    """`atomic`: all or none."""

    async def test_all_of_an_atomic_batch_are_stored(self, bench: Bench) -> None:
        assert await bench.enqueue(*self._batch(bench), atomic=True) == [CREATED] * 3
        assert await bench.counts() == {TaskState.PENDING: 3}

    async def test_a_duplicate_is_no_refusal_for_it_is_stored_already(self, bench: Bench) -> None:
        known = await bench.put()
        batch = self._batch(bench)
        assert await bench.enqueue(*batch, known, atomic=True) == [CREATED, CREATED, CREATED, DUPLICATE]
        assert await bench.counts() == {TaskState.PENDING: 4}

    async def test_one_conflict_keeps_an_atomic_batch_out(self, bench: Bench) -> None:
        known = await bench.put(digest="d1")
        batch = self._batch(bench)
        assert await bench.enqueue(known._replace(digest="d2"), *batch, atomic=True) == [CONFLICT] * 4
        assert await bench.counts() == {TaskState.PENDING: 1}

    async def test_a_conflict_within_an_atomic_batch_keeps_it_out(self, bench: Bench) -> None:
        task = bench.message(digest="d1")
        assert await bench.enqueue(bench.message(), task, task._replace(digest="d2"), atomic=True) == [CONFLICT] * 3
        assert await bench.counts() == {}

    async def test_a_repeated_atomic_batch_is_known(self, bench: Bench) -> None:
        batch = self._batch(bench)
        await bench.enqueue(*batch, atomic=True)
        assert await bench.enqueue(*batch, atomic=True) == [DUPLICATE] * 3
        assert await bench.counts() == {TaskState.PENDING: 3}

    async def test_a_refused_atomic_batch_may_come_again(self, bench: Bench) -> None:
        known = await bench.put(digest="d1")
        batch = self._batch(bench)
        await bench.enqueue(known._replace(digest="d2"), *batch, atomic=True)
        assert await bench.enqueue(*batch, atomic=True) == [CREATED] * 3

    @staticmethod
    def _batch(bench: Bench) -> list[Message]:
        return [bench.message(id=new_id(bench.backend.shard_of(bench.queue)), delay=delay) for delay in (None, 0, 0)]
