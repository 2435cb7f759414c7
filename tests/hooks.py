"""A server that webhooks call, with answers that a test writes."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from taskq import App, TaskHandle
from taskq.ids import derived_id, shard_in
from taskq.ports import TaskQuery
from taskq.webhook_task import NAME
from taskq.webhooks import Webhooks


class Received(NamedTuple):
    """A request."""

    line: str
    headers: dict[str, str]
    """With names in lower case."""
    body: bytes


Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(status: int, headers: str = "", body: bytes = b"") -> Answering:
    """What is answered: a status, lines of headers, a body."""

    async def write(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} It\r\n{headers}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    return write


class HookServer:
    """Notes requests and answers them: as it was told for each in turn, then with 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[Answering] = []
        self.port = 0
        self.connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/hook?key=hush"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection with one request."""
        own = asyncio.current_task()
        assert own is not None
        self.connections.add(own)
        own.add_done_callback(self.connections.discard)
        try:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines if text)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.received.append(Received(line, headers, body))
            await (self.answers.pop(0) if self.answers else answer(200))(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller has seen enough
        finally:
            writer.close()


@asynccontextmanager
async def hook_server(context: ssl.SSLContext | None = None) -> AsyncIterator[HookServer]:
    """A server on a free port, until the end of the block."""
    hooks = HookServer()
    server = await asyncio.start_server(hooks.serve, "127.0.0.1", 0, ssl=context)
    hooks.port = server.sockets[0].getsockname()[1]
    try:
        yield hooks
    finally:
        server.close()
        for task in hooks.connections:
            task.cancel()
        await asyncio.gather(*hooks.connections, return_exceptions=True)


SECRET = "whsec_" + b64encode(bytes(range(32))).decode()


def webhooks_to(*hooks: HookServer) -> Webhooks:
    """How an application calls these servers."""
    return Webhooks([SECRET], allow=["127.0.0.1"], ports=[each.port for each in hooks] or [80])


def call_of(app: App, handle: TaskHandle[Any]) -> TaskHandle[int]:
    """The handle of the call that tells of a task's end."""
    return app.handle(derived_id(shard_in(handle.id), app.namespace, NAME, handle.id))


async def calls_in(app: App) -> list[str]:
    """The ids of all calls in a store, whatever has become of them, in order."""
    inspector = (await app.backend()).inspector
    found: list[str] = []
    for queue, states in (await inspector.counts()).items():
        for state in states:
            page = await inspector.list(TaskQuery(queue=queue, state=state, limit=1000))
            found += [record.id for record in page.records if record.name == NAME]
    return sorted(found)
