"""Rules about workflows and batches: members are counted with their own ends, and callbacks fire once."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.domain.flow import NEVER_CLOSED, Callback, FlowKind, FlowRecord, FlowState, Tally
from taskq.domain.message import Message
from taskq.domain.outcome import Bury, Cancel, Complete, Fail, Retry, Settlement
from taskq.domain.state import TaskState
from taskq.errors import InvalidOption
from taskq.ports import EnqueueStatus, NewFlow, QueueConfig, Settled
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, moved, new_id
from taskq.testing.conformance.joins import MANY, after, relay, settle, states
from taskq.testing.conformance.kit import Kit


async def make(bench: Bench, *callbacks: Callback, **fields: Any) -> tuple[str, dict[Callback, Message]]:
    """A flow with some callbacks, in a queue of their own; returns its id and them."""
    id = new_id(bench.backend.shard_of(bench.queue))
    messages = {each: bench.message(f"{bench.queue}-callbacks", body=each.encode()) for each in callbacks}
    assert await bench.backend.flows.create(NewFlow(id, callbacks=messages, **fields))
    return id, messages


async def flow(bench: Bench, id: str) -> FlowRecord:
    """The record of a flow, which must be there."""
    record = await bench.backend.flows.get(id)
    assert record is not None, f"no record of flow {id}"
    return record


async def tally(bench: Bench, id: str) -> Tally:
    """What a flow has counted."""
    return (await flow(bench, id)).tally


async def fired(bench: Bench) -> list[Callback]:
    """The callbacks that were enqueued since the last look, in no order."""
    await relay(bench)
    return sorted(Callback(d.body.decode()) for d in await bench.take(10, queues=[f"{bench.queue}-callbacks"]))


ALL = tuple(Callback)
SUCCESS, FAILED, DONE = Callback.SUCCESS, Callback.FAILURE, Callback.COMPLETE


async def pages(bench: Bench, id: str, *, failed: bool = False) -> list[str]:
    """The members of a flow, in pages of two."""
    page = await bench.backend.flows.members(id, 2, failed=failed)
    found = [*page.ids]
    while page.next_cursor is not None:
        assert len(page.ids) == 2
        page = await bench.backend.flows.members(id, 2, page.next_cursor, failed=failed)
        found += page.ids
    return found


class FlowRules(Kit):
    """A flow counts its members."""

    async def test_a_flow_is_kept_as_it_was_made(self, bench: Bench) -> None:
        id = new_id(bench.backend.shard_of(bench.queue))
        assert await bench.backend.flows.get(id) is None
        new = NewFlow(id, FlowKind.WORKFLOW, "Ünïcode ✓ nightly", b'{"x":"\\u0000"}', is_held=True)
        assert await bench.backend.flows.create(new)
        assert not await bench.backend.flows.create(new._replace(name="other"))
        record = await flow(bench, id)
        assert (record.id, record.kind, record.name, record.spec) == (id, FlowKind.WORKFLOW, new.name, new.spec)
        assert (record.tally, record.is_held, record.state) == (Tally(), True, FlowState.OPEN)
        assert (record.closed_at, record.ended_at, record.cancel_reason, record.fired) == (
            None,
            None,
            None,
            frozenset(),
        )

    async def test_each_end_is_counted_once(self, bench: Bench) -> None:
        id, _ = await make(bench)
        await bench.put_many(6, flow=id)
        assert await tally(bench, id) == Tally(6)
        ends: list[Settlement] = [
            Complete(),
            Complete(),
            Fail("x", FAILURE),
            Bury("x", FAILURE),
            Cancel("no"),
            Retry(LONG, FAILURE),
        ]
        settled = [Settled(one, end) for one, end in zip(await bench.take(6), ends, strict=True)]
        for _ in range(2):
            await bench.backend.broker.settle(settled)
            await relay(bench)
            assert await tally(bench, id) == Tally(6, completed=2, failed=2, cancelled=1)
        expires = await bench.put(flow=id, expires=bench.short)
        await bench.lapse()
        await bench.backend.maintenance.expire()
        await relay(bench)
        assert await tally(bench, id) == Tally(7, completed=2, failed=3, cancelled=1)
        assert (await bench.record(expires.id)).flow == id

    async def test_a_lost_lease_is_no_end_but_the_last(self, bench: Bench) -> None:
        id, _ = await make(bench)
        await bench.lost(flow=id, max_lost_leases=2)
        assert await tally(bench, id) == Tally(1)
        await bench.take_one(lease=bench.short)
        await bench.lapse()
        await bench.reap()
        await relay(bench)
        assert await tally(bench, id) == Tally(1, failed=1)

    async def test_it_ends_once_it_is_closed_and_all_have_ended(self, bench: Bench) -> None:
        id, _ = await make(bench)
        await bench.put_many(2, flow=id)
        one, two = await bench.take(2)
        await settle(bench, one)
        assert (await flow(bench, id)).state == FlowState.OPEN
        assert await bench.backend.flows.close(id)
        record = await flow(bench, id)
        assert (record.state, record.ended_at) == (FlowState.RUNNING, None)
        await settle(bench, two)
        record = await flow(bench, id)
        assert record.state == FlowState.COMPLETED
        assert record.closed_at is not None
        assert record.ended_at is not None
        assert record.created_at <= record.closed_at <= record.ended_at

    async def test_an_empty_flow_ends_as_it_is_closed(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL)
        assert await fired(bench) == []
        assert await bench.backend.flows.close(id)
        assert await fired(bench) == sorted([SUCCESS, DONE])
        assert (await flow(bench, id)).state == FlowState.COMPLETED

    async def test_what_is_refused_or_known_is_not_counted(self, bench: Bench) -> None:
        id, _ = await make(bench)
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=1))
        first, second = bench.message(flow=id), bench.message(flow=id)
        assert await bench.enqueue(first, second, first) == [
            EnqueueStatus.CREATED,
            EnqueueStatus.FULL,
            EnqueueStatus.DUPLICATE,
        ]
        assert await bench.enqueue(first) == [EnqueueStatus.DUPLICATE]
        assert await tally(bench, id) == Tally(1)
        assert list((await bench.backend.flows.members(id)).ids) == [first.id]

    async def test_one_that_is_over_or_unknown_takes_nobody(self, bench: Bench) -> None:
        id, _ = await make(bench)
        await bench.backend.flows.close(id)
        await relay(bench)
        for each in (id, new_id(bench.backend.shard_of(bench.queue))):
            for atomic in (False, True):
                assert await bench.enqueue(bench.message(flow=each), atomic=atomic) == [EnqueueStatus.FLOW_OVER]
        assert await bench.counts() == {}
        assert not await bench.backend.flows.close(each)

    async def test_a_member_adds_members_to_a_closed_flow(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL)
        delivery = await bench.running(flow=id)
        await bench.backend.flows.close(id)
        await bench.put(flow=id)
        await settle(bench, delivery)
        assert (await flow(bench, id)).state == FlowState.RUNNING
        assert await fired(bench) == []
        await settle(bench, await bench.take_one())
        assert await fired(bench) == sorted([SUCCESS, DONE])

    async def test_members_in_several_queues(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL)
        queues = [f"{bench.queue}-{number}" for number in range(6)]  # some in other shards, where there are such
        for queue in queues:
            await bench.put_many(2, queue, flow=id)
        await bench.backend.flows.close(id)
        assert await tally(bench, id) == Tally(12)
        deliveries = [await bench.take(2, queues=[queue]) for queue in queues]
        for one, _ in deliveries:
            await settle(bench, one)
        assert await tally(bench, id) == Tally(12, 6)
        assert await fired(bench) == []
        for _, two in deliveries:
            await settle(bench, two)
        assert await tally(bench, id) == Tally(12, 12)
        assert await fired(bench) == sorted([SUCCESS, DONE])
        assert len((await bench.backend.flows.members(id)).ids) == 12

    async def test_members_are_told_page_by_page(self, bench: Bench) -> None:
        id, _ = await make(bench)
        ids = await bench.put_many(5, flow=id)
        assert await pages(bench, id) == ids
        for place, delivery in enumerate(await bench.take(5)):
            await settle(bench, delivery, Bury("x", FAILURE) if place % 2 else Cancel("no"))
        assert sorted(await pages(bench, id, failed=True)) == sorted(ids)
        for failed in (False, True):
            with pytest.raises(InvalidOption):
                await bench.backend.flows.members(id, 2, "nonsense", failed=failed)

    async def test_those_that_failed_are_told_apart(self, bench: Bench) -> None:
        id, _ = await make(bench)
        await bench.put_many(3, flow=id)
        one, two, three = await bench.take(3)
        await settle(bench, one)
        await settle(bench, two, Bury("x", FAILURE))
        await settle(bench, three, Cancel("no"))
        assert sorted((await bench.backend.flows.members(id, failed=True)).ids) == sorted([two.id, three.id])
        await bench.backend.inspector.redrive([two.id])
        assert list((await bench.backend.flows.members(id, failed=True)).ids) == [three.id]
        assert await tally(bench, id) == Tally(3, completed=1, cancelled=1)

    async def test_flows_are_listed_the_newest_first(self, bench: Bench) -> None:
        ids = []
        for _ in range(3):
            ids.append((await make(bench))[0])
            await bench.pass_time(bench.short)
        page = await bench.backend.flows.list(2)
        assert [record.id for record in page.records] == ids[:0:-1]
        page = await bench.backend.flows.list(2, page.next_cursor)
        assert ([record.id for record in page.records], page.next_cursor) == (ids[:1], None)

    async def test_one_of_which_nothing_is_pending_can_be_forgotten(self, bench: Bench) -> None:
        id, _ = await make(bench)
        delivery = await bench.running(flow=id)
        assert not await bench.backend.flows.forget(id)
        await settle(bench, delivery)
        assert await bench.backend.flows.forget(id)
        assert not await bench.backend.flows.forget(id)
        assert await bench.backend.flows.get(id) is None
        assert list((await bench.backend.flows.list()).records) == []
        assert await bench.state(delivery.id) == TaskState.COMPLETED

    async def test_one_is_forgotten_some_time_after_its_end(self, bench: Bench) -> None:
        id, _ = await make(bench, retention=bench.short)
        other, _ = await make(bench)
        delivery = await bench.running(flow=id)
        await bench.lapse()
        await bench.backend.maintenance.prune()
        assert await tally(bench, id) == Tally(1)
        await settle(bench, delivery)
        await bench.backend.flows.close(id)
        await relay(bench)
        await bench.lapse()
        await bench.backend.maintenance.prune()
        assert await bench.backend.flows.get(id) is None
        assert [record.id for record in (await bench.backend.flows.list()).records] == [other]

    async def test_an_end_after_its_flow_is_forgotten_is_an_end_all_the_same(self, bench: Bench) -> None:
        id, _ = await make(bench)
        delivery = await bench.running(flow=id)
        await settle(bench, delivery, Fail("x", FAILURE))
        await bench.backend.flows.forget(id)
        assert moved(await bench.backend.inspector.redrive([delivery.id])) == [True]
        await settle(bench, await bench.take_one())
        assert await bench.state(delivery.id) == TaskState.COMPLETED
        assert await bench.backend.flows.get(id) is None


class HeldFlowRules(Kit):
    """A flow may hold its members until all are stored."""

    async def test_nothing_runs_before_it_is_closed(self, bench: Bench) -> None:
        id, _ = await make(bench, is_held=True)
        first = await bench.put(flow=id, parents=after(id))
        second = await bench.put(flow=id, parents=after(first))
        assert await states(bench, [first.id, second.id]) == {TaskState.BLOCKED}
        await bench.backend.flows.close(id)
        await relay(bench)
        delivery = await bench.take_one()
        assert delivery.id == first.id
        await settle(bench, delivery)
        await settle(bench, await bench.take_one())
        assert (await flow(bench, id)).state == FlowState.COMPLETED

    async def test_many_members_are_let_go(self, bench: Bench) -> None:
        id, _ = await make(bench, is_held=True)
        ids = await bench.put_many(MANY, flow=id, parents=after(id))
        await bench.backend.flows.close(id)
        await relay(bench)
        assert sorted(await bench.take_ids(MANY + 1)) == sorted(ids)

    async def test_members_in_several_queues_are_let_go(self, bench: Bench) -> None:
        id, _ = await make(bench, is_held=True)
        queues = [f"{bench.queue}-{number}" for number in range(6)]
        for queue in queues:
            await bench.put(queue, flow=id, parents=after(id))
        assert await bench.take(10, queues=queues) == []
        await bench.backend.flows.close(id)
        await relay(bench)
        assert len(await bench.take(10, queues=queues)) == 6

    async def test_a_member_that_comes_after_it_was_closed_is_not_held(self, bench: Bench) -> None:
        id, _ = await make(bench, is_held=True)
        await bench.put(flow=id)
        await bench.backend.flows.close(id)
        late = await bench.put(flow=id, parents=after(id))
        await relay(bench)
        assert await bench.state(late.id) == TaskState.PENDING

    async def test_only_its_own_members_are_held(self, bench: Bench) -> None:
        id, _ = await make(bench, is_held=True)
        other, _ = await make(bench)
        for flow in ("", other):
            stranger = bench.message(parents=after(id), flow=flow)
            for atomic in (False, True):
                [answer] = await bench.backend.broker.enqueue([stranger], atomic=atomic)
                assert (answer.id, answer.status) == (id, EnqueueStatus.NO_PARENT)
        assert await bench.counts() == {}

    async def test_one_that_is_given_up_leaves_nothing_behind_that_waits(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL, is_held=True)
        ids = await bench.put_many(3, flow=id, parents=after(id))
        assert await bench.backend.flows.give_up(id, "no room")
        await relay(bench)
        assert await states(bench, ids) == {TaskState.CANCELLED}
        assert await fired(bench) == [DONE]
        record = await bench.backend.flows.get(id)
        assert record is not None
        assert (record.state, record.is_partial, record.cancel_reason) == (FlowState.CANCELLED, True, "no room")
        assert await bench.backend.inspector.discard(ids) == 3
        assert await bench.backend.flows.forget(id)

    async def test_one_that_is_closed_cancelled_or_unknown_is_not_given_up(self, bench: Bench) -> None:
        closed, cancelled = [(await make(bench, is_held=True))[0] for _ in range(2)]
        ids = [(await bench.put(flow=id, parents=after(id))).id for id in (closed, cancelled)]
        await bench.backend.flows.close(closed)
        await bench.backend.flows.cancel(cancelled, "enough")
        for id in (closed, cancelled, new_id(bench.backend.shard_of(bench.queue))):
            assert not await bench.backend.flows.give_up(id, "no room")
        await relay(bench)
        assert [await bench.state(id) for id in ids] == [TaskState.PENDING, TaskState.CANCELLED]
        records = [await bench.backend.flows.get(id) for id in (closed, cancelled)]
        assert [record and record.cancel_reason for record in records] == [None, "enough"]


class AbandonedFlowRules(Kit):
    """What nobody has stored whole, for backends whose clock is turned by hand."""

    async def test_a_held_flow_that_nobody_closes_is_cancelled(self, bench: Bench) -> None:
        id, _ = await make(bench, is_held=True)
        member = await bench.put(flow=id, parents=after(id))
        open_one, _ = await make(bench)
        await bench.pass_time(NEVER_CLOSED - 1)
        await relay(bench)
        assert await bench.state(member.id) == TaskState.BLOCKED
        await bench.pass_time(2)
        await relay(bench)
        assert await bench.state(member.id) == TaskState.CANCELLED
        assert (await flow(bench, id)).state == FlowState.CANCELLED
        assert (await flow(bench, open_one)).state == FlowState.OPEN
