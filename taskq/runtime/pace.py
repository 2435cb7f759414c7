"""The worker's own rate: how many tasks it may claim now."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from taskq.domain.limits import Bucket, refilled, seconds_to_token, whole_tokens, without_tokens
from taskq.limits import RateLimit

TOGETHER = 0.02
"""Seconds for which tokens gather once there are none, so that a high rate is not one claim for each task."""


class Pace:
    """A token bucket that claims are measured with.

    What was claimed has spent its tokens, also where it is given back: nothing here knows whether it was begun.

    Arguments:
        rate: starts a second; None: as many as can be.
        now: the seconds of a clock that never goes back.

    >>> pace = Pace(2.0, now=lambda: 10.0)
    >>> pace.allowed()
    1
    >>> pace.spend(1)
    >>> pace.allowed(), pace.pause()
    (0, 0.5)
    """

    def __init__(self, rate: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.retune(rate)

    def retune(self, rate: float | None) -> None:
        """Another rate from now on, with a full bucket."""
        self._rate = None if rate is None else RateLimit(rate).limit("worker")
        self._bucket: Bucket | None = None

    def allowed(self) -> int:
        """How many tasks may be claimed now."""
        if self._rate is None:
            return sys.maxsize
        self._bucket = refilled(self._bucket, self._rate, self._now())
        return whole_tokens(self._bucket)

    def spend(self, count: int) -> None:
        """So many were claimed."""
        if self._rate is not None:
            # A claim whose reply was lost hands out the same tasks again, which may be more than are allowed by then:
            # what is owed is waited for.
            self._bucket = without_tokens(refilled(self._bucket, self._rate, self._now()), count)

    def pause(self) -> float:
        """Seconds to wait where none may be claimed."""
        if self._rate is None:
            return 0.0
        return max(TOGETHER, seconds_to_token(refilled(self._bucket, self._rate, self._now()), self._rate))
