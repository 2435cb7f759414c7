"""A task's own transaction on Postgres, from its beginning to its end: once asynchronous, once for a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from taskq.domain.message import Delivery
from taskq.errors import BackendUnavailable, NotApplied, OutcomeUnknown
from taskq_postgres.errors import CONTENTION, ROLLED_BACK, is_retryable
from taskq_postgres.pool import hang_up
from taskq_postgres.transaction import Completion, acomplete, complete

AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]
Connection = psycopg.Connection[tuple[Any, ...]]
Terms = Callable[[Delivery, bytes], Completion]
_TIMED_OUT = ("25P03", "25P04")
"""SQLSTATEs of a server that has ended a transaction, and its session, for having been silent or open too long."""
_BROKE = "the connection broke before the commit: nothing was changed"
_UNFIT = {
    TransactionStatus.IDLE: "it was ended inside its block, by a COMMIT or ROLLBACK of its own",
    TransactionStatus.INERROR: "one of its statements failed, so that none of it can be committed",
    TransactionStatus.ACTIVE: "one of its statements is still under way",
}


class AsyncFrame:
    """See taskq.ports.transactions.AsyncFrame.

    Arguments:
        connection: lent until the end.
        transaction: what psycopg makes of it, entered: it refuses a commit or rollback that is not ours.
        terms: on which a run is completed.
        patience: seconds after which an end without a reply counts as a lost connection.
        give_back: takes the connection.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        transaction: psycopg.AsyncTransaction,
        terms: Terms,
        patience: float,
        give_back: Callable[[], Awaitable[None]],
    ) -> None:
        self.connection = connection
        self._transaction = transaction
        self._terms = terms
        self._patience = patience
        self._give_back = give_back
        self._has_left = False

    async def commit(self, delivery: Delivery | None = None, result: bytes = b"") -> None:
        """Commit, and complete a run in the same step where one is given."""
        watch = asyncio.get_running_loop().call_later(self._patience, hang_up, self.connection)
        try:
            _refuse_unfit(self.connection)
            if delivery is not None:
                await self._complete(self._terms(delivery, result))
            await self._commit()
        except BaseException:
            await self.rollback()
            raise
        finally:
            watch.cancel()
        await self._give_back()

    async def rollback(self) -> None:
        """Undo it."""
        watch = asyncio.get_running_loop().call_later(self._patience, hang_up, self.connection)
        with suppress(psycopg.Error, OSError):
            if not self._has_left:
                self._has_left = True
                await self._transaction.__aexit__(_Undone, _Undone(), None)
        watch.cancel()
        await self._give_back()

    async def _complete(self, completion: Completion) -> None:
        with _before_commit():
            await acomplete(self.connection, completion)

    async def _commit(self) -> None:
        self._has_left = True
        with _in_commit():
            await self._transaction.__aexit__(None, None, None)


class Frame:
    """See taskq.ports.transactions.Frame; the arguments are those of AsyncFrame."""

    def __init__(
        self,
        connection: Connection,
        transaction: psycopg.Transaction,
        terms: Terms,
        patience: float,
        give_back: Callable[[], None],
    ) -> None:
        self.connection = connection
        self._transaction = transaction
        self._terms = terms
        self._patience = patience
        self._give_back = give_back
        self._has_left = False

    def commit(self, delivery: Delivery | None = None, result: bytes = b"") -> None:
        """Commit, and complete a run in the same step where one is given."""
        watch = self._watch()
        try:
            _refuse_unfit(self.connection)
            if delivery is not None:
                self._complete(self._terms(delivery, result))
            self._commit()
        except BaseException:
            self.rollback()
            raise
        finally:
            watch.cancel()
        self._give_back()

    def rollback(self) -> None:
        """Undo it."""
        watch = self._watch()
        with suppress(psycopg.Error, OSError):
            if not self._has_left:
                self._has_left = True
                self._transaction.__exit__(_Undone, _Undone(), None)
        watch.cancel()
        self._give_back()

    def _complete(self, completion: Completion) -> None:
        with _before_commit():
            complete(self.connection, completion)

    def _commit(self) -> None:
        self._has_left = True
        with _in_commit():
            self._transaction.__exit__(None, None, None)

    def _watch(self) -> threading.Timer:
        watch = threading.Timer(self._patience, hang_up, (self.connection,))
        watch.daemon = True
        watch.start()
        return watch


class _Undone(Exception):
    """What psycopg is shown so that it rolls back."""


def _refuse_unfit(connection: AsyncConnection | Connection) -> None:
    """Refuse a commit that could not be one: of a failed transaction Postgres makes a rollback, and says nothing."""
    status = connection.info.transaction_status
    if status in _UNFIT:
        raise NotApplied(f"the transaction cannot be committed: {_UNFIT[status]}")
    if status is TransactionStatus.UNKNOWN:
        raise BackendUnavailable(_BROKE)


@contextmanager
def _before_commit() -> Iterator[None]:
    """Nothing is committed yet: a connection that breaks here has undone everything."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate in _TIMED_OUT or (is_retryable(error) and error.sqlstate not in CONTENTION):
            raise BackendUnavailable(_BROKE) from error
        raise
    except OSError as error:
        raise BackendUnavailable(_BROKE) from error


@contextmanager
def _in_commit() -> Iterator[None]:
    """The server may have committed, or may yet, unless it says that it has rolled back."""
    text = "the connection broke in the middle of the commit"
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate in _TIMED_OUT:
            raise BackendUnavailable(_BROKE) from error
        if is_retryable(error) and not (error.sqlstate or "").startswith(ROLLED_BACK):
            raise OutcomeUnknown(text) from error
        raise
    except OSError as error:
        raise OutcomeUnknown(text) from error
