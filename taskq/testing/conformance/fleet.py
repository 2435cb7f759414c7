"""The fleet: workers that report and are told something, events, and waiting for work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from taskq.domain.outcome import Release
from taskq.ports import Event, Order, WorkerCommand, WorkerInfo, WorkerState
from taskq.testing.conformance.bench import LONG, Bench, eventually, new_worker
from taskq.testing.conformance.kit import Kit


def worker_info(**fields: object) -> WorkerInfo:
    """What a new worker says of itself."""
    info = WorkerInfo(
        id=new_worker(),
        name="mailer-ü",
        host="host-1",
        pid=4711,
        queues=("default", "mail"),
        state=WorkerState.BUSY,
        running=3,
        concurrency=8,
        started_at=1_700_000_000.5,
        version="1.2.3",
        unresponsive=("0198f3b2-7c1d-7e7a-9f6e-2b1a6f0c8d01", "0198f3b2-7c1d-7e7a-9f6e-2b1a6f0c8d02"),
        pressure="memory 512 MiB of 400 MiB",
        runs={"mail.send": (20, 3), "größe": (1, 0)},
    )
    return replace(info, **fields)  # type: ignore[arg-type]


class RegistryRules(Kit):
    """Workers are known while they report, and told each command once."""

    async def test_a_worker_that_reports_is_known(self, bench: Bench) -> None:
        info = worker_info()
        assert list(await bench.backend.registry.report(info, LONG)) == []
        [known] = await bench.backend.registry.workers()
        assert replace(known, seen_at=0.0) == info
        assert known.seen_at > 0

    async def test_the_store_says_when_a_worker_was_seen(self, bench: Bench) -> None:
        info = worker_info(seen_at=1.0)
        await bench.backend.registry.report(info, LONG)
        [first] = await bench.backend.registry.workers()
        await bench.lapse()
        await bench.backend.registry.report(info, LONG)
        [second] = await bench.backend.registry.workers()
        assert 1.0 < first.seen_at < second.seen_at

    async def test_the_newest_report_counts(self, bench: Bench) -> None:
        info = worker_info()
        await bench.backend.registry.report(info, LONG)
        await bench.backend.registry.report(replace(info, state=WorkerState.SHUTTING_DOWN, running=0), LONG)
        [known] = await bench.backend.registry.workers()
        assert (known.state, known.running) == (WorkerState.SHUTTING_DOWN, 0)

    async def test_what_holds_a_worker_back_is_known_while_it_lasts(self, bench: Bench) -> None:
        info = worker_info(state=WorkerState.PRESSED, runs={f"task.{n}": (n, 0) for n in range(50)})
        await bench.backend.registry.report(info, LONG)
        [pressed] = await bench.backend.registry.workers()
        assert replace(pressed, seen_at=0.0) == info
        await bench.backend.registry.report(replace(info, state=WorkerState.IDLE, pressure="", runs={}), LONG)
        [relieved] = await bench.backend.registry.workers()
        assert (relieved.state, relieved.pressure, relieved.runs) == (WorkerState.IDLE, "", {})

    async def test_a_worker_that_falls_silent_is_forgotten(self, bench: Bench) -> None:
        silent, alive = worker_info(), worker_info()
        await bench.backend.registry.report(silent, bench.short)
        await bench.backend.registry.report(alive, LONG)
        await bench.lapse()
        assert [worker.id for worker in await bench.backend.registry.workers()] == [alive.id]
        assert not await bench.backend.registry.command(silent.id, WorkerCommand.PAUSE)

    async def test_a_report_prolongs_a_workers_life(self, bench: Bench) -> None:
        info = worker_info()
        await bench.backend.registry.report(info, bench.short)
        await bench.backend.registry.report(info, LONG)
        await bench.lapse()
        assert [worker.id for worker in await bench.backend.registry.workers()] == [info.id]

    async def test_a_worker_that_stops_is_forgotten_at_once(self, bench: Bench) -> None:
        info = worker_info()
        await bench.backend.registry.report(info, LONG)
        for _ in range(2):
            await bench.backend.registry.forget(info.id)
        assert list(await bench.backend.registry.workers()) == []

    async def test_a_command_is_told_once_to_its_worker(self, bench: Bench) -> None:
        told, other = worker_info(), worker_info()
        for info in (told, other):
            await bench.backend.registry.report(info, LONG)
        assert await bench.backend.registry.command(told.id, WorkerCommand.PAUSE)
        assert list(await bench.backend.registry.report(other, LONG)) == []
        assert list(await bench.backend.registry.report(told, LONG)) == [Order(WorkerCommand.PAUSE)]
        assert list(await bench.backend.registry.report(told, LONG)) == []

    async def test_commands_are_told_in_their_order(self, bench: Bench) -> None:
        info = worker_info()
        await bench.backend.registry.report(info, LONG)
        for command in (WorkerCommand.PAUSE, WorkerCommand.RESUME, WorkerCommand.SHUTDOWN):
            assert await bench.backend.registry.command(info.id, command)
        told = list(await bench.backend.registry.report(info, LONG))
        assert told == [Order(WorkerCommand.PAUSE), Order(WorkerCommand.RESUME), Order(WorkerCommand.SHUTDOWN)]

    async def test_a_command_is_told_with_what_it_needs(self, bench: Bench) -> None:
        info = worker_info()
        await bench.backend.registry.report(info, LONG)
        for argument in ("DEBUG", "a:b, c"):
            assert await bench.backend.registry.command(info.id, WorkerCommand.LOG_LEVEL, argument)
        told = list(await bench.backend.registry.report(info, LONG))
        assert told == [Order(WorkerCommand.LOG_LEVEL, argument) for argument in ("DEBUG", "a:b, c")]

    async def test_an_unknown_worker_cannot_be_told_anything(self, bench: Bench) -> None:
        info = worker_info()
        assert not await bench.backend.registry.command(info.id, WorkerCommand.PAUSE)
        assert list(await bench.backend.registry.report(info, LONG)) == []


class DutyRules(Kit):
    """A duty is one process's at a time, for as long as it says so."""

    async def test_a_duty_is_for_one(self, bench: Bench) -> None:
        registry = bench.backend.registry
        for _ in range(2):
            assert await registry.take_duty("roll up", "a", LONG)
        assert not await registry.take_duty("roll up", "b", LONG)
        assert await registry.take_duty("alerts", "b", LONG)

    async def test_a_duty_that_nobody_keeps_is_anybodys(self, bench: Bench) -> None:
        registry = bench.backend.registry
        assert await registry.take_duty("roll up", "a", bench.short)
        await bench.lapse()
        assert await registry.take_duty("roll up", "b", LONG)
        assert not await registry.take_duty("roll up", "a", LONG)

    async def test_a_duty_is_kept_by_saying_so(self, bench: Bench) -> None:
        registry = bench.backend.registry
        for seconds in (bench.short, LONG):
            assert await registry.take_duty("roll up", "a", seconds)
        await bench.lapse()
        assert not await registry.take_duty("roll up", "b", LONG)

    async def test_a_duty_is_given_back_by_whoever_has_it(self, bench: Bench) -> None:
        registry = bench.backend.registry
        assert await registry.take_duty("roll up", "a", LONG)
        assert not await registry.take_duty("roll up", "b", 0.0)
        assert await registry.take_duty("roll up", "a", 0.0)
        assert await registry.take_duty("roll up", "b", LONG)

    async def test_of_many_who_ask_at_once_one_has_it(self, bench: Bench) -> None:
        async with AsyncExitStack() as stack:
            clones = [await stack.enter_async_context(bench.backend.clone()) for _ in range(3)]
            asked = [clones[n % 3].registry.take_duty("roll up", f"{n}", LONG) for n in range(9)]
            assert (await asyncio.gather(*asked)).count(True) == 1


