"""The store: one statement at a time, said again over lost connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, TypeVar
from uuid import uuid4

from taskq.errors import BackendUnavailable, NotApplied, OutcomeUnknown
from taskq.ports import BackendOptions
from taskq_postgres.errors import LostConnection, NoPartition, map_errors
from taskq_postgres.pool import Connection, Pool, close
from taskq_postgres.statements import statements
from taskq_postgres.url import Target

Answer = TypeVar("Answer")
Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]
Runs = Callable[..., Awaitable[list[Row]]]
"""The name of a statement, and its parameters."""

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 2.0
DAYS_AHEAD = 7
LONGEST = 600
"""Seconds for a statement that reads all there is."""


def new_token() -> str:
    """What names a call through all its repetitions."""
    return str(uuid4())


class Store:
    """Runs the statements of `sql/`, each a transaction of its own."""

    def __init__(self, target: Target, options: BackendOptions) -> None:
        self.target = target
        self.options = options
        self.pool = Pool(target, options)
        self._statements = statements(target.schema)

    async def run(self, name: str, parameters: Parameters = (), *, reads: bool = False) -> list[Row]:
        """Run a statement until it has an answer, for at most `options.retry_for` seconds.

        Arguments:
            name: the name of its file.
            parameters: its parameters.
            reads: whether it changes nothing, so that its outcome is never unknown.

        Raises:
            NotApplied: nothing was changed; BackendUnavailable where the server was not there.
            OutcomeUnknown: it may have been applied.
        """
        while True:
            try:
                return await self.repeat(lambda: self.try_once(name, parameters), reads=reads)
            except NoPartition:
                await self.run("make_days", (DAYS_AHEAD,))

    async def repeat(self, attempt: Callable[[], Awaitable[Answer]], *, reads: bool = False) -> Answer:
        """Do what may be done twice until no connection is lost over it, for at most `options.retry_for` seconds.

        Raises:
            NotApplied: nothing was changed; BackendUnavailable where the server was not there.
            OutcomeUnknown: it may have been applied.
        """
        deadline = monotonic() + self.options.retry_for
        pause, is_applied = FIRST_PAUSE, False
        while True:
            try:
                return await attempt()
            except LostConnection as lost:
                is_applied = is_applied or (lost.is_applied and not reads)
                if lost.is_suspect:
                    await self.pool.drop_idle()
                if monotonic() + pause > deadline:
                    kind = OutcomeUnknown if is_applied else BackendUnavailable
                    raise kind(f"Postgres: {lost.detail}") from lost
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE)
            except NotApplied as refused:
                if is_applied:  # by an earlier saying, whose answer was lost
                    raise OutcomeUnknown(str(refused)) from refused
                raise

    async def value(self, name: str, parameters: Parameters = (), *, reads: bool = False) -> Any:
        """The only value of a statement's only row."""
        [row] = await self.run(name, parameters, reads=reads)
        return row[0]

    async def count(self, name: str, parameters: Parameters = ()) -> int:
        """How many rows a statement without a result has changed."""
        [row] = await self.run(name, parameters)
        return int(row[0])

    async def try_once(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement once; for one without a result the answer is a row with the count of changed rows.

        Raises:
            LostConnection: saying it again may help.
        """
        async with self.pool.connection() as connection:
            with map_errors():
                prepare = True if self.target.is_listening else None
                cursor = await connection.execute(self._statements[name], parameters, prepare=prepare, binary=True)
                return await cursor.fetchall() if cursor.description is not None else [(cursor.rowcount,)]

    @asynccontextmanager
    async def transaction(self, *, is_long: bool = False) -> AsyncIterator[Runs]:
        """Run several statements in one transaction, once: what it is given takes a name and parameters.

        Arguments:
            is_long: on a connection of its own, on which a statement may take LONGEST seconds.

        Raises:
            LostConnection: saying all of it again may help.
        """
        async with self._apart() if is_long else self.pool.connection() as connection:
            with map_errors():
                async with connection.transaction():
                    if is_long:
                        await connection.execute(f"set local statement_timeout = {LONGEST * 1000}".encode())

                    async def run(name: str, parameters: Parameters = ()) -> list[Row]:
                        cursor = await connection.execute(self._statements[name], parameters, binary=True)
                        return await cursor.fetchall() if cursor.description is not None else [(cursor.rowcount,)]

                    yield run

    @asynccontextmanager
    async def _apart(self) -> AsyncIterator[Connection]:
        connection = await self.pool.connect()
        try:
            yield connection
        finally:
            await close(connection)
