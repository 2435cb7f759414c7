"""When the reaper may act: not right after an outage, when every lease looks lost though its worker lives."""

from __future__ import annotations

from typing import NamedTuple

LEASE = 30.0
"""Seconds for which a claim holds without being extended."""
RENEWAL = LEASE / 3
"""Seconds between two extensions of everything a worker holds."""


class ReaperWatch(NamedTuple):
    """What the store remembers of its reapers: the last tick, and until when they hold off (seconds, store's clock)."""

    last_tick: float | None = None
    hold_until: float = 0.0


def tick(watch: ReaperWatch, now: float, renewal: float) -> tuple[ReaperWatch, bool]:
    """Note one tick of a reaper, and say whether it may take leases away.

    If nobody ticked for a renewal period, or the store's clock went back, then nobody could extend a lease
    either: the reapers hold off for one renewal period, so that a pause does not redeliver everything.

    Arguments:
        watch: what was noted at the last tick.
        now: the store's clock, in seconds.
        renewal: seconds between two extensions of a live worker.

    >>> watch, may_reap = tick(ReaperWatch(last_tick=100.0), now=105.0, renewal=10.0); may_reap
    True
    >>> watch, may_reap = tick(watch, now=200.0, renewal=10.0); may_reap, watch.hold_until
    (False, 210.0)
    >>> tick(watch._replace(last_tick=209.0), now=211.0, renewal=10.0)[1]
    True
    """
    hold_until = watch.hold_until
    if watch.last_tick is not None and (now - watch.last_tick > renewal or now < watch.last_tick - 1.0):
        hold_until = now + renewal
    # A hold never outlasts one period, whatever a clock that went back says.
    hold_until = min(hold_until, now + renewal)
    return ReaperWatch(now, hold_until), now >= hold_until
