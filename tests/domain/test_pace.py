"""How soon a queue is empty at its pace."""

from __future__ import annotations

import math

import pytest

from taskq.domain.pace import Pace


@pytest.mark.parametrize(
    ("waiting", "arrival", "drain", "seconds"),
    [
        (0, 5.0, 1.0, 0.0),
        (50, 2.0, 12.0, 5.0),
        (1, 2.0, 2.0, math.inf),
        (1, 3.0, 2.0, math.inf),
    ],
)
def test_seconds_to_drain(waiting: int, arrival: float, drain: float, seconds: float) -> None:
    assert Pace(arrival, drain).seconds_to_drain(waiting) == seconds
