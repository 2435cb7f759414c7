"""Damage that is done to the dicts of a memory store: it is found, named, mended; each task runs once after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from taskq.domain.flow import FlowKind
from taskq.domain.limits import Slots
from taskq.domain.outcome import Complete
from taskq.domain.unique import Holding, UniqueKey, Until
from taskq.domain.workflow import Edge
from taskq.ports import BackendOptions, Damage, NewFlow
from taskq.testing.clock import VirtualClock
from taskq.testing.conformance import Bench, Kit
from taskq.testing.conformance.bench import LONG, SILENCE, new_id
from taskq_memory import create_backend
from taskq_memory.backend import MemoryBackend
from taskq_memory.store import Store

CLOCK = VirtualClock()
ONE = Slots("one", 1)
FLOW = new_id()


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    async with create_backend("memory://", BackendOptions(clock=CLOCK)) as backend:
        yield Bench(Kit(), backend)


def store_of(bench: Bench) -> Store:
    assert isinstance(bench.backend, MemoryBackend)
    return bench.backend._store


async def found(bench: Bench) -> dict[str, int]:
    return {each.check: each.number for each in await bench.backend.diagnosis.examine() if each.is_repairable}


async def drain(bench: Bench) -> list[str]:
    """Run all that can run, whatever it waits for; returns the ids in their order."""
    CLOCK.advance(2 * LONG)
    ran: list[str] = []
    for _ in range(10):
        await bench.backend.maintenance.promote()
        await bench.backend.maintenance.reap(renewal=SILENCE)
        for delivery in await bench.take(10):
            await bench.apply(delivery, Complete())
            ran.append(delivery.id)
    return ran


async def lanes(bench: Bench) -> tuple[int, int]:
    await bench.put_many(2)
    store_of(bench).lanes.clear()
    return 2, 2


async def ghost(bench: Bench) -> tuple[int, int]:
    id, _ = await bench.put_many(2)
    store = store_of(bench)
    store.lanes[bench.queue, 1, "other"] = store.lanes[bench.queue, 1, ""].copy()
    del store.lanes[bench.queue, 1, "other"][id]
    return 1, 2


async def due(bench: Bench) -> tuple[int, int]:
    await bench.put(delay=LONG)
    store_of(bench).due.clear()
    return 1, 1


async def lease(bench: Bench) -> tuple[int, int]:
    await bench.running()
    store_of(bench).running.clear()
    return 1, 1


async def stray_lease(bench: Bench) -> tuple[int, int]:
    store_of(bench).running[(await bench.put()).id] = 5.0
    return 1, 1


async def room(bench: Bench) -> tuple[int, int]:
    await bench.put_many(2, limits=(ONE,))
    await bench.take(2)
    store_of(bench).rooms.of.clear()
    return 1, 2


async def slot(bench: Bench) -> tuple[int, int]:
    await bench.put_many(2, limits=(ONE,))
    await bench.take(2)
    store_of(bench).gates.holders.clear()
    return 1, 2


async def stray_slot(bench: Bench) -> tuple[int, int]:
    store_of(bench).gates.holders[ONE.gate] = {"nobody": None}
    await bench.put(limits=(ONE,))
    assert await bench.take() == []
    return 1, 1


async def children(bench: Bench) -> tuple[int, int]:
    parent = await bench.put()
    await bench.put(parents=(Edge(parent.id),))
    store_of(bench).joins._children.clear()
    return 1, 2


async def key(bench: Bench) -> tuple[int, int]:
    await bench.put(unique=UniqueKey("k"))
    store_of(bench).keys.holdings.clear()
    return 1, 1


async def stray_key(bench: Bench) -> tuple[int, int]:
    store_of(bench).keys.holdings["k"] = Holding("nobody", Until.DONE)
    return 1, 0


async def expiry(bench: Bench) -> tuple[int, int]:
    await bench.put(expires=LONG)
    store_of(bench).expiring.clear()
    return 1, 0


async def ended(bench: Bench) -> tuple[int, int]:
    await bench.apply(await bench.running(), Complete())
    store_of(bench).ended.clear()
    return 1, 0


async def stray_end(bench: Bench) -> tuple[int, int]:
    store_of(bench).ended[bench.queue, True][(await bench.put()).id] = 5.0
    return 1, 1


async def counter(bench: Bench) -> tuple[int, int]:
    await bench.put()
    store_of(bench).queues[bench.queue].waiting += 7
    return 1, 1


async def tally(bench: Bench) -> tuple[int, int]:
    await bench.backend.flows.create(NewFlow(id=FLOW, kind=FlowKind.BATCH))
    await bench.put(flow=FLOW)
    row = store_of(bench).joins.flows[FLOW]
    row.tally = row.tally.adding("total", 1)
    return 1, 1


async def low_tally(bench: Bench) -> tuple[int, int]:
    await tally(bench)
    row = store_of(bench).joins.flows[FLOW]
    row.tally = row.tally.adding("total", -2)
    return 1, 1


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (lanes, Damage.UNPLACED),
        (ghost, Damage.MISPLACED),
        (due, Damage.UNPLACED),
        (lease, Damage.UNLEASED),
        (stray_lease, Damage.OVERLEASED),
        (room, Damage.UNPLACED),
        (slot, Damage.UNLIMITED),
        (stray_slot, Damage.OVERLIMITED),
        (children, Damage.UNTOLD),
        (key, Damage.KEYLESS),
        (stray_key, Damage.OVERKEYED),
        (expiry, Damage.UNEXPIRED),
        (ended, Damage.UNFORGOTTEN),
        (stray_end, Damage.MISPLACED),
        (counter, Damage.MISCOUNTED),
        (tally, Damage.MISTALLIED),
        (low_tally, Damage.MISTALLIED),
    ],
)
async def test_damage_is_found_and_mended_and_each_task_runs_once(
    bench: Bench, harm: Callable[[Bench], Awaitable[tuple[int, int]]], kind: Damage
) -> None:
    number, runs = await harm(bench)
    assert await found(bench) == {kind: number}
    assert await bench.backend.diagnosis.repair() == {kind: number}
    assert await found(bench) == {}
    assert await bench.backend.diagnosis.repair() == {}
    ran = await drain(bench)
    assert len(ran) == len(set(ran)) == runs
    assert await found(bench) == {}
