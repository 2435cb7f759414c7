"""One delivery that this worker holds, from its claim to its settlement."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import Any

from taskq.domain.message import Delivery
from taskq.domain.record import Progress
from taskq.headers import Headers
from taskq.task import Task

OVERTIME = 15.0
"""Seconds past its timeout for which the lease of a run is still extended: it is being ended meanwhile."""


class StopReason(StrEnum):
    """Why a run was told to end."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    LOST = "lease lost"
    SHUTDOWN = "shutdown"


class Run:
    """A held delivery; it is what a TaskContext asks and tells (taskq.context.Run)."""

    __slots__ = (
        "cache_id",
        "claimed_at",
        "deadline",
        "delivery",
        "handle",
        "has_begun",
        "headers",
        "is_aware",
        "is_in_thread",
        "is_over",
        "payload",
        "progress",
        "renewed_at",
        "sealed_headers",
        "started_at",
        "stop_reason",
        "stopped_at",
        "task",
        "waiting_since",
    )

    def __init__(self, delivery: Delivery, claimed_at: float, task: Task[..., Any]) -> None:
        self.delivery = delivery
        self.claimed_at = claimed_at
        """Monotonic seconds, from before the claim was asked for: the lease counts from no later than this."""
        self.task = task
        self.headers: Headers
        self.sealed_headers = b""
        """The headers as they came, for a child process."""
        self.payload = b""
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

    @property
    def timeout(self) -> float | None:
        """Seconds that the run may take."""
        return self.headers.timeout if self.headers.timeout is not None else self.task.declared.timeout

    @property
    def soft_timeout(self) -> float | None:
        """Seconds after which SoftTimeout is raised inside of the task."""
        said = self.headers.soft_timeout
        return self.task.declared.soft_timeout if said is None else said

    def soft_time_left(self) -> float | None:
        """Seconds until then."""
        soft = self.soft_timeout
        return None if soft is None else max(0.0, (self.started_at or 0.0) + soft - time.monotonic())

    def age(self, now: float) -> float:
        """Seconds from the enqueue until now."""
        return self.delivery.age + now - self.claimed_at

    def may_be_extended(self, now: float) -> bool:
        """Whether its lease is still to be extended: not once it is well past its hard timeout."""
        return self.deadline is None or now < self.deadline + OVERTIME
