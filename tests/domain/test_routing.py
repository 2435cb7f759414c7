"""Quotas of aged lanes, and queues by weight."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from taskq.domain.routing import AGED_EVERY, QueueOrder, advance, aged_quota


@given(st.integers(0, AGED_EVERY - 1), st.lists(st.integers(1, 200), min_size=1, max_size=50))
def test_one_claimed_task_in_eight_is_reserved_however_claims_are_sized(counter: int, limits: list[int]) -> None:
    reserved, claimed, start = 0, 0, counter
    for limit in limits:
        reserved += aged_quota(counter, limit)
        counter = advance(counter, limit)
        claimed += limit
        assert 0 <= counter < AGED_EVERY
    assert reserved == (start + claimed) // AGED_EVERY


@given(st.integers(0, AGED_EVERY - 1), st.integers(0, 1000))
def test_no_more_is_reserved_than_is_claimed(counter: int, limit: int) -> None:
    assert 0 <= aged_quota(counter, limit) <= limit


def test_the_eighth_of_single_claims_is_reserved() -> None:
    quotas, counter = [], 0
    for _ in range(16):
        quotas.append(aged_quota(counter, 1))
        counter = advance(counter, 1)
    assert quotas == ([0] * 7 + [1]) * 2


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 20), min_size=1, max_size=6))
def test_queues_have_their_share_of_the_first_places(weights: dict[str, int]) -> None:
    order = QueueOrder(weights)
    total = sum(weights.values())
    firsts = Counter(order.next()[0] for _ in range(3 * total))
    assert firsts == {name: 3 * weight for name, weight in weights.items()}


@given(st.dictionaries(st.text(max_size=3), st.floats(0.1, 100), min_size=1, max_size=6), st.integers(1, 30))
def test_every_queue_is_in_every_order_once(weights: dict[str, float], rounds: int) -> None:
    order = QueueOrder(weights)
    for _ in range(rounds):
        assert sorted(order.next()) == sorted(weights)


def test_a_heavy_queue_does_not_have_its_turns_in_a_row() -> None:
    order = QueueOrder({"a": 5, "b": 1, "c": 1})
    assert "".join(order.next()[0] for _ in range(7)) == "aabacaa"
