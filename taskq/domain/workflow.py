"""Tasks that wait for others: what the end of one means for those that wait for it, and whether a graph can run at all.

An edge leads from a parent to the task that waits for it. It is there until the parent has ended; a task runs when it
has none left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from heapq import heappop, heappush
from typing import NamedTuple

from taskq.domain.state import TaskState


class OnParentFailure(StrEnum):
    """What becomes of a task when one for which it waits ends otherwise than COMPLETED."""

    CANCEL = "cancel"
    """It is CANCELLED, and so on down the graph."""
    RUN = "run"
    """It runs all the same."""
    FAIL = "fail"
    """It is FAILED, and so on down the graph."""


class Edge(NamedTuple):
    """One task for which another waits."""

    parent: str
    """The parent's id, or that of a flow, whose start is waited for."""
    on_failure: OnParentFailure = OnParentFailure.CANCEL


PARENT_FAILED = "ParentFailed"
"""The type of the failure of a task that fails because a parent has."""


class Step(StrEnum):
    """What the end of a parent does with a task that waits for it."""

    MET = "met"
    """The edge is gone; if it was the last one the task is ready."""
    CANCEL = "cancel"
    FAIL = "fail"


def after_parent(on_failure: OnParentFailure, state: TaskState | None) -> Step:
    """What the end of a parent does.

    Arguments:
        state: in which it has ended; None: it was forgotten before anybody could ask.

    >>> after_parent(OnParentFailure.CANCEL, TaskState.COMPLETED).value, after_parent(OnParentFailure.FAIL, None).value
    ('met', 'fail')
    """
    if state is TaskState.COMPLETED or on_failure is OnParentFailure.RUN:
        return Step.MET
    return Step.FAIL if on_failure is OnParentFailure.FAIL else Step.CANCEL


def parent_ended(parent: str, state: TaskState | None) -> str:
    """Why a task was cancelled, or failed, whose parent has not completed.

    >>> parent_ended("5b", TaskState.DEAD)
    'task 5b, for which it waited, ended as dead'
    """
    return f"task {parent}, for which it waited, " + (f"ended as {state}" if state else "is no longer known")


def find_loop(parents: Mapping[str, Iterable[str]]) -> list[str]:
    """A loop in a graph, as names from one back to the same, or [] where there is none.

    Arguments:
        parents: each name → those for which it waits.

    >>> find_loop({"a": ["c"], "b": ["a"], "c": ["b"], "d": []})
    ['a', 'c', 'b', 'a']
    """
    waiting = {name: list(of) for name, of in parents.items()}
    done: set[str] = set()
    for start in waiting:
        path: dict[str, None] = {}
        stack = [start]
        while stack:
            name = stack[-1]
            if name in done or name not in waiting:
                stack.pop()
                continue
            path[name] = None
            following = next((one for one in waiting[name] if one not in done and one in waiting), None)
            if following is None:
                done.add(stack.pop())
                del path[name]
            elif following in path:
                names = list(path)
                return [*names[names.index(following) :], following]
            else:
                stack.append(following)
    return []


def in_order(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of a graph without loops, each behind those for which it waits, else as they were given.

    >>> in_order({"b": ["a"], "a": [], "c": ["b", "a"]})
    ['a', 'b', 'c']
    """
    given, names = {name: place for place, name in enumerate(parents)}, list(parents)
    children: dict[str, list[str]] = {}
    missing = {name: sum(1 for one in of if one in parents) for name, of in parents.items()}
    for name, of in parents.items():
        for one in of:
            children.setdefault(one, []).append(name)
    ready = [given[name] for name, number in missing.items() if number == 0]
    found = []
    while ready:
        name = names[heappop(ready)]
        found.append(name)
        for child in children.get(name, ()):
            missing[child] -= 1
            if missing[child] == 0:
                heappush(ready, given[child])
    return found
