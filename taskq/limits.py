"""What a task may ask for beside its run: limits, a breaker, uniqueness; plain values, checked where they are made."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Literal

from taskq.config import check_identifier, is_number, is_whole, shown
from taskq.domain.limits import Circuit, Rate, Slots
from taskq.domain.retry import LONGEST
from taskq.domain.unique import UniqueKey, Until
from taskq.errors import InvalidOption

Key = str | tuple[str, ...] | Callable[..., Any]
"""Which tasks count together: the values of these parameters, or what a function makes of the arguments.

A name may go into an object, as in "user.id"; "tenant" is the tenant of the call, unless a parameter has that name. A
function is called with the arguments by name, as plain JSON data.
"""
_UNIT = r"s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?"  # neither ms nor months
_RATE = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)?\s*({_UNIT})\s*", re.ASCII)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_MOST = 1e6
BURST = 0.1
"""Seconds of its rate that a limit allows at once, where it says nothing else: smooth, and no token is lost between two
claims."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many starts in a time, for the whole fleet; what is over it waits in its queue and uses up nothing.

    Arguments:
        rate: "100/s", "100/m", "5/10s", or starts a second as a number.
        key: what is counted together, beside the task's name; None: all its tasks.
        burst: how many may start at once after a pause; None: a tenth of a second's worth, at least one.
        adaptive: whether `taskq.Throttled`, raised by a task, halves the rate, which then climbs back in a minute.
        name: tasks that give the same name are counted together.

    Raises:
        InvalidOption: the rate cannot be read, or a value is out of its range.

    >>> RateLimit("100/m").per_second, RateLimit("5/10s").per_second
    (1.6666666666666667, 0.5)
    >>> RateLimit("fast")
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: a rate must be like "100/m" (per s, m, h or d) or starts a second, not 'fast'
    """

    rate: str | float
    key: Key | None = None
    burst: float | None = None
    adaptive: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        per_second = self.per_second
        in_range = 1 / LONGEST <= per_second <= _MOST
        _require(in_range, "a rate must be from one in ten years to a million a second", self.rate)
        burst_in_range = self.burst is None or (is_number(self.burst) and 1 <= self.burst <= 1e9)
        _require(burst_in_range, "burst must be from 1 to a thousand million", self.burst)
        _require(isinstance(self.adaptive, bool), "adaptive must be True or False", self.adaptive)
        _check_key_and_name(self.key, self.name)

    @property
    def per_second(self) -> float:
        """Starts a second."""
        rate: object = self.rate
        if is_number(rate):
            return float(rate) if abs(rate) <= _MOST else math.inf  # a whole number may be too large for a float
        found = _RATE.fullmatch(rate) if isinstance(rate, str) else None
        seconds = float(found[2] or 1) * _UNITS[found[3][0]] if found else 0.0
        if found is None or seconds == 0:
            raise InvalidOption(
                f'a rate must be like "100/m" (per s, m, h or d) or starts a second, not {shown(self.rate)}'
            )
        return float(found[1]) / seconds

    def limit(self, key: str) -> Rate:
        """The limit as a store keeps it."""
        burst = max(1.0, self.per_second * BURST) if self.burst is None else float(self.burst)
        return Rate(key, self.per_second, burst, self.adaptive)


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most so many at once, in the whole fleet; a worker that dies holds its place no longer than its lease.

    Arguments:
        limit: how many may run.
        key: what is counted together, beside the task's name; None: all its tasks.
        name: tasks that give the same name are counted together: `Concurrency(1, name="printer")` is a mutex.

    Raises:
        InvalidOption: a value is out of its range.

    >>> Concurrency(0)
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: a concurrency limit must be a whole number from 1 to 1,000,000, not 0
    """

    limit: int
    key: Key | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        in_range = is_whole(self.limit) and 1 <= self.limit <= 1_000_000
        _require(in_range, "a concurrency limit must be a whole number from 1 to 1,000,000", self.limit)
        _check_key_and_name(self.key, self.name)

    def slots(self, key: str) -> Slots:
        """The limit as a store keeps it."""
        return Slots(key, self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Holds a task's claims while its runs keep failing: they stay queued, and use up no attempt.

    Arguments:
        failure_rate: the share of failed runs at which it opens, over 0 and at most 1.
        window: seconds within which runs are counted.
        least: runs within the window before the share says anything.
        cooldown: seconds for which it stays open before probes are let through.
        probes: how many of them must succeed before it closes.
        name: tasks that give the same name share one breaker; None: the task's own.

    Raises:
        InvalidOption: a value is out of its range.

    >>> Breaker(failure_rate=0.5).cooldown
    30.0
    """

    failure_rate: float = 0.5
    window: float = 60.0
    least: int = 10
    cooldown: float = 30.0
    probes: int = 1
    name: str | None = None

    def __post_init__(self) -> None:
        in_range = is_number(self.failure_rate) and 0 < self.failure_rate <= 1
        _require(in_range, "failure_rate must be over 0 and at most 1", self.failure_rate)
        for option in ("window", "cooldown"):
            value = getattr(self, option)
            _require(is_number(value) and 0 < value <= 86_400, f"{option} must be over 0 and at most 86,400 s", value)
        for option in ("least", "probes"):
            value = getattr(self, option)
            _require(is_whole(value) and 1 <= value <= 10_000, f"{option} must be from 1 to 10,000", value)
        _check_key_and_name(None, self.name)

    def circuit(self, key: str) -> Circuit:
        """The breaker as a store keeps it."""
        return Circuit(key, self.failure_rate, self.window, self.least, self.cooldown, self.probes)


@dataclass(frozen=True, slots=True)
class Unique:
    """One task at a time with these values: another enqueue finds the one that is there, whose handle it gets.

    Arguments:
        key: the values; None: all arguments.
        until: "start": it is held until its first run begins; "done": until it has ended, through all retries; "ttl":
            for `ttl` seconds, whether or not it has ended.
        ttl: seconds after which the key is free in any case; "ttl" needs it.
        on_duplicate: "return" the handle of the task that is there, or "raise" taskq.DuplicateTask.

    Raises:
        InvalidOption: a value is out of its range.

    >>> Unique(until="ttl")
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: Unique(until="ttl") needs a ttl: the seconds of its window
    """

    key: Key | None = None
    until: Literal["start", "done", "ttl"] = "done"
    ttl: float | None = None
    on_duplicate: Literal["return", "raise"] = "return"

    def __post_init__(self) -> None:
        _require(self.until in tuple(Until), "until must be start, done or ttl", self.until)
        if self.until == "ttl" and self.ttl is None:
            raise InvalidOption('Unique(until="ttl") needs a ttl: the seconds of its window')
        in_range = self.ttl is None or (is_number(self.ttl) and 0 < self.ttl <= LONGEST)
        _require(in_range, "ttl must be over 0 s and at most ten years", self.ttl)
        _require(self.on_duplicate in ("return", "raise"), "on_duplicate must be return or raise", self.on_duplicate)
        _check_key_and_name(self.key, None)

    def unique_key(self, key: str) -> UniqueKey:
        """The key as a store keeps it."""
        return UniqueKey(key, Until(self.until), self.ttl)


@dataclass(frozen=True, slots=True)
class Debounce:
    """Wait until calls with these values pause: each one puts the waiting task off, and replaces its arguments.

    Arguments:
        delay: seconds of quiet before it runs.
        key: the values that tell one from another; None: all calls of the task.
        longest: seconds from the first call after which it runs in any case.

    Raises:
        InvalidOption: a value is out of its range.

    >>> Debounce(5.0, key="user").delay
    5.0
    """

    delay: float
    key: Key | None = None
    longest: float | None = None

    def __post_init__(self) -> None:
        in_range = is_number(self.delay) and 0 < self.delay <= LONGEST
        _require(in_range, "delay must be over 0 s and at most ten years", self.delay)
        fits = self.longest is None or (is_number(self.longest) and self.delay <= self.longest <= LONGEST)
        _require(fits, "longest must be at least the delay and at most ten years", self.longest)
        _check_key_and_name(self.key, None)

    def unique_key(self, key: str) -> UniqueKey:
        """The key as a store keeps it."""
        return UniqueKey(key, Until.START)


@dataclass(frozen=True, slots=True)
class KeepLatest:
    """At most one runs and one waits with these values; a newer call replaces the arguments of the one that waits.

    Arguments:
        key: the values that tell one from another; None: all calls of the task.

    >>> KeepLatest(key="document").key
    'document'
    """

    key: Key | None = None

    def __post_init__(self) -> None:
        _check_key_and_name(self.key, None)

    def unique_key(self, key: str) -> UniqueKey:
        """The key as a store keeps it."""
        return UniqueKey(key, Until.START)


Uniqueness = Unique | Debounce | KeepLatest


def _check_key_and_name(key: object, name: object) -> None:
    is_key = key is None or isinstance(key, str) or (callable(key) and not iscoroutinefunction(key))
    is_key = is_key or (isinstance(key, tuple) and all(isinstance(part, str) for part in key))
    _require(is_key, "key must be the name of a parameter, a tuple of names, or a plain function of the arguments", key)
    if name is not None:
        check_identifier("limit", name)


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise InvalidOption(f"{rule}, not {shown(value)}")
