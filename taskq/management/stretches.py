"""The rows of a time that a store keeps, put together to as many stretches as a chart has points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from taskq.config import require
from taskq.domain.figures import Frame, add
from taskq.errors import InvalidOption
from taskq.ports import MetricsStore
from taskq.rollups import MOST_POINTS, STEPS, Point, Step, points

INCOMING = 5.0
"""Seconds that are still coming in, and are not shown by the second."""
DAY = 86_400.0


class Stretch(NamedTuple):
    """A stretch of time, and the one before it."""

    frame: Frame
    seconds: float
    """For how long it has lasted."""
    before: Frame = {}  # noqa: RUF012 - nobody writes into it
    apart: float = 0.0
    """The seconds between the ends of both; 0 where nothing is known of one before."""


class Stretches(NamedTuple):
    """A time, in stretches of `width` seconds; those of which nothing is known are left out."""

    width: int
    since: datetime
    until: datetime
    found: Sequence[tuple[datetime, Stretch]]
    """When each begins, and it."""


async def stretches(
    store: MetricsStore, now: datetime, since: datetime | timedelta, until: datetime | None, step: int | None
) -> Stretches:
    """Read a time.

    Arguments:
        now: by the store's clock.
        since: the first instant, or how long ago that is.
        until: the last instant; None: now.
        step: seconds of each stretch; None: as short as the time and the rows that are kept allow.

    Raises:
        InvalidOption: the times are none.
    """
    first, last = _times(since, until, now)
    row = _row(first, now, step)
    width = _width(row, last - first, step)
    last = min(last, now.timestamp() - INCOMING) if row.seconds == 1 else last
    found = await _rows(store, row.seconds, width, first, last)
    whole = [(_instant(at), stretch) for at, stretch in _stretches(found, width, now)]
    return Stretches(width, _instant(first), _instant(last), whole)


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


def _stretches(found: Sequence[Point], width: int, now: datetime) -> Iterator[tuple[int, Stretch]]:
    """Each stretch with the one before it, and when it begins."""
    before: Point | None = None
    for point in found:
        seconds = min(float(width), max(1.0, now.timestamp() - point.at))  # the last is not over
        if before is None:
            yield point.at, Stretch(point.frame, seconds)
        else:
            yield point.at, Stretch(point.frame, seconds, before.frame, point.at + seconds - before.at - width)
        before = point


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
