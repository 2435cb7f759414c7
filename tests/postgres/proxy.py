"""A TCP proxy before a server, which can swallow one reply or request and cut the line."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class LossyProxy:
    """Passes bytes on; after `lose_next_reply` the next answer of the server is dropped with its connection.

    After `lose_next_request` it is what a client says next; the server may be kept from noticing, until `let_go`.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._is_losing = False
        self._is_deaf = False
        self._keeps_the_server = False
        self._kept: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.lost = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._target._replace(netloc=f"{self._target.username}@127.0.0.1:{port}"))

    def lose_next_reply(self) -> None:
        """Drop what the server says next, and cut that connection."""
        self._is_losing = True

    def lose_next_request(self, *, is_noticed: bool = True) -> None:
        """Drop what a client says next, and cut that connection, or only the client's side of it."""
        self._is_deaf, self._keeps_the_server = True, not is_noticed

    def let_go(self) -> None:
        """Cut the server's side of what was cut on the other."""
        for stream in self._kept:
            stream.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        self._lines.add(own)
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        up = asyncio.create_task(self._copy(reader, back, writer))
        try:
            while data := await there.read(65_536):
                if self._is_losing:
                    self._is_losing = False
                    self.lost += 1
                    break
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            up.cancel()
            for stream in (writer, back):
                stream.close()
            self._lines.discard(own)

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self._is_deaf:
                    self._is_deaf = False
                    self.lost += 1
                    client.close()
                    if self._keeps_the_server:
                        self._kept.append(writer)
                        return
                    break
                writer.write(data)
                await writer.drain()
            writer.close()
