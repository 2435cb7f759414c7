"""Commands to the node of a slot: concurrent callers share round trips, and what may be repeated is repeated here.

Nothing below this module repeats a command, so a lost reply is repeated exactly when and as often as this says. Every
script of taskq may be said twice with the same effect as once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import ReplyError

from taskq.ports import BackendOptions
from taskq_redis.connection import Address, Argument, Connection, connect, pack
from taskq_redis.errors import ConnectionLost, Verdict, code_of, judge, map_error
from taskq_redis.routes import Node, Route, route_to
from taskq_redis.scripts import Script
from taskq_redis.urls import Target

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 2.0


class Backoff:
    """Growing pauses with full jitter, from 20 ms to 2 s."""

    def __init__(self) -> None:
        self._ceiling = FIRST_PAUSE

    def next(self) -> float:
        """The seconds to wait before the next try."""
        pause = random.uniform(0, self._ceiling)
        self._ceiling = min(self._ceiling * 2, LONGEST_PAUSE)
        return pause


class Transport:
    """Sends scripts and commands, over one connection to each node."""

    def __init__(self, target: Target, options: BackendOptions) -> None:
        self.route: Route = route_to(target, options.connect_timeout)
        self._target = target
        self._options = options

    async def call(self, slot: int, script: Script, key: str, args: Sequence[Argument]) -> Any:
        """Run a script.

        Arguments:
            slot: the hash slot of all keys that the script touches.
            key: its only declared key, which says where it runs.

        Raises:
            BackendUnavailable: the store could not be reached within `retry_for` seconds, nothing was applied.
            OutcomeUnknown: a try may have been applied.
        """
        command = pack("EVALSHA", script.sha, 1, key, *args)
        return await self._repeat(slot, command, script, script.name)

    async def command(self, slot: int, *command: Argument) -> Any:
        """Send a plain command, which must be safe to repeat."""
        return await self._repeat(slot, pack(*command), None, str(command[0]))

    async def open(self, slot: int, on_message: Callable[[list[Any]], None] | None = None) -> Connection:
        """A connection of the caller's own to the node of a slot: to block on, or to subscribe with.

        Raises:
            ConnectionLost: the node cannot be reached.
        """
        node = await self.route.node(slot)
        try:
            return await connect(node.address, self._target.login, self._options.connect_timeout, on_message)
        except ReplyError as refused:
            raise map_error(refused, f"login at {node.address}", was_sent=False) from None

    async def close(self) -> None:
        """Close all connections."""
        await self.route.close()

    # ------------------------------------------------------------ one loop around everything

    async def _repeat(self, slot: int, command: bytes, script: Script | None, what: str) -> Any:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._options.retry_for
        backoff, was_sent, where = Backoff(), False, ""
        while True:
            error: Exception
            try:
                node = await self.route.node(slot)
                where = f"{what} at {node.address}"
                reply = await self._send(node, command, script)
            except ConnectionLost as lost:
                was_sent = was_sent or lost.was_sent
                self.route.forget()
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
                    await self._leave(node, reply)
                error = reply
            pause = backoff.next()
            if loop.time() + pause > give_up:
                raise map_error(error, where or what, was_sent=was_sent) from None
            await asyncio.sleep(pause)

    async def _leave(self, node: Node, reply: ReplyError) -> None:
        self.route.forget()
        if code_of(reply) != "MOVED":
            # A replica that was our master: the name may lead to another server by now.
            (await node.connection()).close("the node serves no writes any more")

    async def _send(self, node: Node, command: bytes, script: Script | None) -> Any:
        connection = await node.connection()
        await connection.room()
        reply = await self._exchange(connection, command)
        if not isinstance(reply, ReplyError):
            return reply
        verdict = judge(reply)
        if verdict is Verdict.LOAD and script is not None:
            return await self._load_and_repeat(connection, command, script)
        if verdict is Verdict.ASK:
            return await self._ask(reply, command, script)
        return reply

    async def _exchange(self, connection: Connection, command: bytes) -> Any:
        return await connection.send(command, self._options.command_timeout)

    async def _load_and_repeat(self, connection: Connection, command: bytes, script: Script) -> Any:
        timeout = self._options.command_timeout
        loaded = connection.send(pack("SCRIPT", "LOAD", script.source), timeout)
        repeated = connection.send(command, timeout)
        answer, reply = await asyncio.gather(loaded, repeated)
        return answer if isinstance(answer, ReplyError) else reply

    async def _ask(self, reply: ReplyError, command: bytes, script: Script | None) -> Any:
        host, _, port = str(reply).split(" ")[2].rpartition(":")
        connection = await self.route.node_at(Address(host, int(port))).connection()
        timeout = self._options.command_timeout
        asking = connection.send(pack("ASKING"), timeout)
        answer = (await asyncio.gather(asking, connection.send(command, timeout)))[1]
        if isinstance(answer, ReplyError) and judge(answer) is Verdict.LOAD and script is not None:
            await connection.send(pack("SCRIPT", "LOAD", script.source), timeout)
            asking = connection.send(pack("ASKING"), timeout)
            answer = (await asyncio.gather(asking, connection.send(command, timeout)))[1]
        return answer
