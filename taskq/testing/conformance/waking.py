"""Waking: each end is told to those who wait for it, and work to those who wait for work.

No single wait can show it: who is not told looks again by himself, sooner or later. So many wait from the start, and
one after the other is given what he waits for; a look a second for each would last beyond the deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, NamedTuple

import pytest

from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.state import TaskState
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, moved
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import forged, name_of

MANY = 50
"""Who wait at the same time, each for a task in a queue of its own."""

Begin = Callable[[Bench], Awaitable[list[Delivery]]]
Act = Callable[[Bench, Delivery], Awaitable[object]]


class Way(NamedTuple):
    """A way to end a task, or to make one ready."""

    name: str
    begin: Begin
    """Brings many tasks to where that may happen to them."""
    act: Act
    """Does it to one of them: the one that is named, if the call can name one."""
    ends: frozenset[TaskState] = frozenset()
    """The states in which the tasks end."""

    def __str__(self) -> str:
        return self.name


# ---------------------------------------------------------------- where the tasks begin


async def nothing(bench: Bench) -> list[Delivery]:
    """No tasks yet."""
    return [forged(bench, "")._replace(queue=f"{bench.queue}-{n}") for n in range(MANY)]


def waiting(**fields: Any) -> Begin:
    """Tasks that wait to be claimed."""

    async def begin(bench: Bench) -> list[Delivery]:
        messages = [bench.message(f"{bench.queue}-{n}", **fields) for n in range(MANY)]
        await bench.enqueue(*messages)
        return [forged(bench, message.id)._replace(queue=message.queue) for message in messages]

    return begin


def running(*, lease: float = LONG, **fields: Any) -> Begin:
    """Tasks that run."""

    async def begin(bench: Bench) -> list[Delivery]:
        queues = [delivery.queue for delivery in await waiting(**fields)(bench)]
        return await bench.take(MANY, queues=queues, lease=lease)

    return begin


async def to_be_cancelled(bench: Bench) -> list[Delivery]:
    """Tasks that run and should not."""
    deliveries = await running()(bench)
    await bench.backend.broker.cancel([delivery.id for delivery in deliveries])
    return deliveries


async def expired(bench: Bench) -> list[Delivery]:
    """Tasks whose time to live is over, which nobody has noticed."""
    deliveries = await waiting(expires=bench.short)(bench)
    await bench.lapse()
    return deliveries


async def lapsed(bench: Bench) -> list[Delivery]:
    """Tasks whose lease ran out, which nobody has noticed."""
    deliveries = await running(lease=bench.short)(bench)
    await bench.lapse()
    return deliveries


async def lapsed_for_the_last_time(bench: Bench) -> list[Delivery]:
    """The same, and each loss is an end, by turns another."""
    kinds: tuple[dict[str, Any], ...] = ({"max_lost_leases": 1}, {"max_lost_leases": 1, "dead_letter": False}, {})
    messages = [bench.message(f"{bench.queue}-{n}", **kinds[n % 3]) for n in range(MANY)]
    await bench.enqueue(*messages)
    deliveries = await bench.take(MANY, queues=[message.queue for message in messages], lease=bench.short)
    await bench.backend.broker.cancel([message.id for message in messages[2::3]])
    await bench.lapse()
    return deliveries


async def paused(bench: Bench) -> list[Delivery]:
    """Tasks in queues that are paused."""
    deliveries = await waiting()(bench)
    for delivery in deliveries:
        await bench.backend.queues.pause(delivery.queue)
    return deliveries


async def cancelled(bench: Bench) -> list[Delivery]:
    """Tasks that were cancelled."""
    deliveries = await waiting()(bench)
    await bench.backend.broker.cancel([delivery.id for delivery in deliveries])
    return deliveries


# ---------------------------------------------------------------- what happens to one of them


def settle(settlement: Settlement) -> Act:
    """Its run ends like this."""
    return lambda bench, delivery: bench.apply(delivery, settlement)


async def cancel(bench: Bench, delivery: Delivery) -> None:
    """It is cancelled."""
    await bench.backend.broker.cancel([delivery.id])


async def purge(bench: Bench, delivery: Delivery) -> None:
    """Its queue is purged."""
    assert await bench.backend.inspector.purge(delivery.queue) == 1


async def expire(bench: Bench, delivery: Delivery) -> None:
    """One that has expired is ended."""
    assert await bench.backend.maintenance.expire(1) == 1


async def reap(bench: Bench, delivery: Delivery) -> None:
    """One lease is taken away."""
    assert sum((await bench.reap(1))[:3]) == 1


async def put(bench: Bench, delivery: Delivery) -> None:
    """A task is enqueued."""
    await bench.put(delivery.queue)


async def resume(bench: Bench, delivery: Delivery) -> None:
    """Its queue is resumed."""
    await bench.backend.queues.resume(delivery.queue)


async def redrive(bench: Bench, delivery: Delivery) -> None:
    """It starts anew."""
    assert moved(await bench.backend.inspector.redrive([delivery.id])) == [True]


def _settled(settlement: Settlement, begin: Begin, end: TaskState) -> Way:
    return Way(f"settle {name_of(settlement)} to {end}", begin, settle(settlement), frozenset({end}))


_CANCELLED = frozenset({TaskState.CANCELLED})
ENDS = (
    _settled(Complete(b"1"), running(), TaskState.COMPLETED),
    _settled(Bury("rejected", FAILURE), running(), TaskState.DEAD),
    _settled(Fail("exhausted", FAILURE), running(), TaskState.FAILED),
    _settled(Cancel("enough"), running(), TaskState.CANCELLED),
    _settled(Crash(FAILURE), running(max_lost_leases=1), TaskState.DEAD),
    _settled(Retry(LONG, FAILURE), to_be_cancelled, TaskState.CANCELLED),
    _settled(Snooze(LONG), to_be_cancelled, TaskState.CANCELLED),
    _settled(Release(), to_be_cancelled, TaskState.CANCELLED),
    Way("cancel", waiting(), cancel, _CANCELLED),
    Way("cancel one that is delayed", waiting(delay=LONG), cancel, _CANCELLED),
    Way("purge", waiting(), purge, _CANCELLED),
    Way("expire", expired, expire, frozenset({TaskState.EXPIRED})),
    Way("reap", lapsed_for_the_last_time, reap, frozenset({TaskState.DEAD, TaskState.FAILED, TaskState.CANCELLED})),
)
WORK = (
    Way("enqueue", nothing, put),
    Way("release", running(), settle(Release())),
    Way("crash", running(), settle(Crash(FAILURE))),
    Way("reap", lapsed, reap),
    Way("resume", paused, resume),
    Way("redrive", cancelled, redrive),
)


class Waking(Kit):
    """How the rules are tried: some wait here, and it happens here or elsewhere."""

    async def ends_are_told(self, way: Way, bench: Bench, there: AbstractAsyncContextManager[Bench]) -> None:
        """Many wait for results, and one task after the other ends."""
        deliveries = await way.begin(bench)
        waits = [lambda id=delivery.id: bench.backend.results.wait(id, LONG) for delivery in deliveries]
        ends = await self._one_by_one(way, deliveries, waits, bench, there)
        assert {end and end.state for end in ends} == way.ends

    async def work_is_told(self, way: Way, bench: Bench, there: AbstractAsyncContextManager[Bench]) -> None:
        """Many wait for work, and one queue after the other has some."""
        deliveries = await way.begin(bench)
        waits = [lambda queue=delivery.queue: self._work(bench, queue) for delivery in deliveries]
        taken = await self._one_by_one(way, deliveries, waits, bench, there)
        assert {delivery.queue for delivery in taken} == {delivery.queue for delivery in deliveries}

    async def _one_by_one(
        self,
        way: Way,
        deliveries: Sequence[Delivery],
        waits: Sequence[Callable[[], Awaitable[Any]]],
        bench: Bench,
        elsewhere: AbstractAsyncContextManager[Bench],
    ) -> list[Any]:
        # Who came last is served first: when he has looked, those after him in turn have looked before.
        pending = {asyncio.ensure_future(wait()) for wait in reversed(waits)}
        answers: list[Any] = []

        async def serve(there: Bench) -> None:
            nonlocal pending
            for delivery in deliveries:
                await way.act(there, delivery)
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                answers.extend(task.result() for task in done)

        try:
            await bench.let_wait()
            # Whoever makes it happen may come later than those who wait for it.
            async with elsewhere as there:
                await bench.finish(serve(there))
        except TimeoutError:
            pytest.fail(f"only {len(answers)} of {MANY} were woken within {self.deadline} s: who waits is not told")
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        assert len(answers) == MANY
        return answers

    @staticmethod
    async def _work(bench: Bench, queue: str) -> Delivery:
        """What a worker does; a hint that leads to nothing is no fault."""
        while not (taken := await bench.take(queues=[queue])):
            await bench.backend.broker.wait([queue], LONG)
        return taken[0]


class WakingRules(Waking):
    """Who waits is told of what happens through the same backend."""

    @pytest.mark.parametrize("way", ENDS, ids=str)
    async def test_each_end_is_told_to_those_who_wait_for_it(self, bench: Bench, way: Way) -> None:
        await self.ends_are_told(way, bench, nullcontext(bench))

    @pytest.mark.parametrize("way", WORK, ids=str)
    async def test_all_work_is_told_to_those_who_wait_for_it(self, bench: Bench, way: Way) -> None:
        await self.work_is_told(way, bench, nullcontext(bench))


class CloneWakingRules(Waking):
    """Who waits is told of what happens through a clone: for a backend that tells other processes, and does not poll.

    It is no part of BackendConformance; the class of a backend that tells them subclasses it as well.
    """

    @pytest.mark.parametrize("way", ENDS, ids=str)
    async def test_each_end_elsewhere_is_told_to_those_who_wait_for_it(self, bench: Bench, way: Way) -> None:
        await self.ends_are_told(way, bench, self._clone(bench))

    @pytest.mark.parametrize("way", WORK, ids=str)
    async def test_all_work_elsewhere_is_told_to_those_who_wait_for_it(self, bench: Bench, way: Way) -> None:
        await self.work_is_told(way, bench, self._clone(bench))

    @asynccontextmanager
    async def _clone(self, bench: Bench) -> AsyncIterator[Bench]:
        async with bench.backend.clone() as other:
            yield Bench(self, other, bench.queue)
