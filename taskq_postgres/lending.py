"""Connections lent to tasks for transactions of their own: made when one is needed, kept for the next one, cleaned.

What runs there is the user's SQL, which may take as long as it likes and leave anything behind. So these connections
are apart from those that the backend works with, and what a session keeps is discarded before another task has it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from taskq.errors import BackendUnavailable
from taskq.ports.transactions import Isolation
from taskq_postgres.errors import LostConnection, map_errors
from taskq_postgres.frames import AsyncConnection, AsyncFrame, Connection, Frame, Terms
from taskq_postgres.pool import MAX_LIFETIME
from taskq_postgres.store import FIRST_PAUSE, LONGEST_PAUSE, Store

_LEVELS = {level.name.lower().replace("_", " "): level for level in psycopg.IsolationLevel}
CLEAN = "discard all"


class PostgresLender:
    """See taskq.ports.transactions.Lender.

    Arguments:
        store: of the backend.
        terms: on which runs are completed.
        most: asynchronous connections at once. Of the others a thread has one at a time.
    """

    def __init__(self, store: Store, terms: Terms, most: int) -> None:
        self._store = store
        self._terms = terms
        self._patience = store.options.command_timeout
        self._free = asyncio.Semaphore(most)
        self._idle: list[tuple[AsyncConnection, float]] = []
        self._idle_in_threads: list[tuple[Connection, float]] = []
        self._lock = threading.Lock()
        self._is_open = True

    # ------------------------------------------------------------ asynchronous

    async def abegin(self, isolation: Isolation | None) -> AsyncFrame:
        """Begin a transaction."""
        await self._free.acquire()
        try:
            connection, made_at, transaction = await self._store.repeat(lambda: self._abegin_once(isolation))
        except BaseException:
            self._free.release()
            raise
        give_back = partial(self._atake_back, connection, made_at)
        return AsyncFrame(connection, transaction, self._terms, self._patience, give_back)

    async def _abegin_once(self, isolation: Isolation | None) -> tuple[AsyncConnection, float, Any]:
        """Begin on an idle connection that still works, else on a new one.

        Raises:
            LostConnection: saying it again may help.
        """
        while True:
            is_new = not self._idle
            connection, made_at = (await self._aconnect(), monotonic()) if is_new else self._idle.pop()
            try:
                with map_errors(was_sent=False):
                    await connection.set_isolation_level(None if isolation is None else _LEVELS[isolation])
                    transaction = connection.transaction()
                    async with asyncio.timeout(self._patience):
                        await transaction.__aenter__()
                return connection, made_at, transaction
            except BaseException as error:
                await _aclose(connection)
                if is_new or not isinstance(error, LostConnection):
                    raise

    async def _aconnect(self) -> AsyncConnection:
        options, target = self._store.options, self._store.target
        with map_errors(was_sent=False):
            try:
                async with asyncio.timeout(options.connect_timeout):
                    return await psycopg.AsyncConnection.connect(target.conninfo, prepare_threshold=None)
            except TimeoutError:
                raise LostConnection("no connection in time", is_applied=False) from None

    async def _atake_back(self, connection: AsyncConnection, made_at: float) -> None:
        """Keep a connection for the next task, if it can be made as new."""
        try:
            if self._may_be_kept(connection, made_at):
                async with asyncio.timeout(self._patience):
                    await connection.set_isolation_level(None)
                    if self._store.target.is_listening:  # behind a pooler the session is not ours
                        await connection.set_autocommit(True)
                        await connection.execute(CLEAN)
                        await connection.set_autocommit(False)
                connection.row_factory = tuple_row
                self._idle.append((connection, made_at))
                return
        except (psycopg.Error, OSError):  # TimeoutError among them
            pass
        finally:
            self._free.release()
        await _aclose(connection)

    # ------------------------------------------------------------ in threads

    def begin(self, isolation: Isolation | None) -> Frame:
        """Begin a transaction, saying it again over lost connections as the store does."""
        deadline = monotonic() + self._store.options.retry_for
        pause = FIRST_PAUSE
        while True:
            try:
                connection, made_at, transaction = self._begin_once(isolation)
            except LostConnection as lost:
                if monotonic() + pause > deadline:
                    raise BackendUnavailable(f"Postgres: {lost.detail}") from lost
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                give_back = partial(self._take_back, connection, made_at)
                return Frame(connection, transaction, self._terms, self._patience, give_back)

    def _begin_once(self, isolation: Isolation | None) -> tuple[Connection, float, Any]:
        while True:
            with self._lock:
                idle = self._idle_in_threads.pop() if self._idle_in_threads else None
            connection, made_at = idle or (self._connect(), monotonic())
            try:
                with map_errors(was_sent=False):
                    connection.isolation_level = None if isolation is None else _LEVELS[isolation]
                    transaction = connection.transaction()
                    transaction.__enter__()
                return connection, made_at, transaction
            except BaseException as error:
                _close(connection)
                if idle is None or not isinstance(error, LostConnection):
                    raise

    def _connect(self) -> Connection:
        with map_errors(was_sent=False):
            return psycopg.connect(self._store.target.conninfo, prepare_threshold=None)

    def _take_back(self, connection: Connection, made_at: float) -> None:
        try:
            if self._may_be_kept(connection, made_at):
                connection.isolation_level = None
                if self._store.target.is_listening:
                    connection.autocommit = True
                    connection.execute(CLEAN)
                    connection.autocommit = False
                connection.row_factory = tuple_row
                with self._lock:
                    if self._is_open:
                        self._idle_in_threads.append((connection, made_at))
                        return
        except (psycopg.Error, OSError):
            pass
        _close(connection)

    # ------------------------------------------------------------ both

    async def close(self) -> None:
        """Close what lies idle; what is lent is closed when it comes back."""
        with self._lock:
            self._is_open = False
            idle, self._idle = self._idle, []
            in_threads, self._idle_in_threads = self._idle_in_threads, []
        for connection, _ in idle:
            await _aclose(connection)
        for blocking, _ in in_threads:
            _close(blocking)

    def _may_be_kept(self, connection: AsyncConnection | Connection, made_at: float) -> bool:
        """Whether a connection is fit for another task: what a task has set on it is not undone one by one."""
        is_idle = not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        is_as_before = not (connection.autocommit or connection.read_only or connection.deferrable)
        is_unprepared = connection.prepare_threshold is None
        return self._is_open and is_idle and is_as_before and is_unprepared and monotonic() - made_at < MAX_LIFETIME


async def _aclose(connection: AsyncConnection) -> None:
    with suppress(psycopg.Error, OSError):
        await connection.close()


def _close(connection: Connection) -> None:
    with suppress(psycopg.Error, OSError):
        connection.close()
