"""What a running task knows of itself and can say of itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol, cast, get_args, overload

import msgspec

from taskq.config import shown
from taskq.domain.message import Delivery, Priority
from taskq.domain.names import Names
from taskq.domain.record import Progress
from taskq.errors import CapabilityMissing, InvalidOption
from taskq.headers import holds_not_finite
from taskq.ports.transactions import Isolation
from taskq.transaction import (
    ELSEWHERE,
    Asyncpg,
    AsyncTransaction,
    Commits,
    CommitsLater,
    Transaction,
    TransactionBlock,
    Work,
)

MOST_CHECKPOINT = 1024 * 1024
"""Bytes of JSON."""
MOST_PROGRESS = 64 * 1024
"""Bytes of JSON: they are written twice a second."""
_logger = logging.getLogger("taskq.task")


class Run(Protocol):
    """What the context needs of the worker that runs the task."""

    def is_cancelled(self) -> bool:
        """Whether the run should end: cancelled, over its timeout, its lease lost, or the worker stops."""
        ...

    def report(self, progress: Progress) -> None:
        """Note the progress; it is written soon, the newest only."""
        ...

    def keep(self, checkpoint: bytes) -> None:
        """Note a checkpoint, JSON; it is written soon, and before the run ends, the newest only."""
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
        flow: the id of the workflow or batch of which the task is a member, "" without one.
        node: the name of the task in its workflow, "" without one.
        trace: what a tracing middleware gave the task on its way.
        correlation_id: what the task shares with all that was done for the same reason: what `correlated` said, or the
            id of the first task, which enqueued the others.
        last_checkpoint: what an earlier attempt has kept by `checkpoint`, as plain JSON data; None where none has.
            It is fetched for tasks that take a TaskContext as a parameter.
        state: what the application's lifespan yielded; None in a task with executor="process", which shares no object
            with its worker.
        parent_results: results of the tasks for which this one waited, as plain JSON data: by their names in its
            workflow, else by their ids. They are fetched for tasks that take a TaskContext as a parameter.

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
        work: Work | str = ELSEWHERE,
        flow: str = "",
        node: str = "",
        trace: Mapping[str, str] | None = None,
        correlation_id: str = "",
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
        self.last_checkpoint: Any = None
        self.flow = flow
        self.node = node
        self.trace: Mapping[str, str] = trace or {}
        self.correlation_id = correlation_id or delivery.id
        self.added: Names | None = None
        """The names of the tasks that this run has added to its workflow; None: it has added none."""
        self.delivery = delivery
        self.origin = origin
        """The submitter of the application that runs this task: what it enqueues there carries this run's fence."""
        self._run = run
        self._work = work
        """What transactions need of the worker; where there are none the reason, and what to do instead."""

    @property
    def cancelled(self) -> bool:
        """Whether the run should end. Long work in a thread looks at this now and then and returns."""
        return self._run.is_cancelled()

    @cached_property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the task's id, name, queue, tenant, attempt, worker and correlation id."""
        return logging.LoggerAdapter(_logger, {"taskq": self.log_fields})

    @cached_property
    def log_fields(self) -> Mapping[str, Any]:
        """What each line says that is logged while the task runs: ids and names, nothing that it was given."""
        tenant = {"tenant": self.tenant} if self.tenant else {}
        fields = {"task_id": self.id, "task": self.name, "queue": self.queue, **tenant}
        about = {"attempt": self.attempt, "worker_id": self.worker_id, "correlation_id": self.correlation_id}
        return {**fields, **about}

    def progress(self, fraction: float, message: str = "", **data: Any) -> None:
        """Say how far the task is; never blocks, and only the newest is written.

        Arguments:
            fraction: from 0 to 1.
            message: for people; its first 1,000 characters are kept.
            data: for programs; JSON, at most 64 KiB.

        Raises:
            InvalidOption: the fraction is out of range, or the data take more.
            TypeError, ValueError, OverflowError: the fraction is no number, the message no text, or the data cannot be
                written as JSON.

        >>> from taskq import App
        >>> @App("memory://").task(name="copy")
        ... def copy(ctx: TaskContext) -> None:
        ...     ctx.progress(0.5, "half of the rows", rows=7)
        >>> copy()
        """
        number = _as_number(fraction)
        if not 0 <= number <= 1:
            raise InvalidOption(f"progress must be from 0 to 1, not {fraction!r}")
        if not isinstance(message, str):
            raise TypeError(f"the message of a progress must be text, not {shown(message)}")
        encoded = msgspec.json.encode(data)
        if len(encoded) > MOST_PROGRESS:
            raise InvalidOption(f"the data of a progress take at most {MOST_PROGRESS:,} bytes, not {len(encoded):,}")
        # What stands alone of a pair of surrogates no store could keep.
        text = message[:1000] if message.isascii() else message[:1000].encode("utf-8", "replace").decode()
        self._run.report(Progress(number, text, encoded))

    def checkpoint(self, data: Any) -> None:
        """Keep data for the next attempt, which finds them as `last_checkpoint`; never blocks.

        Only the newest are written: within half a second, and in any case before the run ends. A worker that is killed
        loses what is younger than that.

        Arguments:
            data: JSON, at most 1 MiB; where the task is encrypted, so are they.

        Raises:
            InvalidOption: they take more.
            TypeError, ValueError, OverflowError: they cannot be written as JSON.

        >>> from taskq import App
        >>> @App("memory://").task(name="copy")
        ... def copy(ctx: TaskContext, rows: int) -> int:
        ...     first = ctx.last_checkpoint or 0
        ...     for row in range(first, rows):
        ...         ctx.checkpoint(row + 1)
        ...     return rows - first
        >>> copy(3)
        3
        """
        encoded = msgspec.json.encode(data)
        if b"null" in encoded and holds_not_finite(msgspec.to_builtins(data)):
            raise ValueError("a checkpoint cannot hold NaN or infinity, which JSON cannot hold")
        if len(encoded) > MOST_CHECKPOINT:
            raise InvalidOption(f"a checkpoint takes at most {MOST_CHECKPOINT:,} bytes, not {len(encoded):,}")
        self._run.keep(encoded)

    @overload
    def transaction(self, /, *, isolation: Isolation | None = None) -> TransactionBlock: ...
    @overload
    def transaction(self, connection: CommitsLater | Asyncpg, /) -> AsyncTransaction: ...
    @overload
    def transaction(self, connection: Commits, /) -> Transaction: ...
    def transaction(self, connection: Any = None, /, *, isolation: Isolation | None = None) -> Any:
        """A transaction in the database of the tasks (Postgres), in which this task can be completed: exactly once.

        Without a connection: to be entered by `async with` in an async task, by `with` in one that runs in a thread.
        It commits at the end of the block, and rolls back where the block raises. With one: an object to complete the
        task with in the transaction that you have begun there, and commit yourself.

        A transaction without `tx.complete(…)` is only committed. The task completes afterwards, in a step of its own,
        so that what it did happens at least once.

        Arguments:
            connection: a connection or session of psycopg, asyncpg, SQLAlchemy or Django, in a transaction.
            isolation: the level of a transaction without a connection: "read committed", "repeatable read" or
                "serializable"; None: what the database does by itself.

        Returns:
            A block whose `tx` has `connection` and `complete(result)`; with a connection that `tx` itself. In async
            code `complete` is awaited.

        Raises:
            CapabilityMissing: the tasks or their results are not in Postgres, or the task runs in a process.
            InvalidOption: there is no such level.
            WouldBlock: `with` was written in an async task.

        >>> from taskq import App
        >>> @App("memory://").task(name="bill")
        ... async def bill(ctx: TaskContext, account: int) -> None:
        ...     async with ctx.transaction() as tx:
        ...         await tx.connection.execute("insert into bill (account) values (%s)", (account,))
        ...         await tx.complete()
        """
        if isinstance(self._work, str):
            raise CapabilityMissing(self._work)
        if connection is None:
            if isolation not in (None, *get_args(Isolation)):
                raise InvalidOption(f"isolation must be one of {', '.join(get_args(Isolation))}, not {isolation!r}")
            return TransactionBlock(self._work, isolation)
        if isolation is not None:
            raise InvalidOption("isolation is for ctx.transaction() without a connection: yours has begun already")
        kind = AsyncTransaction if self._work.is_async(connection) else Transaction
        return kind(self._work, connection)


