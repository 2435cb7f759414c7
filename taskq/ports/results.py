"""Results: waiting for the end of a task, and results kept on another backend than the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from taskq.domain.record import Failure
from taskq.domain.state import TaskState


class Finished(NamedTuple):
    """How a task ended."""

    state: TaskState
    fence: int
    result: bytes | None = None
    failure: Failure | None = None
    reason: str = ""


class ResultStore(Protocol):
    """Keeps results.

    Usually a result is part of the settlement and lies in the task's record: then only `wait` is used. With
    `App(results=URL)` the worker first puts the result here under (task id, fence) and then settles; the record
    names the accepted fence, so that the result of a stale run is never read.
    """

    async def wait(self, id: str, timeout: float) -> Finished | None:
        """How the task ended, or None if it has not ended within `timeout` seconds.

        Raises:
            TaskNotFound: no record of that id.
        """
        ...

    async def ended(self, ids: Sequence[str]) -> list[Finished | None]:
        """How tasks ended, in the order of their ids; None: it has not, or there is no record of it."""
        ...

    async def put(self, id: str, fence: int, result: bytes, retention: float) -> None:
        """Keep a result for `retention` seconds."""
        ...

    async def get(self, id: str, fence: int) -> bytes | None:
        """A result that was put, None where there is none (any more)."""
        ...

    async def get_many(self, keys: Sequence[tuple[str, int]]) -> list[bytes | None]:
        """The same for several (id, fence), in their order."""
        ...

    async def expire(self, limit: int = 1000) -> int:
        """Forget results whose retention is over; returns how many this call forgot."""
        ...
