"""For which tasks another is to wait, as a call says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.config import shown
from taskq.domain.workflow import Edge, OnParentFailure
from taskq.errors import InvalidOption
from taskq.handle import TaskHandle
from taskq.ids import is_id

DependsOn = TaskHandle[Any] | str | Sequence[TaskHandle[Any] | str]


def edges_of(given: DependsOn, on_parent_failure: OnParentFailure | str, what: str = "depends_on") -> tuple[Edge, ...]:
    """The edges of a call that is to wait for tasks.

    Raises:
        InvalidOption: one is neither a handle nor the id of a task, or what is to become of it is none of the three.

    >>> edges_of("01980000-0000-7000-8000-000000000000", "run")
    (Edge(parent='01980000-0000-7000-8000-000000000000', on_failure=<OnParentFailure.RUN: 'run'>),)
    """
    policy = as_policy(on_parent_failure)
    several: Any = given if isinstance(given, list | tuple | set | frozenset) else (given,)
    # Not whatever has an id: one that waits for a workflow's would run at its start.
    ids = [one.id if isinstance(one, TaskHandle) else one for one in several]
    for id in ids:
        if not is_id(id):
            raise InvalidOption(f"{what} must be a handle or the id of a task, or several, not {shown(id)}")
    return tuple(Edge(id, policy) for id in dict.fromkeys(ids))


def as_policy(value: OnParentFailure | str) -> OnParentFailure:
    """What is to become of a task whose parent fails, from its name.

    Raises:
        InvalidOption: there is no such one.

    >>> as_policy("run")
    <OnParentFailure.RUN: 'run'>
    """
    try:
        return OnParentFailure(value)
    except ValueError:
        raise InvalidOption(f"on_parent_failure must be cancel, run or fail, not {shown(value)}") from None
