"""What a memory store forgets of its limits."""

from __future__ import annotations

from taskq.domain.limits import Circuit, Rate
from taskq.domain.message import DAY
from taskq_memory.gates import Gates


def test_a_bucket_is_kept_until_it_is_full() -> None:
    gates, weekly = Gates(), Rate("report", 1 / (7 * DAY), 1.0)
    gates.enter("5b", [weekly], 0.0)
    gates.forget_idle(6 * DAY)
    assert gates.room(weekly, 6 * DAY) == 0
    gates.forget_idle(8 * DAY)
    assert gates.buckets == {}


def test_a_breaker_that_nobody_touched_for_a_day_is_forgotten() -> None:
    gates, circuit = Gates(), Circuit("mail", 0.5, 60.0, 2, 30.0, 1)
    gates.leave("5b", [circuit], 0.0, failed=True, started_at=0.0)
    gates.forget_idle(DAY / 2)
    assert circuit.gate in gates.breakers
    gates.forget_idle(DAY + 1)
    assert gates.breakers == {}
