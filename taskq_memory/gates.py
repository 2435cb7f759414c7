"""What the limits of a memory store have counted, and which of them are closed now: taskq.domain.limits as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from taskq.domain import limits as rules
from taskq.domain.limits import Breaker, Bucket, Circuit, Limit, Rate, Slots
from taskq.domain.message import DAY
from taskq.domain.overrides import Override, applied, is_over, names_of

WITHOUT_END = 1 << 30
IDLE = DAY
"""Seconds after which a breaker that nobody touched is forgotten."""


class Closed(NamedTuple):
    """A gate that is closed."""

    gate: str
    opens_at: float
    """The instant at which it may open."""


class Gates:
    """The gates of a store. Methods expect its lock to be held."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._full_at: dict[str, float] = {}
        self.breakers: dict[str, Breaker] = {}
        self.holders: dict[str, dict[str, None]] = {}
        self.overrides: dict[str, Override] = {}

    def override(self, gate: str, now: float) -> Override | None:
        """What holds for a gate instead of what tasks bring along."""
        found = [self.overrides[name] for name in names_of(gate) if name in self.overrides] if self.overrides else []
        return next((each for each in found if not is_over(each, now)), None)

    def closed(self, limits: Iterable[Limit], now: float) -> Closed | None:
        """The first of these gates that is closed, None where all are open."""
        for limit in limits:
            if self.room(limit, now) == 0:
                return Closed(limit.gate, self.opens_at(limit, now))
        return None

    def room(self, limit: Limit, now: float) -> int:
        """How many may pass a gate now."""
        override = self.override(limit.gate, now)
        if override is not None and override.is_open is not None:
            return 0 if override.is_open else WITHOUT_END
        limit = applied(limit, override)
        match limit:
            case Rate():
                return rules.whole_tokens(self._bucket(limit, now))
            case Slots():
                return max(0, limit.limit - len(self.holders.get(limit.gate, ())))
            case Circuit():
                breaker = self.breakers.get(limit.gate)
                if rules.seconds_to_probe(breaker, limit, now) > 0:
                    return 0
                if breaker is None or breaker.opened_at is None:
                    return WITHOUT_END
                return max(1, limit.probes - breaker.probing)

    def opens_at(self, limit: Limit, now: float, passing: int = 0) -> float:
        """When a gate opens for one more, after those that may pass it already; earlier where a holder leaves."""
        override = self.override(limit.gate, now)
        if override is None:
            return self._opens_at(limit, now, passing)
        opens_at = (
            now + rules.LOOK_AGAIN if override.is_open else self._opens_at(applied(limit, override), now, passing)
        )
        return opens_at if override.until is None else min(opens_at, override.until)

    def _opens_at(self, limit: Limit, now: float, passing: int) -> float:
        match limit:
            case Rate():
                bucket = self._bucket(limit, now)
                return now + rules.seconds_to_token(rules.without_tokens(bucket, passing), limit)
            case Slots():
                return now + rules.LOOK_AGAIN
            case Circuit():
                seconds = rules.seconds_to_probe(self.breakers.get(limit.gate), limit, now)
                return now + (seconds or limit.cooldown)

    def enter(self, id: str, limits: Iterable[Limit], now: float) -> None:
        """A task passes its gates, all of which are open."""
        for limit in limits:
            match limit:
                case Rate():
                    self._keep(limit, rules.without_tokens(self._bucket(limit, now)))
                case Slots():
                    self.holders.setdefault(limit.gate, {})[id] = None
                case Circuit():
                    breaker = rules.started(self.breakers.get(limit.gate), limit, now)
                    if breaker is not None:
                        self.breakers[limit.gate] = breaker

    def enter_many(self, rate: Rate, count: int, now: float) -> None:
        """So many pass a rate at once, for which it has room."""
        self._keep(rate, rules.without_tokens(self._bucket(rate, now), count))

    def leave(
        self, id: str, limits: Iterable[Limit], now: float, *, failed: bool | None, started_at: float
    ) -> list[str]:
        """A run has ended; returns the gates that may have opened.

        Arguments:
            failed: what it means to a breaker: None says nothing.
        """
        opened = []
        for limit in limits:
            if isinstance(limit, Slots) and self.holders.get(limit.gate, {}).pop(id, id) is None:
                opened.append(limit.gate)
                if not self.holders[limit.gate]:
                    del self.holders[limit.gate]
            elif isinstance(limit, Circuit) and self._note(limit, failed, started_at, now):
                opened.append(limit.gate)
        return opened

    def _note(self, circuit: Circuit, failed: bool | None, started_at: float, now: float) -> bool:
        """Tell a breaker of the end of a run; returns whether one that was open lets more through now."""
        before = self.breakers.get(circuit.gate)
        if failed is None:
            after = rules.put_back(before)
        else:
            after = rules.ended(before, circuit, failed=failed, started_at=started_at, now=now)
        if after is not None:
            self.breakers[circuit.gate] = after
        was_open = before is not None and before.opened_at is not None
        return was_open and self.room(circuit, now) > 0

    def throttle(self, limits: Iterable[Limit], now: float) -> None:
        """The far side said "too many requests"."""
        for limit in limits:
            if isinstance(limit, Rate):
                self._keep(limit, rules.throttled(self._bucket(limit, now), limit, now))

    def reset(self, gate: str) -> None:
        """Forget what a gate has counted, but for its holders."""
        self.buckets.pop(gate, None)
        self.breakers.pop(gate, None)

    def forget_idle(self, now: float) -> None:
        """Drop what says no more than nothing would: full buckets, breakers that nobody touched for a day."""
        for gate in [gate for gate, until in self._full_at.items() if until <= now]:
            del self._full_at[gate]
            self.buckets.pop(gate, None)
        for gate in [gate for gate, breaker in self.breakers.items() if now - _touched(breaker) > IDLE]:
            del self.breakers[gate]

    def _keep(self, rate: Rate, bucket: Bucket) -> None:
        self.buckets[rate.gate] = bucket
        self._full_at[rate.gate] = bucket.at + rules.seconds_to_full(bucket, self._held_to(rate, bucket.at))

    def _bucket(self, rate: Rate, now: float) -> Bucket:
        return rules.refilled(self.buckets.get(rate.gate), self._held_to(rate, now), now)

    def _held_to(self, rate: Rate, now: float) -> Rate:
        """The rate with the figures that hold."""
        limit = applied(rate, self.override(rate.gate, now))
        return limit if isinstance(limit, Rate) else rate


def _touched(breaker: Breaker) -> float:
    return max(breaker.since, breaker.opened_at or 0.0, breaker.probed_at)
