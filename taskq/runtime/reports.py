"""What child processes tell their worker while they run a task: datagrams, which a child that is killed cannot spoil.

A queue of `multiprocessing` would not do: its writers share a lock, and one that is killed while it holds it silences
all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from taskq.domain.record import Progress

LARGEST = 1 << 20
PATIENCE = 1.0
"""Seconds that a child waits for room for what must not be left out."""


class Begun(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A run begins in the process `pid`, which leads a process group of its own."""

    id: str
    fence: int
    pid: int


class Progressed(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """How far a run is."""

    id: str
    fence: int
    progress: Progress


class Logged(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A record for the log of the worker."""

    logger: str
    level: int
    message: str
    fields: dict[str, Any]
    traceback: str | None


Report = Begun | Progressed | Logged
_decoder = msgspec.msgpack.Decoder(Report)
_encoder = msgspec.msgpack.Encoder(enc_hook=str)


class Reports:
    """The worker's end, and the one that its children write to.

    Arguments:
        take: is given each report on a run, in the event loop; records go to the log.
    """

    def __init__(self, take: Callable[[Begun | Progressed], None]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._inbox, self.outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._inbox.setblocking(False)
        self.outbox.setblocking(False)
        self._loop.add_reader(self._inbox.fileno(), self.read)

    def read(self) -> None:
        """Take in what has arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                datagram = self._inbox.recv(LARGEST)
                with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                    match _decoder.decode(datagram):
                        case Logged() as logged:
                            _log(logged)
                        case report:
                            self._take(report)

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._inbox.fileno())
        self._inbox.close()
        self.outbox.close()


def send(outbox: socket.socket, report: Report, patience: float = 0.0) -> None:
    """Tell the worker. What there is no room for is left out, and so is what is too large for a datagram.

    Arguments:
        outbox: the children's end.
        report: what to tell.
        patience: seconds to wait for room.
    """
    datagram = _encoder.encode(report)
    with contextlib.suppress(OSError):
        if patience:
            select.select([], [outbox], [], patience)
        outbox.send(datagram)


class Forwarder(logging.Handler):
    """Sends what a child logs to its worker, whose handlers know form and place."""

    def __init__(self, outbox: socket.socket) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            traceback = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
            fields = dict(getattr(record, "taskq", {}))
            logged = Logged(record.name, record.levelno, record.getMessage(), fields, traceback)
            send(self._outbox, logged, PATIENCE)
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)


def _log(logged: Logged) -> None:
    logger = logging.getLogger(logged.logger)
    record = logger.makeRecord(
        *(logged.logger, logged.level, "", 0, "%s", (logged.message,), None), extra={"taskq": logged.fields}
    )
    record.exc_text = logged.traceback
    if logger.isEnabledFor(logged.level):
        logger.handle(record)
