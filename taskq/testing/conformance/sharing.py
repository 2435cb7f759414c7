"""Sharing: clones see one store, namespaces and queues stay apart, and what is done at once is done once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from taskq.domain.message import Delivery, Message
from taskq.domain.outcome import Complete, Release
from taskq.domain.state import TaskState
from taskq.ports import Backend, Capability, EnqueueStatus, Event, Settled, SettleStatus
from taskq.testing.conformance.bench import LONG, Bench, eventually, new_worker
from taskq.testing.conformance.fleet import worker_info
from taskq.testing.conformance.kit import FreshBackend, Kit


class CloneRules(Kit):
    """A clone is another way into the same store."""

    async def test_a_clone_sees_the_same_store(self, bench: Bench) -> None:
        task = await bench.put()
        async with bench.backend.clone() as other:
            there = Bench(self, other, bench.queue)
            delivery = await there.take_one()
            assert delivery.id == task.id
            assert await bench.state(task.id) == TaskState.RUNNING
            await bench.apply(delivery, Complete())
            assert await there.state(task.id) == TaskState.COMPLETED

    async def test_the_store_outlives_a_clone(self, bench: Bench) -> None:
        async with bench.backend.clone() as other:
            task = await Bench(self, other, bench.queue).put()
        assert await bench.take_ids() == [task.id]

    async def test_a_clone_says_the_same_of_itself(self, bench: Bench) -> None:
        async with bench.backend.clone() as other:
            assert other.capabilities == bench.backend.capabilities
            assert other.shard_of(bench.queue) == bench.backend.shard_of(bench.queue)

    async def test_a_clone_works_in_another_thread(self, bench: Bench) -> None:
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], LONG))
        await bench.let_wait()
        clone = bench.backend.clone()

        async def put() -> Message:
            async with clone as other:
                return await Bench(self, other, bench.queue).put()

        task = await asyncio.to_thread(lambda: asyncio.run(put()))
        assert await bench.finish(waiting)
        assert await bench.take_ids() == [task.id]

    async def test_an_end_in_another_thread_wakes_those_who_wait(self, bench: Bench) -> None:
        delivery = await bench.running()
        waiting = asyncio.create_task(bench.backend.results.wait(delivery.id, LONG))
        await bench.let_wait()
        clone = bench.backend.clone()

        async def settle() -> None:
            async with clone as other:
                await Bench(self, other, bench.queue).apply(delivery, Complete(b"1"))

        await asyncio.to_thread(lambda: asyncio.run(settle()))
        finished = await bench.finish(waiting)
        assert finished is not None
        assert finished.result == b"1"

    async def test_events_reach_a_clone(self, bench: Bench) -> None:
        async with bench.backend.clone() as other:
            listener = other.events.subscribe([bench.queue])
            waiting = asyncio.ensure_future(anext(listener))

            async def tell() -> bool:
                await bench.backend.events.publish([Event(bench.queue, "hello")])
                return waiting.done()

            await eventually(tell, bench.kit.deadline)
            assert waiting.result() == Event(bench.queue, "hello")
            await listener.aclose()  # type: ignore[attr-defined]


class NamespaceRules(Kit):
    """What lies in one namespace is not there in another."""

    async def test_tasks_stay_in_their_namespace(self, bench: Bench, fresh_backend: FreshBackend) -> None:
        task = await bench.put()
        async with fresh_backend() as elsewhere:
            there = Bench(self, elsewhere, bench.queue)
            assert await there.take() == []
            assert await elsewhere.inspector.get(task.id) is None
            assert await there.counts() == {}
            assert await there.enqueue(task) == [EnqueueStatus.CREATED]
            assert (await there.take_one()).id == task.id
        assert await bench.state(task.id) == TaskState.PENDING

    async def test_upkeep_stays_in_its_namespace(self, bench: Bench, fresh_backend: FreshBackend) -> None:
        await bench.running(bench.short)
        await bench.put(delay=bench.short)
        await bench.put(expires=bench.short, delay=LONG)
        await bench.lapse()
        async with fresh_backend() as elsewhere:
            there = Bench(self, elsewhere)
            assert (await there.reap()).requeued == 0
            assert await elsewhere.maintenance.promote() == 0
            assert await elsewhere.maintenance.expire() == 0

    async def test_workers_pauses_and_results_stay_in_their_namespace(
        self, bench: Bench, fresh_backend: FreshBackend
    ) -> None:
        await bench.backend.registry.report(worker_info(), LONG)
        await bench.backend.queues.pause(bench.queue)
        task = await bench.put()
        await bench.backend.results.put(task.id, 1, b"x", LONG)
        async with fresh_backend() as elsewhere:
            there = Bench(self, elsewhere, bench.queue)
            assert list(await elsewhere.registry.workers()) == []
            await there.put()
            assert len(await there.take()) == 1
            assert await elsewhere.results.get(task.id, 1) is None


class ConcurrencyRules(Kit):
    """Many at once, each through its own way into the store."""

    async def test_no_task_is_handed_out_twice(self, bench: Bench) -> None:
        ids = await bench.put_many(60)
        async with AsyncExitStack() as stack:
            benches = await self._clones(bench, stack, 3)

            async def drain(there: Bench) -> list[str]:
                taken: list[str] = []
                while claimed := await there.take_ids(4):
                    taken += claimed
                return taken

            drained = await asyncio.gather(*(drain(benches[n % 3]) for n in range(9)))
        assert sorted(id for taken in drained for id in taken) == sorted(ids)
        assert await bench.counts() == {TaskState.RUNNING: 60}

    async def test_no_run_is_settled_twice(self, bench: Bench) -> None:
        await bench.put_many(20)
        deliveries = await bench.take(20)
        async with AsyncExitStack() as stack:
            benches = await self._clones(bench, stack, 2)
            batches = [deliveries, deliveries[::-1]]
            answers = await asyncio.gather(
                *(
                    there.backend.broker.settle([Settled(delivery, Complete()) for delivery in batch])
                    for there, batch in zip(benches, batches, strict=True)
                )
            )
        statuses = sorted(status.value for answer in answers for status in answer)
        assert statuses == ["applied"] * 20 + ["repeated"] * 20
        assert await bench.counts() == {TaskState.COMPLETED: 20}

    async def test_the_same_message_from_many_is_created_once(self, bench: Bench) -> None:
        messages = [bench.message() for _ in range(5)]
        async with AsyncExitStack() as stack:
            benches = await self._clones(bench, stack, 3)
            answers = await asyncio.gather(*(there.enqueue(*messages) for there in benches for _ in range(3)))
        for n in range(5):
            assert sorted(answer[n].value for answer in answers) == ["created"] + ["duplicate"] * 8
        assert await bench.counts() == {TaskState.PENDING: 5}

    async def test_an_end_and_the_loss_of_its_lease_at_once_are_one_end(self, bench: Bench) -> None:
        await bench.put_many(20)
        deliveries = await bench.take(20, lease=bench.short)
        await bench.lapse()
        async with AsyncExitStack() as stack:
            [other] = await self._clones(bench, stack, 1)
            statuses, *_ = await asyncio.gather(
                asyncio.gather(*(bench.settle(delivery, Complete()) for delivery in deliveries)),
                *(other.reap(5) for _ in range(4)),
            )
        assert set(statuses) == {SettleStatus.APPLIED}
        assert await bench.counts() == {TaskState.COMPLETED: 20}
        assert await bench.take(20) == []

    async def test_a_lost_lease_is_taken_away_once_by_many_reapers(self, bench: Bench) -> None:
        await bench.put_many(20)
        await bench.take(20, lease=bench.short)
        await bench.lapse()
        async with AsyncExitStack() as stack:
            benches = await self._clones(bench, stack, 3)
            reaped = await asyncio.gather(*(there.reap() for there in benches))
        assert sum(answer.requeued for answer in reaped) == 20
        assert {delivery.lost_leases for delivery in await bench.take(20)} == {1}

    async def test_a_claim_and_a_cancel_at_once_are_told_apart(self, bench: Bench) -> None:
        ids = await bench.put_many(20)
        async with AsyncExitStack() as stack:
            [other] = await self._clones(bench, stack, 1)
            taken, cancelled = await asyncio.gather(
                bench.take(20), asyncio.gather(*(other.backend.broker.cancel([id]) for id in reversed(ids)))
            )
        requested = sum(status == "requested" for [status] in cancelled)
        assert requested == len(taken)
        assert sum((await bench.counts()).values()) == 20
        assert len((await bench.backend.broker.extend(taken, LONG)).cancel_wanted) == requested

    async def test_one_request_sent_twice_at_once_is_one_claim(self, bench: Bench) -> None:
        await bench.put_many(10)
        worker = new_worker()
        async with AsyncExitStack() as stack:
            benches = await self._clones(bench, stack, 2)
            first, second = await asyncio.gather(
                *(there.take_ids(3, worker=worker, request_id="r1") for there in benches)
            )
        assert sorted(first) == sorted(second)
        assert await bench.counts() == {TaskState.RUNNING: 3, TaskState.PENDING: 7}

    async def test_everything_at_once_loses_nothing(self, bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            benches = await self._clones(bench, stack, 3)
            done: set[str] = set()
            ids: list[str] = []

            async def produce(there: Bench) -> None:
                for _ in range(10):
                    ids.extend(await there.put_many(2))

            async def work(there: Bench) -> None:
                while len(done) < 60:
                    for n, delivery in enumerate(await there.take(4)):
                        await self._finish_or_release(there, delivery, n, done)
                    await asyncio.sleep(0)

            await bench.finish(asyncio.gather(*map(produce, benches), *map(work, benches)))
        assert done == set(ids)
        assert await bench.counts() == {TaskState.COMPLETED: 60}

    @staticmethod
    async def _finish_or_release(there: Bench, delivery: Delivery, n: int, done: set[str]) -> None:
        if n % 2 and delivery.fence == 1:
            assert await there.settle(delivery, Release()) == SettleStatus.APPLIED
        else:
            assert await there.settle(delivery, Complete()) == SettleStatus.APPLIED
            assert delivery.id not in done
            done.add(delivery.id)

    async def _clones(self, bench: Bench, stack: AsyncExitStack, count: int) -> list[Bench]:
        backends: list[Backend] = [await stack.enter_async_context(bench.backend.clone()) for _ in range(count)]
        return [Bench(self, backend, bench.queue) for backend in backends]


class BackendRules(Kit):
    """What a backend says of itself is so."""

    async def test_a_declared_capability_is_there_and_no_other(self, bench: Bench) -> None:
        capabilities = bench.backend.capabilities
        assert capabilities <= frozenset(Capability)
        assert (Capability.SCHEDULES in capabilities) == (bench.backend.scheduler is not None)
        assert (Capability.TRANSACTIONAL_ENQUEUE in capabilities) == hasattr(bench.backend, "enqueue_in")

    async def test_a_virtual_clock_is_the_clock_of_the_store(self, bench: Bench) -> None:
        before = await bench.now()
        await bench.pass_time(self.tick)
        passed = await bench.now() - before
        if Capability.VIRTUAL_TIME in bench.backend.capabilities:
            assert passed == pytest.approx(self.tick, abs=1e-4)
        else:
            assert passed >= self.tick * 0.9

    async def test_a_queue_keeps_its_shard(self, bench: Bench) -> None:
        for n in range(50):
            shard = bench.backend.shard_of(f"{bench.queue}-{n}")
            assert 0 <= shard <= 255
            assert bench.backend.shard_of(f"{bench.queue}-{n}") == shard

    async def test_a_store_that_is_fit_says_so(self, bench: Bench) -> None:
        warnings = await bench.backend.check()
        assert all(warning.strip() for warning in warnings)

    async def test_a_schema_that_is_up_to_date_needs_no_step(self, bench: Bench) -> None:
        await bench.backend.migrate()
        assert await bench.backend.migrate() == []
