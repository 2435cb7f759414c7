"""Limits that a claim keeps: rate, concurrency, circuit breaker; each a gate that is open or closed now.

A task passes all of its gates in one step or none of them. A closed gate says when it may open: at an instant, or when
a holder leaves. The store counts; what the counts mean is said here.

The token bucket is the one of J. Turner, "New directions in communications" (IEEE Communications Magazine, 1986); the
adaptive rate follows AIMD as in D. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for congestion
avoidance" (1989); the breaker has the three states of M. Nygard, "Release It!" (2007).
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

LOOK_AGAIN = 60.0
"""Seconds after which tasks at a concurrency limit look again, though no holder has left: the net beneath."""
RECOVERY = 60.0
"""Seconds in which an adaptive rate climbs from nothing back to the whole."""
LEAST_SHARE = 1 / 64
"""The least share of its rate that an adaptive limit keeps."""
CUT_EVERY = 1.0
"""Seconds in which several "too many requests" count as one: they speak of the same burst."""
_ROUNDING = 1e-3
"""What rounding of instants may have taken from a token; it is owed by the next one."""


class Rate(NamedTuple):
    """So many starts a second, on the average; up to `burst` at once after a pause."""

    key: str
    """What is counted together, through the whole fleet."""
    per_second: float
    burst: float
    adaptive: bool = False
    """Whether a task's Throttled halves the rate, which then climbs back."""

    @property
    def gate(self) -> str:
        """The name of its gate in the store."""
        return f"r:{self.key}"


class Slots(NamedTuple):
    """At most so many at once."""

    key: str
    limit: int

    @property
    def gate(self) -> str:
        """The name of its gate in the store."""
        return f"c:{self.key}"


class Circuit(NamedTuple):
    """Holds back what keeps failing: durations are seconds."""

    key: str
    failure_rate: float
    """The share of failed runs, of those within `window`, at which it opens."""
    window: float
    least: int
    """Runs within the window before a share says anything."""
    cooldown: float
    """How long it stays open before it lets probes through."""
    probes: int
    """How many must succeed before it closes."""

    @property
    def gate(self) -> str:
        """The name of its gate in the store."""
        return f"b:{self.key}"


Limit = Rate | Slots | Circuit

# ---------------------------------------------------------------- rate


class Bucket(NamedTuple):
    """The tokens of a rate at an instant (seconds, the store's clock). No bucket is a full one."""

    tokens: float
    at: float
    share: float = 1.0
    """The share of the rate that an adaptive limit allows."""
    cut_at: float = -1e18
    """When the share was halved last."""


def refilled(bucket: Bucket | None, rate: Rate, now: float) -> Bucket:
    """The bucket as it is now.

    The share of before counts for the whole time since, so that a rate that climbs is never exceeded.

    >>> refilled(Bucket(0.0, at=10.0), Rate("mail", per_second=2.0, burst=5.0), now=11.0).tokens
    2.0
    """
    if bucket is None:
        return Bucket(rate.burst, now)
    passed = max(0.0, now - bucket.at)
    tokens = min(rate.burst, bucket.tokens + passed * rate.per_second * bucket.share)
    share = min(1.0, bucket.share + passed / RECOVERY) if rate.adaptive else 1.0
    return Bucket(tokens, now, share, bucket.cut_at)


def seconds_to_token(bucket: Bucket, rate: Rate) -> float:
    """Seconds until the bucket holds a whole token; 0 where it does.

    >>> seconds_to_token(Bucket(0.5, at=0.0), Rate("mail", per_second=2.0, burst=5.0))
    0.25
    """
    return 0.0 if bucket.tokens >= 1 - _ROUNDING else (1 - bucket.tokens) / (rate.per_second * bucket.share)


def whole_tokens(bucket: Bucket) -> int:
    """How many may start now.

    >>> whole_tokens(Bucket(2.9995, at=0.0))
    3
    """
    return max(0, int(bucket.tokens + _ROUNDING))


def without_tokens(bucket: Bucket, count: int = 1) -> Bucket:
    """The bucket after so many starts.

    >>> without_tokens(Bucket(1.5, at=0.0)).tokens
    0.5
    """
    return bucket._replace(tokens=bucket.tokens - count)


def seconds_to_full(bucket: Bucket, rate: Rate) -> float:
    """Seconds after which the bucket says no more than none would: it is full, and its rate whole.

    >>> seconds_to_full(Bucket(0.0, at=0.0), Rate("mail", per_second=2.0, burst=5.0))
    62.5
    """
    return max(0.0, rate.burst - bucket.tokens) / (rate.per_second * bucket.share) + RECOVERY


def throttled(bucket: Bucket, rate: Rate, now: float) -> Bucket:
    """The bucket after the far side said "too many requests": half the rate, and no burst.

    >>> cut = throttled(Bucket(5.0, at=0.0), Rate("mail", 2.0, 5.0, adaptive=True), now=0.0)
    >>> cut.share, cut.tokens
    (0.5, 0.0)
    """
    if not rate.adaptive or now - bucket.cut_at < CUT_EVERY:
        return bucket
    return Bucket(0.0, now, max(LEAST_SHARE, bucket.share / 2), now)


