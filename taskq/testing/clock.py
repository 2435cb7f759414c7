"""A clock that a test turns by hand."""

from __future__ import annotations

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
        self._elapsed += seconds
