"""What a worker process tells its supervisor of itself, over a pipe: its figures and its health, once a second."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import msgspec

from taskq.domain.figures import Figures, Frame, add, is_of_store
from taskq.domain.health import STARTING, Health, of_several
from taskq.runtime.service import said
from taskq.variables import REPORTS

EVERY = 1.0
BLOCKED = 30.0
"""Seconds for which a process may stand still before it counts as lost."""
LONGEST = 64 * 1024 * 1024
logger = logging.getLogger("taskq.metrics")
_LENGTH = struct.Struct("!I")


class Report(NamedTuple):
    """What one process says."""

    frame: Frame
    """All since its start; on its way, the series that have changed since the last report."""
    health: Health
    gone: Sequence[str] = ()
    """On its way, the series that are there no more."""


_decoder = msgspec.msgpack.Decoder(Report)


class Reporter:
    """Tells the supervisor, from a thread of its own, until nobody listens or the process ends.

    Arguments:
        descriptor: of the pipe.
        report: what to say now; a series that is the same object as before has not changed.
    """

    def __init__(self, descriptor: int, report: Callable[[], Report]) -> None:
        os.set_inheritable(descriptor, False)
        self._pipe = os.fdopen(descriptor, "wb")
        self._report = report
        self._told: Frame = {}
        """What the supervisor has been told. Most of it stays as it is, where little runs and nobody may ask."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskq-reports", daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Tell it once more and end."""
        self._stopped.set()
        self._thread.join(EVERY)

    def _run(self) -> None:
        with contextlib.suppress(OSError), self._pipe:  # nobody listens any more
            while not self._stopped.wait(EVERY):
                self._tell()
            self._tell()

    def _tell(self) -> None:
        try:
            frame, health, _ = self._report()
            news = {name: each for name, each in frame.items() if self._told.get(name) is not each}
            gone = [name for name in self._told if name not in frame]
            data = msgspec.msgpack.encode(Report(news, health, gone))
        except Exception as error:  # noqa: BLE001 - the next one may do better; silence would count as death
            logger.warning("what this process shows could not be told to its supervisor: %s", said(error))
            return
        self._pipe.write(_LENGTH.pack(len(data)) + data)
        self._pipe.flush()
        self._told = frame


def reporting() -> Callable[[Callable[[], Frame], Callable[[], Health]], Reporter] | None:
    """What shows this process to its supervisor; None where there is none, or it does not want to know."""
    descriptor = os.environ.pop(REPORTS, None)
    if descriptor is None:
        return None
    return lambda frame, health: Reporter(int(descriptor), lambda: Report(frame(), health()))


class Listener:
    """Hears what one worker process says.

    Arguments:
        descriptor: of the pipe's other end.
    """

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(descriptor, "rb")
        self.newest = Report({}, STARTING)
        self._heard_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="taskq-reports", daemon=True)
        self._thread.start()

    @property
    def health(self) -> Health:
        """What it says, unless it has fallen silent: who is stopped, or hangs in C, cannot say so itself."""
        silent = time.monotonic() - self._heard_at
        if silent < BLOCKED:
            return self.newest.health
        return Health(False, False, {"process": f"has been silent for {silent:.0f} s"})

    def wait(self) -> None:
        """Hear what is left of a process that has ended."""
        self._thread.join(EVERY)

    def _run(self) -> None:
        with self._pipe:
            while (report := _read(self._pipe)) is not None:
                before, gone = self.newest.frame, set(report.gone)
                kept = {name: each for name, each in before.items() if name not in gone}
                self.newest, self._heard_at = Report(kept | report.frame, report.health), time.monotonic()


class Reports:
    """What all processes under one supervisor have said: they are one target."""

    def __init__(self) -> None:
        self._listeners: dict[int, Listener] = {}
        self._over: Frame = {}
        """The counts of those that have ended."""
        self._lock = threading.Lock()

    def listen(self, index: int, descriptor: int) -> None:
        """Hear a process that was started.

        Arguments:
            index: of the process among those of the supervisor.
            descriptor: of the pipe's other end.
        """
        with self._lock:
            self._listeners[index] = Listener(descriptor)

    def retire(self, index: int) -> None:
        """A process has ended: what it counted stays."""
        listener = self._listeners.get(index)
        if listener is None:
            return
        listener.wait()
        with self._lock:
            del self._listeners[index]
            counted = listener.newest.frame.items()
            over = {name: Figures(each.counts, each.sketches) for name, each in counted if not is_of_store(name)}
            add(self._over, over)

    def frame(self) -> Frame:
        """The sum of all, with the levels of those that live; from any thread."""
        whole: Frame = {}
        with self._lock:
            add(whole, self._over)
            for listener in self._listeners.values():
                frame = listener.newest.frame
                add(whole, {name: each for name, each in frame.items() if not is_of_store(name)}, is_later=False)
                whole |= {name: each for name, each in frame.items() if is_of_store(name)}
        return whole

    def health(self) -> Health:
        """The health of all; from any thread."""
        with self._lock:
            return of_several([listener.health for _, listener in sorted(self._listeners.items())])


def _read(pipe: BinaryIO) -> Report | None:
    """The next report; None where there is none, or what comes is no report."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size or (length := _LENGTH.unpack(head)[0]) > LONGEST:
        return None
    try:
        return _decoder.decode(pipe.read(length))
    except msgspec.DecodeError:
        return None