class EventRules(Kit):
    """Events reach those who listen, by topic."""

    async def test_a_listener_hears_its_topics(self, bench: Bench) -> None:
        one, two = f"{bench.queue}-1", f"{bench.queue}-2"
        listener = bench.backend.events.subscribe([one, two])
        heard = await self._until_heard(bench, listener, Event(one, "first"))
        assert heard == Event(one, "first")
        await bench.backend.events.publish([Event(bench.queue, "of no interest"), Event(two, "grüße 🦊")])
        assert await self._next_but(bench, listener, heard) == Event(two, "grüße 🦊")
        await listener.aclose()  # type: ignore[attr-defined]

    async def test_every_listener_hears_every_event(self, bench: Bench) -> None:
        listeners = [bench.backend.events.subscribe([bench.queue]) for _ in range(2)]
        hello = Event(bench.queue, "hello")
        for listener in listeners:
            assert await self._until_heard(bench, listener, hello) == hello
        batch = [Event(bench.queue, str(n)) for n in range(3)]
        await bench.backend.events.publish(batch)
        for listener in listeners:
            heard = [await self._next_but(bench, listener, hello)]
            heard += [await bench.finish(anext(listener)) for _ in range(2)]
            assert heard == batch
            await listener.aclose()  # type: ignore[attr-defined]

    async def test_an_event_that_nobody_hears_is_no_error(self, bench: Bench) -> None:
        await bench.backend.events.publish([Event(bench.queue, "x")])
        await bench.backend.events.publish([])

    async def test_a_listener_may_be_closed_while_it_waits(self, bench: Bench) -> None:
        listener = bench.backend.events.subscribe([bench.queue])
        waiting = asyncio.ensure_future(anext(listener))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bench.finish(waiting)
        await bench.backend.events.publish([Event(bench.queue, "x")])

    @staticmethod
    async def _until_heard(bench: Bench, listener: AsyncIterator[Event], event: Event) -> Event:
        """Tell it until it is heard: a listener listens from its first step on, which takes its time."""
        waiting = asyncio.ensure_future(anext(listener))

        async def tell() -> bool:
            await bench.backend.events.publish([event])
            return waiting.done()

        await eventually(tell, bench.kit.deadline)
        return waiting.result()

    @staticmethod
    async def _next_but(bench: Bench, listener: AsyncIterator[Event], repeated: Event) -> Event:
        """The next event, without the repetitions of what `_until_heard` has told."""
        while (event := await bench.finish(anext(listener))) == repeated:
            pass
        return event


