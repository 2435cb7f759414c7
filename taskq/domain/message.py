"""What is enqueued (a Message), and a Message under lease (a Delivery)."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from taskq.domain.limits import Limit
from taskq.domain.unique import UniqueKey
from taskq.domain.workflow import Edge


class Priority(IntEnum):
    """How urgent a task is; the only numbering of urgency outside an adapter."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


DAY = 86_400.0
DEFAULT_RETENTION = 7 * DAY
DEFAULT_QUEUE = "default"
DEFAULT_MAX_LOST_LEASES = 3
DEAD_RETENTION = 30 * DAY
"""Seconds for which a dead letter is kept at the least."""
TOMBSTONE = 600.0
"""Seconds for which a store remembers the id of a task that it has forgotten, so that a repeat is known."""
DIGEST_RETENTION = DAY
"""Seconds from the enqueue for which an idempotency key is remembered."""


def _without_body(told: Message | Delivery) -> str:
    """A repr that may reach a log."""
    fields = ", ".join(f"{name}={value!r}" for name, value in zip(told._fields, told, strict=True) if name != "body")
    return f"{type(told).__name__}({fields})"


class Message(NamedTuple):
    """One enqueued unit, as the store is told of it.

    A store reads every field but `body`, which is opaque to it (see taskq.domain.envelope). The types here are
    tuples rather than frozen dataclasses because one is made for each task and a tuple is made three times as fast.
    """

    id: str
    """A UUID in its canonical text form; the caller makes it, so that a repeat after a lost reply is known."""
    name: str
    """The task's registered name."""
    body: bytes = b""
    queue: str = DEFAULT_QUEUE
    priority: int = Priority.NORMAL
    group: str = ""
    """The part of the lane that belongs to a tenant or a key; empty until one is needed."""
    delay: float | None = None
    """Seconds to wait, counted by the store's clock. At most one of `delay` and `eta` is given."""
    eta: float | None = None
    """The instant of the first run, in seconds since the epoch, compared with the store's clock."""
    expires: float | None = None
    """Seconds after which, if nobody has begun it, the task ends as EXPIRED."""
    max_lost_leases: int = DEFAULT_MAX_LOST_LEASES
    """The lost lease that buries the task."""
    dead_letter: bool = True
    """Whether a task that is given up ends as DEAD (kept in the dead-letter queue) or as FAILED."""
    retention: float = DEFAULT_RETENTION
    """Seconds for which the record is kept after the task has ended."""
    tenant: str = ""
    digest: str = ""
    """A digest of the payload where the id was derived from an idempotency key: another digest is a conflict."""
    unique: UniqueKey | None = None
    """The key that no other task may hold beside this one."""
    limits: tuple[Limit, ...] = ()
    """The gates that each of its runs must pass."""
    replaces: bool = False
    """Not a new task: the one of this id, if it still waits and holds the unique key, takes this body and delay."""
    longest_wait: float | None = None
    """Seconds from its first enqueue beyond which a replacement puts the task off no further."""
    parents: tuple[Edge, ...] = ()
    """For what it waits: it is BLOCKED until they have ended, and `delay` is counted from then on."""
    flow: str = ""
    """The flow of which it is a member."""
    tags: tuple[str, ...] = ()
    """Words by which its caller wants to find it."""

    def __repr__(self) -> str:
        return _without_body(self)


class Delivery(NamedTuple):
    """A message under lease: what a worker holds.

    (id, fence, worker) is what every write of a running task carries; a fence that is no longer the newest
    changes nothing and is told so.
    """

    id: str
    name: str
    body: bytes
    queue: str
    priority: int
    fence: int
    """Grows by one with each claim of this task and is never reused; it is also the count of deliveries."""
    attempt: int
    """From 1; given back by snooze, release and a lost lease."""
    lost_leases: int
    worker: str
    """The random id of the worker's start."""
    max_lost_leases: int = DEFAULT_MAX_LOST_LEASES
    dead_letter: bool = True
    tenant: str = ""
    age: float = 0.0
    """Seconds from the enqueue to this claim, by the store's clock."""
    is_limited: bool = False
    """Whether the task carries limits: others may wait for the end of this run."""
    waited: float = 0.0
    """Seconds from becoming ready, for the first time in this attempt, to this claim."""

    def __repr__(self) -> str:
        return _without_body(self)

    @property
    def put_offs(self) -> int:
        """How often the task was delivered without using up an attempt, before this delivery."""
        return self.fence - self.attempt

    @property
    def is_suspect(self) -> bool:
        """Whether one more lost lease would bury the task, after at least one was lost.

        A suspect runs alone in its worker's process, so that only the task that kills its process is blamed and
        never the ones that merely shared it.
        """
        return 0 < self.lost_leases >= self.max_lost_leases - 1
