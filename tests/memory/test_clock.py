"""The clock that a test turns by hand."""

from __future__ import annotations

import pytest

from taskq.ports import Clock
from taskq.testing.clock import DEFAULT_START, VirtualClock


def test_time_passes_only_when_it_is_told_to() -> None:
    clock: Clock = VirtualClock()
    assert (clock.now(), clock.monotonic()) == (DEFAULT_START, 0.0)
    assert (clock.now(), clock.monotonic()) == (DEFAULT_START, 0.0)


def test_both_clocks_advance_alike() -> None:
    clock = VirtualClock(start=1000.0)
    clock.advance(0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (1002.5, 2.5)


def test_time_is_never_turned_back() -> None:
    clock = VirtualClock(start=1000.0)
    with pytest.raises(ValueError, match=r"cannot be turned back by 0\.5 s"):
        clock.advance(-0.5)
    assert clock.now() == 1000.0
