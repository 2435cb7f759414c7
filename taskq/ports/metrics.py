"""Series of figures over time, rolled up by the second, the minute and the hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol


class Sample(NamedTuple):
    """One figure to add at the store's present second."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Which figures to read, and how fine."""

    name: str
    since: datetime
    until: datetime
    step: float
    """Seconds: 1, 60 or 3600."""


class MetricsStore(Protocol):
    """Keeps figures."""

    async def record(self, samples: Sequence[Sample]) -> None:
        """Add figures."""
        ...

    async def series(self, query: Series) -> Sequence[tuple[datetime, float]]:
        """The sums of each step, oldest first."""
        ...