current_context: ContextVar[TaskContext] = ContextVar("taskq_context")


_correlation: ContextVar[str] = ContextVar("taskq_correlation")
MOST_CORRELATION = 200


@contextmanager
def correlated(id: str) -> Iterator[None]:
    """Give what is enqueued in the block a correlation id, which its log lines carry: that of a request, say.

    What those tasks enqueue has it too. Without one, all that a task enqueues has the task's id for it.

    Arguments:
        id: at most 200 printable characters.

    Raises:
        InvalidOption: it is longer, empty, or holds what cannot be printed.

    >>> with correlated("req-17"):
    ...     correlation()
    'req-17'
    """
    given: object = id
    if not isinstance(given, str) or not 0 < len(given) <= MOST_CORRELATION or not given.isprintable():
        raise InvalidOption(f"a correlation id has from 1 to {MOST_CORRELATION} printable characters, not {shown(id)}")
    token = _correlation.set(id)
    try:
        yield
    finally:
        _correlation.reset(token)


def correlation() -> str:
    """The correlation id of what is enqueued here, "" where it has none but its own."""
    said = _correlation.get("")
    if said:
        return said
    context = current_or_none()
    return "" if context is None else context.correlation_id


def _as_number(fraction: object) -> float:
    """A fraction of any type of number: Decimal too, which no store would take."""
    try:
        if not isinstance(fraction, str | bytes):
            return float(cast("float", fraction))
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(f"progress must be a number from 0 to 1, not {shown(fraction)}")


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


class _LocalRun:
    def is_cancelled(self) -> bool:
        return False

    def report(self, progress: Progress) -> None:
        pass

    def keep(self, checkpoint: bytes) -> None:
        pass


def local_context(name: str) -> TaskContext:
    """The context of a task that is called as a plain function.

    >>> local_context("add").queue
    'local'
    """
    return TaskContext(Delivery("local", name, b"", "local", Priority.NORMAL, 0, 1, 0, "local"), _LocalRun())
