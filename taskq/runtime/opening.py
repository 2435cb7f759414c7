"""From an opened record to the call that it stands for: whether this worker can read it, and the arguments."""

from __future__ import annotations

from typing import Any

from taskq.domain.outcome import VERSION, Unknown
from taskq.headers import Headers
from taskq.payload import Call
from taskq.task import Task
from taskq.versions import lift


def lacking(task: Task[..., Any], headers: Headers) -> Unknown | None:
    """What this worker lacks to run a task, None where it has all.

    Arguments:
        task: as it is registered here.
        headers: of the enqueued task.
    """
    newest = task.declared.version
    if headers.version > newest:
        what = f"version {headers.version} of the arguments of {task.name!r} (the newest here is {newest})"
        return Unknown(lack=VERSION, what=what)
    return None


def open_call(task: Task[..., Any], headers: Headers, payload: bytes) -> Call:
    """The arguments of a task, lifted to the version that it takes.

    Arguments:
        task: as it is registered here.
        headers: of the enqueued task.
        payload: its arguments as they came.

    Raises:
        InvalidPayload: they cannot be lifted, or do not fit its signature.
        ConfigError: its signature cannot be used.
    """
    declared = task.declared
    return task.codec.decode(lift(task.name, payload, headers.version, declared.version, declared.upcast))
