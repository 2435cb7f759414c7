"""The states of a task, the events that move it, and the one table that says which moves exist.

Everything that affects the state machine lives here: the memory backend runs this table, the Lua scripts and
the SQL functions state it again for atomicity, and the conformance kit walks it against each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from taskq.errors import InvalidTransition


class TaskState(StrEnum):
    """Where a task is. Each task is in exactly one state, and in exactly one index of its store."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether the task has ended: only `redrive` and `prune` leave such a state.

        >>> TaskState.DEAD.is_final, TaskState.RETRYING.is_final
        (True, False)
        """
        return self in FINAL


class Event(StrEnum):
    """What may happen to a task."""

    ENQUEUE = "enqueue"
    DUE = "due"
    UNBLOCK = "unblock"
    FETCH = "fetch"
    SUCCEED = "succeed"
    RETRY = "retry"
    SNOOZE = "snooze"
    RELEASE = "release"
    FAIL = "fail"
    LEASE_LOST = "lease lost"
    REPLACE = "replace"
    CANCEL = "cancel"
    EXPIRE = "expire"
    PARENT_FAILED = "parent failed"
    REDRIVE = "redrive"
    PRUNE = "prune"


_S = TaskState

FINAL: frozenset[TaskState] = frozenset({_S.COMPLETED, _S.FAILED, _S.DEAD, _S.CANCELLED, _S.EXPIRED})
"""The states in which a task has ended."""

WAITING: frozenset[TaskState] = frozenset({_S.SCHEDULED, _S.BLOCKED, _S.PENDING, _S.RETRYING})
"""The states in which a task waits and no worker holds it."""

REDRIVABLE: frozenset[TaskState] = FINAL - {_S.COMPLETED}

TRANSITIONS: Mapping[tuple[Event, TaskState | None], frozenset[TaskState | None]] = {
    (Event.ENQUEUE, None): frozenset({_S.PENDING, _S.SCHEDULED, _S.BLOCKED}),
    (Event.DUE, _S.SCHEDULED): frozenset({_S.PENDING}),
    (Event.DUE, _S.RETRYING): frozenset({_S.PENDING}),
    (Event.UNBLOCK, _S.BLOCKED): frozenset({_S.PENDING, _S.SCHEDULED}),
    (Event.FETCH, _S.PENDING): frozenset({_S.RUNNING}),
    (Event.SUCCEED, _S.RUNNING): frozenset({_S.COMPLETED}),
    (Event.RETRY, _S.RUNNING): frozenset({_S.RETRYING}),
    (Event.SNOOZE, _S.RUNNING): frozenset({_S.SCHEDULED}),
    (Event.RELEASE, _S.RUNNING): frozenset({_S.PENDING}),
    (Event.FAIL, _S.RUNNING): frozenset({_S.DEAD, _S.FAILED}),
    (Event.LEASE_LOST, _S.RUNNING): frozenset({_S.PENDING, _S.DEAD, _S.FAILED, _S.CANCELLED}),
    (Event.CANCEL, _S.RUNNING): frozenset({_S.CANCELLED}),
    # A late settle: the lease ran out, nobody has claimed since, so the fence is still the newest and no
    # second run is needed.
    (Event.SUCCEED, _S.PENDING): frozenset({_S.COMPLETED}),
    (Event.RETRY, _S.PENDING): frozenset({_S.RETRYING}),
    (Event.SNOOZE, _S.PENDING): frozenset({_S.SCHEDULED}),
    (Event.RELEASE, _S.PENDING): frozenset({_S.PENDING}),
    (Event.FAIL, _S.PENDING): frozenset({_S.DEAD, _S.FAILED}),
    # A newer call with the same unique key: the waiting task takes its arguments, and is put off where it says so.
    (Event.REPLACE, _S.SCHEDULED): frozenset({_S.SCHEDULED}),
    (Event.REPLACE, _S.PENDING): frozenset({_S.PENDING, _S.SCHEDULED}),
    (Event.REPLACE, _S.RETRYING): frozenset({_S.RETRYING, _S.SCHEDULED}),
    (Event.REPLACE, _S.BLOCKED): frozenset({_S.BLOCKED}),
    (Event.CANCEL, _S.SCHEDULED): frozenset({_S.CANCELLED}),
    (Event.CANCEL, _S.BLOCKED): frozenset({_S.CANCELLED}),
    (Event.CANCEL, _S.PENDING): frozenset({_S.CANCELLED}),
    (Event.CANCEL, _S.RETRYING): frozenset({_S.CANCELLED}),
    (Event.EXPIRE, _S.SCHEDULED): frozenset({_S.EXPIRED}),
    (Event.EXPIRE, _S.BLOCKED): frozenset({_S.EXPIRED}),
    (Event.EXPIRE, _S.PENDING): frozenset({_S.EXPIRED}),
    (Event.EXPIRE, _S.RETRYING): frozenset({_S.EXPIRED}),
    # None: on as if the parent had succeeded, which is an `unblock`.
    (Event.PARENT_FAILED, _S.BLOCKED): frozenset({_S.CANCELLED, _S.FAILED, _S.PENDING, _S.SCHEDULED}),
    # A task that waited for others waits again for those that have not ended.
    (Event.REDRIVE, _S.DEAD): frozenset({_S.PENDING, _S.BLOCKED}),
    (Event.REDRIVE, _S.FAILED): frozenset({_S.PENDING, _S.BLOCKED}),
    (Event.REDRIVE, _S.CANCELLED): frozenset({_S.PENDING, _S.BLOCKED}),
    (Event.REDRIVE, _S.EXPIRED): frozenset({_S.PENDING, _S.BLOCKED}),
    (Event.PRUNE, _S.COMPLETED): frozenset({None}),
    (Event.PRUNE, _S.FAILED): frozenset({None}),
    (Event.PRUNE, _S.DEAD): frozenset({None}),
    (Event.PRUNE, _S.CANCELLED): frozenset({None}),
    (Event.PRUNE, _S.EXPIRED): frozenset({None}),
}
"""(event, state before) → the states that may follow; None is "no record"."""


def is_allowed(event: Event, state: TaskState | None) -> bool:
    """Whether `event` may happen to a task in `state`.

    >>> is_allowed(Event.CANCEL, TaskState.PENDING), is_allowed(Event.CANCEL, TaskState.COMPLETED)
    (True, False)
    """
    return (event, state) in TRANSITIONS


def check(event: Event, before: TaskState | None, after: TaskState | None) -> None:
    """Refuse a move that the table does not hold.

    Raises:
        InvalidTransition: the table has no such move.

    >>> check(Event.FETCH, TaskState.PENDING, TaskState.RUNNING)
    >>> check(Event.FETCH, TaskState.DEAD, TaskState.RUNNING)
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidTransition: fetch: dead → running is not in the state table
    """
    if after not in TRANSITIONS.get((event, before), frozenset()):
        raise InvalidTransition(f"{event}: {_name(before)} → {_name(after)} is not in the state table")


def diagram() -> str:
    """The table as a Mermaid state diagram, one arrow for each pair of states.

    >>> print(diagram().splitlines()[1])
        [*] --> BLOCKED: enqueue
    """
    arrows: dict[tuple[str, str], list[str]] = {}
    for (event, before), afters in TRANSITIONS.items():
        for after in sorted(afters, key=_name):
            label = "late settle" if before is _S.PENDING and event in _SETTLING else event.value
            arrows.setdefault((_node(before), _node(after)), []).append(label)
    lines = [f"    {before} --> {after}: {' · '.join(labels)}" for (before, after), labels in sorted(arrows.items())]
    return "\n".join(["stateDiagram-v2", *sorted(lines, key=_enqueue_first)])


_SETTLING = frozenset({Event.SUCCEED, Event.RETRY, Event.SNOOZE, Event.RELEASE, Event.FAIL})


def _name(state: TaskState | None) -> str:
    return "nothing" if state is None else state.value


def _node(state: TaskState | None) -> str:
    return "[*]" if state is None else state.name


def _enqueue_first(line: str) -> tuple[bool, str]:
    return (not line.strip().startswith("[*]"), line)
