"""Transactions of the tasks' own, in which a run is completed together with what it did."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from taskq.domain.message import Delivery

Isolation = Literal["read committed", "repeatable read", "serializable"]


class Frame(Protocol):
    """A transaction that has begun, on a connection lent for as long as it lasts; `commit` or `rollback` ends both."""

    @property
    def connection(self) -> Any:
        """The driver's own connection, for any SQL but the transaction's own beginning and end."""
        ...

    def commit(self, delivery: Delivery | None = None, result: bytes = b"") -> None:
        """Commit, and complete a run in the same step where one is given.

        The task is locked as late as can be: right before the commit. Whatever is raised, but for OutcomeUnknown, the
        transaction was rolled back; what the database refuses is raised as its driver raises it.

        Arguments:
            delivery: the run.
            result: what it came to, as JSON.

        Raises:
            LeaseLost: the run is not the newest of its task, or was settled before.
            NotApplied: a statement had failed, the transaction was ended within, or the connection broke before.
            OutcomeUnknown: the connection broke in the middle of the commit.
        """
        ...

    def rollback(self) -> None:
        """Undo it; never raises."""
        ...


class AsyncFrame(Protocol):
    """The same on an asynchronous connection."""

    @property
    def connection(self) -> Any:
        """See Frame."""
        ...

    async def commit(self, delivery: Delivery | None = None, result: bytes = b"") -> None:
        """See Frame."""
        ...

    async def rollback(self) -> None:
        """See Frame."""
        ...


class Lender(Protocol):
    """Lends connections to tasks, apart from those that the backend itself works with."""

    def begin(self, isolation: Isolation | None) -> Frame:
        """Begin a transaction, on a connection for the calling thread.

        Arguments:
            isolation: None: what the database does by itself.

        Raises:
            BackendUnavailable: the database cannot be reached.
        """
        ...

    async def abegin(self, isolation: Isolation | None) -> AsyncFrame:
        """The same on an asynchronous connection, waiting for one that is free."""
        ...


class SettlingBackend(Protocol):
    """What a backend with Capability.TRANSACTIONAL_SETTLE can do beside.

    Where a run is completed by somebody else than the broker, the broker is told (`completed`).
    """

    def lender(self, most: int) -> Lender:
        """Lends connections that are closed with the backend.

        Arguments:
            most: asynchronous ones at once; of the others there are as many as threads that ask.
        """
        ...

    def is_async(self, connection: Any) -> bool:
        """Whether a connection or session of the caller's is an asynchronous one."""
        ...

    def complete_in(self, connection: Any, delivery: Delivery, result: bytes) -> None:
        """Complete a run inside the transaction of the caller's connection or session, from any thread.

        Arguments:
            connection: as for `enqueue_in` of a TransactionalBackend.
            delivery: the run.
            result: what it came to, as JSON.

        Raises:
            LeaseLost: the run is not the newest of its task, or was settled before: roll back.
            ConfigError: the backend does not know the connection, it is asynchronous, or it is in no transaction.
        """
        ...

    async def acomplete_in(self, connection: Any, delivery: Delivery, result: bytes) -> None:
        """The same for an asynchronous connection or session, in any event loop."""
        ...

    async def is_settled(self, delivery: Delivery) -> bool | None:
        """Whether this run is settled, None while an unfinished transaction holds its task.

        False means that no transaction which has completed it can commit any more. A task that is gone has ended.
        """
        ...

    def completed(self, delivery: Delivery) -> None:
        """A run of this worker was completed in a transaction: whoever waits for its end is told."""
        ...
