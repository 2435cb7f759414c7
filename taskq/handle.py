"""The handle of an enqueued task: look at it, wait for it, cancel it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from taskq import blocking
from taskq.crypto import Crypto, about_result, decrypt, key_of, unescaped
from taskq.domain.record import Failure, Progress, TaskRecord
from taskq.domain.state import TaskState
from taskq.errors import (
    ResultTimeout,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskNotFound,
    TaskqError,
)
from taskq.following import check_reason, check_timeout, watch
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

    @property
    def crypto(self) -> Crypto | None:
        """The keys of the application, None where it has none."""
        ...

    async def detached_results(self) -> ResultStore | None:
        """Where results are kept, if not with the tasks."""
        ...


class TaskHandle(Generic[R]):
    """One enqueued task, wherever it is. Each method has an a-twin for async code.

    Every method may raise BackendUnavailable, where the store cannot be reached; the blocking ones WouldBlock, where an
    event loop runs in this thread.

    Attributes:
        id: the task's id, a UUID in text form.
        enqueued: what became of the enqueue; DUPLICATE where the idempotency key was known.

    >>> from taskq import App
    >>> handle = App("memory://").enqueue("mail.send", {"to": "a@b.c"})
    >>> handle.status().is_final, handle.cancel("not today"), handle.wait().value
    (False, True, 'cancelled')
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

        >>> import asyncio
        >>> from taskq import App
        >>> async def example():
        ...     return await (await App("memory://").aenqueue("mail.send", delay=60)).astatus()
        >>> asyncio.run(example())
        <TaskState.SCHEDULED: 'scheduled'>
        """
        return (await self.ainfo()).state

    async def ainfo(self) -> TaskRecord:
        """All that is known of the task.

        Raises:
            TaskNotFound: no record of it (any more).

        >>> import asyncio
        >>> from taskq import App
        >>> async def example():
        ...     record = await (await App("memory://").aenqueue("mail.send", priority="high")).ainfo()
        ...     return record.name, record.priority.name, record.attempt
        >>> asyncio.run(example())
        ('mail.send', 'HIGH', 0)
        """
        record = await (await self._access.backend()).inspector.get(self.id)
        if record is None:
            raise TaskNotFound(f"no record of task {self.id}: it never existed, or its retention is over")
        return record

    async def aprogress(self) -> Progress | None:
        """How far the task says it is, None where it has said nothing.

        Raises:
            TaskNotFound: no record of it (any more).

        >>> import asyncio, taskq
        >>> from taskq.testing import Harness
        >>> app = taskq.App("memory://")
        >>> @app.task(name="copy")
        ... def copy(ctx: taskq.TaskContext) -> None:
        ...     ctx.progress(0.5, "half")
        >>> async def example():
        ...     async with Harness(app) as harness:
        ...         handle = await copy.aenqueue()
        ...         await harness.run_until_idle()
        ...         return await handle.aprogress()
        >>> asyncio.run(example())
        Progress(fraction=0.5, message='half', data=b'{}')
        """
        return (await self.ainfo()).progress

    async def awatch(self) -> AsyncGenerator[TaskRecord]:
        """Follow the task: its record as it is, then each time when it has changed, the last one that of its end.

        Raises:
            TaskNotFound: no record of it (any more).

        >>> import asyncio
        >>> from taskq import App
        >>> async def example():
        ...     handle = await App("memory://").aenqueue("mail.send")
        ...     async for record in handle.awatch():
        ...         print(record.state.value)
        ...         await handle.acancel()
        >>> asyncio.run(example())
        pending
        cancelled
        """
        async with aclosing(watch(self.id, await self._access.backend(), self.ainfo)) as records:
            async for record in records:
                yield record

    async def await_(self, timeout: float | None = None) -> TaskState:
        """Wait for the end of the task, however it ends: the a-twin of `wait`, as `await` is a keyword.

        Arguments:
            timeout: seconds; None waits for ever.

        Returns:
            The final state.

        Raises:
            InvalidOption: the timeout is no number of seconds.
            ResultTimeout: it has not ended by then; it goes on.
            TaskNotFound: no record of it (any more).

        >>> import asyncio
        >>> from taskq import App
        >>> async def example():
        ...     handle = await App("memory://").aenqueue("mail.send")
        ...     await handle.acancel()
        ...     return await handle.await_(timeout=5)
        >>> asyncio.run(example())
        <TaskState.CANCELLED: 'cancelled'>
        """
        return (await self._finished(timeout)).state

    async def aresult(self, timeout: float | None = None) -> R:
        """The result, waiting for it.

        Arguments:
            timeout: seconds; None waits for ever.

        Returns:
            What the function returned, as its annotation says; plain JSON data where the function is not known here.

        Raises:
            TaskFailed: it failed for good; with the remote type, message and traceback.
            TaskCancelled: it was cancelled.
            TaskExpired: nobody began it in time.
            InvalidOption: the timeout is no number of seconds.
            ResultTimeout: it has not ended by then; it goes on.
            InvalidPayload: the stored result does not fit the annotation.
            TaskNotFound: no record of it, or of its result (any more).
            KeyMissing: the result is encrypted, and its key is not here.
            Tampered: the result was changed since it was encrypted.

        >>> import asyncio
        >>> from taskq import App
        >>> from taskq.testing import Harness
        >>> app = App("memory://")
        >>> @app.task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> async def example():
        ...     async with Harness(app) as harness:
        ...         handle = await add.aenqueue(1, 2)
        ...         await harness.run_until_idle()
        ...         return await handle.aresult()
        >>> asyncio.run(example())
        3
        """
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
        """Cancel the task: at once where it waits; where it runs, its worker is told.

        Arguments:
            reason: why, for people; it is kept in the record.

        Returns:
            False where it had ended already, or no record of it is left.

        Raises:
            InvalidOption: the reason is no text.
            OutcomeUnknown: the connection broke; it may be cancelled. It may be said again.

        >>> import asyncio
        >>> from taskq import App
        >>> async def example():
        ...     handle = await App("memory://").aenqueue("mail.send")
        ...     return await handle.acancel("not today"), await handle.acancel("not today")
        >>> asyncio.run(example())
        (True, False)
        """
        check_reason(reason)
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

        >>> from taskq import App
        >>> App("memory://").enqueue("mail.send", delay=60).status()
        <TaskState.SCHEDULED: 'scheduled'>
        """
        return blocking.run(self.astatus(), "handle.status()", "handle.astatus()")

    def info(self) -> TaskRecord:
        """All that is known of the task.

        Raises:
            TaskNotFound: no record of it (any more).

        >>> from taskq import App
        >>> record = App("memory://").enqueue("mail.send", priority="high").info()
        >>> record.name, record.priority.name, record.attempt
        ('mail.send', 'HIGH', 0)
        """
        return blocking.run(self.ainfo(), "handle.info()", "handle.ainfo()")

    def progress(self) -> Progress | None:
        """How far the task says it is, None where it has said nothing.

        Raises:
            TaskNotFound: no record of it (any more).

        >>> from taskq import App
        >>> App("memory://").enqueue("copy").progress() is None
        True
        """
        return blocking.run(self.aprogress(), "handle.progress()", "handle.aprogress()")

    def wait(self, timeout: float | None = None) -> TaskState:
        """Wait for the end of the task, however it ends.

        Arguments:
            timeout: seconds; None waits for ever.

        Returns:
            The final state.

        Raises:
            InvalidOption: the timeout is no number of seconds.
            ResultTimeout: it has not ended by then; it goes on.
            TaskNotFound: no record of it (any more).

        >>> from taskq import App
        >>> handle = App("memory://").enqueue("mail.send")
        >>> handle.cancel(), handle.wait(timeout=5)
        (True, <TaskState.CANCELLED: 'cancelled'>)
        """
        return blocking.run(self.await_(timeout), "handle.wait()", "handle.await_()")

    def result(self, timeout: float | None = None) -> R:
        """The result, waiting for it.

        Arguments:
            timeout: seconds; None waits for ever.

        Returns:
            What the function returned, as its annotation says; plain JSON data where the function is not known here.

        Raises:
            TaskFailed: it failed for good; with the remote type, message and traceback.
            TaskCancelled: it was cancelled.
            TaskExpired: nobody began it in time.
            InvalidOption: the timeout is no number of seconds.
            ResultTimeout: it has not ended by then; it goes on.
            InvalidPayload: the stored result does not fit the annotation.
            TaskNotFound: no record of it, or of its result (any more).
            KeyMissing: the result is encrypted, and its key is not here.
            Tampered: the result was changed since it was encrypted.

        >>> from taskq import App
        >>> App("memory://").enqueue("add", {"x": 1, "y": 2}).result(timeout=0)
        Traceback (most recent call last):
            ...
        taskq.errors.ResultTimeout: task ... has not ended within 0 s; it goes on
        """
        return blocking.run(self.aresult(timeout), "handle.result()", "handle.aresult()")

    def cancel(self, reason: str = "") -> bool:
        """Cancel the task: at once where it waits; where it runs, its worker is told.

        Arguments:
            reason: why, for people; it is kept in the record.

        Returns:
            False where it had ended already, or no record of it is left.

        Raises:
            InvalidOption: the reason is no text.
            OutcomeUnknown: the connection broke; it may be cancelled. It may be said again.

        >>> from taskq import App
        >>> handle = App("memory://").enqueue("mail.send")
        >>> handle.cancel("not today"), handle.cancel("not today")
        (True, False)
        """
        return blocking.run(self.acancel(reason), "handle.cancel()", "handle.acancel()")

    # ------------------------------------------------------------ inside

    async def _finished(self, timeout: float | None) -> Finished:
        check_timeout(timeout)
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
        data = await self._plain(data, finished.fence)
        return self._codec.decode_result(data) if self._codec else cast("R", msgspec.json.decode(data, type=Any))

    async def _plain(self, data: bytes, fence: int) -> bytes:
        if key_of(data) is None:
            return unescaped(data)
        name = (await self.ainfo()).name
        return decrypt(self._access.crypto, data, about_result(self.id, name, fence))
