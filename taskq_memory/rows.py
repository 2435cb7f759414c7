"""What a memory store keeps of a task, of a queue and of a worker's newest claim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from taskq.domain.flow import Callback, FlowKind, Tally
from taskq.domain.limits import Limit, unpack_limits
from taskq.domain.message import DEAD_RETENTION
from taskq.domain.record import HISTORY_LIMIT
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.domain.workflow import Edge
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
    parents: tuple[Edge, ...] = ()
    waits: set[str] = field(default_factory=set)
    """Those of its parents that have not ended, while it is BLOCKED."""
    delay: float | None = None
    eta: float | None = None
    """When it runs once it is BLOCKED no more: `delay` seconds from then on, or at that instant."""
    flow: str = ""
    tags: tuple[str, ...] = ()

    @property
    def is_unfinished(self) -> bool:
        """Whether it is there and not over."""
        return self.state is not None and not self.state.is_final

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The gates that each run must pass."""
        return unpack_limits(self.gates)

    @property
    def lane(self) -> Lane:
        """The lane in which it waits."""
        return (self.queue, self.priority, self.group)

    @property
    def turn(self) -> tuple[int, float, int]:
        """Its place among those who wait at a gate or were let out (taskq_memory.rooms.Order)."""
        return (-self.priority, self.ready_at or self.created_at, self.entry)

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
    arrived: int = 0
    """Tasks that came in."""
    shares: dict[str, int] = field(default_factory=dict)
    """By tenant, how many of its tasks run."""

    def share(self, tenant: str, change: int) -> None:
        """A task of a tenant begins to run, or runs no more."""
        number = self.shares.get(tenant, 0) + change
        if number:
            self.shares[tenant] = number
        else:
            del self.shares[tenant]


@dataclass(slots=True)
class FlowRow:
    """A flow. Instants are seconds since the epoch by the store's clock."""

    id: str
    kind: FlowKind
    name: str
    spec: bytes
    callbacks: dict[Callback, str]
    """Each message as text (taskq.domain.message_text)."""
    is_held: bool
    retention: float
    created_at: float
    tally: Tally = field(default_factory=Tally)
    closed_at: float | None = None
    ended_at: float | None = None
    cancel_reason: str | None = None
    is_partial: bool = False
    fired: set[Callback] = field(default_factory=set)
    changed_at: float = 0.0
    """When a member came or ended the last time."""
    members: list[str] = field(default_factory=list)
    failed: dict[str, None] = field(default_factory=dict)
    """Members that have ended otherwise than COMPLETED."""


@dataclass(slots=True)
class JournalRow:
    """A journal: its entries by their numbers, the oldest first."""

    newest: int = 0
    entries: dict[int, bytes] = field(default_factory=dict)


class Claim(NamedTuple):
    """The newest request of a worker, and what it was handed."""

    request_id: str
    held: list[tuple[str, int]]
