"""Schedules in the store: any number of beats, each instant fired once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from taskq.domain.message import Message
from taskq.ports.broker import Enqueued


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEntry:
    """A schedule as the store keeps it."""

    name: str
    queue: str
    """Its fires go there, and it is kept in the shard of that queue."""
    spec: bytes
    """What fires when, as JSON; opaque to the store."""
    state: bytes = b""
    """What has become of it, as JSON; opaque to the store."""
    next_at: datetime | None = None
    """When it is due; None: it is not, for it is paused or has ended."""
    revision: int = 0
    """Grows by one with each write; 0: it is not stored yet."""


class Change(NamedTuple):
    """A new version of a schedule, with what fires."""

    entry: ScheduleEntry
    """With the revision on which it is based."""
    fires: Sequence[Message] = ()
    """Tasks whose ids are derived from schedule and instant; into the queue of the entry."""


class Committed(NamedTuple):
    """What became of a change."""

    is_applied: bool
    """False, and nothing was changed, where somebody else has written the schedule, or forgotten it, meanwhile."""
    answers: Sequence[Enqueued] = ()
    """Of each fire, as for Broker.enqueue; what was refused for a queue that is full is not stored."""


class DueSchedules(NamedTuple):
    """What is to be looked at."""

    entries: Sequence[tuple[ScheduleEntry, datetime]]
    """The earliest first; with the instant by the store's clock at which each was found due."""
    next_due: float | None
    """Seconds until the next one that was not handed out is due; None: there is none."""


class Scheduler(Protocol):
    """Keeps schedules, and hands out those that are due. It decides nothing: see taskq.domain.schedule."""

    async def entries(self) -> Sequence[ScheduleEntry]:
        """All schedules, by name."""
        ...

    async def get(self, name: str) -> ScheduleEntry | None:
        """One schedule."""
        ...

    async def now(self, queue: str) -> datetime:
        """The store's clock, where this queue is kept."""
        ...

    async def claim_due(self, limit: int = 100) -> DueSchedules:
        """The schedules that are due by the store's clock; several beats may be handed the same one."""
        ...

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed]:
        """Write schedules and enqueue what fires, each schedule in one atomic step.

        A change is applied where the schedule still has the revision on which it is based, or is there already as it
        would be after it: that is its repetition. An entry that moves to a queue in another shard is no change: forget
        the old one first.
        """
        ...

    async def remove(self, name: str) -> bool:
        """Forget a schedule; False where there is none of that name."""
        ...
