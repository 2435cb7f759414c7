"""Looking at the tasks of a store and acting on them, apart from the hot path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks to list: of one queue and one state, newest first."""

    queue: str
    state: TaskState
    limit: int = 50
    cursor: str | None = None
    """Where the page before ended: `Page.next_cursor`."""


class Page(NamedTuple):
    """Some records, and where to go on."""

    records: Sequence[TaskRecord]
    next_cursor: str | None = None
    cursors: Sequence[str] = ()
    """For each record, where to go on behind it, though it has moved away meanwhile."""


class RedriveStatus(StrEnum):
    """What became of one request to start a task anew."""

    MOVED = "moved"
    """It waits again."""
    NOT_FINAL = "not final"
    """It has not ended, has completed, or there is no record of it."""
    HELD = "held"
    """Another task holds its unique key; nothing was changed."""


class Redriven(NamedTuple):
    """The answer for one task."""

    status: RedriveStatus
    holder: str = ""
    """The id of the task that holds its unique key."""


class Inspector(Protocol):
    """Finds tasks, and moves those that wait or have ended."""

    async def get(self, id: str) -> TaskRecord | None:
        """All that is known of a task."""
        ...

    async def get_many(self, ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """All that is known of some tasks, in their order: one round trip, or few."""
        ...

    async def list(self, query: TaskQuery) -> Page:
        """A page of tasks, never a scan without bound."""
        ...

    async def counts(self) -> Mapping[str, Mapping[TaskState, int]]:
        """How many tasks each queue has in each state; states without tasks are left out."""
        ...

    async def peek(self, queue: str, limit: int = 10) -> Sequence[TaskRecord]:
        """The tasks that the next claims would take, in their order, without taking them."""
        ...

    async def purge(self, queue: str, limit: int = 1000) -> int:
        """Cancel waiting tasks of a queue, at most `limit` in this call; returns how many."""
        ...

    async def redrive(self, ids: Sequence[str], queue: str | None = None) -> Sequence[Redriven]:
        """DEAD, FAILED, CANCELLED, EXPIRED → PENDING, in the order of the ids: attempts start anew, history stays.

        A task that waited for others waits again (BLOCKED) for those of them that have not ended, parents before it in
        the same call among them.

        Arguments:
            queue: the queue that they go to; None: each to its own.
        """
        ...

    async def holder(self, queue: str, unique: UniqueKey) -> str | None:
        """The task that holds a unique key where this queue is kept, None where it is free."""
        ...

    async def discard(self, ids: Sequence[str]) -> int:
        """Forget tasks that have ended (a tombstone stays); returns how many."""
        ...
