"""The retry strategies: bounds, growth, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.retry import (
    DEFAULT_RETRY,
    LONGEST,
    BuiltinRetry,
    Exponential,
    FailedRun,
    Fixed,
    Jitter,
    Linear,
    NoRetry,
    RetryStrategy,
    from_dict,
    to_dict,
)
from taskq.errors import InvalidOption

RUN = FailedRun("ValueError", "no")
jitters: st.SearchStrategy[Jitter] = st.sampled_from([False, True, "full", "equal"])
seconds = st.floats(0, LONGEST)
attempts = st.integers(1, 1001)
draws = st.floats(0, 1, exclude_max=True)
limits: dict[str, st.SearchStrategy[Any]] = {
    "max_retries": st.integers(0, 1000),
    "max_delay": seconds,
    "deadline": st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
}
policies: st.SearchStrategy[BuiltinRetry] = st.one_of(
    st.builds(Fixed, seconds, jitter=jitters, **limits),
    st.builds(Linear, seconds, jitter=jitters, **limits),
    st.builds(Exponential, seconds, st.floats(1, 1000), jitter=jitters, **limits),
    st.builds(NoRetry),
)


def constant(value: float) -> Callable[[], float]:
    """A source of numbers that is always the same."""
    return lambda: value


@given(policies, attempts, draws, st.floats(0, 1e9))
def test_a_delay_is_never_negative_nor_over_its_limit(
    policy: BuiltinRetry, attempt: int, draw: float, age: float
) -> None:
    delay = policy.next_delay(attempt, FailedRun("E", age=age), constant(draw))
    if delay is not None:
        assert 0 <= delay <= policy.max_delay <= LONGEST
        assert policy.deadline is None or age + delay <= policy.deadline


@given(policies, attempts, draws)
def test_retries_are_counted(policy: BuiltinRetry, attempt: int, draw: float) -> None:
    delay = policy.next_delay(attempt, RUN, constant(draw))
    if attempt > policy.max_retries:
        assert delay is None
    elif policy.deadline is None:
        assert delay is not None


@given(policies, attempts, draws)
def test_jitter_draws_from_the_delay_or_from_its_upper_half(policy: BuiltinRetry, attempt: int, draw: float) -> None:
    plain = _with(policy, jitter=False, deadline=None).next_delay(attempt, RUN, constant(draw))
    for jitter in ("full", True):
        full = _with(policy, jitter=jitter, deadline=None).next_delay(attempt, RUN, constant(draw))
        assert full == (None if plain is None else draw * plain)
    equal = _with(policy, jitter="equal", deadline=None).next_delay(attempt, RUN, constant(draw))
    if plain is None or equal is None:
        assert plain is equal is None
    else:
        assert plain / 2 <= equal <= plain


@given(st.builds(Linear, seconds) | st.builds(Exponential, seconds, st.floats(1, 1000), jitter=st.just(False)))
def test_delays_never_shrink(policy: Linear | Exponential) -> None:
    patient = _with(policy, max_retries=1000)
    delays = [patient.next_delay(n, RUN, constant(0.5)) for n in range(1, 200)]
    known = [delay for delay in delays if delay is not None]
    assert len(known) == len(delays)
    assert known == sorted(known)


@given(st.floats(1e-9, LONGEST), st.floats(1.01, 1000), st.integers(900, 1000))
def test_a_large_exponent_does_not_overflow(base: float, factor: float, attempt: int) -> None:
    policy = Exponential(base, factor, jitter=False, max_retries=1000, max_delay=LONGEST)
    delay = policy.next_delay(attempt, RUN, constant(0.5))
    assert delay is not None
    assert 0 < delay <= LONGEST


def test_an_overflow_is_the_longest_delay() -> None:
    policy = Exponential(LONGEST, 1000, jitter=False, max_retries=1000, max_delay=LONGEST)
    assert policy.next_delay(1000, RUN, constant(0.5)) == LONGEST


def test_the_deadline_counts_from_the_enqueue_to_the_next_run() -> None:
    policy = Fixed(10, deadline=100)
    assert policy.next_delay(1, FailedRun("E", age=90.0), constant(0.5)) == 10
    assert policy.next_delay(1, FailedRun("E", age=90.1), constant(0.5)) is None


def test_no_retry_gives_up_at_once() -> None:
    assert NoRetry().next_delay(1, RUN, constant(0.5)) is None
    assert NoRetry(max_retries=1).next_delay(1, RUN, constant(0.5)) == 0.0


def test_the_default_backs_off_exponentially_with_full_jitter() -> None:
    assert Exponential(1.0, 2.0, max_retries=3, max_delay=600.0, jitter=True) == DEFAULT_RETRY
    assert [DEFAULT_RETRY.next_delay(n, RUN, constant(0.5)) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, None]


@given(policies)
def test_a_policy_survives_json(policy: BuiltinRetry) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(policy)))) == policy
    assert isinstance(policy, RetryStrategy)


def test_a_policy_written_by_hand_may_leave_out_all_but_what_it_changes() -> None:
    assert from_dict({}) == DEFAULT_RETRY
    assert from_dict({"strategy": "none"}) == NoRetry()
    assert from_dict({"strategy": "fixed", "delay": 5}) == Fixed(5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"strategy": "sometimes"}, "'sometimes' is not one of exponential, fixed, linear, none"),
        ({"strategy": 1}, "1 is not one of"),
        ({"strategy": ["fixed"]}, "is not one of"),
        (
            {"strategy": "fixed", "factor": 2},
            "retry policy 'fixed' has no field 'factor'; they are max_retries, .*delay$",
        ),
        ({"strategy": "fixed", "dlay": 2}, "retry policy 'fixed' has no field 'dlay'; did you mean 'delay'\\?$"),
        ({"strategy": "fixed", 5: 2}, "retry policy 'fixed' has no field 5; they are"),
        ({"max_retries": -1}, "max_retries must be from 0 to 1000, not -1"),
        ({"max_retries": 1001}, "max_retries must be from 0 to 1000"),
        ({"max_retries": "3"}, "max_retries must be from 0 to 1000, not '3'"),
        ({"max_retries": 1.5}, "max_retries must be from 0 to 1000"),
        ({"max_retries": True}, "max_retries must be from 0 to 1000"),
        ({"max_delay": -0.1}, "max_delay must be from 0 to ten years"),
        ({"max_delay": LONGEST * 1.01}, "max_delay must be from 0 to ten years"),
        ({"max_delay": float("nan")}, "max_delay must be from 0 to ten years"),
        ({"max_delay": "1"}, "max_delay must be from 0 to ten years"),
        ({"jitter": 0}, "jitter must be a bool, full or equal"),
        ({"jitter": "some"}, "jitter must be a bool, full or equal"),
        ({"deadline": 0}, "deadline must be over 0 seconds"),
        ({"deadline": float("inf")}, "deadline must be over 0 seconds"),
        ({"deadline": "x"}, "deadline must be over 0 seconds"),
        ({"strategy": "fixed", "delay": -1}, "delay must be from 0 to ten years"),
        ({"strategy": "linear", "base": LONGEST * 2}, "base must be from 0 to ten years"),
        ({"base": -1}, "base must be from 0 to ten years"),
        ({"base": True}, "base must be from 0 to ten years"),
        ({"factor": "2"}, "factor must be from 1 to 1000"),
        ({"factor": 0.5}, "factor must be from 1 to 1000"),
        ({"factor": float("inf")}, "factor must be from 1 to 1000"),
    ],
)
def test_what_is_out_of_range_is_refused_with_its_name(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        from_dict(data)


def _with(policy: BuiltinRetry, **changes: Any) -> BuiltinRetry:
    return from_dict({**to_dict(policy), **changes})
