"""Queues that need no look: nothing is set for them, and they are far from full."""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic

LASTS = 1.0
"""Seconds for which what the store said of a queue is believed: so late a process heeds what another one sets."""
MOST = 1000


class Roomy:
    """What the store said of queues to those who enqueued into them.

    A look at what is set for a queue, and at how full it is, is a tenth of the work that a single enqueue makes.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def are(self, queues: Collection[str]) -> bool:
        """Whether all of them need no look now."""
        now = monotonic()
        return all(self._until.get(queue, 0.0) > now for queue in queues)

    def note(self, queues: Collection[str], asked_at: float) -> None:
        """The store has looked, and there was nothing to tell."""
        if len(self._until) > MOST:
            self._until.clear()
        self._until.update(dict.fromkeys(queues, asked_at + LASTS))

    def forget(self, queue: str) -> None:
        """Something is set for a queue."""
        self._until.pop(queue, None)
