"""When a reaper may act."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.lease import LEASE, RENEWAL, ReaperWatch, tick

RENEWALS = st.floats(0.1, 1000)


def test_a_lease_outlives_two_renewals_that_were_missed() -> None:
    assert LEASE >= 3 * RENEWAL


def test_the_first_reaper_of_a_store_may_act() -> None:
    assert tick(ReaperWatch(), 1000.0, 10.0) == (ReaperWatch(1000.0, 0.0), True)


@given(RENEWALS, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_reapers_that_tick_often_enough_never_hold_off(renewal: float, steps: list[float]) -> None:
    watch, now = ReaperWatch(), 1000.0
    for step in steps:
        now += step * renewal * 0.99
        watch, may_reap = tick(watch, now, renewal)
        assert may_reap


@given(RENEWALS, st.floats(1.01, 1000))
def test_after_a_silence_the_reapers_hold_off_for_one_renewal(renewal: float, silence: float) -> None:
    watch, _ = tick(ReaperWatch(), 1000.0, renewal)
    end = 1000.0 + silence * renewal
    watch, may_reap = tick(watch, end, renewal)
    assert not may_reap
    watch, may_reap = tick(watch, end + renewal * 0.9, renewal)
    assert not may_reap
    _, may_reap = tick(watch, end + renewal * 1.05, renewal)
    assert may_reap


@given(RENEWALS, st.floats(1.1, 1e6))
def test_a_clock_that_goes_back_makes_the_reapers_hold_off_for_one_renewal(renewal: float, back: float) -> None:
    watch, _ = tick(ReaperWatch(), 2e6, renewal)
    now = 2e6 - back
    watch, may_reap = tick(watch, now, renewal)
    assert not may_reap
    assert watch.hold_until == now + renewal
    _, may_reap = tick(watch, watch.hold_until, renewal * 2)
    assert may_reap


def test_a_clock_that_goes_back_by_less_than_a_second_is_no_outage() -> None:
    watch, _ = tick(ReaperWatch(), 1000.0, 10.0)
    assert tick(watch, 999.5, 10.0)[1]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), RENEWALS), min_size=1, max_size=30))
def test_a_hold_never_outlasts_one_renewal_whatever_the_clock_does(moves: list[tuple[float, float]]) -> None:
    watch, now = ReaperWatch(), 0.0
    for move, renewal in moves:
        now += move
        watch, may_reap = tick(watch, now, renewal)
        assert watch.last_tick == now
        assert watch.hold_until <= now + renewal
        assert may_reap == (now >= watch.hold_until)
