"""What a memory store keeps of a task, of a queue and of a worker's newest claim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from taskq.domain.limits import Limit, unpack_limits
from taskq.domain.message import DEAD_RETENTION
from taskq.domain.record import HISTORY_LIMIT
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.ports import QueueSettings

Lane = tuple[str, int, str]


@dataclass(slots=True)
class AttemptRow:
    """One attempt as it is stored; instants in seconds since the epoch."""

    fence: int
    attempt: int
    worker: str
    started_at: float
    ended_at: float
    outcome: str
    failure: bytes = b""


@dataclass(slots=True)
class Task:
    """A record. Instants are seconds since the epoch by the store's clock."""

    id: str
    name: str
    body: bytes
    queue: str
    priority: int
    group: str
    tenant: str
    max_lost_leases: int
    dead_letter: bool
    retention: float
    created_at: float
    state: TaskState | None = None
    ready_at: float | None = None
    """When it first became ready since it was last delayed: its place among those in front."""
    due_at: float | None = None
    expires_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    entry: int = 0
    fence: int = 0
    settled_fence: int = 0
    attempt: int = 0
    lost_leases: int = 0
    worker: str = ""
    cancel_requested: bool = False
    cancel_reason: str = ""
    result: bytes | None = None
    reason: str = ""
    failure: bytes = b""
    attempts: list[AttemptRow] = field(default_factory=list)
    progress: tuple[float, str, bytes] | None = None
    checkpoint: bytes | None = None
    logs: list[str] = field(default_factory=list)
    unique: UniqueKey | None = None
    gates: str = ""
    """Its limits (taskq.domain.limits.pack_limits)."""
    waits_at: str = ""
    """The closed gate at which it waits."""
    longest_wait: float | None = None

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The gates that each run must pass."""
        return unpack_limits(self.gates)

    @property
    def lane(self) -> Lane:
        """The lane in which it waits."""
        return (self.queue, self.priority, self.group)

    @property
    def kept_for(self) -> float:
        """Seconds for which the record stays after the task has ended."""
        return max(self.retention, DEAD_RETENTION) if self.state is TaskState.DEAD else self.retention

    def note_attempt(self, now: float, outcome: str, failure: bytes = b"") -> None:
        """Append the delivery that ends now to the history."""
        started_at = self.started_at or now
        self.attempts.append(AttemptRow(self.fence, self.attempt, self.worker, started_at, now, outcome, failure))
        del self.attempts[:-HISTORY_LIMIT]


@dataclass(slots=True)
class QueueRow:
    """What is kept of a queue beside its tasks."""

    aging_counter: int = 0
    last_group: dict[int, str] = field(default_factory=dict)
    """For each priority, the group that was served last: the next one has its turn."""
    paused_reason: str | None = None
    paused_until: float | None = None
    settings: QueueSettings = field(default_factory=QueueSettings)
    waiting: int = 0
    """Tasks that wait."""
    running: int = 0


class Claim(NamedTuple):
    """The newest request of a worker, and what it was handed."""

    request_id: str
    held: list[tuple[str, int]]
