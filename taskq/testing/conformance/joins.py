"""Rules about tasks that wait for others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from taskq.domain.message import Delivery, Message
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.domain.workflow import Edge, OnParentFailure, parent_ended
from taskq.ports import EnqueueStatus, Settled, SettleStatus, TaskQuery
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, moved, new_id
from taskq.testing.conformance.kit import Kit

MANY = 600
"""More than any store does in one step."""


async def relay(bench: Bench) -> None:
    """Deliver what is left of settlements."""
    while await bench.backend.maintenance.relay():
        pass


def after(*parents: Message | Delivery | str, on_failure: OnParentFailure = OnParentFailure.CANCEL) -> tuple[Edge, ...]:
    """Edges from these tasks."""
    return tuple(Edge(each if isinstance(each, str) else each.id, on_failure) for each in parents)


async def settle(bench: Bench, delivery: Delivery, settlement: Settlement | None = None) -> None:
    """Settle a run, and have it told to whom it concerns."""
    assert await bench.settle(delivery, settlement or Complete()) == SettleStatus.APPLIED
    await relay(bench)


async def states(bench: Bench, ids: Sequence[str]) -> set[TaskState]:
    """The states of some tasks."""
    return set(await asyncio.gather(*map(bench.state, ids)))


class JoinRules(Kit):
    """A task that waits for others is BLOCKED until they have ended."""

    async def test_a_task_runs_when_its_parent_has_completed(self, bench: Bench) -> None:
        parent = await bench.running()
        child = await bench.put(parents=after(parent))
        assert await bench.state(child.id) == TaskState.BLOCKED
        assert await bench.take() == []
        assert (await bench.record(child.id)).parents == after(parent)
        await settle(bench, parent)
        assert await bench.state(child.id) == TaskState.PENDING
        assert await bench.take_ids() == [child.id]

    async def test_what_waits_is_counted_and_listed(self, bench: Bench) -> None:
        parent = await bench.put(f"{bench.queue}-parent")
        ids = await bench.put_many(3, parents=after(parent))
        assert await bench.counts() == {TaskState.BLOCKED: 3}
        page = await bench.backend.inspector.list(TaskQuery(queue=bench.queue, state=TaskState.BLOCKED, limit=2))
        rest = TaskQuery(queue=bench.queue, state=TaskState.BLOCKED, cursor=page.next_cursor)
        found = [*page.records, *(await bench.backend.inspector.list(rest)).records]
        assert sorted(record.id for record in found) == sorted(ids)

    async def test_an_end_that_is_no_end_frees_nobody(self, bench: Bench) -> None:
        for settlement in (Retry(LONG, FAILURE), Snooze(LONG), Release(), Crash(FAILURE)):
            parent = await bench.running()
            child = await bench.put(parents=after(parent))
            await settle(bench, parent, settlement)
            assert await bench.state(child.id) == TaskState.BLOCKED
            await bench.backend.broker.cancel([parent.id])

    async def test_the_last_parent_frees_it(self, bench: Bench) -> None:
        await bench.put_many(3)
        parents = await bench.take(3)
        child = await bench.put(parents=after(*parents))
        assert (await bench.record(child.id)).parents == after(*parents)
        for parent in (parents[2], parents[0]):
            await settle(bench, parent)
            assert await bench.state(child.id) == TaskState.BLOCKED
        await settle(bench, parents[1])
        assert await bench.take_ids() == [child.id]

    async def test_parents_that_end_in_one_call_free_it_once(self, bench: Bench) -> None:
        await bench.put_many(5)
        parents = await bench.take(5)
        child = await bench.put(parents=after(*parents))
        settled = [Settled(parent, Complete()) for parent in parents]
        for status in (SettleStatus.APPLIED, SettleStatus.REPEATED):
            assert await bench.backend.broker.settle(settled) == [status] * 5
            await relay(bench)
        assert await bench.take_ids() == [child.id]
        assert (await bench.counts())[TaskState.RUNNING] == 1

    async def test_parents_that_end_at_once_free_it_once(self, bench: Bench) -> None:
        await bench.put_many(20)
        parents = await bench.take(20)
        child = await bench.put(parents=after(*parents))
        await asyncio.gather(*(bench.settle(parent, Complete()) for parent in parents))
        await relay(bench)
        assert await bench.take_ids() == [child.id]

    async def test_each_parent_of_one_call_has_an_end_of_its_own(self, bench: Bench) -> None:
        await bench.put_many(3)
        parents = await bench.take(3)
        ends: list[Settlement] = [Fail("x", FAILURE), Complete(), Bury("x", FAILURE)]
        children = [await bench.put(parents=after(parent), delay=LONG) for parent in parents]
        settled = [Settled(parent, end) for parent, end in zip(parents, ends, strict=True)]
        await bench.backend.broker.settle(settled)
        await relay(bench)
        found = [await bench.record(child.id) for child in children]
        assert [record.state for record in found] == [TaskState.CANCELLED, TaskState.SCHEDULED, TaskState.CANCELLED]
        assert [record.reason.rpartition(" ")[2] for record in found] == ["failed", "", "dead"]

    async def test_a_parent_named_twice_is_one(self, bench: Bench) -> None:
        parent = await bench.running()
        child = await bench.put(parents=after(parent, parent))
        await settle(bench, parent)
        assert await bench.take_ids() == [child.id]

    async def test_a_parent_that_has_completed_holds_up_nobody(self, bench: Bench) -> None:
        parent = await bench.running()
        await settle(bench, parent)
        child = await bench.put(parents=after(parent))
        assert await bench.take_ids() == [child.id]


class ParentRules(Kit):
    """Whoever is waited for must be known, wherever it is."""

    async def test_an_unknown_parent_is_refused_by_its_id(self, bench: Bench) -> None:
        parent, missing = await bench.put(), new_id(bench.backend.shard_of(bench.queue))
        child = bench.message(parents=after(parent.id, missing))
        for atomic in (False, True):
            [answer] = await bench.backend.broker.enqueue([child], atomic=atomic)
            assert (answer.id, answer.status) == (missing, EnqueueStatus.NO_PARENT)
        assert await bench.backend.inspector.get(child.id) is None
        assert await bench.counts() == {TaskState.PENDING: 1}

    async def test_a_repeated_enqueue_is_a_duplicate_whatever_became_of_its_parent(self, bench: Bench) -> None:
        parent = await bench.running(retention=bench.short)
        child = await bench.put(parents=after(parent))
        assert await bench.enqueue(child) == [EnqueueStatus.DUPLICATE]
        await settle(bench, parent)
        await bench.lapse()
        await bench.backend.maintenance.prune()
        assert await bench.enqueue(child) == [EnqueueStatus.DUPLICATE]
        assert await bench.take_ids() == [child.id]

    async def test_parent_and_child_in_one_call(self, bench: Bench) -> None:
        parent = bench.message()
        child = bench.message(parents=after(parent))
        grandchild = bench.message(parents=after(child, parent))
        assert await bench.enqueue(parent, child, grandchild, atomic=True) == [EnqueueStatus.CREATED] * 3
        for each in (parent, child, grandchild):
            delivery = await bench.take_one()
            assert delivery.id == each.id
            await settle(bench, delivery)

    async def test_a_parent_that_another_holds_the_key_of_is_not_there(self, bench: Bench) -> None:
        key = UniqueKey("k")
        holder = await bench.put(unique=key)
        free, refused = bench.message(), bench.message(unique=key)
        batch = [free, bench.message(parents=after(free)), refused, bench.message(parents=after(refused))]
        answers = await bench.backend.broker.enqueue(batch, atomic=True)
        assert {(answer.id, answer.status) for answer in answers} == {(refused.id, EnqueueStatus.NO_PARENT)}
        assert await bench.counts() == {TaskState.PENDING: 1}
        answers = await bench.backend.broker.enqueue(batch)
        assert [(answer.id, answer.status) for answer in answers] == [
            *((each.id, EnqueueStatus.CREATED) for each in batch[:2]),
            (holder.id, EnqueueStatus.DUPLICATE),
            (refused.id, EnqueueStatus.NO_PARENT),
        ]

    async def test_a_parent_in_another_queue(self, bench: Bench) -> None:
        for number in range(6):  # some lie in other shards, where there are such
            other = f"{bench.queue}-{number}"
            parent = await bench.running(queue=other)
            child = await bench.put(parents=after(parent))
            assert await bench.state(child.id) == TaskState.BLOCKED
            await settle(bench, parent)
            grandchild = await bench.put(other, parents=after(child, parent))
            delivery = await bench.take_one()
            assert delivery.id == child.id
            await settle(bench, delivery)
            assert await bench.take_ids(queues=[other]) == [grandchild.id]

    async def test_an_unknown_parent_in_another_queue_is_refused(self, bench: Bench) -> None:
        for number in range(6):
            missing = new_id(bench.backend.shard_of(f"{bench.queue}-{number}"))
            [answer] = await bench.backend.broker.enqueue([bench.message(parents=after(missing))])
            assert (answer.id, answer.status) == (missing, EnqueueStatus.NO_PARENT)
        assert await bench.counts() == {}

    async def test_a_late_settlement_frees_it(self, bench: Bench) -> None:
        parent = await bench.lost()
        child = await bench.put(parents=after(parent))
        await settle(bench, parent)
        assert await bench.take_ids() == [child.id]

    async def test_many_children_of_one(self, bench: Bench) -> None:
        parent = await bench.running()
        ids = await bench.put_many(MANY, parents=after(parent))
        await settle(bench, parent)
        assert sorted(await bench.take_ids(MANY + 1)) == sorted(ids)

    async def test_one_child_of_many(self, bench: Bench) -> None:
        ids = await bench.put_many(2 * MANY)
        child = await bench.put(parents=after(*ids))
        parents = await bench.take(2 * MANY)
        assert [edge.parent for edge in (await bench.record(child.id)).parents] == ids
        await bench.backend.broker.settle([Settled(parent, Complete()) for parent in parents[1:]])
        await relay(bench)
        assert await bench.state(child.id) == TaskState.BLOCKED
        await settle(bench, parents[0])
        assert await bench.take_ids() == [child.id]


class BlockedRules(Kit):
    """A BLOCKED task is like other tasks that wait."""

    async def test_its_time_is_counted_from_the_end_of_its_parents(self, bench: Bench) -> None:
        parent = await bench.running()
        later = await bench.put(parents=after(parent), delay=LONG)
        eta = (await bench.record(parent.id)).created_at.timestamp() + 2 * LONG
        then = await bench.put(parents=after(parent), eta=eta)
        past = await bench.put(parents=after(parent), eta=1.0)
        await bench.pass_time(bench.short)
        await settle(bench, parent)
        record, ended = await bench.record(later.id), await bench.record(parent.id)
        assert record.state == TaskState.SCHEDULED
        assert record.due_at is not None
        assert ended.completed_at is not None
        assert (record.due_at - ended.completed_at).total_seconds() == pytest.approx(LONG, abs=bench.kit.tick * 5)
        found = await bench.record(then.id)
        assert found.due_at is not None
        assert found.due_at.timestamp() == pytest.approx(eta, abs=0.002)
        assert await bench.take_ids() == [past.id]

    async def test_it_holds_its_unique_key(self, bench: Bench) -> None:
        parent, key = await bench.put(), UniqueKey("k")
        child = await bench.put(parents=after(parent), unique=key)
        [answer] = await bench.backend.broker.enqueue([bench.message(unique=key)])
        assert (answer.id, answer.status) == (child.id, EnqueueStatus.DUPLICATE)

    async def test_newer_arguments_leave_it_waiting(self, bench: Bench) -> None:
        parent, key = await bench.running(), UniqueKey("k")
        child = await bench.put(parents=after(parent), unique=key)
        newer = child._replace(body=b"newer", delay=LONG, replaces=True, parents=())
        assert await bench.enqueue(newer) == [EnqueueStatus.REPLACED]
        assert await bench.state(child.id) == TaskState.BLOCKED
        await settle(bench, parent)
        record = await bench.record(child.id)
        assert (record.state, record.body) == (TaskState.SCHEDULED, b"newer")

    async def test_it_can_be_cancelled_and_expires(self, bench: Bench) -> None:
        parent = await bench.running(queue=f"{bench.queue}-parent")
        cancelled = await bench.put(parents=after(parent))
        expired = await bench.put(parents=after(parent), expires=bench.short)
        await bench.backend.broker.cancel([cancelled.id], "not today")
        await bench.lapse()
        await bench.backend.maintenance.expire()
        await settle(bench, parent)
        assert await bench.state(cancelled.id) == TaskState.CANCELLED
        assert await bench.state(expired.id) == TaskState.EXPIRED
        assert await bench.counts() == {TaskState.CANCELLED: 1, TaskState.EXPIRED: 1}

    async def test_purging_leaves_it_to_its_parents(self, bench: Bench) -> None:
        parent = await bench.put(f"{bench.queue}-parent")
        child = await bench.put(parents=after(parent))
        assert await bench.backend.inspector.purge(bench.queue) == 0
        assert await bench.backend.inspector.purge(parent.queue) == 1
        await relay(bench)
        assert await bench.state(child.id) == TaskState.CANCELLED


WAYS = pytest.mark.parametrize("way", ["bury", "fail", "cancel", "cancel waiting", "expire", "poison"])


class ParentFailureRules(Kit):
    """What becomes of a task whose parent ends otherwise than COMPLETED, its edge says."""

    @WAYS
    async def test_each_edge_says_what_becomes_of_its_task(self, bench: Bench, way: str) -> None:
        parent = bench.message(f"{bench.queue}-parent", **self._terms(bench, way))
        children = {each: bench.message(parents=after(parent, on_failure=each)) for each in OnParentFailure}
        await bench.enqueue(parent, *children.values())
        await self._end(bench, parent, way)
        await relay(bench)
        ended = await bench.state(parent.id)
        records = {each: await bench.record(child.id) for each, child in children.items()}
        why = parent_ended(parent.id, ended)
        cancelled, failed = records[OnParentFailure.CANCEL], records[OnParentFailure.FAIL]
        assert (cancelled.state, cancelled.reason) == (TaskState.CANCELLED, why)
        assert (failed.state, failed.reason) == (TaskState.FAILED, "parent failed")
        assert failed.failure is not None
        assert (failed.failure.type, failed.failure.message) == ("ParentFailed", why)
        assert await bench.take_ids() == [children[OnParentFailure.RUN].id]

    async def test_a_parent_that_had_failed_before_counts_alike(self, bench: Bench) -> None:
        parent = await bench.running()
        await settle(bench, parent, Bury("exhausted", FAILURE))
        ids = {each: (await bench.put(parents=after(parent, on_failure=each))).id for each in OnParentFailure}
        assert await bench.state(ids[OnParentFailure.CANCEL]) == TaskState.CANCELLED
        assert await bench.state(ids[OnParentFailure.FAIL]) == TaskState.FAILED
        assert await bench.take_ids() == [ids[OnParentFailure.RUN]]

    async def test_the_first_failure_decides_and_the_rest_is_nothing(self, bench: Bench) -> None:
        await bench.put_many(3)
        one, two, three = await bench.take(3)
        edges = (*after(one, on_failure=OnParentFailure.RUN), *after(two), *after(three))
        child = await bench.put(parents=edges)
        await settle(bench, one, Fail("x", FAILURE))
        assert await bench.state(child.id) == TaskState.BLOCKED
        await settle(bench, two, Fail("x", FAILURE))
        assert (await bench.record(child.id)).reason == parent_ended(two.id, TaskState.FAILED)
        await settle(bench, three)
        assert await bench.state(child.id) == TaskState.CANCELLED
        assert await bench.take() == []

    async def test_it_goes_on_down_a_long_chain(self, bench: Bench) -> None:
        chain = [bench.message()]
        for _ in range(MANY):
            chain.append(bench.message(parents=after(chain[-1])))
        await bench.enqueue(*chain)
        await settle(bench, await bench.take_one(), Cancel("enough"))
        assert await states(bench, [each.id for each in chain]) == {TaskState.CANCELLED}
        assert await bench.counts() == {TaskState.CANCELLED: MANY + 1}

    async def test_it_goes_on_to_many_children(self, bench: Bench) -> None:
        parent = await bench.running()
        ids = await bench.put_many(MANY, parents=after(parent, on_failure=OnParentFailure.FAIL))
        last = await bench.put(parents=after(ids[-1], on_failure=OnParentFailure.RUN))
        await settle(bench, parent, Bury("x", FAILURE))
        assert await bench.counts() == {TaskState.DEAD: 1, TaskState.FAILED: MANY, TaskState.PENDING: 1}
        assert await bench.take_ids() == [last.id]

    async def test_what_is_redriven_waits_for_parents_that_have_not_ended(self, bench: Bench) -> None:
        await bench.put_many(2)
        one, two = await bench.take(2)
        child = await bench.put(parents=after(one, two))
        grandchild = await bench.put(parents=after(child))
        await settle(bench, one)
        await settle(bench, two, Bury("exhausted", FAILURE))
        assert await states(bench, [child.id, grandchild.id]) == {TaskState.CANCELLED}
        ids = [two.id, child.id, grandchild.id]
        assert moved(await bench.backend.inspector.redrive(ids)) == [True] * 3
        await relay(bench)
        assert await states(bench, [child.id, grandchild.id]) == {TaskState.BLOCKED}
        for id in ids:
            delivery = await bench.take_one()
            assert delivery.id == id
            await settle(bench, delivery)

    async def test_what_is_redriven_before_its_parent_in_one_call_waits_for_it(self, bench: Bench) -> None:
        parent = await bench.running()
        child = await bench.put(parents=after(parent))
        await settle(bench, parent, Bury("exhausted", FAILURE))
        assert moved(await bench.backend.inspector.redrive([child.id, parent.id])) == [True] * 2
        await relay(bench)
        assert await states(bench, [child.id]) == {TaskState.BLOCKED}
        await settle(bench, await bench.take_one())
        assert await bench.take_ids() == [child.id]

    async def test_what_is_redriven_alone_does_not_wait_for_the_dead(self, bench: Bench) -> None:
        parent = await bench.running()
        child = await bench.put(parents=after(parent))
        await settle(bench, parent, Bury("exhausted", FAILURE))
        assert moved(await bench.backend.inspector.redrive([child.id])) == [True]
        await relay(bench)
        assert await bench.take_ids() == [child.id]

    @staticmethod
    def _terms(bench: Bench, way: str) -> dict[str, Any]:
        if way == "expire":
            return {"expires": bench.short}
        return {"dead_letter": way != "fail", "max_lost_leases": 1}

    async def _end(self, bench: Bench, parent: Message, way: str) -> None:
        backend = bench.backend
        if way == "cancel waiting":
            await backend.broker.cancel([parent.id], "enough")
            return
        if way == "expire":
            await bench.lapse()
            await backend.maintenance.expire()
            return
        delivery = await bench.take_one(queues=[parent.queue], lease=bench.short if way == "poison" else LONG)
        if way == "poison":
            await bench.lapse()
            await bench.reap()
            return
        ways: dict[str, Settlement] = {"bury": Bury("x", FAILURE), "fail": Fail("x", FAILURE), "cancel": Cancel("no")}
        await bench.apply(delivery, ways[way])
