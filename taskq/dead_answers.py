"""What is answered about dead letters: pages, groups, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from taskq.dead_filter import ended_at
from taskq.domain.record import TaskRecord

HOLDERS = 1000
"""Tasks whose holders are told by name."""


class DeadPage(NamedTuple):
    """Some dead letters, newest first."""

    letters: Sequence[TaskRecord]
    looked_at: int
    """How many were looked at to find them."""
    next_cursor: str | None = None
    """Where to go on; None where all have been looked at."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to look at."""
        return self.next_cursor is None


@dataclass(slots=True)
class DeadGroup:
    """Dead letters whose failures are alike."""

    fingerprint: str
    """"" where they have no failure, or one without a fingerprint: those are grouped by their reason."""
    reason: str
    """Of the newest."""
    error: str
    """The class and message of the newest's failure."""
    example: str
    """The id of the newest."""
    last_seen: datetime
    first_seen: datetime
    count: int = 0
    queues: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, newest: TaskRecord) -> DeadGroup:
        """An empty group, by its newest dead letter."""
        failure, at = newest.failure, ended_at(newest)
        error = "" if failure is None else f"{failure.type}: {failure.message}"
        return cls("" if failure is None else failure.fingerprint, newest.reason, error, newest.id, at, at)

    def add(self, record: TaskRecord) -> None:
        """Count one more, older than those before."""
        self.count += 1
        self.first_seen = ended_at(record)
        self.queues.add(record.queue)
        self.names.add(record.name)


class DeadGroups(NamedTuple):
    """Dead letters counted by what went wrong, the most frequent first."""

    groups: Sequence[DeadGroup]
    looked_at: int
    is_complete: bool
    """Whether all were looked at; else these are the newest."""

    @property
    def total(self) -> int:
        """How many dead letters are in them."""
        return sum(group.count for group in self.groups)


class Redrive(NamedTuple):
    """What a redrive has done."""

    moved: int = 0
    """Tasks that wait again."""
    held: int = 0
    """Tasks that stay dead, because another one holds their unique key."""
    gone: int = 0
    """Tasks that had been moved or forgotten already, have not ended, have completed, or never were."""
    looked_at: int = 0
    holders: Mapping[str, str] = {}
    """Of those that are held, task → the task that holds its key; at most HOLDERS."""


class Purge(NamedTuple):
    """What a purge has done."""

    purged: int = 0
    """Tasks that were forgotten."""
    gone: int = 0
    """Tasks that are no dead letters: moved or forgotten already, not ended, completed, or never there."""
    looked_at: int = 0
