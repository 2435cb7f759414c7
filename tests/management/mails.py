"""A server that takes mails, as far as the tests need one (RFC 5321)."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailServer:
    """Notes mails; refuses the first of them where it is told to."""

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.refusals = 0
        """How many mails it is still to refuse."""
        self.logins: list[str] = []
        self.context: ssl.SSLContext | None = None
        """With which it begins TLS when it is asked to."""
        self.port = 0
        self.conversations: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation."""
        own = asyncio.current_task()
        assert own is not None
        self.conversations.add(own)
        own.add_done_callback(self.conversations.discard)
        try:
            writer.write(b"220 here\r\n")
            while line := (await reader.readline()).decode().strip():
                writer.write(await self._answer(line, reader, writer))
                await writer.drain()
                if line.upper() == "STARTTLS" and self.context is not None:
                    await writer.start_tls(self.context)
                if line.upper() == "QUIT":
                    break
        except (ConnectionError, ssl.SSLError):
            pass  # the caller has seen enough
        finally:
            writer.close()

    async def _answer(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        verb = line.split(":")[0].upper()
        if verb == "RCPT TO":
            self.recipients.append(line.partition(":")[2].strip("<> "))
        if verb == "MAIL FROM" and self.refusals:
            self.refusals -= 1
            return b"451 later, hush\r\n"
        if verb.startswith("EHLO"):
            return b"250-here\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"
        if verb.startswith("AUTH PLAIN"):
            self.logins.append(b64decode(line.split()[-1]).decode())
            return b"235 welcome\r\n" if self.logins[-1].endswith("hush") else b"535 no, not with hash\r\n"
        if verb == "STARTTLS" and self.context is not None:
            return b"220 go on\r\n"
        if verb != "DATA":
            return b"250 yes\r\n"
        writer.write(b"354 go on\r\n")
        body = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
        self.received.append(message_from_bytes(body, policy=policy.default))
        return b"250 taken\r\n"


@asynccontextmanager
async def mail_server(context: ssl.SSLContext | None = None, *, is_tls: bool = False) -> AsyncIterator[MailServer]:
    """A server on a free port, until the end of the block.

    Arguments:
        context: of TLS, if it speaks it.
        is_tls: whether it does from the first byte on.
    """
    mails = MailServer()
    mails.context = None if is_tls else context
    server = await asyncio.start_server(mails.serve, "127.0.0.1", 0, ssl=context if is_tls else None)
    mails.port = server.sockets[0].getsockname()[1]
    try:
        yield mails
    finally:
        server.close()
        for task in mails.conversations:
            task.cancel()
        await asyncio.gather(*mails.conversations, return_exceptions=True)
