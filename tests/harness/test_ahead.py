"""What a harness steps to beside delays, retries and schedules, and what its clock shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from taskq import App, Every, InvalidOption, RateLimit, TaskNotFound, TaskState
from taskq.ports import QueueConfig
from taskq.queues import Queues
from taskq.testing import Harness

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
app = App("redis://nobody.listens.example:1")


@app.task(name="job")
def job(number: int = 0) -> int:
    return number


@app.task(name="rated", rate_limit=RateLimit("1/m", burst=1))
def rated() -> None: ...


@app.task(name="told", queue="told")
def told() -> None: ...


async def test_all_of_many_expire_at_their_instant_though_nobody_may_run_them() -> None:
    async with Harness(app) as harness:
        await Queues(app).apause("default", "closed")
        handles = await job.options(expires=3600).aenqueue_many([(number,) for number in range(2500)])
        assert await harness.advance(days=3) == 0
        ends = {(record.state, record.completed_at) for record in [await handle.ainfo() for handle in handles]}
    assert ends == {(TaskState.EXPIRED, BEGIN + timedelta(hours=1))}


async def test_what_a_queue_says_of_expiry_counts_too() -> None:
    async with Harness(app) as harness:
        await (await app.backend()).queues.configure("default", QueueConfig(expires=600))
        await Queues(app).apause("default", "closed")
        handle = await job.aenqueue()
        await harness.advance(days=1)
        assert (await handle.ainfo()).completed_at == BEGIN + timedelta(minutes=10)


async def test_a_queue_that_is_paused_for_a_while_goes_on_at_the_instant() -> None:
    now = datetime.now(UTC)
    async with Harness(app, start=now) as harness:
        await Queues(app).apause("default", "at night", until=now + timedelta(hours=6))
        handle = await job.aenqueue()
        assert await harness.advance(hours=5) == 0
        assert await harness.advance(hours=5) == 1
        assert (await handle.ainfo()).completed_at == now + timedelta(hours=6)


async def test_days_pass_over_a_task_that_waits_for_its_rate_in_a_paused_queue() -> None:
    async with Harness(app) as harness:
        await rated.aenqueue_many([()] * 3)
        assert await harness.run_until_idle() == 1
        await Queues(app).apause("default", "closed")
        assert await harness.advance(days=3) == 0
        await Queues(app).aresume("default")
        assert await harness.advance(minutes=2) == 2


async def test_a_callback_for_which_there_was_no_room_comes_once_there_is_some() -> None:
    async with Harness(app) as harness:
        await (await app.backend()).queues.configure("told", QueueConfig(max_size=1))
        await told.aenqueue()
        async with app.batch(on_complete=told.s()):
            pass
        assert len(harness.enqueued(told)) == 1
        assert await harness.run_until_idle() == 2
        assert len(harness.enqueued(told)) == 2


async def test_what_is_kept_no_longer_is_gone() -> None:
    async with Harness(app) as harness:
        handle = await job.options(retention=3600).aenqueue()
        await harness.advance(minutes=59)
        assert await handle.aresult(0) == 0
        await harness.advance(minutes=1)
        with pytest.raises(TaskNotFound):
            await handle.aresult(0)


async def test_an_instant_after_fractions_of_a_second_is_met() -> None:
    async with Harness(app) as harness:
        await harness.advance(0.1)
        handle = await job.options(delay=0.7).aenqueue()
        exact = await job.options(eta=BEGIN + timedelta(days=2)).aenqueue()
        await harness.advance(days=3)
        ends = [(await each.ainfo()).completed_at for each in (handle, exact)]
        assert ends == [BEGIN + timedelta(seconds=0.8), BEGIN + timedelta(days=2)]
        assert harness.now == BEGIN + timedelta(days=3, seconds=0.1)


async def test_a_test_says_when_its_time_begins() -> None:
    summer = datetime(2027, 3, 28, tzinfo=UTC)
    async with Harness(app, start=summer) as harness:
        handle = await job.options(eta=summer + timedelta(hours=1)).aenqueue()
        assert await harness.advance(hours=1) == 1
        assert (await handle.ainfo()).completed_at == harness.now == summer + timedelta(hours=1)


async def test_a_lifetime_that_ends_at_an_instant_counts_from_now() -> None:
    now = datetime.now(UTC)
    async with Harness(app, start=now) as harness:
        handle = await job.options(delay=7200, expires=now + timedelta(hours=1)).aenqueue()
        await harness.advance(hours=3)
        assert await handle.astatus() is TaskState.EXPIRED


@pytest.mark.parametrize("start", [datetime(2026, 1, 1), 0, "2026-01-01"])  # noqa: DTZ001 - it is refused
def test_a_start_that_is_no_instant(start: Any) -> None:
    with pytest.raises(InvalidOption, match="start must be a datetime with a time zone"):
        Harness(app, start=start)


@pytest.mark.parametrize("start", [datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
def test_a_start_before_the_epoch_is_refused(start: datetime) -> None:
    with pytest.raises(InvalidOption, match=r"start must be 1970-01-01 UTC or later, not (1969|0001)-"):
        Harness(app, start=start)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])
async def test_tasks_run_from_the_very_first_instant_on(zone: timezone) -> None:
    async with Harness(app, start=datetime(1970, 1, 1, tzinfo=UTC).astimezone(zone)) as harness:
        handle = await job.aenqueue()
        await harness.run_until_idle()
        assert await handle.astatus() is TaskState.COMPLETED


@pytest.mark.parametrize("minutes", [10, 11, 13])
async def test_what_is_due_at_the_very_end_fires(minutes: int) -> None:
    local = App("memory://")

    @local.task(name="fails")
    def fails() -> None:
        raise ValueError("each retry is at an instant with many digits")

    local.periodic(Every(minutes=1), task=fails)
    for _ in range(5):
        async with Harness(local) as harness:
            await harness.advance(minutes=minutes)
            assert len(harness.enqueued(fails)) == minutes
