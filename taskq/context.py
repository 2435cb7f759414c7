"""What a running task knows of itself and can say of itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import msgspec

from taskq.domain.message import Delivery
from taskq.domain.record import Progress
from taskq.errors import InvalidOption

_logger = logging.getLogger("taskq.task")


class Run(Protocol):
    """What the context needs of the worker that runs the task."""

    def is_cancelled(self) -> bool:
        """Whether the run should end: cancelled, over its timeout, its lease lost, or the worker stops."""
        ...

    def report(self, progress: Progress) -> None:
        """Note the progress; it is written soon, the newest only."""
        ...


class TaskContext:
    """The running task. A parameter annotated with this class is filled in by the worker.

    Attributes:
        id: the task's id.
        name: its registered name.
        queue: the queue that it came from.
        attempt: which attempt this is, from 1.
        worker_id: the random id of the worker's start.
        fence: the number of this run, to fence other stores with: it only grows.
        deadline: when the run's timeout ends it, None without one.
        metadata: what was given with `.options(metadata=…)`.
        tenant: the tenant the task belongs to, "" without one.
        state: what the application's lifespan yielded; None in a task with executor="process", which shares no object
            with its worker.
        parent_results: results of the tasks that this one waited for.

    >>> from taskq import App
    >>> @App("memory://").task(name="copy")
    ... def copy(ctx: TaskContext, rows: int) -> str:
    ...     for row in range(rows):
    ...         if ctx.cancelled:
    ...             break
    ...         ctx.progress(row / rows)
    ...     return f"attempt {ctx.attempt} of {ctx.name}"
    >>> copy(2)
    'attempt 1 of copy'
    """

    def __init__(
        self,
        delivery: Delivery,
        run: Run,
        *,
        deadline: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        state: Any = None,
        origin: object = None,
    ) -> None:
        self.id = delivery.id
        self.name = delivery.name
        self.queue = delivery.queue
        self.attempt = delivery.attempt
        self.worker_id = delivery.worker
        self.fence = delivery.fence
        self.tenant = delivery.tenant
        self.deadline = deadline
        self.metadata: Mapping[str, Any] = metadata or {}
        self.state = state
        self.parent_results: Mapping[str, Any] = {}
        self.delivery = delivery
        self.origin = origin
        """The submitter of the application that runs this task: what it enqueues there carries this run's fence."""
        self._run = run

    @property
    def cancelled(self) -> bool:
        """Whether the run should end. Long work in a thread looks at this now and then and returns."""
        return self._run.is_cancelled()

    @cached_property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the task's id, name, attempt and worker."""
        extra = {"task_id": self.id, "task": self.name, "attempt": self.attempt, "worker_id": self.worker_id}
        return logging.LoggerAdapter(_logger, {"taskq": extra})

    def progress(self, fraction: float, message: str = "", **data: Any) -> None:
        """Say how far the task is; never blocks, and only the newest is written.

        Arguments:
            fraction: from 0 to 1.
            message: for people; its first 1,000 characters are kept.
            data: for programs; JSON.

        Raises:
            InvalidOption: the fraction is out of range.
            TypeError, ValueError, OverflowError: the fraction is no number, or the data cannot be written as JSON.

        >>> from taskq import App
        >>> @App("memory://").task(name="copy")
        ... def copy(ctx: TaskContext) -> None:
        ...     ctx.progress(0.5, "half of the rows", rows=7)
        >>> copy()
        """
        if not 0 <= fraction <= 1:
            raise InvalidOption(f"progress must be from 0 to 1, not {fraction!r}")
        self._run.report(Progress(fraction, message[:1000], msgspec.json.encode(data)))


current_context: ContextVar[TaskContext] = ContextVar("taskq_context")


def current() -> TaskContext:
    """The context of the task that runs here, for code that it calls.

    Raises:
        LookupError: no task runs here.

    >>> current()
    Traceback (most recent call last):
        ...
    LookupError: taskq.current() was called outside of a task
    """
    try:
        return current_context.get()
    except LookupError:
        raise LookupError("taskq.current() was called outside of a task") from None


def current_or_none() -> TaskContext | None:
    """The context of the task that runs here, None outside of a task."""
    return current_context.get(None)