# ---------------------------------------------------------------- circuit breaker


class Breaker(NamedTuple):
    """What a circuit breaker remembers; instants in seconds. No breaker is a closed one without a past."""

    since: float = 0.0
    """When the window began in which runs are counted."""
    runs: int = 0
    failures: int = 0
    opened_at: float | None = None
    probing: int = 0
    """Probes that were let through since it opened."""
    probed_at: float = 0.0
    passed: int = 0
    """Probes that succeeded."""


def seconds_to_probe(breaker: Breaker | None, circuit: Circuit, now: float) -> float:
    """Seconds until the breaker may let a run through; 0 where it does now.

    A probe that nothing was heard of for a cooldown counts as lost.

    >>> circuit = Circuit("mail", failure_rate=0.5, window=60, least=4, cooldown=30, probes=1)
    >>> seconds_to_probe(Breaker(opened_at=100.0), circuit, now=110.0)
    20.0
    >>> seconds_to_probe(Breaker(opened_at=100.0), circuit, now=130.0)
    0.0
    """
    if breaker is None or breaker.opened_at is None:
        return 0.0
    if breaker.probing < circuit.probes:
        return max(0.0, breaker.opened_at + circuit.cooldown - now)
    return max(0.0, breaker.probed_at + circuit.cooldown - now)


def started(breaker: Breaker | None, circuit: Circuit, now: float) -> Breaker | None:
    """The breaker after it let a run through.

    >>> circuit = Circuit("mail", failure_rate=0.5, window=60, least=4, cooldown=30, probes=1)
    >>> started(Breaker(opened_at=100.0), circuit, now=130.0).probing
    1
    """
    if breaker is None or breaker.opened_at is None:
        return breaker
    out = breaker.probing + 1 if breaker.probing < circuit.probes else 1
    return breaker._replace(probing=out, probed_at=now)


def ended(breaker: Breaker | None, circuit: Circuit, *, failed: bool, started_at: float, now: float) -> Breaker:
    """The breaker after a run ended that had begun at `started_at`.

    While it is open only those count that began after it opened: the probes.

    >>> circuit = Circuit("mail", failure_rate=0.5, window=60, least=2, cooldown=30, probes=1)
    >>> breaker = ended(None, circuit, failed=True, started_at=0.0, now=1.0)
    >>> breaker = ended(breaker, circuit, failed=True, started_at=0.0, now=2.0)
    >>> breaker.opened_at
    2.0
    >>> ended(breaker._replace(probing=1), circuit, failed=False, started_at=33.0, now=34.0).opened_at is None
    True
    """
    breaker = breaker or Breaker(since=now)
    if breaker.opened_at is not None:
        return _probed(breaker, circuit, failed=failed, started_at=started_at, now=now)
    if now - breaker.since >= circuit.window:
        breaker = Breaker(since=now)
    runs, failures = breaker.runs + 1, breaker.failures + failed
    is_failing = runs >= circuit.least and failures >= circuit.failure_rate * runs
    return Breaker(breaker.since, runs, failures, now if is_failing else None)


def _probed(breaker: Breaker, circuit: Circuit, *, failed: bool, started_at: float, now: float) -> Breaker:
    if started_at < (breaker.opened_at or 0.0) or breaker.probing == 0:
        return breaker
    if failed:
        return breaker._replace(opened_at=now, probing=0, passed=0)
    if breaker.passed + 1 >= circuit.probes:
        return Breaker(since=now)
    return breaker._replace(passed=breaker.passed + 1)


def put_back(breaker: Breaker | None) -> Breaker | None:
    """The breaker after a run ended that says nothing: it was put off, given back or cancelled. A probe is free again.

    >>> put_back(Breaker(opened_at=100.0, probing=1)).probing
    0
    """
    if breaker is None or breaker.opened_at is None:
        return breaker
    return breaker._replace(probing=max(breaker.passed, breaker.probing - 1))


# ---------------------------------------------------------------- as text

_KINDS: dict[str, type[Rate] | type[Slots] | type[Circuit]] = {"r": Rate, "c": Slots, "b": Circuit}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}


@lru_cache(maxsize=1024)
def pack_limits(limits: tuple[Limit, ...]) -> str:
    """Limits as JSON, as they travel with a task; "" for none.

    >>> pack_limits((Slots("mail", 5), Rate("mail", 2.0, 1.0)))
    '[["c","mail",5],["r","mail",2.0,1.0,false]]'
    """
    return json.dumps([[_LETTERS[type(one)], *one] for one in limits], separators=(",", ":")) if limits else ""


@lru_cache(maxsize=1024)
def unpack_limits(text: str) -> tuple[Limit, ...]:
    """Read what `pack_limits` wrote.

    >>> unpack_limits('[["c","mail",5]]')
    (Slots(key='mail', limit=5),)
    """
    return tuple(_KINDS[letter](*fields) for letter, *fields in json.loads(text)) if text else ()
