"""One delivery that this worker holds, from its claim to its settlement."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from enum import StrEnum
from typing import Any, Literal, Protocol

from taskq.domain.message import Delivery
from taskq.domain.outcome import Outcome
from taskq.domain.record import LOG_LIMIT, Progress
from taskq.headers import Headers
from taskq.ports import QueueSettings
from taskq.task import Task

OVERTIME = 15.0
"""Seconds past its timeout for which the lease of a run is still extended: it is being ended meanwhile."""


DEFAULT_TIMEOUT = 300.0
"""Seconds that a run may take where nobody says anything else."""


def timeout_of(call: float | None, task: float | Literal["default"] | None, queue: float | None) -> float | None:
    """Seconds that a run may take, None: any: what the call says, else the task, else the queue.

    >>> timeout_of(None, "default", None), timeout_of(None, 5.0, 60.0), timeout_of(2.0, None, None)
    (300.0, 5.0, 2.0)
    """
    if call is not None:
        return call
    return task if task != "default" else DEFAULT_TIMEOUT if queue is None else queue


class StopReason(StrEnum):
    """Why a run was told to end."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    LOST = "lease lost"
    SHUTDOWN = "shutdown"


class OwnSettlement(Protocol):
    """A run's settlement by itself, in a transaction with what its task does."""

    @property
    def is_decided(self) -> bool:
        """Whether the store need not be told of this run any more."""
        ...

    @property
    def outlasts_lease(self) -> bool:
        """Whether a lost lease is no reason to end the run."""
        ...

    async def find_out(self, outcome: Outcome) -> None:
        """Learn how it went, the task having come to this outcome; if to nothing, the run has no such settlement."""
        ...

    def conclude(self) -> None:
        """The run is over."""
        ...


class Run:
    """A held delivery; it is what a TaskContext asks and tells (taskq.context.Run)."""

    __slots__ = (
        "cache_id",
        "checkpoint",
        "claimed_at",
        "deadline",
        "delivery",
        "handle",
        "has_begun",
        "headers",
        "is_aware",
        "is_in_thread",
        "is_over",
        "last_checkpoint",
        "lines",
        "own",
        "parent_results",
        "payload",
        "pen",
        "progress",
        "renewed_at",
        "rests_until",
        "sealed_headers",
        "settings",
        "started_at",
        "stop_reason",
        "stopped_at",
        "task",
        "waiting_since",
    )

    def __init__(
        self, delivery: Delivery, claimed_at: float, task: Task[..., Any], settings: QueueSettings | None = None
    ) -> None:
        self.settings = settings or QueueSettings()
        """What is set for its queue, for what neither the call nor the task says."""
        self.delivery = delivery
        self.claimed_at = claimed_at
        """Monotonic seconds, from before the claim was asked for: the lease counts from no later than this."""
        self.task = task
        self.headers: Headers
        self.sealed_headers = b""
        """The headers as they came, for a child process."""
        self.payload = b""
        self.parent_results = b"{}"
        """Of its parents, as JSON, for a child process."""
        self.cache_id: str | None = None
        """Where its result is to be cached."""
        self.renewed_at: float | None = None
        """Monotonic seconds from before the newest extension of its lease was asked for."""
        self.started_at: float | None = None
        self.waiting_since: float | None = None
        self.deadline: float | None = None
        self.stop_reason: StopReason | None = None
        self.stopped_at = 0.0
        self.handle: asyncio.Task[None] | None = None
        self.has_begun = False
        """Whether its task has taken its first step: one that is cancelled before never sees it."""
        self.is_over = False
        self.is_aware = False
        """Whether the task has asked if it should end, and was told yes."""
        self.is_in_thread = False
        """Whether a thread runs its function, given up or not."""
        self.progress: Progress | None = None
        self.checkpoint: bytes | None = None
        self.lines: deque[str] | None = None if task.declared.capture_logs is None else deque(maxlen=LOG_LIMIT)
        """What it logged since that was written last; None: nothing is to be kept."""
        self.pen: asyncio.Lock | None = None
        """Held while something of it is written; made when that is first needed."""
        self.last_checkpoint = b"null"
        """Of an earlier attempt, as JSON, for a child process."""
        self.own: OwnSettlement | None = None
        """Set from the moment when a transaction of the task's own completes it: then nobody else settles the run."""
        self.rests_until = 0.0
        """The monotonic second until which nothing of it is written, as that would fail a transaction of its task."""

    def is_cancelled(self) -> bool:
        """Whether the run should end."""
        if self.stop_reason is None and not self.is_over:
            return False
        self.is_aware = True
        return True

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it goes on: what was given up may."""
        return not self.is_in_thread and (self.handle is None or self.handle.done())

    def report(self, progress: Progress) -> None:
        """Note the progress, until it is written."""
        self.progress = progress

    def take_progress(self) -> Progress | None:
        """What was reported since the last time."""
        progress, self.progress = self.progress, None
        return progress

    def keep(self, checkpoint: bytes) -> None:
        """Note a checkpoint, until it is written."""
        self.checkpoint = checkpoint

    def take_checkpoint(self) -> bytes | None:
        """What was kept since the last time."""
        checkpoint, self.checkpoint = self.checkpoint, None
        return checkpoint

    def take_lines(self) -> list[str]:
        """What was logged since the last time."""
        lines: list[str] = []
        while self.lines:
            lines.append(self.lines.popleft())
        return lines

    @property
    def has_word(self) -> bool:
        """Whether something that it said of itself is still to be written, or on its way."""
        is_written = self.pen is not None and self.pen.locked()
        return self.progress is not None or self.checkpoint is not None or bool(self.lines) or is_written

    @property
    def timeout(self) -> float | None:
        """Seconds that the run may take."""
        return timeout_of(self.headers.timeout, self.task.declared.timeout, self.settings.timeout)

    @property
    def soft_timeout(self) -> float | None:
        """Seconds after which SoftTimeout is raised inside of the task."""
        for said in (self.headers.soft_timeout, self.task.declared.soft_timeout):
            if said is not None:
                return said
        return self.settings.soft_timeout

    def soft_time_left(self) -> float | None:
        """Seconds until then."""
        soft = self.soft_timeout
        return None if soft is None else max(0.0, (self.started_at or 0.0) + soft - time.monotonic())

    def age(self, now: float) -> float:
        """Seconds from the enqueue until now."""
        return self.delivery.age + now - self.claimed_at

    def may_be_extended(self, now: float) -> bool:
        """Whether its lease is still to be extended: not once it is well past its hard timeout."""
        return not self.is_quiet(now) and (self.deadline is None or now < self.deadline + OVERTIME)

    def is_quiet(self, now: float) -> bool:
        """Whether nothing is to be written of it now."""
        return now < self.rests_until or (self.own is not None and self.own.is_decided)
