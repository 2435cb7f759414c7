"""How quickly a queue fills and empties, from how it stood at two moments."""

from __future__ import annotations

import math
from typing import NamedTuple


class Level(NamedTuple):
    """How a queue stood at a moment."""

    arrived: int
    """Tasks that came into it since it is counted; what is less than before was counted from 0 again."""
    unfinished: int
    """Tasks in it that are not over, those that run included."""


class Pace(NamedTuple):
    """How quickly it fills and empties."""

    arrival: float
    """Tasks that come in a second."""
    drain: float
    """Tasks that are over with a second, however they ended."""

    def seconds_to_drain(self, waiting: int) -> float:
        """After how many seconds a queue is empty, at this pace; infinite where it never is.

        >>> Pace(arrival=2.0, drain=12.0).seconds_to_drain(50)
        5.0
        """
        if waiting <= 0:
            return 0.0
        return waiting / (self.drain - self.arrival) if self.drain > self.arrival else math.inf


def pace(before: Level, now: Level, seconds: float) -> Pace:
    """The pace between two moments.

    Arguments:
        seconds: between them, over 0.

    >>> pace(Level(100, 30), Level(140, 10), seconds=10)
    Pace(arrival=4.0, drain=6.0)
    """
    came = now.arrived - before.arrived if now.arrived >= before.arrived else now.arrived
    over = came - (now.unfinished - before.unfinished)
    return Pace(came / seconds, max(0, over) / seconds)
