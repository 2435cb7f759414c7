"""How long the store takes to answer, by what is asked of it anyhow."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator

KEPT = 5
"""Answers of which the middle one counts."""
ENOUGH = 3
MOST_NOTED = 1000
"""Round trips that wait to be taken up by who records them; of more, the newest."""


class Latency:
    """The median of the last few round trips; so neither one slow answer nor one quick one says anything.

    Round trips are noted from the worker's loop (claims) and from the heartbeat's thread.

    Arguments:
        now: the seconds of a clock that never goes back.

    >>> latency = Latency()
    >>> for seconds in (0.1, 7.0, 0.2, 8.0):
    ...     latency.note(seconds)
    >>> latency.seconds
    3.6
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: deque[float] = deque(maxlen=KEPT)
        self.noted: deque[float] = deque(maxlen=MOST_NOTED)
        """Each round trip, for who records them."""

    @property
    def seconds(self) -> float:
        """How long the store takes; 0 where it was asked too few times to tell."""
        seen = tuple(self._seen)  # in one step of the interpreter: another thread may note one meanwhile
        return statistics.median(seen) if len(seen) >= ENOUGH else 0.0

    def note(self, seconds: float) -> None:
        """A round trip took so long."""
        self._seen.append(seconds)
        self.noted.append(seconds)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Note how long the body takes, which asks the store one thing."""
        asked_at = self._now()
        try:
            yield
        except Exception:
            # A refusal that comes at once does not make the store a quick one; a reply that never came took this long.
            if (waited := self._now() - asked_at) > self.seconds:
                self.note(waited)
            raise
        self.note(self._now() - asked_at)
