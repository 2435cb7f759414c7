"""All that a store knows of a task: its TaskRecord, with each attempt and each failure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from taskq.domain.limits import Limit
from taskq.domain.message import Priority
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.domain.workflow import Edge

HISTORY_LIMIT = 50
"""Attempts kept of a task; when there are more, the oldest go."""
LOG_LIMIT = 100
"""Lines kept of what a task logged; when there are more, the oldest go."""


class DeadReason(StrEnum):
    """Why a task was given up."""

    EXHAUSTED = "exhausted"
    """Its retry policy allows no further attempt."""
    POISON = "poison"
    """It lost its lease `max_lost_leases` times: it kills its worker."""
    REJECTED = "rejected"
    """The task said so itself."""
    UNDECODABLE = "undecodable"
    """Its record is damaged, or its payload does not fit the signature that the worker knows."""
    UNKNOWN_TASK = "unknown task"
    """For ten minutes no worker knew its name."""
    UNKNOWN_VERSION = "unknown version"
    """For 24 hours no worker knew the version of its arguments: they are newer."""
    NO_KEY = "no key"
    """For ten minutes no worker had the key that it was encrypted with."""
    TAMPERED = "tampered"
    """Its ciphertext was changed, or belongs to another task."""
    PARENT_FAILED = "parent failed"


class AttemptOutcome(StrEnum):
    """How one delivery of a task ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SNOOZED = "snoozed"
    RELEASED = "released"
    LEASE_LOST = "lease lost"
    CRASHED = "crashed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in a run, as text: a remote exception is data and is never imported.

    Its repr has neither message nor traceback, which may tell of a payload.

    >>> Failure("ValueError", "no such user").to_json()
    b'{"type":"ValueError","message":"no such user"}'
    """

    type: str
    message: str = field(repr=False)
    traceback: str = field(default="", repr=False)
    fingerprint: str = ""

    def to_json(self) -> bytes:
        """The failure as a JSON object; empty fields are left out."""
        fields = {key: getattr(self, key) for key in self.__slots__ if getattr(self, key)}
        return json.dumps(fields, separators=(",", ":")).encode("utf-8")

    @classmethod
    def from_json(cls, data: bytes | str) -> Failure:
        """Read what `to_json` wrote; a field of a later release is left out.

        >>> Failure.from_json(b'{"type":"ValueError","message":"x","later":1}').message
        'x'
        """
        fields: dict[str, Any] = json.loads(data)
        known = {key: str(value) for key, value in fields.items() if key in cls.__slots__}
        return cls(**{"type": "Exception", "message": "", **known})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One delivery of a task, from its claim to its end; instants by the store's clock."""

    fence: int
    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime
    outcome: AttemptOutcome
    failure: Failure | None = None

    @property
    def seconds(self) -> float:
        """How long the worker held the task."""
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running task says it is: `fraction` from 0 to 1, a message, and data of its own."""

    fraction: float
    message: str = ""
    data: bytes = b"{}"
    """A JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """All that is known of a task. Every instant is aware, in UTC, by the store's clock. Its repr shows no payload."""

    id: str
    name: str
    queue: str
    state: TaskState
    priority: Priority = Priority.NORMAL
    group: str = ""
    tenant: str = ""
    body: bytes = field(default=b"", repr=False)
    created_at: datetime
    due_at: datetime | None = None
    """When a SCHEDULED or RETRYING task becomes ready."""
    expires_at: datetime | None = None
    started_at: datetime | None = None
    """When the newest delivery was claimed."""
    completed_at: datetime | None = None
    fence: int = 0
    attempt: int = 0
    lost_leases: int = 0
    max_lost_leases: int = 3
    dead_letter: bool = True
    retention: float = 0.0
    worker: str = ""
    """The worker of the newest delivery."""
    cancel_requested: bool = False
    result: bytes | None = field(default=None, repr=False)
    reason: str = ""
    """Why it is DEAD, FAILED or CANCELLED: a DeadReason or what the caller said."""
    failure: Failure | None = None
    """The newest failure."""
    attempts: tuple[Attempt, ...] = ()
    """Oldest first, at most HISTORY_LIMIT."""
    progress: Progress | None = field(default=None, repr=False)
    checkpoint: bytes | None = field(default=None, repr=False)
    logs: tuple[str, ...] = field(default=(), repr=False)
    """The newest lines that the task itself logged, at most LOG_LIMIT."""
    unique: UniqueKey | None = None
    """The key that it was enqueued with; whether it still holds it, the store knows."""
    limits: tuple[Limit, ...] = ()
    """The gates that each of its runs must pass."""
    waits_at: str = ""
    """The gate that was closed when a claim came upon it, where it waits until that opens."""
    parents: tuple[Edge, ...] = ()
    """For what it was to wait when it was enqueued; what of it has not ended, the store knows."""
    flow: str = ""
    """The flow of which it is a member."""
    tags: tuple[str, ...] = ()
    """Words by which its caller wants to find it."""
