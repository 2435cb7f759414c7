"""Which lane a claim takes from next: priority, aging, the front lane, tenants; and which queue, by weight."""

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


NOISY_SHARE = 0.1
"""Of all that runs for tenants in a queue: who has more, and NOISY_LEAST, goes last."""
NOISY_LEAST = 30
"""Running tasks that a tenant may have, however few the others have."""


def is_noisy(running: int, total: int, weight: float = 1.0) -> bool:
    """Whether a tenant goes behind the others of its priority, as long as they have anything to run.

    The rule of the fair queues of Amazon SQS ("How Amazon SQS fair queues work", 2025): no configuration is needed, and
    no worker stands idle for it.

    Arguments:
        running: the tenant's tasks that run, of one queue.
        total: all tenants' tasks that run, of that queue.
        weight: what share the tenant may have, in NOISY_SHARE.

    >>> is_noisy(29, 30), is_noisy(30, 30), is_noisy(30, 300), is_noisy(40, 100, weight=5)
    (False, True, False, False)
    """
    return running >= NOISY_LEAST and running > NOISY_SHARE * weight * total


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
