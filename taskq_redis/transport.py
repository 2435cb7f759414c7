"""Commands to the node of a slot: concurrent callers share round trips, and what may be repeated is repeated here.

Nothing below this module repeats a command, so a lost reply is repeated exactly when and as often as this says. Every
script of taskq may be said twice with the same effect as once.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hiredis import ReplyError

from taskq.errors import InvalidOption, OutcomeUnknown, UnsafeStore
from taskq.ports import BackendOptions
from taskq_redis.connection import Address, Argument, Connection, connect, pack
from taskq_redis.errors import ConnectionLost, Verdict, code_of, judge, map_error
from taskq_redis.keys import Keys
from taskq_redis.routes import Node, Route, route_to
from taskq_redis.scripts import Script
from taskq_redis.urls import Target

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 2.0
SCANNED = 1000
"""Keys that are looked at in one round trip."""


class Backoff:
    """Growing pauses with full jitter, from 20 ms to 2 s."""

    def __init__(self) -> None:
        self._ceiling = FIRST_PAUSE

    def next(self) -> float:
        """The seconds to wait before the next try."""
        pause = random.uniform(0, self._ceiling)
        self._ceiling = min(self._ceiling * 2, LONGEST_PAUSE)
        return pause


class Confirmation(NamedTuple):
    """What must follow a script before it counts as done: it says how many copies there are, of those before it too."""

    command: str
    args: tuple[int, ...]
    what: str

    def is_enough(self, reply: Any) -> bool:
        """Whether the reply counts one copy at the least."""
        return int(reply[0] if isinstance(reply, list) else reply) >= 1


def confirmation(options: BackendOptions) -> Confirmation | None:
    """What an enqueue must wait for, None where the server's own memory and append-only file are enough."""
    patience = int(options.command_timeout * 800)
    if options.durability == "replica":
        return Confirmation("WAIT", (1, patience), "no replica has confirmed it")
    if options.durability == "disk":
        return Confirmation("WAITAOF", (1, 0, patience), "the disk has not confirmed it")
    return None


