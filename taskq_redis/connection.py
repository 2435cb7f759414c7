"""One connection to a Redis node, shared by many callers: commands go out as they come, replies come back in order.

A caller that is cancelled leaves its place in the line of replies behind, so that nobody ever gets another's reply.
docs/decisions/0020-redis-own-connection.md says why it is not the one of a driver.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import hiredis
from hiredis import HiredisError, Reader, ReplyError

from taskq_redis.errors import ConnectionLost

MOST_IN_FLIGHT = 1000
"""Commands of one connection that wait for their replies; further callers wait for room."""
_NOTHING = object()
Argument = str | bytes | int | float


def pack(*command: Argument) -> bytes:
    """A command as it goes over the wire.

    >>> pack("GET", "x")
    b'*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nx\\r\\n'
    """
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Login(NamedTuple):
    """How to become somebody at a node; the password is in no representation."""

    user: str = ""
    password: str = ""
    database: int = 0
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, database={self.database})"


class Connection(asyncio.Protocol):
    """An open connection; use `connect` to get one."""

    def __init__(self, address: Address, on_message: Callable[[list[Any]], None] | None = None) -> None:
        self.address = address
        self.is_open = False
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._reader = Reader(notEnoughData=_NOTHING)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._unsent: list[bytes] = []
        self._is_paused = False
        self._room: asyncio.Event = asyncio.Event()
        self._room.set()
        self._watch: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()

    # ------------------------------------------------------------ for callers

    def send(self, command: bytes, timeout: float) -> asyncio.Future[Any]:
        """Send one packed command; the future gives its reply, a ReplyError as a value.

        Raises:
            ConnectionLost: (from the future too) the connection is closed, or no reply came within `timeout` seconds.
        """
        if not self.is_open:
            raise ConnectionLost(f"the connection to {self.address} is closed", was_sent=False)
        future = self._loop.create_future()
        self._waiting.append((future, self._loop.time() + timeout))
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(command)
        if self._watch is None:
            self._watch = self._loop.call_later(timeout, self._check)
        if len(self._waiting) >= MOST_IN_FLIGHT:
            self._room.clear()
        return future

    def push(self, *command: Argument) -> None:
        """Send a command whose replies come as messages (SUBSCRIBE and its like)."""
        if self.is_open:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(pack(*command))

    async def execute(self, *command: Argument, timeout: float) -> Any:
        """Send one command; returns its reply.

        Raises:
            ReplyError: the server answered with an error.
            ConnectionLost: see `send`.
        """
        reply = await self.send(pack(*command), timeout)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def room(self) -> None:
        """Wait until there are fewer than MOST_IN_FLIGHT commands without a reply."""
        await self._room.wait()

    def close(self, why: str = "closed") -> None:
        """Close the connection; whoever waits for a reply gets ConnectionLost."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()
        self._fail(why)

    async def closed(self) -> None:
        """Wait until the connection is closed, by either side."""
        await asyncio.shield(self._closed)

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.is_open = False
        self._fail(str(exc) if exc else "the server closed the connection")

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                self._deliver(reply)
        except HiredisError as error:
            self.close(f"it does not speak the Redis protocol ({error})")

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self._is_paused = False
        self._flush()

    # ------------------------------------------------------------ inside

    def _deliver(self, reply: Any) -> None:
        if self._on_message is not None and (isinstance(reply, list) or not self._waiting):
            self._on_message(reply if isinstance(reply, list) else [reply])
            return
        if not self._waiting:
            self.close(f"an answer without a question ({reply!r:.100})")
            return
        future, _ = self._waiting.popleft()
        if not future.done():
            future.set_result(reply)
        if not self._room.is_set() and len(self._waiting) < MOST_IN_FLIGHT // 2:
            self._room.set()

    def _flush(self) -> None:
        if self._unsent and not self._is_paused and self._transport is not None:
            unsent, self._unsent = self._unsent, []
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def _check(self) -> None:
        self._watch = None
        if not self._waiting:
            return
        deadline = self._waiting[0][1]
        if deadline <= self._loop.time():
            self.close("no reply in time")
        else:
            self._watch = self._loop.call_at(deadline, self._check)

    def _fail(self, why: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(ConnectionLost(f"{self.address}: {why}", was_sent=True))
        self._room.set()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if not self._closed.done():
            self._closed.set_result(None)


async def connect(
    address: Address, login: Login, timeout: float, on_message: Callable[[list[Any]], None] | None = None
) -> Connection:
    """Open a connection and log in.

    Arguments:
        address: the node.
        login: who to be there.
        timeout: seconds for all of it.
        on_message: given every array reply, for a connection that subscribes.

    Raises:
        ConnectionLost: the node cannot be reached.
        ReplyError: it refuses the login.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(address, on_message)
    try:
        async with asyncio.timeout(timeout):
            await loop.create_connection(lambda: connection, address.host, address.port, ssl=login.tls)
            await _greet(connection, login, timeout)
    except (OSError, TimeoutError, ConnectionLost) as error:
        connection.close()
        reason = str(error) or "no answer in time"
        raise ConnectionLost(f"{address}: {reason}", was_sent=False) from None
    except BaseException:
        connection.close()
        raise
    return connection


async def _greet(connection: Connection, login: Login, timeout: float) -> None:
    greetings: list[Sequence[Argument]] = []
    if login.password:
        greetings.append(("AUTH", login.user, login.password) if login.user else ("AUTH", login.password))
    if login.database:
        greetings.append(("SELECT", login.database))
    greetings.append(("CLIENT", "SETNAME", "taskq"))
    sent = [connection.send(pack(*greeting), timeout) for greeting in greetings]
    for answer in await asyncio.gather(*sent):
        if isinstance(answer, ReplyError) and not str(answer).startswith(("NOPERM", "ERR unknown")):
            raise answer
