"""Figures over time, as charts need them, from the rows that the store keeps: no Prometheus is needed for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from taskq.config import check_identifier, shown
from taskq.domain.figures import (
    FLEET,
    PROCESS,
    QUEUE,
    RUN,
    SECONDS,
    TENANT,
    Figures,
    Frame,
    add,
    chosen,
    total,
    unfinished,
)
from taskq.domain.message import Priority
from taskq.domain.pace import Level, pace
from taskq.domain.sketch import quantile
from taskq.domain.state import TaskState
from taskq.errors import InvalidOption
from taskq.management.access import Forbidden, Permission
from taskq.management.desk import Desk
from taskq.management.stretches import Stretch, Stretches, stretches
from taskq.rollups import Point, points
from taskq.store_clock import store_now

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
ENDS = ("completed", "failed", "dead", "cancelled")
THROUGHPUT = ("submitted", *ENDS, "retried")
MOST_PANELS = 20
LATELY = 60.0
"""Seconds that `latest` tells of."""


class Chart(StrEnum):
    """What can be drawn."""

    THROUGHPUT = "throughput"
    """Tasks submitted, completed, failed, dead, cancelled and retried a second."""
    DURATION = "duration"
    """How long runs take: p50, p95, p99 and mean, in seconds."""
    WAIT = "wait"
    """How long tasks waited before they ran, in the same way."""
    QUEUE = "queue"
    """What stands in queues: ready tasks by priority, running, scheduled, dead, the age of the oldest in seconds."""
    PACE = "pace"
    """Tasks that arrive in queues and leave them, a second."""
    STORE_LATENCY = "store_latency"
    """How long the store takes to answer workers, as a duration."""
    LOOP_LAG = "loop_lag"
    """How late the event loops of workers are, as a duration."""
    WORKERS = "workers"
    """Workers by state, their slots, and how many of these are taken."""


_BY_TASK = {Chart.THROUGHPUT, Chart.DURATION, Chart.WAIT}
_BY_QUEUE = _BY_TASK | {Chart.QUEUE, Chart.PACE}


class ChartPoint(NamedTuple):
    """What was so in one stretch of time."""

    at: datetime
    """When it begins."""
    values: Mapping[str, float]


class Series(NamedTuple):
    """A chart. A time of which nothing is known has no point: it is a gap, and not a zero."""

    chart: Chart
    step: int
    """How long each stretch is, in seconds."""
    since: datetime
    until: datetime
    points: Sequence[ChartPoint]


class Latest(NamedTuple):
    """How it stands: the last minute."""

    at: datetime
    throughput: Mapping[str, float]
    duration: Mapping[str, float]
    wait: Mapping[str, float]
    store_latency: Mapping[str, float]
    queues: Mapping[str, Mapping[str, float]]
    """By queue, as of Chart.QUEUE and Chart.PACE."""
    workers: Mapping[str, float]


class About(NamedTuple):
    """Of what a chart is: None stands for all."""

    task: str | None
    queue: str | None
    tenant: str | None


class Panel(NamedTuple):
    """What matters most of a task or a queue."""

    about: About
    points: Sequence[ChartPoint]
    """`throughput` (completed) and `failures` (given up) a second; where they are known `wait_p95`, `duration_p95` and,
    unless it is of one task, `oldest`, in seconds."""


class Panels(NamedTuple):
    """Some of them, of one time."""

    step: int
    since: datetime
    until: datetime
    panels: Sequence[Panel]
    number: int
    """How many there are, shown or not."""


class MetricsDesk(Desk):
    """The figures of a store over time."""

    async def series(
        self,
        chart: Chart | str,
        *,
        task: str | None = None,
        queue: str | None = None,
        tenant: str | None = None,
        since: datetime | timedelta = timedelta(hours=1),
        until: datetime | None = None,
        step: int | None = None,
    ) -> Series:
        """A chart, of at most 400 points.

        Arguments:
            chart: what to draw.
            task, queue: of this one alone; a chart of which they are no part refuses them.
            tenant: of this one alone, which only the throughput knows.
            since: the first instant, or how long ago that is.
            until: the last instant; None: now, by the store's clock.
            step: seconds of each stretch; None: as short as the time and the rows that are kept allow. A longer one is
                taken where there would be more than 400 points.

        Raises:
            InvalidOption: there is no such chart, it knows no such name, or the times are none.
            Forbidden: whoever asks may see one tenant alone, and this is not of it.
        """
        kind = _chart(chart)
        about = self._about(kind, About(task, queue, tenant))
        backend = await self.app.backend()
        now = await store_now(backend)
        read = await stretches(backend.metrics, now, since, until, step)
        made = [(at, _MADE[kind](about, stretch)) for at, stretch in read.found]
        drawn = [ChartPoint(at, values) for at, values in made if values]
        return Series(kind, read.width, read.since, read.until, drawn)

    async def panels(
        self,
        by: str | None = None,
        *,
        task: str | None = None,
        queue: str | None = None,
        since: datetime | timedelta = timedelta(hours=1),
        until: datetime | None = None,
        step: int | None = None,
    ) -> Panels:
        """What matters most, side by side: of each task or queue, or of all of them together.

        Arguments:
            by: "task" or "queue": a panel of each, the busiest first, at most MOST_PANELS; None: one of all together.
            task, queue: of these alone.
            since, until, step: as for `series`.

        Raises:
            InvalidOption: `by` is neither, or as for `series`.
            Forbidden: whoever asks may not see the fleet.
        """
        if by not in (None, "task", "queue"):
            raise InvalidOption(f"by must be task or queue, not {shown(by)}")
        about = self._about(Chart.THROUGHPUT, About(task, queue, None))
        backend = await self.look(Permission.READ_FLEET)
        read = await stretches(backend.metrics, await store_now(backend), since, until, step)
        names = [about] if by is None else _named(by, about, read)
        drawn = [Panel(each, [ChartPoint(at, _matters(each, one)) for at, one in read.found]) for each in names]
        busiest = sorted(drawn, key=lambda panel: -sum(point.values["throughput"] for point in panel.points))
        return Panels(read.width, read.since, read.until, busiest[:MOST_PANELS], len(drawn))

    async def latest(self) -> Latest:
        """How it stands, by the last minute."""
        backend = await self.look(Permission.READ_FLEET)
        now = await store_now(backend)
        at = now.timestamp()
        found = await points(backend.metrics, 1, at - LATELY, at)
        whole: Frame = {}
        for point in found:
            add(whole, point.frame)
        everything, minute = About(None, None, None), Stretch(whole, LATELY)
        names = [name.partition(" ")[2] for name in whole if name.startswith(f"{QUEUE} ")]
        return Latest(
            now,
            _throughput(everything, minute) if whole else {},
            _timed("duration", RUN)(everything, minute),
            _timed("wait", RUN)(everything, minute),
            _timed("store_latency", PROCESS)(everything, minute),
            {name: _queue_lately(name, found, minute) for name in sorted(names)},
            _fleet(everything, minute),
        )

    def _about(self, chart: Chart, about: About) -> About:
        """Of what the chart may be, for whoever asks."""
        for option, allowed in (("task", _BY_TASK), ("queue", _BY_QUEUE), ("tenant", {Chart.THROUGHPUT})):
            name = getattr(about, option)
            if name is None:
                continue
            check_identifier(option, name)
            if chart not in allowed:
                raise InvalidOption(f"{chart} is not told by {option}; {', '.join(sorted(allowed))} are")
        if about.tenant is not None and (about.task, about.queue) != (None, None):
            raise InvalidOption("what a tenant's tasks do is told of all together: without task and queue")
        if not self.actor.tenant:
            self.actor.require(Permission.READ_FLEET)
            return about
        self.actor.require(Permission.READ)
        mine = About(None, None, self.actor.tenant)
        if chart is not Chart.THROUGHPUT or about not in (mine, About(None, None, None)):
            raise Forbidden(f"{self.actor.name} may see the throughput of the tenant {self.actor.tenant} alone")
        return mine


# ---------------------------------------------------------------- the time of a chart


def _chart(chart: Chart | str) -> Chart:
    if chart not in tuple(Chart):
        raise InvalidOption(f"chart must be one of {', '.join(Chart)}, not {shown(chart)}")
    return Chart(chart)


# ---------------------------------------------------------------- what is drawn

Values = dict[str, float]


Make = Callable[[About, Stretch], Values]


def _throughput(about: About, stretch: Stretch) -> Values:
    if about.tenant is not None:
        names: Sequence[str] = ENDS
        whole = total(chosen(stretch.frame, TENANT, about.tenant))
    else:
        names = THROUGHPUT
        whole = total(chosen(stretch.frame, RUN, about.task, about.queue))
    return {name: whole.counts.get(name, 0.0) / stretch.seconds for name in names}


def _timed(name: str, kind: str) -> Make:
    def make(about: About, stretch: Stretch) -> Values:
        names = (about.task, about.queue) if kind == RUN else ()
        return _spread(total(chosen(stretch.frame, kind, *names)), name)

    return make


def _spread(figures: Figures, name: str) -> Values:
    sketch = figures.sketches.get(name, {})
    number = sum(sketch.values())
    if not number:
        return {}
    found = {label: quantile(sketch, share) or 0.0 for label, share in SHARES.items()}
    return {**found, "mean": figures.counts.get(name + SECONDS, 0.0) / number}


def _standing(about: About, stretch: Stretch) -> Values:
    some = list(chosen(stretch.frame, QUEUE, about.queue))
    whole = total(some)
    if not whole.levels:
        return {}
    values = {f"pending.{each.name.lower()}": whole.levels.get(f"pending.{int(each)}", 0.0) for each in Priority}
    values |= {str(state): whole.levels.get(f"state.{state}", 0.0) for state in TaskState if not state.is_final}
    values[str(TaskState.DEAD)] = whole.levels.get(f"state.{TaskState.DEAD}", 0.0)
    values["oldest"] = max(figures.levels.get("oldest", 0.0) for figures in some)
    return values


def _pace(about: About, stretch: Stretch) -> Values:
    """Levels are those at the end of a stretch: without one before it nothing is known of what has left."""
    now, then = (total(chosen(frame, QUEUE, about.queue)) for frame in (stretch.frame, stretch.before))
    if stretch.apart <= 0 or not now.levels or not then.levels:
        return {}
    after = Level(int(now.counts.get("arrived", 0.0)), unfinished(now))
    over = pace(Level(0, unfinished(then)), after, stretch.apart)
    return {"arrival": over.arrival, "drain": over.drain}


def _matters(about: About, stretch: Stretch) -> Values:
    ends = _throughput(about, stretch)
    found = {"throughput": ends["completed"], "failures": ends["failed"] + ends["dead"]}
    for name in ("wait", "duration"):
        if (p95 := _timed(name, RUN)(about, stretch).get("p95")) is not None:
            found[f"{name}_p95"] = p95
    stands = _standing(about, stretch) if about.task is None else {}
    return found | ({"oldest": stands["oldest"]} if stands else {})


def _named(by: str, about: About, read: Stretches) -> Sequence[About]:
    """The tasks or queues of which something is known in a time."""
    names = {name for _, stretch in read.found for name in stretch.frame}
    runs = {tuple(name.split(" ")[1:3]) for name in names if name.startswith(f"{RUN} ")}
    if by == "task":
        tasks = {task for task, *queue in runs if about.queue in (None, *queue)}
        return [about._replace(task=task) for task in sorted(tasks) if about.task in (None, task)]
    queues = {name.partition(" ")[2] for name in names if name.startswith(f"{QUEUE} ")}
    if about.task is not None:
        queues = {queue for task, *rest in runs if task == about.task for queue in rest}
    return [about._replace(queue=queue) for queue in sorted(queues) if about.queue in (None, queue)]


def _fleet(about: About, stretch: Stretch) -> Values:
    levels = total(chosen(stretch.frame, FLEET)).levels
    return {name.removeprefix("workers.").replace(" ", "_"): level for name, level in levels.items()}


_MADE: Mapping[Chart, Make] = {
    Chart.THROUGHPUT: _throughput,
    Chart.DURATION: _timed("duration", RUN),
    Chart.WAIT: _timed("wait", RUN),
    Chart.QUEUE: _standing,
    Chart.PACE: _pace,
    Chart.STORE_LATENCY: _timed("store_latency", PROCESS),
    Chart.LOOP_LAG: _timed("loop_lag", PROCESS),
    Chart.WORKERS: _fleet,
}


def _queue_lately(name: str, found: Sequence[Point], minute: Stretch) -> Values:
    """How a queue stands, and its pace between the first and the last look of the minute."""
    about = About(None, name, None)
    seen = [point for point in found if f"{QUEUE} {name}" in point.frame]
    later: Frame = {}
    for point in seen[1:]:
        add(later, point.frame)
    between = Stretch(later, LATELY, seen[0].frame, float(seen[-1].at - seen[0].at))
    return {**_standing(about, minute), **_pace(about, between)}
