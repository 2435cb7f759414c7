"""From rows to what the core speaks of."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from taskq.domain.limits import unpack_limits
from taskq.domain.message import Delivery, Priority
from taskq.domain.record import HISTORY_LIMIT, Attempt, AttemptOutcome, Failure, Progress, TaskRecord
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey, Until
from taskq.domain.workflow import Edge, OnParentFailure

STATES: dict[int, TaskState] = {
    4: TaskState.PENDING,
    5: TaskState.PENDING,
    0: TaskState.PENDING,
    1: TaskState.SCHEDULED,
    2: TaskState.RETRYING,
    3: TaskState.BLOCKED,
    10: TaskState.COMPLETED,
    11: TaskState.FAILED,
    12: TaskState.DEAD,
    13: TaskState.CANCELLED,
    14: TaskState.EXPIRED,
}
BY_PRIORITY, CAME_IN = range(20, 24), 30
"""How counts are coded that are of PENDING and RUNNING by priority, and of all that came into a queue."""
_ON_FAILURE = {each[0]: each for each in OnParentFailure}
_ID = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
CODES = {state: code for code, state in STATES.items()} | {TaskState.RUNNING: 0}


def to_delivery(row: Sequence[Any]) -> Delivery:
    """A row of sql/fetch.sql."""
    return Delivery._make(row[1:16])


def to_failure(text: bytes | str | None) -> Failure | None:
    """A stored failure."""
    return Failure.from_json(text) if text else None


def is_id(text: str) -> bool:
    """Whether it is the canonical text of a UUID, as the store writes it; there is no task with any other id."""
    return _ID.fullmatch(text) is not None


def plain(text: str) -> str:
    """Text as Postgres can hold it: without the character NUL and without lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def to_record(row: Sequence[Any]) -> TaskRecord:
    """A row of the columns `statements.RECORD`."""
    (id, name, queue, code, is_leased, priority, group, tenant, body, created_at, due_at, expires_at, started_at,
     completed_at, fence, _, attempt, lost_leases, max_lost_leases, dead_letter, retention, worker, cancel_requested,
     result, reason, failure, history, progress, checkpoint, logs, gates, waits_at, key, until,
     ttl, parents, flow, tags) = row[:38]  # fmt: skip
    state = TaskState.RUNNING if is_leased else STATES[code]
    attempts = [_attempt(json.loads(entry)) for entry in history or ()]
    if state is TaskState.COMPLETED:
        attempts.append(Attempt(fence, attempt, worker, _utc(started_at), _utc(completed_at), AttemptOutcome.SUCCEEDED))
    return TaskRecord(
        id=id,
        name=name,
        queue=queue,
        state=state,
        priority=Priority(priority),
        group=group,
        tenant=tenant,
        body=body,
        created_at=_utc(created_at),
        due_at=_maybe(due_at),
        expires_at=_maybe(expires_at),
        started_at=_maybe(started_at),
        completed_at=_maybe(completed_at),
        fence=fence,
        attempt=attempt,
        lost_leases=lost_leases,
        max_lost_leases=max_lost_leases,
        dead_letter=dead_letter,
        retention=retention,
        worker=worker,
        cancel_requested=cancel_requested,
        result=result,
        reason=reason,
        failure=to_failure(failure),
        attempts=tuple(attempts[-HISTORY_LIMIT:]),
        progress=_progress(progress),
        checkpoint=checkpoint,
        logs=tuple(json.loads(line) for line in logs or ()),
        unique=None if key is None else UniqueKey(key, Until(until), ttl),
        limits=unpack_limits(gates or ""),
        waits_at=waits_at or "",
        parents=unpack_parents(parents),
        flow=flow or "",
        tags=tuple(tags or ()),
    )


def pack_parents(parents: Sequence[Edge]) -> str | None:
    """The column `parents`, each of them once.

    >>> pack_parents([Edge("5b", OnParentFailure.RUN), Edge("5c")])
    'r5b,c5c'
    """
    return ",".join([f"{on_failure[0]}{parent}" for parent, on_failure in dict(parents).items()]) or None


def unpack_parents(text: str | None) -> tuple[Edge, ...]:
    """Read the column `parents`."""
    return tuple(Edge(one[1:], _ON_FAILURE[one[0]]) for one in text.split(",")) if text else ()


def from_progress(progress: Progress) -> str:
    """Progress as one text."""
    return json.dumps([progress.fraction, progress.message, progress.data.decode("utf-8", "surrogateescape")])


def _progress(text: str | None) -> Progress | None:
    if text is None:
        return None
    fraction, message, data = json.loads(text)
    return Progress(fraction, message, data.encode("utf-8", "surrogateescape"))


def _attempt(entry: dict[str, Any]) -> Attempt:
    return Attempt(
        entry["fence"],
        entry["attempt"],
        entry["worker"],
        datetime.fromtimestamp(entry["started"], UTC),
        datetime.fromtimestamp(entry["ended"], UTC),
        AttemptOutcome(entry["outcome"]),
        to_failure(entry["failure"]),
    )


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)


def _maybe(instant: datetime | None) -> datetime | None:
    return None if instant is None else _utc(instant)
