"""The rules of the diagnosis: a store that was only ever used through its ports is sound, however busy it is."""

from __future__ import annotations

import asyncio

from taskq.domain.limits import Slots
from taskq.domain.message import Message
from taskq.domain.outcome import Bury, Complete, Release, Retry
from taskq.domain.unique import UniqueKey
from taskq.domain.workflow import Edge
from taskq.ports import Backend, Finding, FindingStatus
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_worker
from taskq.testing.conformance.kit import Kit

BUSY_TASKS = 200


async def unsound(backend: Backend) -> list[Finding]:
    """What is wrong with the records of a store."""
    return [each for each in await backend.diagnosis.examine(None) if each.status is not FindingStatus.OK]


class DiagnosisRules(Kit):
    """What an examination says of a store in which nothing is wrong."""

    async def test_an_empty_store_is_sound(self, bench: Bench) -> None:
        [reached] = await bench.backend.diagnosis.examine()
        assert (reached.check, reached.number) == ("records", 0)
        assert await bench.backend.diagnosis.repair() == {}

    async def test_tasks_in_all_states_are_sound(self, bench: Bench) -> None:
        parent = await self._one_of_each(bench)
        assert await unsound(bench.backend) == []
        assert await bench.backend.diagnosis.repair(None) == {}
        await bench.backend.broker.cancel([parent])
        assert await unsound(bench.backend) == []

    async def test_an_examination_says_how_far_it_looked(self, bench: Bench) -> None:
        await bench.put_many(5)
        *_, reached = await bench.backend.diagnosis.examine(None)
        assert (reached.number, reached.detail.startswith("looked at all 5 records")) == (5, True)

    async def test_a_repair_leaves_alone_what_is_sound(self, bench: Bench) -> None:
        await self._one_of_each(bench)
        before = await bench.counts()
        await bench.backend.diagnosis.repair()
        assert await bench.counts() == before
        assert len(await bench.take_ids(100)) == 1

    async def test_a_busy_store_is_sound(self, bench: Bench) -> None:
        ids = await bench.put_many(BUSY_TASKS)
        done: list[str] = []

        async def work() -> None:
            worker = new_worker()
            while len(done) < len(ids):
                for delivery in await bench.take(5, worker=worker):
                    await bench.apply(delivery, Complete())
                    done.append(delivery.id)

        async def look() -> list[Finding]:
            found = []
            while len(done) < len(ids):
                found += await unsound(bench.backend)
                await bench.backend.diagnosis.repair(None)
                await asyncio.sleep(0)  # a store in this process lets nobody else in by itself
            return found

        found, *_ = await bench.finish(asyncio.gather(look(), work(), work()))
        assert found == []
        assert sorted(done) == sorted(ids)

    @staticmethod
    async def _one_of_each(bench: Bench) -> str:
        """A task in each state, also at a gate and in front; returns the one for which another waits."""
        for settlement in (Complete(), Bury("rejected", FAILURE), Retry(LONG, FAILURE), Release()):
            await bench.apply(await bench.running(), settlement)
        await bench.take_one()
        limits = (Slots("one", 1),)
        await bench.put_many(3, limits=limits)
        assert len(await bench.take_ids(3)) == 1
        await bench.put(delay=LONG, expires=2 * LONG)
        await bench.put(unique=UniqueKey("k"), group="acme")
        cancelled = await bench.put()
        await bench.backend.broker.cancel([cancelled.id])
        parent: Message = await bench.put(delay=LONG)
        await bench.put(parents=(Edge(parent.id),))
        return parent.id
