"""Schedules in the store: any number of beats, each instant fired once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from taskq.domain.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntry:
    """A schedule as the store keeps it."""

    name: str
    spec: bytes
    """What fires when, as JSON; opaque to the store."""
    next_at: datetime
    last_at: datetime | None = None
    is_paused: bool = False


class Scheduler(Protocol):
    """Keeps schedules, and hands out those that are due."""

    async def put(self, entry: ScheduleEntry) -> None:
        """Add or replace a schedule."""
        ...

    async def remove(self, name: str) -> bool:
        """Forget a schedule; False where there is none of that name."""
        ...

    async def entries(self) -> Sequence[ScheduleEntry]:
        """All schedules."""
        ...

    async def claim_due(self, limit: int = 100) -> Sequence[ScheduleEntry]:
        """The schedules that are due by the store's clock; several beats may be handed the same one."""
        ...

    async def commit(self, name: str, last_at: datetime, next_at: datetime, fires: Sequence[Message]) -> bool:
        """Enqueue the fires (ids derived from schedule and instant) and move the schedule on, in one atomic step.

        False, and nothing is changed, where another beat has moved it on already.
        """
        ...
