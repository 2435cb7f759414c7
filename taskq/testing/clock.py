"""A clock that a test turns by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from taskq.config import is_number, shown
from taskq.errors import InvalidOption

DEFAULT_START = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


class VirtualClock:
    """Time that passes only when it is told to (a taskq.ports.Clock).

    Arguments:
        start: the first instant, in seconds since the epoch.

    >>> clock = VirtualClock(start=1000.0)
    >>> clock.advance(2.5); clock.now(), clock.monotonic()
    (1002.5, 2.5)
    """

    def __init__(self, start: float = DEFAULT_START) -> None:
        self._start = start
        self._elapsed = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Arguments:
            seconds: how much, 0 or more.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"time cannot be turned back by {-seconds} s: a monotonic clock never goes back")
        # Where `now` can stand: so an instant that is told in seconds from now is met, and not missed by a rounding.
        self._elapsed = (self.now() + seconds) - self._start


def checked_start(start: object) -> float:
    """The instant at which a clock begins, in seconds since the epoch.

    Raises:
        InvalidOption: it is no datetime with a time zone, or lies before 1970.
    """
    if not isinstance(start, datetime) or start.utcoffset() is None:
        raise InvalidOption(
            f"start must be a datetime with a time zone: datetime(2026, 3, 29, tzinfo=UTC), not {shown(start)}"
        )
    moment = start.timestamp()
    if moment < 0:  # the clock of no store shows such an instant, and nothing would be due
        raise InvalidOption(f"start must be 1970-01-01 UTC or later, not {start.isoformat()}")
    return moment


def span_from(now: float, **given: float) -> float:
    """The seconds of a time that is to pass.

    Arguments:
        now: seconds since the epoch.
        given: parts of it, by their names in timedelta.

    Raises:
        InvalidOption: a part is no number, or all of them together lie behind, or beyond the calendar.

    >>> span_from(DEFAULT_START, hours=1, minutes=-15)
    2700.0
    """
    for name, value in given.items():
        if not (is_number(value) and abs(value) < math.inf):
            raise InvalidOption(f"{name} must be a number, not {shown(value)}")
    said = ", ".join(f"{name}={shown(value)}" for name, value in given.items() if value)
    try:
        span = timedelta(**given).total_seconds()
        datetime.fromtimestamp(now + span, UTC)
    except (OverflowError, ValueError):
        raise InvalidOption(f"time cannot pass beyond the years 1 to 9999: {said}") from None
    if span < 0:
        raise InvalidOption(f"time cannot be turned back: {said}")
    return span
