"""Charts from the figures that a store keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from taskq import App
from taskq.domain.figures import Figures, Frame
from taskq.errors import InvalidOption, TaskqError
from taskq.management import Actor, Forbidden, Management, Role
from taskq.management.metrics import MOST_PANELS, Chart, Series
from taskq.rollups import MOST_POINTS, Moment, roll_up, write_moments
from taskq.testing.clock import VirtualClock
from tests.management.conftest import ADMIN
from tests.worker.support import ended, work

START = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


class Past:
    """A store in memory with a past that a test makes."""

    def __init__(self, app: App, clock: VirtualClock) -> None:
        self.app, self.clock = app, clock
        self.desk = Management(app, ADMIN).metrics

    async def leave(self, frame: Frame) -> None:
        """Have figures of now."""
        metrics = (await self.app.backend()).metrics
        await metrics.leave(uuid4().hex, write_moments([Moment(0.0, frame)]))
        assert (await roll_up(metrics)).taken == 1


@pytest.fixture
async def past() -> AsyncIterator[Past]:
    """A store in memory whose time a test turns."""
    clock = VirtualClock(START)
    async with App("memory://", clock=clock) as app:
        yield Past(app, clock)


def run(completed: float, *seconds: float) -> Figures:
    figures = Figures({"completed": completed})
    for each in seconds:
        figures.time("duration", each)
        figures.time("wait", each * 2)
    return figures


def seen(found: Series, name: str) -> list[tuple[float, float]]:
    """One value of each point, by the seconds since the start."""
    return [(point.at.timestamp() - START, point.values[name]) for point in found.points]


async def test_throughput_by_task_by_queue_and_in_all(past: Past) -> None:
    await past.leave(
        {"run send mail": run(60), "run show web": run(30), "run send web": run(6), "tenant acme": run(12)}
    )
    past.clock.advance(90)
    for names, rate in (({}, 96), ({"task": "send"}, 66), ({"queue": "web"}, 36), ({"tenant": "acme"}, 12)):
        found = await past.desk.series("throughput", **names, step=60)  # type: ignore[arg-type]
        assert seen(found, "completed") == [(0.0, rate / 60)]
    assert set(found.points[0].values) == {"completed", "failed", "dead", "cancelled"}
    everything = await past.desk.series("throughput", task="other")
    assert everything.points[0].values["completed"] == 0.0, "something was heard of, and it did not run"


async def test_a_time_of_which_nothing_is_known_is_a_gap(past: Past) -> None:
    await past.leave({"run send mail": run(60, 0.5)})
    past.clock.advance(180)
    await past.leave({"run send mail": run(60, 0.5)})
    past.clock.advance(60)
    for chart, name in (("throughput", "completed"), ("duration", "p95")):
        found = await past.desk.series(chart, since=timedelta(minutes=5), step=60)
        assert [at for at, _ in seen(found, name)] == [0.0, 180.0]


async def test_the_stretch_that_is_not_over_is_told_by_what_of_it_is(past: Past) -> None:
    past.clock.advance(120)
    await past.leave({"run send mail": run(20)})
    past.clock.advance(10)
    assert seen(await past.desk.series("throughput", step=60), "completed") == [(120.0, 2.0)]


async def test_how_long_runs_take_and_tasks_wait(past: Past) -> None:
    await past.leave({"run send mail": run(4, 0.1, 0.1, 0.1, 0.1), "run show web": run(1, 5.0)})
    past.clock.advance(60)
    [found] = (await past.desk.series(Chart.DURATION)).points
    assert found.values["p50"] == pytest.approx(0.1, rel=0.1)
    assert found.values["p99"] == pytest.approx(5.0, rel=0.1)
    assert found.values["mean"] == pytest.approx(5.4 / 5)
    [found] = (await past.desk.series("wait", queue="web")).points
    assert found.values["p50"] == pytest.approx(10.0, rel=0.1)


async def test_what_stands_in_queues(past: Past) -> None:
    levels = {"pending.1": 3.0, "pending.3": 1.0, "state.pending": 4.0, "state.running": 2.0, "oldest": 7.0}
    other = {"pending.1": 5.0, "state.pending": 5.0, "state.dead": 9.0, "oldest": 30.0}
    await past.leave({"queue mail": Figures(levels=levels), "queue web": Figures(levels=other)})
    past.clock.advance(60)
    [found] = (await past.desk.series("queue")).points
    names = ("pending.normal", "pending.critical", "pending", "running", "dead", "oldest")
    assert [found.values[name] for name in names] == [8.0, 1.0, 9.0, 2.0, 9.0, 30.0]
    [found] = (await past.desk.series("queue", queue="mail")).points
    assert (found.values["pending"], found.values["oldest"]) == (4.0, 7.0)


async def test_what_arrives_and_leaves(past: Past) -> None:
    for arrived, pending in ((600.0, 100.0), (120.0, 160.0), (0.0, 40.0)):
        await past.leave({"queue mail": Figures({"arrived": arrived}, levels={"state.pending": pending})})
        past.clock.advance(60)
    found = await past.desk.series("pace", queue="mail", step=60)
    assert seen(found, "arrival") == [(60.0, 2.0), (120.0, 0.0)]
    assert seen(found, "drain") == [(60.0, 1.0), (120.0, 2.0)]


async def test_the_store_the_loops_and_the_workers(past: Past) -> None:
    process = Figures()
    process.time("store_latency", 0.002)
    process.time("loop_lag", 0.25)
    fleet = Figures(levels={"workers": 3.0, "workers.idle": 2.0, "workers.shutting down": 1.0, "running": 5.0})
    await past.leave({"process": process, "fleet": fleet})
    past.clock.advance(60)
    for chart, quantile, expected in (("store_latency", "p95", 0.002), ("loop_lag", "p50", 0.25)):
        [(at, value)] = seen(await past.desk.series(chart), quantile)
        assert at == 0.0
        assert value == pytest.approx(expected, rel=0.1)
    [found] = (await past.desk.series("workers")).points
    assert found.values == {"workers": 3.0, "idle": 2.0, "shutting_down": 1.0, "running": 5.0}


@pytest.mark.parametrize(
    ("since", "step", "width"),
    [
        (timedelta(minutes=5), None, 1),
        (timedelta(minutes=9), None, 2),
        (timedelta(minutes=5), 10, 10),
        (timedelta(hours=1), None, 60),
        (timedelta(hours=12), None, 120),
        (timedelta(hours=1), 600, 600),
        (timedelta(days=7), None, 3600),
        (timedelta(days=30), None, 7200),
        (timedelta(days=30), 60, 7200),
        (timedelta(days=2), 86_400, 86_400),
    ],
)
async def test_there_are_never_too_many_points(
    past: Past, since: timedelta, step: int | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.clock.advance(40 * 86_400)
    found = await past.desk.series("throughput", since=since, step=step)
    assert found.step == width
    assert (found.until - found.since).total_seconds() / width <= MOST_POINTS


async def test_rows_are_added_up_where_points_are_longer(past: Past) -> None:
    for _ in range(10):
        await past.leave({"run send mail": run(60, 1.0), "queue mail": Figures(levels={"state.pending": 7.0})})
        past.clock.advance(60)
    found = await past.desk.series("throughput", since=timedelta(minutes=10), step=300)
    assert seen(found, "completed") == [(0.0, 1.0), (300.0, 1.0)]
    standing = await past.desk.series("queue", since=timedelta(minutes=10), step=300)
    assert seen(standing, "pending") == [(0.0, 7.0), (300.0, 7.0)], "levels are those at the end"


async def test_more_rows_than_one_page_are_read(past: Past) -> None:
    for _ in range(600):
        await past.leave({"run send mail": run(60)})
        past.clock.advance(60)
    found = await past.desk.series("throughput", since=timedelta(hours=10))
    assert found.step == 120
    assert sum(value for _, value in seen(found, "completed")) == 300.0
    assert len(found.points) == 300


async def test_an_instant_may_be_given(past: Past) -> None:
    await past.leave({"run send mail": run(60)})
    past.clock.advance(3600)
    start = datetime.fromtimestamp(START, UTC)
    found = await past.desk.series("throughput", since=start, until=start + timedelta(minutes=5))
    assert seen(found, "completed") == [(0.0, 1.0)]
    assert found.until == start + timedelta(minutes=5)


async def test_how_it_stands(past: Past) -> None:
    assert (await past.desk.latest()).throughput == {}
    for arrived in (0.0, 100.0):
        past.clock.advance(10)
        queue = Figures({"arrived": arrived}, levels={"state.pending": arrived, "pending.1": arrived, "oldest": 3.0})
        await past.leave(
            {"run send mail": run(30, 0.5), "queue mail": queue, "fleet": Figures(levels={"workers": 2.0})}
        )
    found = await past.desk.latest()
    assert found.throughput["completed"] == 1.0
    assert found.duration["p50"] == pytest.approx(0.5, rel=0.1)
    assert found.queues["mail"] == {**found.queues["mail"], "pending": 100.0, "arrival": 10.0, "drain": 0.0}
    assert found.workers == {"workers": 2.0}
    past.clock.advance(3600)
    assert (await past.desk.latest()).queues == {}


async def test_on_each_store_what_workers_do_is_drawn(app: App, management: Management) -> None:
    @app.task(name="add", queue="sums")
    async def add(x: int) -> int:
        return x

    async with work(app, queues={"sums": None}):
        for handle in [await add.options(tenant="acme").aenqueue(n) for n in range(7)]:
            await ended(handle)
    metrics = (await app.backend()).metrics
    while (await roll_up(metrics)).taken:
        pass
    for names in ({}, {"task": "add"}, {"queue": "sums"}, {"tenant": "acme"}):
        found = await management.metrics.series("throughput", **names, step=3600)  # type: ignore[arg-type]
        assert sum(point.values["completed"] for point in found.points) > 0
    assert (await management.metrics.series("duration", task="add", step=60)).points
    assert (await management.metrics.series("store_latency", step=60)).points


async def test_who_is_of_a_tenant_sees_its_own_alone(past: Past) -> None:
    await past.leave({"run send mail": run(60), "tenant acme": run(12), "tenant other": run(30)})
    past.clock.advance(60)
    bob = Management(past.app, Actor("bob", [Role.VIEWER], tenant="acme")).metrics
    own: list[dict[str, Any]] = [{}, {"tenant": "acme"}]
    for names in own:
        found = await bob.series("throughput", **names, step=60)
        assert seen(found, "completed") == [(0.0, 0.2)]
    refused: list[tuple[str, dict[str, Any]]] = [
        ("throughput", {"tenant": "other"}),
        ("throughput", {"task": "send"}),
        ("queue", {}),
        ("workers", {}),
        ("duration", {}),
    ]
    for chart, names in refused:
        with pytest.raises(Forbidden, match="bob may see the throughput of the tenant acme alone"):
            await bob.series(chart, **names)
    with pytest.raises(Forbidden):
        await bob.latest()
    with pytest.raises(Forbidden):
        await Management(past.app, Actor("nobody", [])).metrics.series("throughput")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"chart": "speed"}, "chart must be one of throughput, duration"),
        ({"chart": "queue", "task": "send"}, "queue is not told by task; duration, throughput, wait are"),
        ({"chart": "workers", "queue": "mail"}, "workers is not told by queue"),
        ({"chart": "duration", "tenant": "acme"}, "duration is not told by tenant; throughput are"),
        ({"tenant": "acme", "queue": "mail"}, "without task and queue"),
        ({"queue": "a b"}, "queue 'a b': use 1 to 200"),
        ({"since": timedelta(0)}, "must be before until"),
        ({"since": datetime(2026, 1, 1)}, "since must be an instant with a time zone"),  # noqa: DTZ001
        ({"step": 0}, "step must be from 1 to 86,400 seconds"),
    ],
)
async def test_a_mistake_is_told(past: Past, said: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskqError) as mistake:
        await past.desk.series(**{"chart": "throughput", **said})
    assert words in str(mistake.value)
    assert InvalidOption.__mro__


async def test_what_matters_side_by_side(past: Past) -> None:
    await past.leave(
        {
            "run send mail": Figures({"completed": 60, "failed": 3, "dead": 3}),
            "run show web": run(30, 0.5),
            "queue mail": Figures(levels={"oldest": 7.0}),
            "queue idle": Figures(levels={"oldest": 0.0}),
        }
    )
    past.clock.advance(90)
    found = await past.desk.panels(step=60)
    [everything] = found.panels
    [point] = everything.points
    assert (found.step, point.at.timestamp()) == (60, START)
    assert (point.values["throughput"], point.values["failures"], point.values["oldest"]) == (1.5, 0.1, 7.0)
    assert point.values["duration_p95"] == pytest.approx(0.5, rel=0.1)
    assert point.values["wait_p95"] == pytest.approx(1.0, rel=0.1)
    by_queue = await past.desk.panels("queue", step=60)
    assert [panel.about.queue for panel in by_queue.panels] == ["mail", "idle"], "those that were looked at"
    by_task = await past.desk.panels("task", step=60)
    assert [panel.about.task for panel in by_task.panels] == ["send", "show"]
    assert "oldest" not in by_task.panels[0].points[0].values
    assert "wait_p95" not in by_task.panels[0].points[0].values, "none has run for a known time"
    for said, names in (
        ({"by": "queue", "task": "send"}, [("send", "mail")]),
        ({"by": "task", "queue": "web"}, [("show", "web")]),
        ({"by": "task", "task": "send"}, [("send", None)]),
        ({"by": "queue", "queue": "mail"}, [(None, "mail")]),
        ({"task": "show"}, [("show", None)]),
    ):
        panels = (await past.desk.panels(**said, step=60)).panels  # type: ignore[arg-type]
        assert [(panel.about.task, panel.about.queue) for panel in panels] == names


async def test_of_many_panels_the_busiest_are_shown(past: Past) -> None:
    await past.leave({f"run t{number} mail": run(number) for number in range(1, MOST_PANELS + 3)})
    past.clock.advance(90)
    found = await past.desk.panels("task", step=60)
    assert (len(found.panels), found.number) == (MOST_PANELS, MOST_PANELS + 2)
    assert found.panels[0].about.task == f"t{MOST_PANELS + 2}"


async def test_panels_that_are_none(past: Past) -> None:
    with pytest.raises(InvalidOption, match="by must be task or queue, not 'tenant'"):
        await past.desk.panels("tenant")
    with pytest.raises(Forbidden):
        await Management(past.app, Actor("tim", [Role.ADMIN], tenant="acme")).metrics.panels()
    assert (await past.desk.panels("queue")).panels == []