class WaitRules(Kit):
    """`wait` returns when there may be work, and takes none."""

    async def test_there_is_work_already(self, bench: Bench) -> None:
        task = await bench.put()
        assert await bench.finish(bench.backend.broker.wait([bench.queue], LONG))
        assert await bench.take_ids() == [task.id]

    async def test_an_enqueue_ends_the_waiting(self, bench: Bench) -> None:
        waiting = await self._waiting(bench, bench.queue)
        await bench.put()
        assert await bench.finish(waiting)

    async def test_any_of_several_queues_ends_the_waiting(self, bench: Bench) -> None:
        waiting = await self._waiting(bench, bench.queue + "-1", bench.queue)
        await bench.put()
        assert await bench.finish(waiting)

    async def test_a_release_ends_the_waiting(self, bench: Bench) -> None:
        delivery = await bench.running()
        waiting = await self._waiting(bench, bench.queue)
        await bench.apply(delivery, Release())
        assert await bench.finish(waiting)

    async def test_a_lost_lease_ends_the_waiting(self, bench: Bench) -> None:
        await bench.running(bench.short)
        waiting = await self._waiting(bench, bench.queue)
        await bench.lapse()
        await bench.reap()
        assert await bench.finish(waiting)

    async def test_a_task_that_becomes_ready_ends_the_waiting(self, bench: Bench) -> None:
        await bench.put(delay=bench.short)
        waiting = await self._waiting(bench, bench.queue)
        await bench.lapse()
        await bench.backend.maintenance.promote()
        assert await bench.finish(waiting)

    async def test_nothing_to_do_is_false_after_the_time(self, bench: Bench) -> None:
        assert not await bench.finish(bench.backend.broker.wait([bench.queue], 0.0))
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], bench.short))
        await asyncio.sleep(0)
        await bench.lapse()
        assert not await bench.finish(waiting)

    async def test_waiting_may_be_given_up_at_any_moment_and_loses_no_task(self, bench: Bench) -> None:
        for n in range(15):
            waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], LONG))
            if n % 3:
                await asyncio.sleep(0)
            if n % 3 == 2:
                await bench.let_wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bench.finish(waiting)
        waiting = await self._waiting(bench, bench.queue)
        task = await bench.put()
        assert await bench.finish(waiting)
        assert await bench.take_ids() == [task.id]

    @staticmethod
    async def _waiting(bench: Bench, *queues: str) -> asyncio.Task[bool]:
        waiting = asyncio.create_task(bench.backend.broker.wait(queues, LONG))
        await bench.let_wait()
        return waiting
