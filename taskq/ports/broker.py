"""The hot path: enqueue, fetch, settle, extend, cancel. Each may be said twice with the same effect as once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from taskq.domain.message import Delivery, Message
from taskq.domain.outcome import Settlement
from taskq.domain.routing import AGING


class EnqueueStatus(StrEnum):
    """What became of one message."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    """The id is known already: a repeat after a lost reply, or of an idempotency key; or another task, whose id is
    answered, holds the unique key. Nothing was changed."""
    REPLACED = "replaced"
    """The task of this id waited, and has taken the arguments."""
    CONFLICT = "conflict"
    """The id is known with another digest; nothing was changed."""
    FULL = "full"
    """The queue holds `max_size` tasks; nothing was changed."""
    STALE_PARENT = "stale parent"
    """The run that enqueues has lost its lease; nothing was changed."""
    NO_PARENT = "no parent"
    """There is no record of a task for which it is to wait, whose id is answered; nothing was changed."""
    OVER_QUOTA = "over quota"
    """The tenant has as many unfinished tasks, or bytes of them, as it may (taskq.domain.tenants); nothing was
    changed."""
    FLOW_OVER = "flow over"
    """The flow whose member it is to be has ended, was cancelled, or is not known; nothing was changed."""


class Fill(NamedTuple):
    """How full a queue is."""

    depth: int
    """Tasks that wait in it."""
    limit: int
    """Tasks that may."""


class Enqueued(NamedTuple):
    """The answer for one message."""

    id: str
    status: EnqueueStatus
    fill: Fill | None = None
    """Of a queue that is full, or past its warning level."""


class Parent(NamedTuple):
    """The run that enqueues: refused when its fence is no longer the newest."""

    id: str
    fence: int
    worker: str


class Fetched(NamedTuple):
    """What a claim handed out, and when to look again."""

    deliveries: Sequence[Delivery]
    next_due: float | None = None
    """Seconds until the next waiting task becomes due, or a limit may let one pass; None where none is known."""


class SettleStatus(StrEnum):
    """What became of one settlement."""

    APPLIED = "applied"
    REPEATED = "repeated"
    """This fence was settled before: a repeat after a lost reply."""
    STALE = "stale"
    """The fence is not the newest, or the task has ended another way: nothing was changed."""
    GONE = "gone"
    """No record of that id."""


class Settled(NamedTuple):
    """One run and what should become of its task."""

    delivery: Delivery
    settlement: Settlement


class Extension(NamedTuple):
    """The answer to an extension of leases."""

    lost: frozenset[str] = frozenset()
    """Ids whose fence is no longer the newest, or whose lease was given up: cancel the local run."""
    cancel_wanted: frozenset[str] = frozenset()
    """Ids that somebody wants cancelled; their leases are extended all the same."""


class CancelStatus(StrEnum):
    """What became of one request to cancel."""

    CANCELLED = "cancelled"
    """It waited, and is CANCELLED now."""
    REQUESTED = "requested"
    """It runs; the request is kept, and told to its worker with the next extension."""
    FINAL = "final"
    """It had ended already."""
    UNKNOWN = "unknown"
    """No record of that id."""


class Broker(Protocol):
    """Hands tasks to workers and takes their settlements."""

    async def enqueue(
        self, messages: Sequence[Message], *, parent: Parent | None = None, atomic: bool = False
    ) -> list[Enqueued]:
        """Store messages; once this returns, each created task is in exactly one place.

        Arguments:
            messages: any number; an adapter splits them into round trips of its own size. Who waits for others stands
                behind them. It is BLOCKED until they have ended, and what their ends mean for it, also of those that
                have ended before, taskq.domain.workflow.after_parent says.
            parent: the run that enqueues, if one does.
            atomic: all or none, for as many as the adapter stores in one batch (see BackendOptions.batch): when one
                is refused, nothing is stored, and the others are answered with the status of the refused one.
        """
        ...

    async def fetch(
        self, queues: Sequence[str], limit: int, *, worker: str, lease: float, request_id: str, aging: float = AGING
    ) -> Fetched:
        """Claim up to `limit` tasks: PENDING → RUNNING, with a lease made in the claim itself.

        Due tasks of these queues are promoted first. Order within a queue: the front lane; then, for one task in
        eight, the lane whose head has waited longest beyond `aging`; then strictly by priority, first in first out.
        What a limit holds back stays PENDING, uses up nothing and holds up nobody (taskq.domain.limits).

        Arguments:
            queues: from these, in this order.
            worker: the random id of this worker's start.
            lease: seconds until the claim lapses.
            request_id: repeated after a lost reply, it hands out the same tasks again; only the newest request
                of a worker is remembered.
            aging: seconds after which the head of a lane counts as over-aged.
        """
        ...

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Wait until there may be work in these queues, at most `timeout` seconds: a hint, True where one came.

        It takes no task, so that it may be cancelled at any moment.
        """
        ...

    async def settle(self, settled: Sequence[Settled]) -> list[SettleStatus]:
        """Apply settlements, each in one atomic step: state, result, history, and all that it unlocks.

        What it unlocks in another shard, and what is too much for one step, is noted in the same step and delivered at
        once; by Maintenance.relay where this process dies before.
        """
        ...

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> Extension:
        """Extend the leases of these deliveries to `lease` seconds from now."""
        ...

    async def cancel(self, ids: Sequence[str], reason: str = "") -> list[CancelStatus]:
        """Cancel tasks: at once where they wait, by a persisted request where they run."""
        ...