class Transport:
    """Sends scripts and commands, over one connection to each node.

    Arguments:
        confirmation: sent after each script, on a transport that is used for nothing else, because it blocks.
    """

    def __init__(self, target: Target, options: BackendOptions, confirmation: Confirmation | None = None) -> None:
        self._confirmation = confirmation
        self.route: Route = route_to(target, options.connect_timeout)
        self._target = target
        self._options = options

    async def call(self, keys: Keys, script: Script, args: Sequence[Argument]) -> Any:
        """Run a script in the shard of `keys`.

        Raises:
            BackendUnavailable: the store could not be reached within `retry_for` seconds, nothing was applied.
            OutcomeUnknown: a try may have been applied.
            InvalidOption: an argument cannot be written down.
        """
        packed = _pack("EVALSHA", script.sha, 2, keys.meta, keys.nothing, *args)
        return await self._repeat(_Call(keys.slot, packed, script.name, script, keys.meta))

    async def command(self, slot: int, *command: Argument) -> Any:
        """Send a plain command, which must be safe to repeat."""
        return await self._repeat(_Call(slot, _pack(*command), str(command[0])))

    async def erase(self, keys: Keys) -> None:
        """Delete every key of a shard."""
        prefix, cursor = keys.prefix.encode(), b"0"
        while True:
            look = ("SCAN", cursor, "MATCH", prefix + b"*", "COUNT", SCANNED)
            cursor, found = await self.command(keys.slot, *look)
            if ours := [key for key in found if key.startswith(prefix)]:  # MATCH reads more into some names
                await self.command(keys.slot, "UNLINK", *ours)
            if cursor == b"0":
                return

    async def open(self, slot: int, on_message: Callable[[list[Any]], None] | None = None) -> Connection:
        """A connection of the caller's own to the node of a slot: to block on, or to subscribe with.

        Raises:
            ConnectionLost: the node cannot be reached.
        """
        where = "login"
        try:
            node = await self.route.node(slot)
            where = f"login at {node.address}"
            connection = await connect(node.address, self._target.login, self._options.connect_timeout, on_message)
        except ReplyError as refused:
            raise map_error(refused, where, was_sent=False) from None
        if self.route.closed.is_set():
            connection.close()
            raise ConnectionLost("the backend was closed", was_sent=False)
        return connection

    def reopen(self) -> None:
        """Undo `close`."""
        self.route.reopen()

    async def close(self) -> None:
        """Close all connections; whoever waits for a reply, or for the next try, is told so at once."""
        await self.route.close()

    # ------------------------------------------------------------ one loop around everything

    async def _repeat(self, call: _Call) -> Any:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._options.retry_for
        backoff, was_sent = Backoff(), False
        where, address = call.what, None
        while True:
            error: Exception
            try:
                node = await self.route.node(call.slot)
                where, address = f"{call.what} at {node.address}", node.address
                connection, reply = await self._send(node, call)
            except ConnectionLost as lost:
                was_sent = was_sent or lost.was_sent
                self.route.forget(call.slot, address)
                error = lost
            except ReplyError as refused:  # of a login
                raise map_error(refused, where, was_sent=was_sent) from None
            else:
                if not isinstance(reply, ReplyError):
                    return reply
                verdict = judge(reply)
                if verdict is Verdict.GIVE_UP:
                    raise map_error(reply, where, was_sent=was_sent)
                if verdict is Verdict.ELSEWHERE:
                    self._leave(call.slot, connection, reply)
                error = reply
            pause = backoff.next()
            if self.route.closed.is_set() or loop.time() + pause > give_up:
                raise map_error(error, where, was_sent=was_sent) from None
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Let some time pass, but none once the backend is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.route.closed.wait()

    def _leave(self, slot: int, connection: Connection, reply: ReplyError) -> None:
        self.route.forget(slot, connection.address)
        if code_of(reply) != "MOVED":
            # A replica that was our master: the name may lead to another server by now.
            connection.close("the node serves no writes any more")

    async def _send(self, node: Node, call: _Call) -> tuple[Connection, Any]:
        """Send a command once; the connection that has answered, and its reply."""
        connection = await node.connection()
        await connection.room()
        reply = await connection.send(call.packed, self._options.command_timeout)
        if isinstance(reply, ReplyError):
            verdict = judge(reply)
            if verdict is Verdict.LOAD and call.script is not None:
                reply = (await self._in_a_row(connection, _load(call.script), call.packed))[-1]
            elif verdict is Verdict.ASK and call.script is None:
                connection = await self._asked(connection, reply)
                reply = (await self._in_a_row(connection, pack("ASKING"), call.packed))[-1]
        if self._confirmation is not None and not isinstance(reply, ReplyError):
            await self._confirm(connection, self._confirmation, call)
        return connection, reply

    async def _in_a_row(self, connection: Connection, *commands: bytes) -> Sequence[Any]:
        """The replies to commands that nobody else's can come between."""
        return await asyncio.gather(*[connection.send(command, self._options.command_timeout) for command in commands])

    async def _asked(self, connection: Connection, reply: ReplyError) -> Connection:
        """To where a key has gone before its slot; a script, which needs all keys, waits for the others instead."""
        host, _, port = str(reply).split(" ")[2].rpartition(":")
        return await self.route.node_at(Address(host or connection.address.host, int(port))).connection()

    async def _confirm(self, connection: Connection, wanted: Confirmation, call: _Call) -> None:
        """Wait for copies of all that the server has written so far.

        A write of this connection's own comes first: the script, said twice, may have written nothing.
        """
        mark = pack("HSET", call.key, "mark", 1)
        _, reply = await self._in_a_row(connection, mark, pack(wanted.command, *wanted.args))
        if isinstance(reply, ReplyError):
            await self._confirm_by_setting(connection, wanted, reply)
        elif not wanted.is_enough(reply):
            raise OutcomeUnknown(f"{call.what} at {connection.address}: stored, but {wanted.what}; it may be lost")

    async def _confirm_by_setting(self, connection: Connection, wanted: Confirmation, refusal: ReplyError) -> None:
        """Before Redis 7.2, which brought WAITAOF, only `appendfsync always` says that the disk has it."""
        if wanted.command == "WAITAOF":
            setting = await connection.send(pack("CONFIG", "GET", "appendfsync"), self._options.command_timeout)
            if setting == [b"appendfsync", b"always"]:
                return
        raise UnsafeStore(f"{connection.address} cannot confirm what it stores ({wanted.command}: {refusal})")


class _Call(NamedTuple):
    """One command, ready to be sent as often as it takes."""

    slot: int
    packed: bytes
    what: str
    script: Script | None = None
    key: str = ""


def _pack(*command: Argument) -> bytes:
    """A command of a caller, who may have given anything.

    Raises:
        InvalidOption: a text holds a lone surrogate.
    """
    try:
        return pack(*command)
    except UnicodeEncodeError as error:
        raise InvalidOption(f"an argument of {command[0]!s} cannot be sent to Redis: {error.reason}") from None


def _load(script: Script) -> bytes:
    return pack("SCRIPT", "LOAD", script.source)
