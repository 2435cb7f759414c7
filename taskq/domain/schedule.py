"""What a schedule does when its time has come: which of its instants fire, which were missed, and why. Pure.

Misfires and overlaps go by names that the field knows: misfire rules as in Quartz and APScheduler, overlap rules as in
Temporal's schedules.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from taskq.domain.timing import Timing, check_aware
from taskq.errors import InvalidOption

GRACE = 60.0
"""What fires no more than so many seconds late is on time, and no misfire."""
MOST_FIRES = 100
"""Instants that fire in one step; older ones are missed."""
MOST_COUNTED = 10_000
"""Missed instants are counted up to here."""
LONGEST_JITTER = 86_400.0
_TICK = timedelta(microseconds=1)


class Misfire(StrEnum):
    """What becomes of instants at which no beat was there to fire."""

    SKIP = "skip"
    """None of them fires."""
    LATEST = "latest"
    """The last of them fires, unless another one is due by then."""
    ALL = "all"
    """Each of them fires, the newest MOST_FIRES at the most."""


class Overlap(StrEnum):
    """What becomes of an instant while the task of the last one has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    """It does not fire."""
    CANCEL = "cancel"
    """It fires, and the other task is cancelled."""


class Why(StrEnum):
    """Why an instant did not fire, or not in time."""

    LATE = "late"
    """It has fired, later than GRACE: no beat was there."""
    MISSED = "missed"
    """No beat was there in time."""
    OVERLAP = "overlap"
    """The task of an earlier one had not ended."""
    PAUSED = "paused"
    """The schedule was paused."""
    HELD = "held"
    """Another task held its unique key."""
    REFUSED = "refused"
    """The queue was full, or the call could not be made."""


class Note(NamedTuple):
    """A line of a schedule's ledger: one instant, or several in a row, that did not fire as they should."""

    why: Why
    first: datetime
    last: datetime
    number: int
    """How many they are; MOST_COUNTED means so many or more."""
    noted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a schedule fires.

    Arguments:
        timing: at which instants.
        misfire, overlap: see Misfire and Overlap.
        jitter: seconds; each fire is put off by a part of it that is drawn from its instant, the same for every beat.
        start: it does not fire before; aware.
        end: it does not fire after; aware.

    Raises:
        InvalidOption: a value is out of its range; the message names it.

    >>> from taskq.domain.timing import Every
    >>> Rules(timing=Every(seconds=30), misfire="latest").overlap.value
    'allow'
    """

    timing: Timing
    misfire: Misfire | str = Misfire.LATEST
    overlap: Overlap | str = Overlap.ALLOW
    jitter: float = 0.0
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        for option, kind in (("misfire", Misfire), ("overlap", Overlap)):
            value = getattr(self, option)
            if value not in tuple(kind):
                raise InvalidOption(f"{option} must be one of {', '.join(kind)}, not {value!r}")
            object.__setattr__(self, option, kind(value))
        given: object = self.jitter
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= LONGEST_JITTER:
            raise InvalidOption(f"jitter must be from 0 s to a day, not {given!r}")
        check_aware("start", self.start)
        check_aware("end", self.end)
        if self.start is not None and self.end is not None and self.end < self.start:
            raise InvalidOption(f"end ({self.end}) must not be before start ({self.start})")

    def next_after(self, instant: datetime) -> datetime | None:
        """The first instant later than one at which this may fire, within `start` and `end`."""
        if self.start is not None and instant < self.start:
            instant = self.start - _TICK
        found = self.timing.after(instant)
        return None if found is None or (self.end is not None and found > self.end) else found


class Due(NamedTuple):
    """What is to be done about a schedule."""

    fires: list[datetime]
    """The instants that fire now, in their order."""
    notes: list[Note]
    next_at: datetime | None
    """When to look again; None: it will not fire any more."""


def due(rules: Rules, next_at: datetime, now: datetime) -> Due:
    """What fires now of a schedule whose next instant was `next_at`.

    Arguments:
        next_at: one of its instants: none before it has been left out.
        now: by the store's clock.

    >>> from taskq.domain.timing import Every
    >>> every, noon = Every(hours=1), datetime(2026, 3, 6, 12, tzinfo=UTC)
    >>> late = noon + timedelta(hours=3, minutes=10)
    >>> [len(due(Rules(timing=every, misfire=rule), noon, late).fires) for rule in ("skip", "latest", "all")]
    [0, 1, 4]
    """
    if next_at > now:
        return Due([], [], next_at)
    following = rules.next_after(next_at)
    if now - next_at <= timedelta(seconds=GRACE) and (following is None or following > now):
        return Due([next_at], [], following)  # one, in time: so it is nearly always
    last = now if rules.end is None else min(now, rules.end)
    fires = _chosen(rules, next_at, last, now)
    notes = []
    left_out = rules.timing.count(next_at, last, MOST_COUNTED + len(fires)) - len(fires)
    if left_out:
        end = rules.timing.newest(next_at, fires[0] - _TICK if fires else last, 1)[-1]
        notes.append(Note(Why.MISSED, next_at, end, left_out, now))
    late = [instant for instant in fires if now - instant > timedelta(seconds=GRACE)]
    if late:
        notes.append(Note(Why.LATE, late[0], late[-1], len(late), now))
    if rules.overlap is not Overlap.ALLOW and len(fires) > 1:
        notes.append(Note(Why.OVERLAP, fires[0], fires[-2], len(fires) - 1, now))
        fires = fires[-1:]
    return Due(fires, notes, rules.next_after(now))


def _chosen(rules: Rules, first: datetime, last: datetime, now: datetime) -> list[datetime]:
    if rules.misfire is Misfire.ALL:
        return rules.timing.newest(first, last, MOST_FIRES)
    in_time = rules.timing.after(max(first, now - timedelta(seconds=GRACE)) - _TICK)
    found = [] if in_time is None else rules.timing.newest(in_time, last, MOST_FIRES)
    return found or (rules.timing.newest(first, last, 1) if rules.misfire is Misfire.LATEST else [])


def after_pause(rules: Rules, next_at: datetime | None, now: datetime) -> Due:
    """What a schedule does when its pause ends: what was due in it has not fired, and does not."""
    if next_at is None or next_at > now:
        return Due([], [], next_at)
    last = now if rules.end is None else min(now, rules.end)
    count = rules.timing.count(next_at, last, MOST_COUNTED)
    end = rules.timing.newest(next_at, last, 1)[-1]
    return Due([], [Note(Why.PAUSED, next_at, end, count, now)], rules.next_after(now))


def put_off(name: str, instant: datetime, jitter: float) -> float:
    """By how many seconds a fire is put off: drawn from its schedule and instant, so that it is never drawn again.

    >>> 0 <= put_off("report", datetime(2026, 3, 6, tzinfo=UTC), 30) < 30
    True
    """
    from hashlib import blake2b  # loads OpenSSL, which not every worker needs

    drawn = blake2b(f"{name}\0{instant.astimezone(UTC).isoformat()}".encode(), digest_size=8).digest()
    return jitter * int.from_bytes(drawn) / 2**64
