"""Tasks that are counted together: a workflow or a batch. What has become of it, and which callbacks are due.

A flow keeps counts, never a list of what has ended, so that a settlement costs the same whatever its size.
"""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from taskq.domain.state import TaskState

NEVER_CLOSED = 600.0
"""Seconds after which a flow that holds its members and was not closed is cancelled: whoever was storing it is gone."""
ABANDONED = "it was never stored whole"
"""The reason of that."""


class FlowKind(StrEnum):
    """What a flow is to its user."""

    WORKFLOW = "workflow"
    BATCH = "batch"


class Callback(StrEnum):
    """When a task is enqueued on behalf of a flow; each once in its life, whatever is retried later."""

    SUCCESS = "success"
    """All members have completed, and they are all that there were to be: it is not due of a flow that was cancelled
    before it was closed."""
    FAILURE = "failure"
    """The first member has ended otherwise; none is due once the flow was cancelled."""
    COMPLETE = "complete"
    """All members have ended."""


class FlowState(StrEnum):
    """Where a flow is."""

    OPEN = "open"
    """Members may still come from outside."""
    RUNNING = "running"
    """Members have yet to end, and no more come but from themselves."""
    COMPLETED = "completed"
    FAILED = "failed"
    """All have ended, not all have completed."""
    CANCELLED = "cancelled"
    """It was cancelled, and all have ended, not all have completed."""


class Tally(NamedTuple):
    """How many members a flow has, and how many have ended how."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    """FAILED, DEAD or EXPIRED."""
    cancelled: int = 0

    @property
    def pending(self) -> int:
        """How many have not ended."""
        return self.total - self.completed - self.failed - self.cancelled

    def adding(self, name: str, by: int = 1) -> Tally:
        """The same with one of its numbers changed.

        >>> Tally(total=2).adding("completed").pending
        1
        """
        return self._replace(**{name: getattr(self, name) + by})


def counted_as(state: TaskState) -> str:
    """The number of a Tally to which a member that has ended adds.

    >>> counted_as(TaskState.EXPIRED), counted_as(TaskState.COMPLETED)
    ('failed', 'completed')
    """
    if state in (TaskState.COMPLETED, TaskState.CANCELLED):
        return state.value
    return "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRecord:
    """All that a store knows of a flow. Instants are aware, in UTC, by the store's clock."""

    id: str
    kind: FlowKind
    name: str = ""
    spec: bytes = b""
    """What its user said of it, as JSON; opaque to the store."""
    tally: Tally
    created_at: datetime
    is_held: bool = False
    """Whether its first members wait until it is closed."""
    closed_at: datetime | None = None
    """Since when no member comes from outside; None: some may."""
    ended_at: datetime | None = None
    """When all members had ended; None where one has not."""
    cancel_reason: str | None = None
    """Why it was cancelled; None: it was not."""
    is_partial: bool = False
    """Whether it was cancelled before it was closed: nobody knows whether it has all its members."""
    fired: frozenset[Callback] = frozenset()
    """The callbacks that were due."""

    @property
    def is_over(self) -> bool:
        """Whether all members have ended, and none comes from outside."""
        return is_over(self.tally, is_closed=self.closed_at is not None)

    @property
    def state(self) -> FlowState:
        """Where it is."""
        if self.closed_at is None:
            return FlowState.OPEN
        if self.tally.pending > 0:
            return FlowState.RUNNING
        if self.tally.completed == self.tally.total and not self.is_partial:
            return FlowState.COMPLETED
        return FlowState.FAILED if self.cancel_reason is None else FlowState.CANCELLED

    @property
    def metadata(self) -> dict[str, Any]:
        """What its user keeps with it; {} where its spec tells of none."""
        try:
            said = json.loads(self.spec)
        except (ValueError, RecursionError):
            return {}
        match said:
            case {"metadata": dict(metadata)}:
                return metadata
            case _:
                return {}


def is_over(tally: Tally, *, is_closed: bool) -> bool:
    """Whether all members have ended and none comes from outside.

    >>> is_over(Tally(1, 1), is_closed=True), is_over(Tally(), is_closed=False)
    (True, False)
    """
    return is_closed and tally.pending == 0


def due_callbacks(
    tally: Tally, fired: AbstractSet[Callback], *, is_over: bool, is_cancelled: bool, is_partial: bool
) -> list[Callback]:
    """Which callbacks are due now that were not before.

    >>> due_callbacks(Tally(2, 1, 1), set(), is_over=True, is_cancelled=False, is_partial=False)
    [<Callback.FAILURE: 'failure'>, <Callback.COMPLETE: 'complete'>]
    """
    due = []
    if tally.failed + tally.cancelled > 0 and not is_cancelled:
        due.append(Callback.FAILURE)
    if is_over and tally.completed == tally.total and not is_partial:
        due.append(Callback.SUCCESS)
    if is_over:
        due.append(Callback.COMPLETE)
    return [callback for callback in due if callback not in fired]
