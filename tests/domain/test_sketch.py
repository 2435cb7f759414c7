"""Sketches: where a duration goes, what a quantile says of it, and that they add up."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.sketch import LEAST, MOST, RATIO, bound, bucket_of, cumulative, merge, quantile

durations = st.floats(min_value=2e-6, max_value=9e5)


@given(durations)
def test_a_duration_lies_between_the_bounds_of_its_bucket(seconds: float) -> None:
    bucket = bucket_of(seconds)
    assert bound(bucket - 1) * (1 - 1e-9) < seconds <= bound(bucket) * (1 + 1e-9)


@pytest.mark.parametrize("bucket", range(LEAST + 1, MOST + 1))
def test_a_bound_belongs_to_the_bucket_that_ends_there(bucket: int) -> None:
    assert bucket_of(bound(bucket)) == bucket


@pytest.mark.parametrize("seconds", [0.0, -1.0, -math.inf, math.nan, 1e-9])
def test_what_is_no_duration_counts_as_none_at_all(seconds: float) -> None:
    assert bucket_of(seconds) == LEAST


@pytest.mark.parametrize("seconds", [1e7, 1e300, math.inf])
def test_what_is_too_long_is_in_the_last_bucket(seconds: float) -> None:
    assert bucket_of(seconds) == MOST


@given(st.lists(durations, min_size=1, max_size=200), st.floats(0.0, 1.0))
def test_a_quantile_is_that_of_the_durations_to_within_the_ratio(seconds: list[float], share: float) -> None:
    sketch: dict[int, int] = {}
    for each in seconds:
        merge(sketch, {bucket_of(each): 1})
    exact = sorted(seconds)[max(1, math.ceil(share * len(seconds))) - 1]
    found = quantile(sketch, share)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * RATIO * (1 + 1e-9)


@given(st.lists(st.lists(durations, max_size=50), max_size=5))
def test_sketches_add_up_in_any_order(parts: list[list[float]]) -> None:
    sketches = [{bucket_of(each): part.count(each) for each in part} for part in parts]
    forth: dict[int, int] = {}
    back: dict[int, int] = {}
    for sketch in sketches:
        merge(forth, sketch)
    for sketch in random.Random(1).sample(sketches, len(sketches)):
        merge(back, sketch)
    assert forth == back


def test_no_duration_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None


@given(st.dictionaries(st.integers(LEAST, MOST), st.integers(1, 9)), st.lists(st.integers(LEAST, MOST)))
def test_what_is_no_longer_than_each_bound_is_counted(sketch: dict[int, int], bounds: list[int]) -> None:
    bounds.sort()
    expected = [sum(count for bucket, count in sketch.items() if bucket <= each) for each in bounds]
    assert list(cumulative(sketch, bounds)) == expected
