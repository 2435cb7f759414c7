"""Alerts: when what was read of a store is raised, and when it is cleared again, once each.

A rule has two bounds and two times, so that a value which swings about one bound tells of itself once: it is raised
when the value has been over the bound for a while without a break, and cleared when it has been well below it for a
while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from taskq.domain.pace import Pace


class Rule(StrEnum):
    """What an alert may be about; each has subjects of one kind: a queue, a schedule, a worker, the store."""

    QUEUE_BEHIND = "queue_behind"
    """A queue grows: for how many seconds a task that comes now will wait, at the pace of the last minute."""
    OLDEST_AGE = "oldest_age"
    """For how many seconds the first task of a queue is ready that only a worker is missing for."""
    NO_WORKER = "no_worker"
    """How many tasks are ready in a queue that no live worker serves."""
    DEAD_LETTERS = "dead_letters"
    """By how many the dead letters of a queue have grown within ten minutes."""
    SCHEDULE_LATE = "schedule_late"
    """For how many seconds the next fire of a schedule is due."""
    WORKER_LOST = "worker_lost"
    """1 for a worker that has fallen silent without a farewell, for ten minutes or until one of its name has begun."""
    BREAKER_OPEN = "breaker_open"
    """1 while the breaker of a task is open, 0.5 while it lets probes through."""
    STORE_AWAY = "store_away"
    """1 while the store does not answer."""
    STORE_REGRESSED = "store_regressed"
    """1 while the store is not fit to be trusted: it came back empty, or from an older copy, or may lose tasks."""
    STORE_SLOW = "store_slow"
    """How many seconds of a hundred round trips to the store the five slowest take at least."""


OF_QUEUES = frozenset({Rule.QUEUE_BEHIND, Rule.OLDEST_AGE, Rule.NO_WORKER, Rule.DEAD_LETTERS})
"""The rules whose subjects are queues."""
WELL = 0.8
"""The share of its bound up to which a value that was over it is well again."""
GAP = 30.0
"""Seconds without a reading after which nothing is known of the time between."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a rule raises and clears.

    Arguments:
        above: over this value it raises; in the unit of its rule.
        hold_for: seconds for which the value must be over it, without a break.
        clear_after: seconds for which it must be well again, at WELL of the bound or below.
        enabled: whether the rule is looked at.
        queues: those that a rule of queues is for; () for all.
    """

    above: float
    hold_for: float
    clear_after: float
    enabled: bool = True
    queues: tuple[str, ...] = ()

    def is_over(self, value: float) -> bool:
        """Whether a value is a reason to raise."""
        return value > self.above

    def is_well(self, value: float) -> bool:
        """Whether a value is a reason to clear.

        >>> bounds = Bounds(above=60.0, hold_for=60.0, clear_after=120.0)
        >>> bounds.is_well(55.0), bounds.is_well(48.0)
        (False, True)
        """
        return value <= self.above * WELL

    def is_about(self, rule: Rule, subject: str) -> bool:
        """Whether a subject is meant."""
        return self.enabled and (rule not in OF_QUEUES or not self.queues or subject in self.queues)


DEFAULTS: Mapping[Rule, Bounds] = {
    Rule.QUEUE_BEHIND: Bounds(60.0, hold_for=60.0, clear_after=120.0),
    Rule.OLDEST_AGE: Bounds(300.0, hold_for=30.0, clear_after=60.0),
    Rule.NO_WORKER: Bounds(0.0, hold_for=60.0, clear_after=15.0),
    Rule.DEAD_LETTERS: Bounds(10.0, hold_for=0.0, clear_after=60.0),
    Rule.SCHEDULE_LATE: Bounds(30.0, hold_for=10.0, clear_after=30.0),
    Rule.WORKER_LOST: Bounds(0.0, hold_for=0.0, clear_after=0.0),
    Rule.BREAKER_OPEN: Bounds(0.0, hold_for=0.0, clear_after=60.0),
    Rule.STORE_AWAY: Bounds(0.0, hold_for=15.0, clear_after=30.0),
    Rule.STORE_REGRESSED: Bounds(0.0, hold_for=0.0, clear_after=30.0),
    Rule.STORE_SLOW: Bounds(0.005, hold_for=120.0, clear_after=300.0),
}
"""What holds where nothing else is said (docs/alerts.md)."""


NOTHING_MORE: Mapping[str, str | float] = {}


class Reading(NamedTuple):
    """What was found of a subject."""

    value: float
    text: str
    """The same for people, in a sentence without a full stop."""
    about: Mapping[str, str | float] = NOTHING_MORE
    """By what whoever looks next finds the subject again, where the store does not tell of it by itself."""


class Course(NamedTuple):
    """What is known of a subject from the looks before."""

    is_raised: bool = False
    turning_since: float | None = None
    """Since when, without a break, the value speaks for a change: over the bound, or well again; None: it does not."""
    seen_at: float = 0.0


class Verdict(StrEnum):
    """What a reading means."""

    QUIET = "quiet"
    """There is no alert."""
    RAISED = "raised"
    STILL = "still"
    """There is one, and it goes on."""
    CLEARED = "cleared"


class Judged(NamedTuple):
    """A verdict, with what is to be known at the next look."""

    verdict: Verdict
    course: Course
    since: float | None = None
    """Of what is raised or cleared now: when that began."""


def judge(bounds: Bounds, value: float | None, before: Course, now: float) -> Judged:
    """What a reading means for the alert of its subject.

    Arguments:
        value: None where there is none: that neither raises nor clears.
        before: what the look before has left.
        now: the instant of the reading, in seconds; also where it goes back nothing is raised before its time.

    >>> bounds = Bounds(above=60.0, hold_for=10.0, clear_after=20.0)
    >>> first = judge(bounds, 61.0, Course(), now=0.0)
    >>> second = judge(bounds, 75.0, first.course, now=10.0)
    >>> str(first.verdict), str(second.verdict), second.since
    ('quiet', 'raised', 0.0)
    """
    unchanged = Verdict.STILL if before.is_raised else Verdict.QUIET
    if value is None:
        return Judged(unchanged, before)
    turns = bounds.is_well(value) if before.is_raised else bounds.is_over(value)
    if not turns:
        return Judged(unchanged, Course(before.is_raised, None, now))
    goes_on = before.turning_since is not None and 0.0 <= now - before.seen_at <= GAP
    since = before.turning_since if goes_on and before.turning_since is not None else now
    if now - since < (bounds.clear_after if before.is_raised else bounds.hold_for):
        return Judged(unchanged, Course(before.is_raised, since, now))
    verdict = Verdict.CLEARED if before.is_raised else Verdict.RAISED
    return Judged(verdict, Course(not before.is_raised, None, now), since)


MOST_SECONDS = 366 * 86_400.0
"""What stands for a time that never ends."""


def seconds_behind(over: Pace, waiting: int, grown: int) -> float:
    """For how long a task that comes now will wait in a queue that grows; 0 where the queue keeps up.

    By Little's law (J. D. C. Little, "A proof for the queuing formula L = λW", 1961) what waits, divided by what leaves
    in a second, is the time that each waits.

    Arguments:
        over: the pace of the last minute.
        waiting: tasks that wait now.
        grown: by how many tasks more than at the beginning of that minute.

    >>> seconds_behind(Pace(arrival=12.0, drain=10.0), waiting=600, grown=120)
    60.0
    >>> seconds_behind(Pace(arrival=8.0, drain=10.0), waiting=600, grown=-120)
    0.0
    """
    if grown <= 0 or waiting <= 0 or over.drain >= over.arrival:
        return 0.0
    return min(MOST_SECONDS, waiting / over.drain) if over.drain else MOST_SECONDS


def growth(numbers: Sequence[float]) -> float:
    """By how much the last of some numbers is over the least of them: what went away meanwhile hides nothing.

    >>> growth([100, 0, 7]), growth([7, 3]), growth([])
    (7, 0, 0)
    """
    return numbers[-1] - min(numbers) if numbers else 0


def worst(found: Mapping[str, Reading], raised: frozenset[str], bounds: Bounds, most: int) -> tuple[list[str], int]:
    """The subjects to be judged, and how many there is no room for.

    Arguments:
        found: of all subjects that were found.
        raised: those that have an alert: they keep it.
        most: how many may have one.

    >>> bounds = Bounds(1.0, hold_for=0.0, clear_after=0.0)
    >>> found = {"a": Reading(2.0, ""), "b": Reading(3.0, ""), "c": Reading(1.0, ""), "d": Reading(2.5, "")}
    >>> worst(found, frozenset({"c"}), bounds, most=2)
    (['c', 'b'], 2)
    """
    over = [subject for subject, reading in found.items() if subject not in raised and bounds.is_over(reading.value)]
    over.sort(key=lambda subject: (-found[subject].value, subject))
    room = max(0, most - len(raised))
    return [*sorted(raised), *over[:room]], len(over[room:])
