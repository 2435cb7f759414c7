"""What a worker and its child processes say to each other: MessagePack over a socket of each child's own.

One socket a child, so that one which is killed in the middle of a word spoils nothing but its own. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from taskq.assumed import Assumed
from taskq.context import current_or_none
from taskq.domain.message import Delivery
from taskq.domain.outcome import CancelledRun, Failed, Outcome, Rejected, Snoozed, Succeeded, Unknown
from taskq.domain.record import Progress
from taskq.runtime.soft_child import held_off

CHUNK = 1 << 16
_LENGTH = struct.Struct(">I")
_OUTCOMES: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Succeeded, Failed, Snoozed, Rejected, CancelledRun, Unknown)
}


class Setup(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """What a child is started with."""

    preload: tuple[str, ...]
    """Modules to import before the first task."""
    log_levels: tuple[int, int]
    """Of all records, and of taskq's."""
    url: str
    """The store of the worker, which need not be the one that the application names in its module."""
    assumed: Assumed
    """What the application of the worker was made under."""


class Assignment(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """All that a child needs to run a task."""

    module: str
    qualified_name: str
    delivery: Delivery
    payload: bytes
    headers: bytes
    timeout: float | None
    """Seconds that the task may take, from its beginning in the child."""
    soft_timeout: float | None = None
    """Seconds after which SoftTimeout is raised inside of it."""
    parent_results: bytes = b"{}"
    """Results of its parents, as JSON."""
    last_checkpoint: bytes = b"null"
    """What an earlier attempt has kept, as JSON."""


class Begun(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A run begins."""

    id: str
    fence: int


class Progressed(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """How far a run is."""

    id: str
    fence: int
    progress: Progress


class Kept(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """What a run keeps for the next attempt."""

    id: str
    fence: int
    checkpoint: bytes


class Logged(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """A record for the log of the worker."""

    logger: str
    level: int
    message: str
    fields: dict[str, Any]
    traceback: str | None


class Ended(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The outcome of a run: the name of its class, and its fields."""

    kind: str
    fields: msgspec.Raw

    @classmethod
    def of(cls, outcome: Outcome) -> Ended:
        """The word for an outcome that a child can come to."""
        return cls(type(outcome).__name__, msgspec.Raw(_encoder.encode(outcome)))

    @property
    def outcome(self) -> Outcome:
        """The outcome."""
        found: Outcome = msgspec.msgpack.decode(self.fields, type=_OUTCOMES[self.kind])
        return found


ToChild = Setup | Assignment
ToWorker = Begun | Progressed | Kept | Logged | Ended
_encoder = msgspec.msgpack.Encoder(enc_hook=str)
to_child = msgspec.msgpack.Decoder(ToChild)
to_worker = msgspec.msgpack.Decoder(ToWorker)


def frame(word: ToChild | ToWorker) -> bytes:
    """A word as it is sent: its length in four bytes, and MessagePack."""
    body = _encoder.encode(word)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Puts words together from what arrives."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in some bytes; yields each word that is whole now."""
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._rest)[0]
            if len(self._rest) < end:
                return
            yield bytes(self._rest[_LENGTH.size : end])
            del self._rest[:end]


class Link:
    """The child's end; any of its threads may send."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._begun = b""
        """The rest of an offer that is under way."""
        self._offers: deque[bytes] = deque(maxlen=1)
        """The newest offer, until it is begun."""

    def send(self, word: ToWorker) -> None:
        """Tell the worker, after what was offered before; where it is gone there is nobody to tell."""
        data = frame(word)
        with held_off(), contextlib.suppress(OSError), self._lock:
            before, self._begun = self._begun, b""
            while self._offers:
                before += self._offers.popleft()
            self._line.sendall(before + data)

    def offer(self, word: ToWorker) -> None:
        """Tell the worker without waiting: of the words that there is no room for only the newest is kept."""
        self._offers.append(frame(word))
        with held_off():
            self._send_offers()

    def words(self) -> Iterator[Any]:
        """Yield what the worker says, until it is gone."""
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := self._line.recv(CHUNK):
                yield from map(to_child.decode, frames.feed(data))

    def _send_offers(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            while self._begun or self._offers:
                self._begun = self._begun or self._offers.popleft()
                self._begun = self._begun[self._line.send(self._begun, socket.MSG_DONTWAIT) :]
        except OSError:  # no room, or nobody to tell
            pass
        finally:
            self._lock.release()


class Forwarder(logging.Handler):
    """Sends what a child logs to its worker, whose handlers know form and place."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        with held_off():
            try:
                traceback = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
                context = current_or_none()
                own = {} if context is None else context.log_fields
                fields = {**own, **getattr(record, "taskq", {})}
                self._link.send(Logged(record.name, record.levelno, record.getMessage(), fields, traceback))
            except Exception:  # noqa: BLE001 - as every handler does
                self.handleError(record)


def log(logged: Logged) -> None:
    """Hand a record of a child to the handlers of this process."""
    logger = logging.getLogger(logged.logger)
    record = logger.makeRecord(
        *(logged.logger, logged.level, "", 0, "%s", (logged.message,), None), extra={"taskq": logged.fields}
    )
    record.exc_text = logged.traceback
    if logger.isEnabledFor(logged.level):
        logger.handle(record)
