"""Finding and mending what is wrong with a store, in short words."""

from __future__ import annotations

from taskq.domain.outcome import Complete
from taskq.ports import Damage
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import SILENCE


async def found(bench: Bench, most: int | None = None) -> dict[str, tuple[str, ...]]:
    """The ids of each kind of damage."""
    return {each.check: each.sample for each in await bench.backend.diagnosis.examine(most) if each.is_repairable}


async def mend(bench: Bench, kind: Damage, *ids: str) -> None:
    """See that this and nothing else is found, and mend it."""
    assert await found(bench) == {kind: tuple(sorted(ids))}
    # What a queue counts of tasks that are gone is seen only when their places are cleared.
    mended = dict(await bench.backend.diagnosis.repair(None))
    mended.pop(Damage.MISCOUNTED, None)
    assert mended == ({kind: len(ids)} if kind is not Damage.MISCOUNTED else {})
    assert await found(bench) == {}
    assert await bench.backend.diagnosis.repair(None) == {}


async def drain(bench: Bench) -> list[str]:
    """Run all that can run; returns the ids in their order."""
    ran: list[str] = []
    for _ in range(50):
        await bench.backend.maintenance.promote()
        await bench.backend.maintenance.reap(renewal=SILENCE)
        await bench.backend.maintenance.relay()
        for delivery in await bench.take(10):
            await bench.apply(delivery, Complete())
            ran.append(delivery.id)
    assert await found(bench) == {}
    return ran


async def drain_all(bench: Bench, number: int) -> None:
    """Run so many tasks, one by one."""
    for _ in range(number):
        await bench.apply(await bench.take_one(), Complete())
