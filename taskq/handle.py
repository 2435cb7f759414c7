"""The handle of an enqueued task: look at it, wait for it, cancel it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from taskq import blocking
from taskq.domain.record import Failure, Progress, TaskRecord
from taskq.domain.state import TaskState
from taskq.errors import ResultTimeout, TaskCancelled, TaskExpired, TaskFailed, TaskNotFound, TaskqError
from taskq.payload import Codec
from taskq.ports import Backend, CancelStatus, EnqueueStatus, Finished, ResultStore
from taskq.ports.events import CONTROL, Event

R = TypeVar("R")
_LONGEST_WAIT = 30.0
"""Seconds after which a wait is asked for anew, so that no single call to the store is endless."""


class Access(Protocol):
    """What a handle needs of its application."""

    async def backend(self) -> Backend:
        """The backend of the running loop."""
        ...

    async def detached_results(self) -> ResultStore | None:
        """Where results are kept, if not with the tasks."""
        ...


class TaskHandle(Generic[R]):
    """One enqueued task, wherever it is. Each method has an a-twin for async code.

    Attributes:
        id: the task's id, a UUID in text form.
        enqueued: what became of the enqueue; DUPLICATE where the idempotency key was known.
    """

    def __init__(
        self,
        id: str,
        access: Access,
        codec: Codec[R] | None = None,
        enqueued: EnqueueStatus = EnqueueStatus.CREATED,
    ) -> None:
        self.id = id
        self.enqueued = enqueued
        self._access = access
        self._codec = codec

    def __repr__(self) -> str:
        return f"TaskHandle({self.id!r})"

    # ------------------------------------------------------------ async

    async def astatus(self) -> TaskState:
        """The task's state.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        return (await self.ainfo()).state

    async def ainfo(self) -> TaskRecord:
        """All that is known of the task.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        record = await (await self._access.backend()).inspector.get(self.id)
        if record is None:
            raise TaskNotFound(f"no record of task {self.id}: it never existed, or its retention is over")
        return record

    async def aprogress(self) -> Progress | None:
        """How far the task says it is, None where it has said nothing."""
        return (await self.ainfo()).progress

    async def await_(self, timeout: float | None = None) -> TaskState:
        """Wait for the end of the task: the a-twin of `wait`, whose name by the rule, `await`, is a keyword."""
        return (await self._finished(timeout)).state

    async def aresult(self, timeout: float | None = None) -> R:
        """The result, waiting for it (see `result`)."""
        finished = await self._finished(timeout)
        match finished.state:
            case TaskState.COMPLETED:
                return await self._decoded(finished)
            case TaskState.CANCELLED:
                raise TaskCancelled(f"task {self.id} was cancelled" + (f": {finished.reason}" * bool(finished.reason)))
            case TaskState.EXPIRED:
                raise TaskExpired(f"task {self.id} expired: nobody began it in time")
            case _:
                failure = finished.failure or Failure("Unknown", finished.reason)
                raise TaskFailed(failure.type, failure.message, failure.traceback)

    async def acancel(self, reason: str = "") -> bool:
        """Cancel the task (see `cancel`)."""
        backend = await self._access.backend()
        [status] = await backend.broker.cancel([self.id], reason)
        if status is CancelStatus.REQUESTED:
            # Only a hint, so that the worker learns of it before its next heartbeat: the request is kept already.
            with suppress(TaskqError):
                await backend.events.publish([Event(CONTROL, self.id)])
        return status in (CancelStatus.CANCELLED, CancelStatus.REQUESTED)

    # ------------------------------------------------------------ blocking

    def status(self) -> TaskState:
        """The task's state.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        return blocking.run(self.astatus(), "handle.status()", "handle.astatus()")

    def info(self) -> TaskRecord:
        """All that is known of the task.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        return blocking.run(self.ainfo(), "handle.info()", "handle.ainfo()")

    def progress(self) -> Progress | None:
        """How far the task says it is, None where it has said nothing."""
        return blocking.run(self.aprogress(), "handle.progress()", "handle.aprogress()")

    def wait(self, timeout: float | None = None) -> TaskState:
        """Wait for the end of the task, however it ends.

        Arguments:
            timeout: seconds; None waits for ever.

        Raises:
            ResultTimeout: it has not ended by then; it goes on.
            TaskNotFound: no record of it (any more).
        """
        return blocking.run(self.await_(timeout), "handle.wait()", "handle.await_()")

    def result(self, timeout: float | None = None) -> R:
        """The result, waiting for it.

        Arguments:
            timeout: seconds; None waits for ever.

        Raises:
            TaskFailed: it failed for good; with the remote type, message and traceback.
            TaskCancelled: it was cancelled.
            TaskExpired: nobody began it in time.
            ResultTimeout: it has not ended by then; it goes on.
            TaskNotFound: no record of it (any more).
        """
        return blocking.run(self.aresult(timeout), "handle.result()", "handle.aresult()")

    def cancel(self, reason: str = "") -> bool:
        """Cancel the task: at once where it waits; where it runs, its worker is told.

        Returns:
            False where it had ended already, or no record of it is left.
        """
        return blocking.run(self.acancel(reason), "handle.cancel()", "handle.acancel()")

    # ------------------------------------------------------------ inside

    async def _finished(self, timeout: float | None) -> Finished:
        results = (await self._access.backend()).results
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _LONGEST_WAIT if end is None else max(0.0, end - time.monotonic())
            finished = await results.wait(self.id, min(left, _LONGEST_WAIT))
            if finished is not None:
                return finished
            if end is not None and time.monotonic() >= end:
                raise ResultTimeout(f"task {self.id} has not ended within {timeout} s; it goes on")

    async def _decoded(self, finished: Finished) -> R:
        data = finished.result
        detached = await self._access.detached_results()
        if detached is not None:
            data = await detached.get(self.id, finished.fence)
        if data is None:
            raise TaskNotFound(f"task {self.id} completed, but its result is no longer kept")
        return self._codec.decode_result(data) if self._codec else cast("R", msgspec.json.decode(data, type=Any))
