"""What child processes tell their worker while they run a task: datagrams, which a child that is killed cannot spoil.

A queue of `multiprocessing` would not do: its writers share a lock, and one that is killed while it holds it silences
all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable

import msgspec

from taskq.domain.record import Progress

LARGEST = 1 << 20
Report = tuple[str, int, Progress | None]
"""Of which task and fence; how far it is, None where it begins."""

_decoder = msgspec.msgpack.Decoder(Report)


class Reports:
    """The worker's end, and the one that its children write to.

    Arguments:
        take: is given each report, in the event loop.
    """

    def __init__(self, take: Callable[[tuple[str, int], Progress | None], None]) -> None:
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
                    id, fence, progress = _decoder.decode(datagram)
                    self._take((id, fence), progress)

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
    datagram = msgspec.msgpack.encode(report)
    if patience:
        select.select([], [outbox], [], patience)
    with contextlib.suppress(OSError):
        outbox.send(datagram)
