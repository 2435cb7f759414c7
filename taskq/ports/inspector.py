"""Looking at a store and acting on it, apart from the hot path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState

DEFAULT_MAX_FINISHED = 100_000
"""Finished tasks kept of a queue; when there are more, the oldest go."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """What can be set for a queue at run time; None leaves it as it is."""

    max_finished: int | None = None


class Inspector(Protocol):
    """Finds tasks and steers queues."""

    async def get(self, id: str) -> TaskRecord | None:
        """All that is known of a task."""
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

    async def pause(self, queue: str, reason: str = "", until: datetime | None = None) -> None:
        """Hand out no task of this queue, to any worker, until `until` or `resume`."""
        ...

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        ...

    async def configure(self, queue: str, config: QueueConfig) -> None:
        """Change what is set for a queue."""
        ...

    async def purge(self, queue: str, limit: int = 1000) -> int:
        """Cancel waiting tasks of a queue, at most `limit` in this call; returns how many."""
        ...

    async def redrive(self, ids: Sequence[str]) -> Sequence[bool]:
        """DEAD, FAILED, CANCELLED, EXPIRED → PENDING: attempts start anew, history stays. True where it did."""
        ...
