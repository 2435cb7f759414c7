"""A TCP proxy before a server that loses a reply on demand."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class LossyProxy:
    """Passes everything on, but for what it was told to lose: the command arrives, its reply does not.

    Arguments:
        port: of the server behind it, on the loopback.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._losses: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0
        """How many replies were lost."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    def lose_reply_to(self, text: str) -> None:
        """Lose the reply to the next command that holds `text`, and break its connection."""
        self._losses.append(text.encode())

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        is_losing = asyncio.Event()
        ways = (self._there(reader, behind_writer, is_losing), self._back(behind_reader, writer, is_losing))
        try:
            with contextlib.suppress(ConnectionError):
                await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.close()
            behind_writer.close()
            self._tasks.discard(task)

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            for text in self._losses:
                if text in data:
                    self._losses.remove(text)
                    losing.set()
                    break
            writer.write(data)
            await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            if losing.is_set():
                self.lost += 1
                return
            writer.write(data)
            await writer.drain()
