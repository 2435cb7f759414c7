"""Figures over time, as charts need them, from the rows that the store keeps: no Prometheus is needed for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from taskq.config import check_identifier, require, shown
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
from taskq.management.alerts import store_now
from taskq.management.desk import Desk
from taskq.ports import MetricsStore
from taskq.rollups import MOST_POINTS, STEPS, Point, Step, points

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
ENDS = ("completed", "failed", "dead", "cancelled")
THROUGHPUT = ("submitted", *ENDS, "retried")
LATELY = 60.0
"""Seconds that `latest` tells of."""
INCOMING = 5.0
"""Seconds that are still coming in, and are not shown by the second."""
DAY = 86_400.0


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


class _About(NamedTuple):
    """Of what a chart is: None stands for all."""

    task: str | None
    queue: str | None
    tenant: str | None


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
        about = self._about(kind, _About(task, queue, tenant))
        backend = await self.app.backend()
        now = await store_now(backend)
        first, last = _times(since, until, now)
        row = _row(first, now, step)
        width = _width(row, last - first, step)
        last = min(last, now.timestamp() - INCOMING) if row.seconds == 1 else last
        found = await _rows(backend.metrics, row.seconds, width, first, last)
        made = [(at, _MADE[kind](about, stretch)) for at, stretch in _stretches(found, width, now)]
        drawn = [ChartPoint(_instant(at), values) for at, values in made if values]
        return Series(kind, width, _instant(first), _instant(last), drawn)

    async def latest(self) -> Latest:
        """How it stands, by the last minute."""
        backend = await self.look(Permission.READ_FLEET)
        now = await store_now(backend)
        at = now.timestamp()
        found = await points(backend.metrics, 1, at - LATELY, at)
        whole: Frame = {}
        for point in found:
            add(whole, point.frame)
        everything, minute = _About(None, None, None), _Stretch(whole, LATELY)
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

    def _about(self, chart: Chart, about: _About) -> _About:
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
        mine = _About(None, None, self.actor.tenant)
        if chart is not Chart.THROUGHPUT or about not in (mine, _About(None, None, None)):
            raise Forbidden(f"{self.actor.name} may see the throughput of the tenant {self.actor.tenant} alone")
        return mine


# ---------------------------------------------------------------- the time of a chart


def _chart(chart: Chart | str) -> Chart:
    if chart not in tuple(Chart):
        raise InvalidOption(f"chart must be one of {', '.join(Chart)}, not {shown(chart)}")
    return Chart(chart)


def _times(since: datetime | timedelta, until: datetime | None, now: datetime) -> tuple[float, float]:
    for option, instant in (("since", since), ("until", until)):
        if isinstance(instant, datetime) and instant.utcoffset() is None:
            raise InvalidOption(f"{option} must be an instant with a time zone, not {instant.isoformat()}")
    last = now if until is None else min(until, now)
    first = since if isinstance(since, datetime) else last - since
    if first >= last:
        raise InvalidOption(f"since ({first.isoformat()}) must be before until ({last.isoformat()})")
    return max(first.timestamp(), now.timestamp() - STEPS[-1].kept), last.timestamp()


def _row(first: float, now: datetime, step: int | None) -> Step:
    """The shortest rows that reach back so far, and are no longer than what was asked for."""
    require(step is None or 1 <= step <= DAY, f"step must be from 1 to {DAY:,.0f} seconds", step)
    reaching = [row for row in STEPS if now.timestamp() - first <= row.kept + row.seconds]
    if not reaching:
        return STEPS[-1]
    fitting = [row for row in reaching if step is None or row.seconds <= step]
    return fitting[-1] if fitting and step is not None else reaching[0]


def _width(row: Step, span: float, step: int | None) -> int:
    """The seconds of a point: whole rows, and not too many of them."""
    wanted = max(step or 1, row.seconds, span / (MOST_POINTS - 1))
    return row.seconds * math.ceil(wanted / row.seconds - 1e-9)


async def _rows(store: MetricsStore, row: int, width: int, first: float, last: float) -> list[Point]:
    """The figures of each stretch, with those of its rows added up."""
    found: dict[int, Frame] = {}
    until = last
    while until >= first // width * width:
        page = await points(store, row, first // width * width, until)
        for point in reversed(page):
            frame = found.setdefault(point.at // width * width, {})
            merged: Frame = {}
            add(merged, point.frame)
            add(merged, frame)  # the pages come from the newest on: what is there is later
            found[point.at // width * width] = merged
        until = int(until) // row * row - (MOST_POINTS - 1) * row - 1
    return [Point(at, found[at]) for at in sorted(found)][-MOST_POINTS:]


def _stretches(found: Sequence[Point], width: int, now: datetime) -> Iterator[tuple[int, _Stretch]]:
    """Each stretch with the one before it, and when it begins."""
    before: Point | None = None
    for point in found:
        seconds = min(float(width), max(1.0, now.timestamp() - point.at))  # the last is not over
        if before is None:
            yield point.at, _Stretch(point.frame, seconds)
        else:
            yield point.at, _Stretch(point.frame, seconds, before.frame, point.at + seconds - before.at - width)
        before = point


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# ---------------------------------------------------------------- what is drawn

Values = dict[str, float]


class _Stretch(NamedTuple):
    """A stretch of time, and the one before it."""

    frame: Frame
    seconds: float
    """For how long it has lasted."""
    before: Frame = {}  # noqa: RUF012 - nobody writes into it
    apart: float = 0.0
    """The seconds between the ends of both; 0 where nothing is known of one before."""


Make = Callable[[_About, _Stretch], Values]


def _throughput(about: _About, stretch: _Stretch) -> Values:
    if about.tenant is not None:
        names: Sequence[str] = ENDS
        whole = total(chosen(stretch.frame, TENANT, about.tenant))
    else:
        names = THROUGHPUT
        whole = total(chosen(stretch.frame, RUN, about.task, about.queue))
    return {name: whole.counts.get(name, 0.0) / stretch.seconds for name in names}


def _timed(name: str, kind: str) -> Make:
    def make(about: _About, stretch: _Stretch) -> Values:
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


def _standing(about: _About, stretch: _Stretch) -> Values:
    some = list(chosen(stretch.frame, QUEUE, about.queue))
    whole = total(some)
    if not whole.levels:
        return {}
    values = {f"pending.{each.name.lower()}": whole.levels.get(f"pending.{int(each)}", 0.0) for each in Priority}
    values |= {str(state): whole.levels.get(f"state.{state}", 0.0) for state in TaskState if not state.is_final}
    values[str(TaskState.DEAD)] = whole.levels.get(f"state.{TaskState.DEAD}", 0.0)
    values["oldest"] = max(figures.levels.get("oldest", 0.0) for figures in some)
    return values


def _pace(about: _About, stretch: _Stretch) -> Values:
    """Levels are those at the end of a stretch: without one before it nothing is known of what has left."""
    now, then = (total(chosen(frame, QUEUE, about.queue)) for frame in (stretch.frame, stretch.before))
    if stretch.apart <= 0 or not now.levels or not then.levels:
        return {}
    after = Level(int(now.counts.get("arrived", 0.0)), unfinished(now))
    over = pace(Level(0, unfinished(then)), after, stretch.apart)
    return {"arrival": over.arrival, "drain": over.drain}


def _fleet(about: _About, stretch: _Stretch) -> Values:
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


def _queue_lately(name: str, found: Sequence[Point], minute: _Stretch) -> Values:
    """How a queue stands, and its pace between the first and the last look of the minute."""
    about = _About(None, name, None)
    seen = [point for point in found if f"{QUEUE} {name}" in point.frame]
    later: Frame = {}
    for point in seen[1:]:
        add(later, point.frame)
    between = _Stretch(later, LATELY, seen[0].frame, float(seen[-1].at - seen[0].at))
    return {**_standing(about, minute), **_pace(about, between)}
