"""When something is raised and cleared: once each, and not before its time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.alerts import (
    DEFAULTS,
    GAP,
    MOST_SECONDS,
    OF_QUEUES,
    Bounds,
    Course,
    Reading,
    Rule,
    Verdict,
    growth,
    judge,
    seconds_behind,
    worst,
)
from taskq.domain.pace import Pace

BOUNDS = Bounds(above=60.0, hold_for=10.0, clear_after=20.0)
Q, R, S, C = Verdict.QUIET, Verdict.RAISED, Verdict.STILL, Verdict.CLEARED
Look = tuple[float, float | None]


def verdicts(bounds: Bounds, looks: list[Look]) -> list[Verdict]:
    """What is made of some values at some instants."""
    course, found = Course(), []
    for now, value in looks:
        judged = judge(bounds, value, course, now)
        course = judged.course
        found.append(judged.verdict)
    return found


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([(0, 61), (5, 61), (10, 61), (15, 99)], [Q, Q, R, S], id="it holds"),
        pytest.param([(0, 60), (10, 60), (20, 60)], [Q, Q, Q], id="at the bound is not over it"),
        pytest.param([(0, 61), (5, 59), (10, 61), (19, 61), (20, 61)], [Q, Q, Q, Q, R], id="a break begins anew"),
        pytest.param([(0, 61), (5, None), (10, 61)], [Q, Q, R], id="no reading is no break"),
        pytest.param([(0, 61), (5, None), (GAP + 1, 61)], [Q, Q, Q], id="nothing is known of a long gap"),
        pytest.param([(0, 61), (10, 61), (20, None), (99, None)], [Q, R, S, S], id="without a reading it goes on"),
        pytest.param([(0, 61), (10, 61), (20, 50), (40, 50), (60, 50)], [Q, R, S, S, S], id="below is not well yet"),
        pytest.param([(0, 61), (10, 61), (20, 48), (30, 47), (40, 40)], [Q, R, S, S, C], id="well for long enough"),
        pytest.param([(0, 61), (10, 61), (20, 40), (30, 50), (40, 40), (60, 0)], [Q, R, S, S, S, C], id="well again"),
        pytest.param([(100, 61), (50, 61), (59, 61), (60, 61)], [Q, Q, Q, R], id="a clock that goes back"),
    ],
)
def test_a_course(looks: list[Look], expected: list[Verdict]) -> None:
    assert verdicts(BOUNDS, looks) == expected


def test_it_says_since_when() -> None:
    held = judge(BOUNDS, 61.0, judge(BOUNDS, 61.0, Course(), 100.0).course, 110.0)
    assert (held.verdict, held.since) == (Verdict.RAISED, 100.0)
    well = judge(BOUNDS, 0.0, judge(BOUNDS, 0.0, held.course, 200.0).course, 220.0)
    assert (well.verdict, well.since) == (Verdict.CLEARED, 200.0)


def test_what_need_not_hold_is_raised_at_once() -> None:
    assert verdicts(Bounds(0.0, 0.0, 0.0), [(1, 1), (2, 1), (3, 0), (4, 0.5)]) == [R, S, C, R]


steps = st.lists(st.tuples(st.floats(-5, 60), st.one_of(st.none(), st.floats(0, 120))), max_size=60)


@given(steps)
def test_it_is_never_raised_twice_nor_cleared_twice(given: list[tuple[float, float | None]]) -> None:
    now, looks = 0.0, []
    for step, value in given:
        now += step
        looks.append((now, value))
    changes = [verdict for verdict in verdicts(BOUNDS, looks) if verdict in (R, C)]
    assert changes == [R, C] * (len(changes) // 2) + [R] * (len(changes) % 2)


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(48.1, 200)), max_size=80))
def test_what_swings_above_the_lower_bound_is_raised_once(given: list[tuple[float, float]]) -> None:
    now, looks = 0.0, list[tuple[float, float | None]]()
    for step, value in given:
        now += step
        looks.append((now, value))
    assert [verdict for verdict in verdicts(BOUNDS, looks) if verdict in (R, C)] in ([], [R])


@given(steps.map(lambda found: [(abs(step), value) for step, value in found]))
def test_two_changes_are_as_far_apart_as_they_must_be(given: list[tuple[float, float | None]]) -> None:
    now, course, changed_at = 0.0, Course(), None
    for step, value in given:
        now += step
        judged = judge(BOUNDS, value, course, now)
        course = judged.course
        if judged.verdict in (R, C):
            needed = BOUNDS.hold_for if judged.verdict is R else BOUNDS.clear_after
            assert judged.since is not None
            assert now - judged.since >= needed
            assert changed_at is None or judged.since >= changed_at
            changed_at = now


@pytest.mark.parametrize(
    ("over", "waiting", "grown", "seconds"),
    [
        (Pace(2.0, 1.0), 30, 60, 30.0),
        (Pace(2.0, 0.0), 30, 60, MOST_SECONDS),
        (Pace(2.0, 1e-9), 30, 60, MOST_SECONDS),
        (Pace(2.0, 1.0), 30, 0, 0.0),
        (Pace(2.0, 1.0), 0, 10, 0.0),
        (Pace(2.0, 2.0), 30, 10, 0.0),
    ],
)
def test_how_far_a_queue_is_behind(over: Pace, waiting: int, grown: int, seconds: float) -> None:
    assert seconds_behind(over, waiting, grown) == seconds


def test_what_was_taken_away_hides_no_growth() -> None:
    assert growth([50.0, 50.0, 0.0, 12.0]) == 12.0


def test_a_rule_of_queues_may_be_for_some() -> None:
    bounds = Bounds(1.0, 0.0, 0.0, queues=("mail",))
    assert bounds.is_about(Rule.OLDEST_AGE, "mail")
    assert not bounds.is_about(Rule.OLDEST_AGE, "web")
    assert bounds.is_about(Rule.STORE_AWAY, "store")
    assert not Bounds(1.0, 0.0, 0.0, enabled=False).is_about(Rule.STORE_AWAY, "store")


def test_every_rule_has_bounds() -> None:
    assert set(DEFAULTS) == set(Rule)
    assert set(Rule) > OF_QUEUES


def test_those_that_have_an_alert_keep_it() -> None:
    found = {f"q{number:03}": Reading(float(number), "") for number in range(10)}
    raised = frozenset({"gone", "q000"})
    assert worst(found, raised, Bounds(4.0, 0.0, 0.0), 3) == (["gone", "q000", "q009"], 4)
    assert worst(found, raised, Bounds(4.0, 0.0, 0.0), 1) == (["gone", "q000"], 5)
