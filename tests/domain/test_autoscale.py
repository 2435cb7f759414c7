"""How many workers are told of, under loads that step, burst, swing and end."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.autoscale import Hint, Load, Memory, Scaling, hint

STEP = 5.0
"""Seconds between two hints."""
STARTS_WITHIN = 20.0
"""Seconds that a new worker takes to begin."""


class Moment(NamedTuple):
    """What was so at one moment of a simulation."""

    at: float
    desired: int
    workers: int
    waiting: float
    oldest: float


def simulate(
    arrival: Callable[[float], float],
    seconds: float,
    scaling: Scaling,
    *,
    does: float = 1.0,
    expected: float | None = 1.0,
    workers: int = 1,
) -> list[Moment]:
    """A fleet that follows its hints, in steps of a second.

    Arguments:
        arrival: tasks a second at an instant.
        does: what a worker does in a second, whatever is expected of it.
    """
    memory, moments, coming = Memory(), list[Moment](), list[tuple[float, int]]()
    came, left = [0.0], [0.0]
    for second in range(int(seconds)):
        came.append(came[-1] + arrival(second))
        left.append(left[-1] + min(came[-1] - left[-1], workers * does))
        while coming and coming[0][0] <= second:
            workers = coming.pop(0)[1]
        if second % STEP:
            continue
        span = min(60, len(came) - 1)
        waiting = came[-1] - left[-1]
        oldest = 0.0
        while oldest < len(came) - 1 and came[-1 - int(oldest)] > left[-1] + 1e-6:
            oldest += 1
        rate, drain = (came[-1] - came[-1 - span]) / span, (left[-1] - left[-1 - span]) / span
        load = Load(
            rate, drain, int(waiting), oldest if waiting >= 1 else 0.0, workers, 0, expected if left[-1] else None
        )
        found, memory = hint(scaling, load, memory, float(second))
        coming = [(at, number) for at, number in coming if number < found.desired]
        if found.desired < workers:
            workers, coming = found.desired, []
        elif found.desired > (coming[-1][1] if coming else workers):
            coming.append((second + STARTS_WITHIN, found.desired))
        moments.append(Moment(second, found.desired, workers, waiting, oldest))
    return moments


def changes(moments: list[Moment]) -> list[int]:
    """By how much the hint has changed, each time that it has."""
    return [after.desired - before.desired for before, after in pairwise(moments) if after.desired != before.desired]


def turns(moments: list[Moment]) -> int:
    """How often it went up after it had gone down, or the other way."""
    signs = [change > 0 for change in changes(moments)]
    return sum(one != other for one, other in pairwise(signs))


SCALING = Scaling(min=1, max=200)


def test_a_step_up_is_met_and_kept() -> None:
    moments = simulate(lambda at: 2.0 if at < 120 else 40.0, 1200, SCALING, workers=3)
    settled = [moment for moment in moments if moment.at > 500]
    assert {moment.oldest <= SCALING.target for moment in settled} == {True}
    assert max(moment.oldest for moment in moments) < 90
    assert 40 <= moments[-1].desired <= 60
    assert turns(moments) <= 2


def test_a_step_down_is_followed_slowly_and_by_steps() -> None:
    moments = simulate(lambda at: 40.0 if at < 300 else 4.0, 2400, SCALING, workers=50)
    assert all(moment.desired >= 50 for moment in moments if moment.at < 590)
    assert moments[-1].desired == 5
    lowered = [moment.at for before, moment in pairwise(moments) if moment.desired < before.desired]
    assert all(later - earlier >= SCALING.down_every for earlier, later in pairwise(lowered))
    assert all(-change <= max(1, 0.25 * 50) for change in changes(moments))
    assert turns(moments) == 0


def test_a_short_burst_moves_nothing() -> None:
    moments = simulate(lambda at: 30.0 if 300 <= at < 303 else 10.0, 900, Scaling(max=200, up_after=60.0), workers=13)
    assert changes([moment for moment in moments if moment.at > 200]) == []


@pytest.mark.parametrize("seed", range(8))
def test_noise_does_not_make_it_flap(seed: int) -> None:
    dice = random.Random(seed)
    moments = simulate(lambda at: dice.uniform(5.0, 15.0), 3600, SCALING, workers=13)
    settled = [moment for moment in moments if moment.at > 600]
    assert turns(settled) <= 2
    assert len(changes(settled)) <= 4
    assert max(moment.oldest for moment in settled) <= SCALING.target


def test_a_wave_is_ridden_without_a_wait() -> None:
    """An hour of a load that swings within ten minutes: the window holds what its crests need."""
    moments = simulate(lambda at: 20.0 + 15.0 * math.sin(at / 600 * 2 * math.pi), 3600, SCALING, workers=30)
    settled = [moment for moment in moments if moment.at > 700]
    assert max(moment.oldest for moment in settled) <= SCALING.target
    assert turns(settled) <= 10


def test_it_drains_to_nothing_and_begins_again() -> None:
    scaling = Scaling(min=0, max=50)
    moments = simulate(lambda at: 5.0 if at < 300 or at > 2400 else 0.0, 3000, scaling, workers=7)
    assert [moment for moment in moments if 2300 < moment.at < 2400 and moment.desired] == []
    assert moments[-1].desired >= 7
    assert max(moment.oldest for moment in moments if moment.at > 2400) < 90


def test_what_nobody_knows_yet_is_found_out() -> None:
    """Nothing has run, and the tasks turn out to take much longer than the slots would let expect."""
    moments = simulate(lambda at: 10.0, 1800, Scaling(max=400), does=0.2, expected=None, workers=1)
    assert max(moment.oldest for moment in moments if moment.at > 1200) <= 30
    assert 50 <= moments[-1].desired <= 130


def test_slots_that_promise_too_much_are_found_out() -> None:
    """Of a hundred slots of a worker with four threads' worth of work, four are all that there is."""
    moments = simulate(lambda at: 12.0, 2400, SCALING, does=1.0, expected=25.0, workers=1)
    assert max(moment.oldest for moment in moments if moment.at > 1500) <= 30
    assert 12 <= moments[-1].desired <= 60
    assert turns([moment for moment in moments if moment.at > 900]) <= 1


