"""How far each lane was read, so that a claim does not walk over what is claimed or dead already.

Under a long transaction of somebody else the rows of finished tasks cannot be removed; without a cursor each claim
would step over all of them. What lies behind a cursor (a transaction that committed late) is found by a sweep from the
start of the lane: after every claim that came back short, and once a second. A slow sweep is followed by a pause of
twenty times its length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import NamedTuple

SWEEP_EVERY = 1.0
SWEEP_SHARE = 20.0
SLOW = 0.01
"""Seconds of a sweep that count for nothing."""


class Look(NamedTuple):
    """One claim's look at the lanes."""

    after: list[int]
    """The places after which it looks, four for each queue, by priority."""
    is_sweep: bool
    began: float


class Cursors:
    """The cursors of one process. Only the lanes without a group have one."""

    def __init__(self) -> None:
        self._places: dict[str, list[int]] = {}
        self._next_sweep = 0.0
        self._next_short_sweep = 0.0

    def begin(self, queues: Sequence[str]) -> Look:
        """A claim begins."""
        now = monotonic()
        if now >= self._next_sweep:
            return Look([0] * (4 * len(queues)), True, now)
        after = [place for queue in queues for place in self._places.get(queue, (0, 0, 0, 0))]
        return Look(after, False, now)

    def end(self, look: Look, taken: Iterable[tuple[str, int, int]], *, is_full: bool) -> bool:
        """A claim has ended.

        Arguments:
            look: what `begin` returned.
            taken: queue, priority and place of what it took.
            is_full: whether it took as many as it was allowed.

        Returns whether nothing is left, for certain.
        """
        for queue, priority, place in taken:
            places = self._places.setdefault(queue, [0, 0, 0, 0])
            places[priority] = max(places[priority], place)
        if look.is_sweep:
            now = monotonic()
            self._next_short_sweep = now + SWEEP_SHARE * max(0.0, now - look.began - SLOW)
            self._next_sweep = max(now + SWEEP_EVERY, self._next_short_sweep)
        if not is_full:
            self._next_sweep = min(self._next_sweep, self._next_short_sweep)
        return look.is_sweep and not is_full

    def look_back(self) -> None:
        """Something is known to be there: the next claim sweeps."""
        self._next_sweep = 0.0
