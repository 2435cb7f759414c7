"""One subscribed connection for a backend, kept up over losses, shared by all who listen."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from taskq.errors import TaskqError
from taskq_redis.connection import Connection
from taskq_redis.errors import ConnectionLost
from taskq_redis.store import Store
from taskq_redis.transport import Backoff

Listener = Callable[[bytes | None], None]
"""Told of each message; of None after the connection was lost, when messages may have been missed."""

_PING_EVERY = 15.0
"""Seconds between two signs of life on a subscribed connection."""


class Listening:
    """Channels and their listeners."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._confirmed: dict[str, asyncio.Event] = {}
        self._connection: Connection | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_alive = True

    async def listen(self, channel: str, listener: Listener, patience: float) -> bool:
        """Subscribe; False where the server has not confirmed it within `patience` seconds (it goes on trying)."""
        self._listeners[channel].add(listener)
        confirmed = self._confirmed.setdefault(channel, asyncio.Event())
        if len(self._listeners[channel]) == 1 and self._connection is not None:
            self._connection.push("SUBSCRIBE", channel)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await confirmed.wait()
        return confirmed.is_set()

    def stop(self, channel: str, listener: Listener) -> None:
        """Undo `listen`."""
        self._listeners[channel].discard(listener)
        if not self._listeners[channel]:
            del self._listeners[channel]
            self._confirmed.pop(channel, None)
            if self._connection is not None:
                self._connection.push("UNSUBSCRIBE", channel)

    async def close(self) -> None:
        """Stop listening."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None

    # ------------------------------------------------------------ inside

    async def _run(self) -> None:
        backoff, route, slot = Backoff(), self._store.transport.route, self._store.keys[0].slot
        while not route.closed.is_set():
            with contextlib.suppress(ConnectionLost, TaskqError):
                connection = await self._store.transport.open(slot, self._on_message)
                backoff = Backoff()
                await self._serve(connection)
            route.forget(slot)
            await asyncio.sleep(backoff.next())

    async def _serve(self, connection: Connection) -> None:
        """Keep a connection until it is lost."""
        self._connection = connection
        try:
            if self._listeners:
                connection.push("SUBSCRIBE", *self._listeners)
            while not await self._is_closed_within(connection, _PING_EVERY):
                self._is_alive = False
                connection.push("PING")
                await self._is_closed_within(connection, self._store.options.command_timeout)
                if not self._is_alive:
                    connection.close("no sign of life")
        finally:
            self._connection = None
            connection.close()
            for confirmed in self._confirmed.values():
                confirmed.clear()
            for listeners in list(self._listeners.values()):
                for listener in tuple(listeners):
                    listener(None)

    async def _is_closed_within(self, connection: Connection, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await connection.closed()
        return not connection.is_open

    def _on_message(self, message: list[Any]) -> None:
        self._is_alive = True
        kind = message[0]
        if kind == b"message":
            for listener in tuple(self._listeners.get(message[1].decode(), ())):
                listener(message[2])
        elif kind == b"subscribe":
            confirmed = self._confirmed.get(message[1].decode())
            if confirmed is not None:
                confirmed.set()
