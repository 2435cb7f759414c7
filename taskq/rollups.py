"""Figures in a store: what processes leave of each second is rolled up into seconds, minutes and hours."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from taskq.domain.figures import Figures, Frame, add
from taskq.ports import FigureRow, Left, MetricsStore

AT_ONCE = 100
"""What is left that one roll-up takes."""
TRIES = 5
"""How often a roll-up is begun anew because somebody else was first."""
MOST_POINTS = 400
"""Rows that one reading gives at the most."""
logger = logging.getLogger("taskq.metrics")


class Step(NamedTuple):
    """A length of rows, in seconds, and for how many seconds such rows are kept."""

    seconds: int
    kept: int


STEPS = (Step(1, 600), Step(60, 12 * 3600), Step(3600, 30 * 86_400))


class Moment(NamedTuple):
    """The frame of a second, and for how many seconds that was over when it was left."""

    ago: float
    frame: Frame


class Point(NamedTuple):
    """The frame of a stretch of time, and when that begins, in seconds since the epoch."""

    at: int
    frame: Frame


_moments = msgspec.msgpack.Decoder(list[Moment])
_frame = msgspec.msgpack.Decoder(dict[str, Figures])


def write_moments(moments: Sequence[Moment]) -> bytes:
    """What a process leaves.

    >>> read_moments(write_moments([Moment(0.5, {"process": Figures(levels={"running": 2})})]))[0].ago
    0.5
    """
    return zlib.compress(msgspec.msgpack.encode(moments), 1)


def read_moments(data: bytes) -> list[Moment]:
    """What a process has left; nothing where it cannot be read: it is of another release."""
    try:
        return _moments.decode(zlib.decompress(data))
    except (zlib.error, msgspec.DecodeError):
        logger.debug("figures that cannot be read are dropped")
        return []


def write_frame(frame: Mapping[str, Figures]) -> bytes:
    """The frame as a row keeps it."""
    return zlib.compress(msgspec.msgpack.encode(frame), 1)


def read_frame(data: bytes) -> Frame:
    """The frame of a row; an empty one where it cannot be read.

    >>> read_frame(write_frame({"queue mail": Figures({"arrived": 3})}))["queue mail"].counts
    {'arrived': 3.0}
    >>> read_frame(b"?")
    {}
    """
    try:
        return _frame.decode(zlib.decompress(data))
    except (zlib.error, msgspec.DecodeError):
        logger.debug("a row of figures that cannot be read is begun anew")
        return {}


class Rolled(NamedTuple):
    """What a roll-up has done."""

    taken: int = 0
    """What was left and is taken now; at AT_ONCE there is more."""
    newest: float = 0.0
    """When the newest of it was left, in seconds since the epoch, by the store's clock."""


async def roll_up(store: MetricsStore) -> Rolled:
    """Roll up what is left, in one step for all lengths of rows."""
    for _ in range(TRIES):
        left = await store.left(AT_ONCE)
        if not left:
            break
        frames = _by_second(left)
        rows = [row for step in STEPS if frames for row in await _rows(store, step.seconds, frames)]
        if await store.roll_up([one.id for one in left], rows):
            return Rolled(len(left), left[-1].at)
    return Rolled()  # nothing is left, or others roll up so quickly that this process is not needed


async def trim(store: MetricsStore, now: float) -> None:
    """Forget rows that have been kept for long enough.

    Arguments:
        now: seconds since the epoch, by the store's clock.
    """
    for step in STEPS:
        await store.trim(step.seconds, int(now) - step.kept)


def step_for(since: float, until: float, now: float) -> int:
    """The shortest length of rows, in seconds, that reach back so far and are not too many.

    >>> step_for(1000, 1300, now=1300), step_for(0, 3600, now=3600), step_for(0, 3600, now=100_000)
    (1, 60, 3600)
    """
    for step in STEPS:
        if now - since <= step.kept and until - since <= step.seconds * MOST_POINTS:
            return step.seconds
    return STEPS[-1].seconds


async def points(store: MetricsStore, step: int, since: float, until: float) -> list[Point]:
    """The figures of a time, the oldest first, at most MOST_POINTS of the newest; a time without any is left out.

    Arguments:
        step: a length of rows, in seconds (`step_for`).
        since, until: seconds since the epoch.
    """
    first = max(int(since) // step * step, int(until) // step * step - (MOST_POINTS - 1) * step)
    return [Point(row.at, read_frame(row.data)) for row in await store.rows(step, first, int(until) + 1)]


def _by_second(left: Sequence[Left]) -> dict[int, Frame]:
    seconds: dict[int, Frame] = {}
    for one in left:
        for moment in read_moments(one.data):
            add(seconds.setdefault(int(one.at - max(0.0, moment.ago)), {}), moment.frame)
    return seconds


async def _rows(store: MetricsStore, step: int, frames: Mapping[int, Frame]) -> list[FigureRow]:
    """The rows of one length with these frames added."""
    starts = sorted({second - second % step for second in frames})
    known = {row.at: row for row in await store.rows(step, starts[0], starts[-1] + 1)}
    rows = []
    for at in starts:
        row = known.get(at)
        frame = {} if row is None else read_frame(row.data)
        for second in sorted(frames):
            if second - second % step == at:
                add(frame, frames[second])
        rows.append(FigureRow(step, at, write_frame(frame), 0 if row is None else row.version))
    return rows