@pytest.mark.parametrize(
    ("load", "memory", "desired", "words"),
    [
        (Load(None, None, 0, 0.0, 0), Memory(), 1, "nothing waits, and none has ended lately"),
        (Load(None, None, 0, 0.0, 4, taken=3), Memory(), 4, "lately; fewer are told once that holds for 300 s"),
        (Load(1.0, 0.0, 9, 3.0, 2), Memory(), 2, "9 wait, and none has ended lately: as many as there are"),
        (Load(1.0, 0.0, 9, 99.0, 2), Memory(2, ((-20.0, 9),)), 4, "the first has waited 99 s: twice the workers"),
        (Load(1.0, 1.0, 0, 0.0, 5, 4, 2.0), Memory(5), 5, "but 4 are needed for what runs; fewer are told"),
        (Load(1.0, 1.0, 5, 99.0, 5, 1, 2.0), Memory(5), 5, "but the first has waited 99 s: none is spared"),
        (Load(8.0, 1.0, 0, 0.0, 1, 1, 1.0), Memory(1), 1, "10 are needed, at 80 % busy; more are told once that holds"),
        (Load(8.0, 1.0, 0, 0.0, 1, 1, 1.0), Memory(1, ((-15.0, 4),)), 4, "10 are needed, at 80 % busy"),
        (Load(800.0, 1.0, 0, 0.0, 9, 1, 1.0), Memory(100), 100, "1000 are needed, at 80 % busy; there may be 1 to 100"),
    ],
)  # fmt: skip
def test_it_says_why(load: Load, memory: Memory, desired: int, words: str) -> None:
    found, _ = hint(Scaling(), load, memory, 0.0)
    assert (found.desired, words in found.reason) == (desired, True), found.reason


def test_what_is_near_enough_stays() -> None:
    found, _ = hint(Scaling(up_after=0.0), Load(17.5, 17.5, 0, 0.0, 20, 0, 1.0), Memory(20), 0.0)
    assert (found.desired, found.needed) == (20, 22)
    assert found.reason.endswith("; the 20 that were told are near enough")
    found, _ = hint(Scaling(max=10), Load(17.5, 17.5, 0, 0.0, 20, 0, 1.0), Memory(20), 0.0)
    assert found.desired == 10


def test_from_nothing_it_begins_at_once() -> None:
    found, _ = hint(Scaling(min=0), Load(0.0, 0.0, 1, 0.0, 0, 0, 5.0), Memory(0), 100.0)
    assert found == Hint(1, 1, "0/s arrive and 1 wait and one worker does 5/s: 1 is needed, at 80 % busy")


def test_a_step_down_waits_for_the_last() -> None:
    needs = ((0.0, 2), (290.0, 2))
    load = Load(1.0, 1.0, 0, 0.0, 20, 0, 1.0)
    found, memory = hint(Scaling(), load, Memory(20, needs, 270.0), 300.0)
    assert (found.desired, "the next step down comes 60 s after the last" in found.reason) == (20, True)
    found, memory = hint(Scaling(), load, memory, 330.0)
    assert (found.desired, memory.lowered_at) == (15, 330.0)
    found, memory = hint(Scaling(down_after=30.0), load, Memory(20, ((0.0, 2), (30.0, 2)), 0.0), 60.0)
    assert (found.desired, memory.lowered_at, "down by steps, to 2" in found.reason) == (15, 60.0, True)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 500), st.integers(0, 10_000), st.floats(0, 900)), max_size=80)
)
def test_it_stays_within_its_bounds_and_small(given: list[tuple[int, float, int, float]]) -> None:
    scaling, memory, now = Scaling(min=2, max=30), Memory(), 0.0
    for seconds, arrival, waiting, oldest in given:
        now += seconds
        before = memory.desired
        found, memory = hint(scaling, Load(arrival, arrival / 2, waiting, oldest, 5, 1, 3.0), memory, now)
        assert scaling.min <= found.desired <= scaling.max
        assert len(memory.needs) <= 2 * scaling.down_after / 5 + 3
        if before is not None and found.desired < before:
            assert before - found.desired <= max(1, scaling.down_share * before)


@pytest.mark.parametrize("drain", [5e-324, 2.225073858507203e-309])
def test_a_worker_that_does_next_to_nothing_is_a_number_too(drain: float) -> None:
    memory, load = Memory(), Load(0.0, drain, 1, 60.0, 5, 1, 3.0)
    for now in (0.0, 60.0, 120.0):
        found, memory = hint(Scaling(max=7), load, memory, now)
    assert found.needed == 7
