"""Schedules under the clock of a harness: days pass in no time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from taskq import App, ConfigError, Cron, Every, Fixed, InvalidOption, TaskContext
from taskq.ports import QueueConfig
from taskq.testing import Harness

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


async def test_three_days_of_schedules_delays_and_retries_run_in_order() -> None:
    app, ran = App(), list[tuple[str, timedelta]]()

    def note(what: str) -> None:
        ran.append((what, datetime.fromtimestamp(harness.clock.now(), UTC) - BEGIN))

    @app.periodic(Cron("0 3 * * *", timezone="Europe/Berlin"))
    @app.task(name="nightly", retry=Fixed(600))
    def nightly(ctx: TaskContext) -> None:
        note(f"nightly {ctx.attempt}")
        if ctx.attempt == 1:
            raise ConnectionError

    @app.task(name="later")
    async def later() -> None:
        note("later")

    app.periodic(Every(days=1), task=later, name="daily")
    async with Harness(app) as harness:
        await later.options(delay=3600 * 2 + 300).aenqueue()
        assert await harness.advance(days=3) == 3 * 2 + 1 + 3
    hours = [(what, round(after / timedelta(hours=1), 2)) for what, after in ran]
    nights = [(f"nightly {attempt}", 24 * day + at) for day in range(3) for attempt, at in ((1, 2.0), (2, 2.17))]
    expected = [*nights, ("later", 2.08), *(("later", 24.0 * day) for day in (1, 2, 3))]
    assert hours == sorted(expected, key=lambda one: one[1])


async def test_what_has_fired_is_among_what_was_enqueued() -> None:
    app = App()

    @app.periodic(Every(minutes=10), kwargs={"to": "a@b.c"}, queue="mail", priority="high")
    @app.task(name="send")
    def send(to: str) -> None: ...

    async with Harness(app) as harness:
        assert harness.enqueued() == []
        assert await harness.advance(minutes=25) == 2
        first, second = harness.enqueued(send)
        assert (first.kwargs, first.queue, first.priority.name) == ({"to": "a@b.c"}, "mail", "HIGH")
        assert first.handle.id != second.handle.id
        assert await first.handle.aresult(0) is None


async def test_what_the_queue_refused_was_not_enqueued() -> None:
    app = App()

    @app.task(name="job")
    def job() -> None: ...

    app.periodic(Every(minutes=10), task=job)
    async with Harness(app) as harness:
        await job.options(delay=86_400).aenqueue()
        await (await app.backend()).queues.configure("default", QueueConfig(max_size=1))
        assert await harness.advance(hours=1) == 0
        assert len(harness.enqueued()) == 1


async def test_a_declaration_that_does_not_fit_its_task_fails_the_test_at_once() -> None:
    app = App()

    @app.task(name="job")
    def job(number: int) -> None: ...

    app.periodic(Every(minutes=10), task=job)
    with pytest.raises(ConfigError, match=r"^schedule 'job' cannot be declared: job: .*number"):
        async with Harness(app):
            pytest.fail("it has begun")


async def test_hundreds_fire_at_the_very_end_of_the_time_that_passes() -> None:
    app = App()

    @app.task(name="job")
    async def job(number: int) -> None: ...

    for number in range(250):
        app.periodic(Every(minutes=10), task=job, args=(number,), name=f"job {number}")
    async with Harness(app) as harness:
        assert await harness.advance(minutes=10) == 250
        assert await harness.advance(seconds=1) == 0


async def test_arguments_of_all_kinds_arrive_as_what_they_were() -> None:
    app, got = App(), list[tuple[Any, ...]]()

    @app.task(name="rich")
    async def rich(when: datetime, data: bytes, price: Decimal, tags: set[str], *rest: date, **more: Any) -> None:
        got.append((when, data, price, tags, rest, more))

    given = (BEGIN, b"\x00\xff", Decimal("1.50"), {"x"})
    app.periodic(Every(minutes=1), task=rich, args=(*given, date(2026, 1, 1), date(2026, 1, 2)), kwargs={"z": [1, "2"]})
    async with Harness(app) as harness:
        assert await harness.advance(minutes=1) == 1
    assert got == [(*given, (date(2026, 1, 1), date(2026, 1, 2)), {"z": [1, "2"]})]


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ({"hours": float("nan")}, "hours must be a number, not nan"),
        ({"days": float("inf")}, "days must be a number, not inf"),
        ({"minutes": "x"}, "minutes must be a number, not 'x'"),
        ({"seconds": None}, "seconds must be a number, not None"),
        ({"hours": timedelta(hours=1)}, "hours must be a number, not datetime.timedelta"),
        ({"days": 10**400}, "beyond the years 1 to 9999: days=1000"),
        ({"days": 1e12}, "beyond the years 1 to 9999: days=1000000000000.0"),
        ({"days": 3_000_000}, "beyond the years 1 to 9999: days=3000000"),
        ({"hours": 1, "minutes": -61}, "time cannot be turned back: minutes=-61, hours=1"),
    ],
)
async def test_a_time_that_cannot_pass(span: dict[str, Any], said: str) -> None:
    async with Harness(App()) as harness:
        before = harness.clock.now()
        with pytest.raises(InvalidOption, match=said):
            await harness.advance(**span)
        assert harness.clock.now() == before
        assert await harness.advance(hours=1, minutes=-60) == 0
