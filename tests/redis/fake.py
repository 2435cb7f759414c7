"""A server that says what a test wants it to say, and counts who is connected."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from hiredis import Reader

Command = list[bytes]
OPENED = b"*3\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\ne\r\n"
"""The answer to open.lua: schema 1, one shard, epoch "e"."""
ONE = b"*1\r\n:1\r\n"
"""The answer of a script that had one id to deal with: it was done."""
CREATED = b"*3\r\n*1\r\n:1\r\n*0\r\n*0\r\n"
"""The answer to enqueue.lua: one message was created, no queue is full."""


class FakeRedis:
    """Answers each command with what `answer` gives for it; b"" is silence, None the end of all connections.

    `<port>` in an answer stands for the server's own port.

    Connections are greeted, and the first script on the server is taken for open.lua.
    """

    def __init__(self, answer: Callable[[Command], bytes | None]) -> None:
        self._answer = answer
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        """Where it listens."""
        self.seen: Counter[str] = Counter()
        """How often each command came."""
        self.accepted = 0
        """Connections that were ever made."""
        self.may_greet = asyncio.Event()
        """Cleared, nobody who connects is answered."""
        self.may_greet.set()

    @property
    def connected(self) -> int:
        """Connections that are open now."""
        return len(self._writers)

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()

    def tell(self, reply: bytes) -> None:
        """Send to all connections what nobody has just asked for, such as the answer that a command waits for."""
        for writer in self._writers:
            writer.write(reply)

    def stop_listening(self) -> None:
        """Take no connection any more."""
        self._server.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop_listening()
        self.hang_up()
        self.may_greet.set()
        await asyncio.gather(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = Reader()
        try:
            while data := await reader.read(1 << 16):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    await self._reply(command, writer)
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _reply(self, command: Command, writer: asyncio.StreamWriter) -> None:
        name = command[0].decode()
        if name == "CLIENT":
            await self.may_greet.wait()
            writer.write(b"+OK\r\n")
            return
        self.seen[name] += 1
        if name == "EVALSHA" and self.seen[name] == 1:
            writer.write(OPENED)
            return
        reply = self._answer(command)
        if reply is None:
            self.hang_up()
        else:
            writer.write(reply.replace(b"<port>", b"%d" % self.port))
