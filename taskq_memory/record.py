"""From the stored row to the TaskRecord that everybody sees."""

from __future__ import annotations

from datetime import UTC, datetime

from taskq.domain.message import Priority
from taskq.domain.record import Attempt, AttemptOutcome, Failure, Progress, TaskRecord
from taskq.domain.state import TaskState
from taskq_memory.rows import AttemptRow, Task


def to_record(task: Task) -> TaskRecord:
    """All that is known of a task."""
    return TaskRecord(
        id=task.id,
        name=task.name,
        queue=task.queue,
        state=task.state or TaskState.PENDING,
        priority=Priority(task.priority),
        group=task.group,
        tenant=task.tenant,
        body=task.body,
        created_at=_instant(task.created_at),
        due_at=_maybe(task.due_at),
        expires_at=_maybe(task.expires_at),
        started_at=_maybe(task.started_at),
        completed_at=_maybe(task.completed_at),
        fence=task.fence,
        attempt=task.attempt,
        lost_leases=task.lost_leases,
        max_lost_leases=task.max_lost_leases,
        dead_letter=task.dead_letter,
        retention=task.retention,
        worker=task.worker,
        cancel_requested=task.cancel_requested,
        result=task.result,
        reason=task.reason,
        failure=to_failure(task.failure),
        attempts=tuple(_attempt(row) for row in task.attempts),
        progress=None if task.progress is None else Progress(*task.progress),
        checkpoint=task.checkpoint,
        logs=tuple(task.logs),
        unique=task.unique,
        limits=task.limits,
        waits_at=task.waits_at,
        parents=task.parents,
        flow=task.flow,
        tags=task.tags,
    )


def _attempt(row: AttemptRow) -> Attempt:
    return Attempt(
        row.fence,
        row.attempt,
        row.worker,
        _instant(row.started_at),
        _instant(row.ended_at),
        AttemptOutcome(row.outcome),
        to_failure(row.failure),
    )


def to_failure(text: bytes) -> Failure | None:
    """A failure from its JSON."""
    return Failure.from_json(text) if text else None


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else _instant(seconds)
