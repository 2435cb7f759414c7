"""Transactions of a task's own, in which it is completed together with what it did: effects exactly once."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Never, Protocol, TypeVar, overload

from taskq.errors import NotApplied
from taskq.ports.transactions import AsyncFrame, Frame, Isolation

R = TypeVar("R")
ELSEWHERE = (
    "ctx.transaction() needs a worker on the Postgres backend, whose tasks live in your database; elsewhere make the "
    "effect one that may be repeated, and fence it with ctx.fence"
)
IN_A_CHILD = (
    'ctx.transaction() does not reach into a task with executor="process", whose worker is another process: give it '
    'executor="thread"'
)
DETACHED = (
    "ctx.transaction() needs results that are kept with the tasks: App(results=…) keeps them elsewhere, where no "
    "transaction of this database reaches"
)


class Commits(Protocol):
    """A connection or session of psycopg, SQLAlchemy or Django."""

    def commit(self) -> None:
        """Commit."""
        ...


class CommitsLater(Protocol):
    """An asynchronous connection or session of psycopg or SQLAlchemy."""

    def commit(self) -> Coroutine[Any, Any, None]:
        """Commit."""
        ...


class Asyncpg(Protocol):
    """A connection of asyncpg."""

    def is_in_transaction(self) -> bool:
        """Whether it is in a transaction."""
        ...


class Work(Protocol):
    """What transactions need of the worker that runs the task; the methods with `a` are for async tasks."""

    def is_async(self, connection: Any) -> bool:
        """Whether this is an asynchronous connection."""
        ...

    def encode(self, result: object) -> bytes:
        """A result as JSON, where this run may still be completed with one."""
        ...

    def begin(self, isolation: Isolation | None) -> Frame:
        """Begin a transaction on a connection that is lent to this run."""
        ...

    async def abegin(self, isolation: Isolation | None) -> AsyncFrame:
        """The same."""
        ...

    def end(self, frame: Frame, result: bytes | None) -> None:
        """Commit, or roll back where that fails; complete the run too where there is a result."""
        ...

    async def aend(self, frame: AsyncFrame, result: bytes | None) -> None:
        """The same."""
        ...

    def undo(self, frame: Frame) -> None:
        """Roll back."""
        ...

    async def aundo(self, frame: AsyncFrame) -> None:
        """The same."""
        ...

    def complete_in(self, connection: Any, result: bytes) -> None:
        """Complete the run in the task's own transaction."""
        ...

    async def acomplete_in(self, connection: Any, result: bytes) -> None:
        """The same."""
        ...


class Transaction:
    """A transaction in which a task may be completed, in blocking code.

    Attributes:
        connection: where the task's own SQL runs.
    """

    def __init__(self, work: Work, connection: Any, block: TransactionBlock | None = None) -> None:
        self.connection = connection
        self._work = work
        self._block = block

    @overload
    def complete(self) -> None: ...
    @overload
    def complete(self, result: R) -> R: ...
    def complete(self, result: object = None) -> object:
        """Complete the task, with what the transaction does: both are there once it commits, or neither.

        In a block of `ctx.transaction()` it is noted, and done right before the commit; in a transaction of your own it
        is done now, so that it is best said last. What the task returns afterwards counts for nothing.

        Arguments:
            result: of the task.

        Returns:
            The result, so that `return tx.complete(…)` says all.

        Raises:
            LeaseLost: another run has the task by now: roll back. In a block it is raised at the block's end.
            InvalidPayload: the result cannot be written as JSON.
            NotApplied: it was completed before, the block has ended, or the result is too large.
        """
        encoded = self._work.encode(result)
        if self._block is None:
            self._work.complete_in(self.connection, encoded)
        else:
            self._block.note(encoded)
        return result


class AsyncTransaction:
    """The same in async code.

    Attributes:
        connection: where the task's own SQL runs.
    """

    def __init__(self, work: Work, connection: Any, block: TransactionBlock | None = None) -> None:
        self.connection = connection
        self._work = work
        self._block = block

    @overload
    async def complete(self) -> None: ...
    @overload
    async def complete(self, result: R) -> R: ...
    async def complete(self, result: object = None) -> object:
        """See Transaction.complete."""
        encoded = self._work.encode(result)
        if self._block is None:
            await self._work.acomplete_in(self.connection, encoded)
        else:
            self._block.note(encoded)
        return result


class TransactionBlock:
    """What `ctx.transaction()` gives: to be entered once, by `async with` in async tasks, by `with` in others."""

    def __init__(self, work: Work, isolation: Isolation | None) -> None:
        self._work = work
        self._isolation = isolation
        self._frame: Any = None
        self._was_entered = False
        self._result: bytes | None = None

    def __enter__(self) -> Transaction:
        self._enter()
        self._frame = self._work.begin(self._isolation)
        return Transaction(self._work, self._frame.connection, self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        frame, self._frame = self._frame, None
        if error is None:
            self._work.end(frame, self._result)
        else:
            self._work.undo(frame)

    async def __aenter__(self) -> AsyncTransaction:
        self._enter()
        self._frame = await self._work.abegin(self._isolation)
        return AsyncTransaction(self._work, self._frame.connection, self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        frame, self._frame = self._frame, None
        if error is None:
            await self._work.aend(frame, self._result)
        else:
            await self._work.aundo(frame)

    def complete(self, result: Never) -> Never:
        """Refuse what belongs inside the block."""
        raise NotApplied("complete() is a method of what the block gives: `async with ctx.transaction() as tx:`")

    def note(self, result: bytes) -> None:
        """Remember what the task is to be completed with at the end of the block."""
        if self._frame is None:
            raise NotApplied("this block of ctx.transaction() has ended: complete() belongs inside it")
        if self._result is not None:
            raise NotApplied("complete() was called before in this block of ctx.transaction()")
        self._result = result

    def _enter(self) -> None:
        if self._was_entered:
            raise NotApplied("a ctx.transaction() is entered once: make another one for another block")
        self._was_entered = True
