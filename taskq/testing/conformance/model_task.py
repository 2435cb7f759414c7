"""What the model knows of one task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from taskq.domain.message import Message
from taskq.domain.record import AttemptOutcome, Failure, Progress
from taskq.domain.state import TaskState


class Entry(NamedTuple):
    """One delivery in a task's history; None is a failure that the contract does not fix."""

    fence: int
    attempt: int
    worker: str
    outcome: AttemptOutcome
    failure: Failure | None


class Place(NamedTuple):
    """Where a task stands in its lane; equal places may be taken in any order."""

    step: int
    within: float = 0.0


@dataclass
class Task:
    """All that the model knows of one task."""

    message: Message
    created_at: float
    state: TaskState = TaskState.PENDING
    due_at: float | None = None
    expires_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    fence: int = 0
    attempt: int = 0
    run: int = 0
    """The attempt number of the newest delivery."""
    lost_leases: int = 0
    worker: str = ""
    lease_until: float = 0.0
    is_settled: bool = True
    """Whether the newest fence was settled, or there is none."""
    is_late: bool = False
    """Whether it is PENDING because its lease was lost."""
    settled: set[int] = field(default_factory=set)
    cancel_reason: str | None = None
    reasons: frozenset[str] = frozenset()
    """The reasons that its end may give."""
    failure: Failure | None = None
    is_failure_fixed: bool = True
    """Whether the contract says what `failure` is."""
    result: bytes | None = None
    attempts: list[Entry] = field(default_factory=list)
    progress: Progress | None = None
    checkpoint: bytes | None = None
    logs: list[str] = field(default_factory=list)
    place: Place = field(default_factory=lambda: Place(0))
    first_ready: int | None = None
    in_front: bool = False

    @property
    def is_unsettled(self) -> bool:
        """Whether the newest run may still write."""
        return not self.is_settled and (self.state == TaskState.RUNNING or self.is_late)
