"""The machine's clock, as a port."""

from __future__ import annotations

import time

from taskq.ports import SystemClock


def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    before = (time.time(), time.monotonic())
    now = (clock.now(), clock.monotonic())
    after = (time.time(), time.monotonic())
    assert before[0] <= now[0] <= after[0]
    assert before[1] <= now[1] <= after[1]
