"""Figures over time: what processes leave, and the rows of a second, a minute or an hour into which it is rolled up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

MOST_LEFT = 10_000
"""What processes may leave while nobody rolls it up; beyond that the oldest goes."""


class Left(NamedTuple):
    """What a process has left."""

    id: str
    at: float
    """When the store got it, in seconds since the epoch, by its own clock."""
    data: bytes


class FigureRow(NamedTuple):
    """The figures of one stretch of time."""

    step: int
    """How long it is, in seconds."""
    at: int
    """When it begins, in seconds since the epoch: a multiple of its length."""
    data: bytes
    """Opaque to the store."""
    version: int = 0
    """Of a row that was read: grows by one with each write. Of one to write: that on which it is based, 0 for none."""


class MetricsStore(Protocol):
    """Keeps figures, which mean nothing to it (taskq.rollups)."""

    async def leave(self, id: str, data: bytes) -> None:
        """Leave figures to be rolled up.

        Arguments:
            id: a new one; what is left twice under one id, before it is rolled up, is left once.
        """
        ...

    async def left(self, limit: int = 100) -> Sequence[Left]:
        """What is left, the oldest first."""
        ...

    async def roll_up(self, taken: Sequence[str], rows: Sequence[FigureRow]) -> bool:
        """Write rows and forget what they were made of, in one step.

        Arguments:
            taken: ids of what is left.
            rows: each is written whole, in place of the version on which it is based.

        Returns:
            False, and nothing was changed, where somebody else has written one of the rows, or forgotten what was left.
        """
        ...

    async def rows(self, step: int, since: int, until: int) -> Sequence[FigureRow]:
        """The rows of that length which begin from `since` on and before `until`, the oldest first."""
        ...

    async def trim(self, step: int, before: int) -> int:
        """Forget the rows of that length which begin before an instant; returns how many."""
        ...
