"""Extends the leases of everything held, from a thread and a connection of its own.

So neither a blocked event loop nor a C call that releases the GIL lets a lease lapse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from taskq.config import WorkerOptions
from taskq.domain.message import Delivery
from taskq.ports import Backend, Extension, Order, WorkerInfo
from taskq.runtime.aside import aside
from taskq.runtime.latency import Latency
from taskq.runtime.service import every

logger = logging.getLogger("taskq.worker")

Held = Callable[[], Sequence[Delivery]]
Report = Callable[[], WorkerInfo]


class Heartbeat:
    """One tick extends, reports, and brings back what the store has to say.

    Arguments:
        options: lease and heartbeat.
        held: the deliveries whose leases are to be extended.
        report: what the worker says of itself.
        on_extension: is given what was asked about, the answer, and the monotonic time from before the question.
        on_commands: is given what the worker is told.
        latency: is told how long the store took.
    """

    def __init__(
        self,
        options: WorkerOptions,
        held: Held,
        report: Report,
        on_extension: Callable[[Sequence[Delivery], Extension, float], None],
        on_commands: Callable[[Sequence[Order]], None],
        latency: Latency,
    ) -> None:
        self._options = options
        self._held = held
        self._report = report
        self._on_extension = on_extension
        self._on_commands = on_commands
        self._latency = latency

    async def tick(self, backend: Backend) -> float:
        """Extend and report once; returns the seconds to the next time."""
        asked_at = time.monotonic()
        deliveries = self._held()
        if deliveries:
            with self._latency.timed():
                extension = await backend.broker.extend(deliveries, self._options.lease)
            self._on_extension(deliveries, extension, asked_at)
        with self._latency.timed():
            commands = await backend.registry.report(self._report(), ttl=3 * self._options.heartbeat)
        if commands:
            self._on_commands(commands)
        return max(0.0, self._options.heartbeat - (time.monotonic() - asked_at))


class HeartbeatThread:
    """Runs a heartbeat in a thread with an event loop of its own, until it is told to stop, whatever goes wrong."""

    def __init__(self, heartbeat: Heartbeat, backend: Backend) -> None:
        self._heartbeat = heartbeat
        self._backend = backend
        self._lock = threading.Lock()
        self._is_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._work, name="taskq-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self, timeout: float = 5.0) -> None:
        """End, and wait for the end."""
        with self._lock:
            self._is_stopped = True
            if self._loop is not None and self._stop is not None:
                with contextlib.suppress(RuntimeError):  # it has ended
                    self._loop.call_soon_threadsafe(self._stop.set)
        await aside("taskq-farewell", partial(self._thread.join, timeout))

    def _work(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        with self._lock:
            self._stop = asyncio.Event()
            self._loop = asyncio.get_running_loop()
            if self._is_stopped:
                return
        await every(self._beat, self._stop, logger, "the heartbeat")

    async def _beat(self) -> float:
        """Open the store and tick until told to stop; where it cannot be opened, this is said again."""
        assert self._stop is not None
        async with self._backend as backend:
            await every(lambda: self._heartbeat.tick(backend), self._stop, logger, "the heartbeat")
        return 0.0
