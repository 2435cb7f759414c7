"""Whether a record of the store is what the model says, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from taskq.domain.record import AttemptOutcome, TaskRecord
from taskq.domain.state import TaskState
from taskq.domain.tenants import MARK
from taskq.testing.conformance.model import QueueModel
from taskq.testing.conformance.model_task import Entry, Task

_MESSAGE = (
    "id", "name", "queue", "priority", "group", "tenant", "body", "max_lost_leases", "dead_letter", "unique", "limits",
    "parents",
)  # fmt: skip
_HAS_REASON = {TaskState.DEAD, TaskState.FAILED, TaskState.CANCELLED}


def agree(record: TaskRecord | None, task: Task | None, origin: float | None) -> None:
    """Fail where they differ.

    Arguments:
        record: what the store has, None where it has no record.
        task: what the model has.
        origin: the store's time at the model's zero, None where the store's clock is not the model's.
    """
    assert (record is None) == (task is None), f"the store has {record}, the model {task}"
    if record is None or task is None:
        return
    assert _actual(record) == _expected(task, record)
    assert _instants(record, origin) == _expected_instants(task, origin)


def _actual(record: TaskRecord) -> dict[str, Any]:
    return {
        **{name: getattr(record, name) for name in _MESSAGE},
        "limits": tuple(limit for limit in record.limits if not limit.key.startswith(MARK)),
        "state": record.state,
        "fence": record.fence,
        "attempt": record.attempt,
        "lost_leases": record.lost_leases,
        "worker": record.worker,
        "cancel_requested": record.state == TaskState.RUNNING and record.cancel_requested,
        "reason": record.reason if record.state in _HAS_REASON else "",
        "result": record.result,
        "failure": _without_text(record),
        "progress": record.progress,
        "checkpoint": record.checkpoint,
        "logs": list(record.logs),
        "attempts": [
            Entry(each.fence, each.attempt, each.worker, each.outcome, _fixed(each.outcome, each.failure))
            for each in record.attempts
        ],
    }


def _expected(task: Task, record: TaskRecord) -> dict[str, Any]:
    failure = None if task.failure is None else (task.failure.type, task.failure.message)
    if failure is not None and failure[0] == "LeaseLost":
        failure = ("LeaseLost", "")
    return {
        **{name: getattr(task.message, name) for name in _MESSAGE},
        "state": task.state,
        "fence": task.fence,
        "attempt": task.attempt,
        "lost_leases": task.lost_leases,
        "worker": task.worker,
        "cancel_requested": task.state == TaskState.RUNNING and task.cancel_reason is not None,
        "reason": _reason(task, record),
        "result": task.result,
        "failure": failure if task.is_failure_fixed else _without_text(record),
        "progress": task.progress,
        "checkpoint": task.checkpoint,
        "logs": task.logs,
        "attempts": task.attempts,
    }


def _reason(task: Task, record: TaskRecord) -> str:
    if task.state not in _HAS_REASON:
        return ""
    return task.reason if task.is_reason_fixed else record.reason


def _without_text(record: TaskRecord) -> tuple[str, str] | None:
    """The newest failure; what a lost lease says of itself is the backend's own."""
    if record.failure is None:
        return None
    return record.failure.type, "" if record.failure.type == "LeaseLost" else record.failure.message


def _fixed(outcome: AttemptOutcome, failure: Any) -> Any:
    return None if outcome == AttemptOutcome.LEASE_LOST else failure


def _instants(record: TaskRecord, origin: float | None) -> dict[str, Any]:
    waits = record.state in {TaskState.SCHEDULED, TaskState.RETRYING}
    instants = {
        "created_at": record.created_at,
        "due_at": record.due_at if waits else None,
        "expires_at": record.expires_at,
        "started_at": record.started_at,
        "completed_at": record.completed_at,
    }
    return {name: _seconds(instant, origin) for name, instant in instants.items()}


def _seconds(instant: datetime | None, origin: float | None) -> float | bool | None:
    if instant is None:
        return None
    return True if origin is None else round(instant.timestamp() - origin, 3)


def _expected_instants(task: Task, origin: float | None) -> dict[str, Any]:
    names = ("created_at", "due_at", "expires_at", "started_at", "completed_at")
    instants: dict[str, float | None] = {name: getattr(task, name) for name in names}
    return {
        name: None if instant is None else True if origin is None else round(instant, 3)
        for name, instant in instants.items()
    }


def distinct(models: Sequence[QueueModel]) -> list[QueueModel]:
    """Models without those that say the same as another."""
    kept: list[QueueModel] = []
    for model in models:
        if all(vars(model) != vars(other) for other in kept):
            kept.append(model)
    return kept
