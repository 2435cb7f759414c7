"""Rules about the callbacks of flows, and about cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from taskq.domain.flow import FlowState, Tally
from taskq.domain.message import Delivery, Message
from taskq.domain.outcome import Bury, Cancel, Complete, Fail, Release
from taskq.domain.state import TaskState
from taskq.domain.workflow import OnParentFailure
from taskq.ports import EnqueueStatus, NewFlow, QueueConfig
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_id
from taskq.testing.conformance.flows import ALL, DONE, FAILED, SUCCESS, fired, flow, make, tally
from taskq.testing.conformance.joins import MANY, after, relay, settle, states
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.tenants import bound


class CallbackRules(Kit):
    """Each callback of a flow is enqueued once, when its time has come."""

    async def test_success_and_the_end(self, bench: Bench) -> None:
        id, messages = await make(bench, *ALL)
        await bench.put_many(2, flow=id)
        await bench.backend.flows.close(id)
        for delivery in await bench.take(2):
            assert await fired(bench) == []
            await settle(bench, delivery)
        await relay(bench)
        deliveries = await bench.take(10, queues=[f"{bench.queue}-callbacks"])
        assert {one.id for one in deliveries} == {messages[SUCCESS].id, messages[DONE].id}
        assert (await flow(bench, id)).fired == {SUCCESS, DONE}
        assert await tally(bench, id) == Tally(2, 2)

    async def test_the_first_failure_is_told_at_once(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL)
        await bench.put_many(3, flow=id)
        one, two, three = await bench.take(3)
        await settle(bench, one, Bury("x", FAILURE))
        assert await fired(bench) == [FAILED]
        await settle(bench, two, Bury("x", FAILURE))
        await bench.backend.flows.close(id)
        assert await fired(bench) == []
        await settle(bench, three)
        assert await fired(bench) == [DONE]
        assert (await flow(bench, id)).state == FlowState.FAILED

    async def test_one_that_its_parent_ends_at_once_does_not_end_a_flow_that_runs(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL)
        failed = await bench.running()
        await settle(bench, failed, Bury("x", FAILURE))
        running = await bench.running(flow=id)
        assert await bench.backend.flows.close(id)
        first = await bench.put(flow=id, parents=after(failed))
        assert await fired(bench) == [FAILED]
        record = await flow(bench, id)
        assert (record.tally, record.ended_at) == (Tally(2, cancelled=1), None)
        second = bench.message(flow=id, parents=after(first, on_failure=OnParentFailure.FAIL))
        await bench.enqueue(second, bench.message(flow=id, parents=after(second)))
        await bench.put(flow=id)  # it takes others still
        await settle(bench, running)
        assert (await tally(bench, id)).pending == 1
        await settle(bench, await bench.take_one())
        assert await fired(bench) == [DONE]
        assert await tally(bench, id) == Tally(5, completed=2, failed=1, cancelled=2)

    async def test_a_retry_brings_success_late_and_nothing_twice(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL)
        delivery = await bench.running(flow=id)
        await bench.backend.flows.close(id)
        await settle(bench, delivery, Fail("x", FAILURE))
        assert await fired(bench) == sorted([FAILED, DONE])
        for end, expected in ((Fail("x", FAILURE), []), (Complete(), [SUCCESS])):
            await bench.backend.inspector.redrive([delivery.id])
            record = await flow(bench, id)
            assert (record.state, record.tally, record.ended_at) == (FlowState.RUNNING, Tally(1), None)
            await settle(bench, await bench.take_one(), end)
            assert await fired(bench) == expected
        assert (await flow(bench, id)).state == FlowState.COMPLETED

    async def test_those_who_end_it_at_once_fire_once(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL)
        await bench.put_many(20, flow=id)
        await bench.backend.flows.close(id)
        deliveries = await bench.take(20)
        ends = [Complete() if n % 2 else Fail("x", FAILURE) for n in range(20)]
        await asyncio.gather(*(bench.settle(one, end) for one, end in zip(deliveries, ends, strict=True)))
        await asyncio.gather(*(bench.backend.maintenance.relay() for _ in range(5)))
        assert await fired(bench) == sorted([FAILED, DONE])
        assert await tally(bench, id) == Tally(20, 10, 10)

    async def test_a_full_queue_gets_it_when_there_is_room(self, bench: Bench) -> None:
        id, _ = await make(bench, DONE)
        queue = f"{bench.queue}-callbacks"
        await bench.backend.queues.configure(queue, QueueConfig(max_size=1))
        await bench.put(queue)
        await bench.backend.flows.close(id)
        await bench.backend.maintenance.relay()
        assert len(await bench.take(10, queues=[queue])) == 1
        assert await fired(bench) == [DONE]

    async def test_a_tenant_over_its_quota_gets_it_when_there_is_room(self, bench: Bench) -> None:
        id = new_id(bench.backend.shard_of(bench.queue))
        message = bench.message(group="acme")
        await bench.backend.flows.create(NewFlow(id, callbacks={DONE: message}))
        await bound(bench, unfinished=1)
        held = await bench.put(group="acme")
        await bench.backend.flows.close(id)
        await relay(bench)
        assert await bench.backend.inspector.get(message.id) is None
        await bench.backend.broker.cancel([held.id])
        await relay(bench)
        assert await bench.take_ids() == [message.id]

    async def test_it_is_enqueued_in_whatever_queue_it_has(self, bench: Bench) -> None:
        for number in range(6):
            queue = f"{bench.queue}-{number}"
            id = new_id(bench.backend.shard_of(bench.queue))
            message = bench.message(queue)
            await bench.backend.flows.create(NewFlow(id, callbacks={DONE: message}))
            await bench.backend.flows.close(id)
            await relay(bench)
            assert await bench.take_ids(queues=[queue]) == [message.id]

    async def test_all_of_its_message_arrives(self, bench: Bench) -> None:
        id = new_id(bench.backend.shard_of(bench.queue))
        terms: dict[str, Any] = {
            "priority": 3,
            "tenant": "acme",
            "delay": LONG,
            "max_lost_leases": 7,
            "dead_letter": False,
        }
        message = bench.message(body=b"\x00\xff", retention=60.0, expires=2 * LONG, **terms)
        await bench.backend.flows.create(NewFlow(id, callbacks={DONE: message}))
        await bench.backend.flows.close(id)
        await relay(bench)
        record = await bench.record(message.id)
        assert (record.state, record.body, record.retention) == (TaskState.SCHEDULED, b"\x00\xff", 60.0)
        assert (record.priority, record.tenant, record.max_lost_leases, record.dead_letter) == (3, "acme", 7, False)
        assert record.expires_at is not None


class CancelledFlowRules(Kit):
    """Cancelling a flow."""

    async def test_all_members_are_cancelled(self, bench: Bench) -> None:
        id, _ = await make(bench, *ALL)
        running, done = await self._two_that_run(bench, id)
        await settle(bench, done)
        ids = await self._members_that_wait(bench, id)
        assert await bench.backend.flows.cancel(id, "enough")
        await relay(bench)
        assert await states(bench, ids) == {TaskState.CANCELLED}
        assert {(await bench.record(each)).reason for each in ids[:-1]} == {"enough"}
        assert await bench.state(done.id) == TaskState.COMPLETED
        assert (await bench.backend.broker.extend([running], LONG)).cancel_wanted == {running.id}
        record = await flow(bench, id)
        assert (record.state, record.cancel_reason) == (FlowState.RUNNING, "enough")
        assert await fired(bench) == []
        await settle(bench, running, Release())
        assert await bench.state(running.id) == TaskState.CANCELLED
        assert (await flow(bench, id)).state == FlowState.CANCELLED
        assert await fired(bench) == [DONE]
        assert await tally(bench, id) == Tally(4 + MANY, completed=1, cancelled=3 + MANY)

    async def test_one_that_was_cancelled_before_it_was_closed_is_no_success(self, bench: Bench) -> None:
        for count in (0, 1):
            id, _ = await make(bench, *ALL)
            for _ in range(count):
                await settle(bench, await bench.running(flow=id))
            assert await bench.backend.flows.cancel(id, "not whole")
            assert await fired(bench) == [DONE]
            record = await flow(bench, id)
            assert (record.state, record.is_partial, record.tally) == (FlowState.CANCELLED, True, Tally(count, count))

    async def test_one_that_was_cancelled_and_is_retried_succeeds(self, bench: Bench) -> None:
        id, member = await self._cancelled_one(bench)
        await bench.backend.inspector.redrive([member.id])
        await settle(bench, await bench.take_one())
        assert await fired(bench) == [SUCCESS]
        assert (await flow(bench, id)).state == FlowState.COMPLETED

    async def test_members_that_were_redriven_are_cancelled_once_more(self, bench: Bench) -> None:
        id, _ = await make(bench)
        members = await bench.put_many(3, flow=id)
        await bench.backend.flows.close(id)
        for reason in ("enough", "again"):
            assert await bench.backend.flows.cancel(id, reason)
            await relay(bench)
            assert await states(bench, members) == {TaskState.CANCELLED}
            assert await tally(bench, id) == Tally(3, cancelled=3)
            await bench.backend.inspector.redrive(members)
        assert await bench.counts() == {TaskState.PENDING: 3}

    async def test_one_that_is_reopened_is_as_if_it_had_never_been_cancelled(self, bench: Bench) -> None:
        id, member = await self._cancelled_one(bench)
        await bench.backend.inspector.redrive([member.id])
        assert await bench.backend.flows.reopen(id)
        record = await flow(bench, id)
        assert (record.state, record.cancel_reason) == (FlowState.RUNNING, None)
        other = await bench.put(flow=id)
        await relay(bench)
        assert await states(bench, [member.id, other.id]) == {TaskState.PENDING}
        for delivery in await bench.take(2):
            await settle(bench, delivery, Bury("x", FAILURE))
        assert await fired(bench) == [FAILED]
        assert (await flow(bench, id)).state == FlowState.FAILED
        assert not await bench.backend.flows.reopen(new_id(bench.backend.shard_of(bench.queue)))

    async def test_it_takes_nobody_and_has_nothing_more_to_cancel(self, bench: Bench) -> None:
        id, _ = await make(bench)
        delivery = await bench.running(flow=id)
        assert await bench.backend.flows.cancel(id)
        await relay(bench)
        assert await bench.enqueue(bench.message(flow=id)) == [EnqueueStatus.FLOW_OVER]
        assert await bench.backend.flows.cancel(id, "again")
        assert (await flow(bench, id)).cancel_reason == ""
        await settle(bench, delivery, Cancel())
        assert not await bench.backend.flows.cancel(id)
        assert not await bench.backend.flows.cancel(new_id(bench.backend.shard_of(bench.queue)))

    @staticmethod
    async def _cancelled_one(bench: Bench) -> tuple[str, Message]:
        """A flow that was cancelled with its only member, and has told of its end."""
        id, _ = await make(bench, *ALL)
        member = await bench.put(flow=id)
        await bench.backend.flows.close(id)
        await bench.backend.flows.cancel(id, "enough")
        assert await fired(bench) == [DONE]
        return id, member

    @staticmethod
    async def _two_that_run(bench: Bench, id: str) -> Sequence[Delivery]:
        await bench.put_many(2, flow=id)
        return await bench.take(2)

    @staticmethod
    async def _members_that_wait(bench: Bench, id: str) -> list[str]:
        pending = await bench.put_many(MANY, flow=id)
        delayed = await bench.put(flow=id, delay=LONG)
        blocked = await bench.put(f"{bench.queue}-other", flow=id, parents=after(delayed))
        return [*pending, delayed.id, blocked.id]
