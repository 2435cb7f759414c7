"""Which claims need no reaper any more."""

from __future__ import annotations

from taskq.domain.message import Delivery
from taskq_postgres.holdings import MOST_CLAIMS, Holdings


def delivery(id: str, fence: int = 1, worker: str = "w") -> Delivery:
    return Delivery(id, "name", b"", "queue", 1, fence, 1, 0, worker)


def test_a_claim_is_through_once_all_is_settled_and_another_was_made() -> None:
    holdings = Holdings()
    one, two = delivery("1"), delivery("2")
    holdings.claimed("w", 10, [one, two])
    holdings.settled([one])
    holdings.claimed("w", 11, [delivery("3")])
    assert holdings.through("w") == []
    holdings.settled([two._replace(worker="nobody"), two._replace(fence=2)])
    assert holdings.through("w") == []
    holdings.settled([two])
    assert holdings.through("w") == [10]
    holdings.forget("w", [10])
    assert holdings.through("w") == []


def test_the_newest_claim_is_never_through() -> None:
    holdings = Holdings()
    holdings.claimed("w", 10, [delivery("1")])
    holdings.settled([delivery("1")])
    holdings.claimed("w", 11, [])
    assert holdings.through("w") == []


def test_what_is_remembered_is_bounded() -> None:
    holdings = Holdings()
    for number in range(MOST_CLAIMS + 5):
        holdings.claimed(f"w{number % 3}", number, [delivery(str(number))])
    assert len(holdings._runs) == MOST_CLAIMS
    assert len(holdings._claims) == MOST_CLAIMS
