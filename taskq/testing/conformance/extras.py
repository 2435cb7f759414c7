"""What not every backend can do: schedules and figures over time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskq.domain.state import TaskState
from taskq.ports import Capability, MetricsStore, Sample, ScheduleEntry, Scheduler, Series
from taskq.testing.conformance.bench import LONG, Bench
from taskq.testing.conformance.kit import Kit, needs


class ScheduleRules(Kit):
    """Schedules in the store, each instant fired once."""

    @needs(Capability.SCHEDULES)
    async def test_a_schedule_is_kept_as_it_is(self, bench: Bench) -> None:
        scheduler, entry = await self._scheduler(bench), await self._entry(bench, LONG)
        await scheduler.put(entry)
        assert list(await scheduler.entries()) == [entry]
        paused = ScheduleEntry(name=entry.name, spec=b"{}", next_at=entry.next_at, is_paused=True)
        await scheduler.put(paused)
        assert list(await scheduler.entries()) == [paused]

    @needs(Capability.SCHEDULES)
    async def test_a_schedule_is_removed_once(self, bench: Bench) -> None:
        scheduler = await self._scheduler(bench)
        await scheduler.put(await self._entry(bench, LONG))
        assert await scheduler.remove("nightly")
        assert not await scheduler.remove("nightly")
        assert list(await scheduler.entries()) == []

    @needs(Capability.SCHEDULES)
    async def test_only_what_is_due_is_claimed(self, bench: Bench) -> None:
        scheduler, due = await self._scheduler(bench), await self._entry(bench, -1.0)
        await scheduler.put(due)
        await scheduler.put(await self._entry(bench, LONG, name="later"))
        await scheduler.put(await self._entry(bench, -1.0, name="paused", is_paused=True))
        assert list(await scheduler.claim_due()) == [due]

    @needs(Capability.SCHEDULES)
    async def test_an_instant_is_fired_once(self, bench: Bench) -> None:
        scheduler, due = await self._scheduler(bench), await self._entry(bench, -1.0)
        await scheduler.put(due)
        fire = bench.message()
        following = due.next_at + timedelta(seconds=LONG)
        assert await scheduler.commit(due.name, due.next_at, following, [fire])
        assert not await scheduler.commit(due.name, due.next_at, following, [fire, bench.message()])
        assert await bench.counts() == {TaskState.PENDING: 1}
        [entry] = await scheduler.entries()
        assert (entry.last_at, entry.next_at) == (due.next_at, following)
        assert list(await scheduler.claim_due()) == []

    @staticmethod
    async def _scheduler(bench: Bench) -> Scheduler:
        assert bench.backend.scheduler is not None
        return bench.backend.scheduler

    @staticmethod
    async def _entry(bench: Bench, seconds: float, name: str = "nightly", is_paused: bool = False) -> ScheduleEntry:
        moment = datetime.fromtimestamp(round(await bench.now()), UTC)
        next_at = moment + timedelta(seconds=seconds)
        return ScheduleEntry(name=name, spec=b'{"cron":"0 3 * * *"}', next_at=next_at, is_paused=is_paused)


class MetricsRules(Kit):
    """Figures, rolled up."""

    @needs(Capability.METRICS)
    async def test_figures_add_up(self, bench: Bench) -> None:
        metrics = await self._metrics(bench)
        before = datetime.fromtimestamp(await bench.now(), UTC)
        for value in (1.0, 2.5):
            await metrics.record([Sample("done", (("queue", bench.queue),), value)])
        span = timedelta(hours=2)
        for step in (1.0, 60.0, 3600.0):
            query = Series(name="done", since=before - span, until=before + span, step=step)
            assert sum(value for _, value in await metrics.series(query)) == pytest.approx(3.5)

    @needs(Capability.METRICS)
    async def test_figures_of_another_name_stay_apart(self, bench: Bench) -> None:
        metrics = await self._metrics(bench)
        before = datetime.fromtimestamp(await bench.now(), UTC)
        await metrics.record([Sample("done", (), 1.0)])
        span = timedelta(hours=2)
        query = Series(name="failed", since=before - span, until=before + span, step=60.0)
        assert sum(value for _, value in await metrics.series(query)) == 0

    @staticmethod
    async def _metrics(bench: Bench) -> MetricsStore:
        assert bench.backend.metrics is not None
        return bench.backend.metrics
