"""A small pool of connections: made when one is needed, the last one used goes first, closed when old or suspect.

psycopg_pool would do, but for two habits: it reconnects behind the scenes with pauses that double up to minutes, and it
checks a connection with a round trip before each use. Here the retry loop of the store does both: a call finds a
connection broken, drops it with all that are idle, and makes a fresh one.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import psycopg

from taskq.ports import BackendOptions
from taskq_postgres.errors import LostConnection, map_errors
from taskq_postgres.url import Target

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

MAX_LIFETIME = 1800.0
"""Seconds after which a connection is replaced, so that memory and a change of the server's name are picked up."""


class Pool:
    """Hands out connections, at most `options.pool_size` at once."""

    def __init__(self, target: Target, options: BackendOptions) -> None:
        self._target = target
        self._options = options
        self._free = asyncio.Semaphore(options.pool_size)
        self._idle: list[tuple[Connection, float]] = []
        self._is_open = True

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; one that comes back broken, or within a transaction, is closed."""
        async with self._free:
            connection, made_at = await self._take()
            watch = asyncio.get_running_loop().call_later(self._options.command_timeout, hang_up, connection)
            is_whole = False
            try:
                yield connection
                is_whole = True
            finally:
                watch.cancel()
                if is_whole and self._is_good(connection, made_at):
                    self._idle.append((connection, made_at))
                else:
                    await close(connection)

    async def connect(self) -> Connection:
        """A new connection, apart from the pool."""
        with map_errors(was_sent=False):
            try:
                async with asyncio.timeout(self._options.connect_timeout):
                    return await psycopg.AsyncConnection.connect(
                        self._target.conninfo,
                        autocommit=True,
                        prepare_threshold=5 if self._target.is_listening else None,
                    )
            except TimeoutError:
                raise LostConnection("no connection in time", is_applied=False) from None

    async def drop_idle(self) -> None:
        """Close what lies idle: after one connection broke the others are suspect."""
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            await close(connection)

    async def close(self) -> None:
        """Close everything; what is lent is closed when it comes back."""
        self._is_open = False
        await self.drop_idle()

    async def _take(self) -> tuple[Connection, float]:
        while self._idle:
            connection, made_at = self._idle.pop()
            if self._is_good(connection, made_at):
                return connection, made_at
            await close(connection)
        return await self.connect(), monotonic()

    def _is_good(self, connection: Connection, made_at: float) -> bool:
        idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        return self._is_open and idle and not connection.closed and monotonic() - made_at < MAX_LIFETIME


async def close(connection: Connection) -> None:
    """Close a connection, whatever state it is in."""
    with suppress(psycopg.Error, OSError):
        await connection.close()


def hang_up(connection: Connection | psycopg.Connection[tuple[Any, ...]]) -> None:
    """Break a connection whose server does not answer: whoever waits on it is told at once."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
