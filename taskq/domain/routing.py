"""Which lane a claim takes from next: priority, aging, the front lane; and which queue, by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

AGING = 60.0
"""Seconds after which the head of a lane counts as over-aged."""
AGED_EVERY = 8
"""One claimed task in so many comes from an over-aged lane, if there is one."""


def aged_quota(counter: int, limit: int) -> int:
    """How many of the next `limit` tasks of a queue are reserved for over-aged lanes.

    Arguments:
        counter: tasks claimed since the last reserved one, from 0 to AGED_EVERY - 1.
        limit: the most that this claim may take.

    >>> [aged_quota(0, 1), aged_quota(7, 1), aged_quota(0, 8), aged_quota(4, 100)]
    [0, 1, 1, 13]
    """
    return (counter + limit) // AGED_EVERY


def advance(counter: int, claimed: int) -> int:
    """The counter after a claim of `claimed` tasks.

    >>> advance(6, 3)
    1
    """
    return (counter + claimed) % AGED_EVERY


class QueueOrder:
    """Orders queues by weight: smooth weighted round robin, as nginx spreads requests over upstreams.

    >>> order = QueueOrder({"high": 3, "default": 1})
    >>> [order.next()[0] for _ in range(8)]
    ['high', 'high', 'default', 'high', 'high', 'high', 'default', 'high']
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = dict(weights)
        self._current = dict.fromkeys(weights, 0.0)
        self._total = sum(weights.values())

    def next(self) -> Sequence[str]:
        """The queues for the next claim: first the one whose turn it is, then the others as they stand behind it."""
        for name, weight in self._weights.items():
            self._current[name] += weight
        order = sorted(self._current, key=self._current.__getitem__, reverse=True)
        self._current[order[0]] -= self._total
        return order
