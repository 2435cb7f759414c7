"""The worker: owns Fetcher, Executor and Settler, and the concerns beside them; from start to a graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Self
from uuid import uuid4

from taskq.app import App
from taskq.config import WorkerOptions, resident_mib
from taskq.domain.message import Delivery
from taskq.errors import TaskqError
from taskq.ports import Backend, Extension, WorkerCommand, WorkerInfo, WorkerState
from taskq.ports.events import CONTROL
from taskq.runtime.executor import Executor
from taskq.runtime.exits import contained_exits
from taskq.runtime.fetcher import Fetcher
from taskq.runtime.heartbeat import Heartbeat, HeartbeatThread
from taskq.runtime.maintenance import Maintenance
from taskq.runtime.run import StopReason
from taskq.runtime.service import every
from taskq.runtime.settler import Settler

WATCH_EVERY = 0.05
IDLE_WATCH = 0.5
GIVE_BACK_AFTER = 0.1
"""Seconds that a delivery may wait for a slot before another worker may have it."""
MARGIN = 2.5
"""Seconds of the shutdown timeout kept for what comes after the wait: to interrupt, to tell the store, to leave."""
FAREWELL = 1.0
"""Seconds that a store which is away may hold up the very end."""
logger = logging.getLogger("taskq.worker")


class Worker:
    """Runs the tasks of an application until it is told to stop.

    Arguments:
        app: the application whose tasks it knows.
        options: queues, slots, lease and so on.

    >>> import asyncio
    >>> from taskq import App
    >>> app = App("memory://")
    >>> @app.task(name="add")
    ... async def add(x: int, y: int) -> int:
    ...     return x + y
    >>> async def main() -> int:
    ...     worker = Worker(app)
    ...     async with worker.running():
    ...         handle = await add.aenqueue(1, 2)
    ...         return await handle.aresult(timeout=10)
    >>> asyncio.run(main())
    3
    """

    def __init__(self, app: App, options: WorkerOptions | None = None) -> None:
        self.app = app
        self.options = options or WorkerOptions()
        self.id = uuid4().hex[:16]
        """Random for each start of a process."""
        self._started_at = time.time()
        self._starting: asyncio.Timeout | None = None
        """Bounds the start, while it lasts: a worker that is told to stop breaks it off."""
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_paused = False
        self._rushes = False
        self._is_built = False
        self.wants_restart = False
        """Whether it stopped because so many threads were stuck that a fresh process is better."""
        self._executor: Executor
        self._settler: Settler
        self._fetcher: Fetcher

    # ------------------------------------------------------------ from outside

    def stop(self) -> None:
        """Drain: take no more tasks, give back what has not begun, wait for the rest. A second call ends at once."""
        if self._stopping.is_set() and self._is_built and not self._rushes:
            self._rushes = True
            logger.warning("told to stop a second time: what runs is interrupted and given back")
            for run in tuple(self._executor.runs.values()):
                self._executor.stop_run(run, StopReason.SHUTDOWN)
        self._begin_to_stop()

    def _begin_to_stop(self) -> None:
        self._stopping.set()
        if self._starting is not None:
            self._starting.reschedule(0.0)
            self._starting = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run beside other code, for tests and small programs: `async with worker.running(): …`."""
        task = asyncio.create_task(self.run())
        try:
            yield self
        finally:
            self._begin_to_stop()
            await task

    @property
    def info(self) -> WorkerInfo:
        """What this worker says of itself."""
        running = len(self._executor.runs)
        state = WorkerState.BUSY if running else WorkerState.IDLE
        if self._is_paused:
            state = WorkerState.PAUSED
        if self._stopping.is_set():
            state = WorkerState.SHUTTING_DOWN
        return WorkerInfo(
            id=self.id,
            name=self.options.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=tuple(self.options.queues),
            state=state,
            running=running,
            concurrency=self.options.concurrency,
            started_at=self._started_at,
        )

    # ------------------------------------------------------------ the life

    async def run(self) -> None:
        """Work until `stop`.

        Raises:
            UnsafeStore, SchemaMismatch, BackendUnavailable: the store is not fit to be worked on.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(contained_exits())
            backend = await self._start(stack)
            if backend is None:
                logger.info("worker %s was told to stop before it had started", self.id)
                return
            heartbeat = HeartbeatThread(self._heartbeat(), self.app.stores.root.clone())
            heartbeat.start()
            stack.push_async_callback(heartbeat.stop, timeout=FAREWELL)
            logger.info("worker %s (%s) serves %s", self.id, self.options.name, ", ".join(self.options.queues))
            await self._work(backend)
            with contextlib.suppress(TaskqError, TimeoutError):
                await asyncio.wait_for(backend.registry.forget(self.id), FAREWELL)
        logger.info("worker %s has stopped after %d runs", self.id, self._settler.settled)
        self._ended.set()

    async def _start(self, stack: AsyncExitStack) -> Backend | None:
        """Open the store and the application; None where the worker was told to stop meanwhile."""
        if self._stopping.is_set():
            return None
        try:
            async with asyncio.timeout(None) as self._starting:
                # Connections of the worker's own: what its tasks enqueue never waits for them, nor they for it.
                backend: Backend = await stack.enter_async_context(self.app.stores.root.clone())
                for warning in await backend.check():
                    logger.warning(warning)
                state = await stack.enter_async_context(self.app.lifespan())
                self._build(backend, state)
        except TimeoutError:
            if not self._stopping.is_set():
                raise
            return None
        finally:
            self._starting = None
        return backend

    def _build(self, backend: Backend, state: object) -> None:
        self._settler = Settler(backend.broker, self.app.middleware.on_settled)
        self._executor = Executor(self.app, self.options, self._settler.put, lambda: len(self._settler.held), state)
        self._fetcher = Fetcher(backend.broker, self._executor, self.options, self.id, self._is_held_back)
        self._is_built = True

    async def _work(self, backend: Backend) -> None:
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(self._settler.run())
            watching = group.create_task(every(self._watch, self._ended, logger, "the watch"))
            reporting = group.create_task(
                every(lambda: self._report_progress(backend), self._ended, logger, "progress")
            )
            fetching = group.create_task(self._fetcher.run())
            listening = group.create_task(self._listen(backend))
            upkeep = group.create_task(Maintenance(backend.maintenance, self.options, self._fetcher.stop).run())
            await self._stopping.wait()
            self._fetcher.stop.set()
            end = time.monotonic() + self.options.shutdown_timeout
            await self._drain(end)
            # A claim that still waits for a store that is away is given up: its lease will lapse.
            for task in (listening, reporting, fetching, upkeep):
                task.cancel()
            await self._settler.flush(max(0.5, end - FAREWELL - time.monotonic()))
            for task in (watching, settling):
                task.cancel()
        self._executor.close()

    async def _drain(self, end: float) -> None:
        """Give back what has not begun, wait for what runs, interrupt what takes too long.

        Arguments:
            end: the monotonic second by which the worker must have stopped.
        """
        self._executor.is_closing = True
        patience = max(end - 3 * MARGIN, time.monotonic() + self.options.shutdown_timeout / 2)
        while not self._rushes and time.monotonic() < patience:
            self._executor.release_waiting(older_than=float("inf"))
            if await self._executor.drain(0.1):
                return
        for run in tuple(self._executor.runs.values()):
            self._executor.stop_run(run, StopReason.SHUTDOWN)
        if not await self._executor.drain(0.5 if self._rushes else MARGIN):
            self._executor.give_up_all()

    # ------------------------------------------------------------ beside the tasks

    def _is_held_back(self) -> bool:
        return self._is_paused or self._settler.is_full

    async def _watch(self) -> float:
        """End what runs too long, give back what waits too long for a slot; rest while nothing runs."""
        self._recycle()
        if not self._executor.runs:
            return IDLE_WATCH
        now = time.monotonic()
        self._executor.watch(now)
        self._executor.slots.tend_suspects()
        self._executor.release_waiting(older_than=now - GIVE_BACK_AFTER)
        return WATCH_EVERY

    def _recycle(self) -> None:
        """A worker that has done, or has grown, as much as it may makes room for a fresh process."""
        if self._stopping.is_set():
            return
        options = self.options
        if options.max_tasks is not None and self._settler.settled >= options.max_tasks:
            logger.info("worker %s has done %d tasks and restarts", self.id, self._settler.settled)
            self._restart()
        elif options.max_memory is not None and resident_mib() > options.max_memory:
            logger.info("worker %s has grown over %d MiB and restarts", self.id, options.max_memory)
            self._restart()
        elif self._executor.stuck_threads * 2 >= options.threads:
            logger.error("half of the threads are stuck in tasks that do not end: this worker drains and restarts")
            self._restart()

    def _restart(self) -> None:
        self.wants_restart = True
        self._stopping.set()

    async def _report_progress(self, backend: Backend) -> float:
        for run in tuple(self._executor.runs.values()):
            progress, run.progress = run.progress, None
            if progress is not None and not await backend.annotations.progress(run.delivery, progress):
                self._executor.stop_run(run, StopReason.LOST)
        return 0.5

    async def _listen(self, backend: Backend) -> None:
        """Hints of cancel requests; the heartbeat brings what is missed."""
        while True:
            with contextlib.suppress(TaskqError):
                async for event in backend.events.subscribe([CONTROL]):
                    self._executor.stop_ids([event.data], StopReason.CANCEL)
            await asyncio.sleep(1.0)

    # ------------------------------------------------------------ the heartbeat's side, in its own thread

    def _heartbeat(self) -> Heartbeat:
        loop = asyncio.get_running_loop()

        def on_extension(extension: Extension, asked_at: float) -> None:
            loop.call_soon_threadsafe(self._extended, extension, asked_at)

        def on_commands(commands: Sequence[WorkerCommand]) -> None:
            loop.call_soon_threadsafe(self._obey, commands)

        return Heartbeat(self.options, self._held, lambda: self.info, on_extension, on_commands)

    def _held(self) -> list[Delivery]:
        """What is held, copied in one step of the interpreter: the loop's thread goes on changing it.

        A run past its hard timeout is left out: a worker that cannot end it must not keep its lease alive.
        """
        now = time.monotonic()
        runs = [run.delivery for run in list(self._executor.runs.values()) if run.may_be_extended(now)]
        return runs + list(self._settler.held.copy().values())

    def _extended(self, extension: Extension, asked_at: float) -> None:
        self._executor.stop_ids(extension.lost, StopReason.LOST)
        self._executor.stop_ids(extension.cancel_wanted, StopReason.CANCEL)
        for run in self._executor.runs.values():
            if run.claimed_at < asked_at:
                run.renewed_at = asked_at

    def _obey(self, commands: Sequence[WorkerCommand]) -> None:
        for command in commands:
            logger.info("told to %s", command)
            match command:
                case WorkerCommand.PAUSE:
                    self._is_paused = True
                case WorkerCommand.RESUME:
                    self._is_paused = False
                    self._executor.freed.set()
                case WorkerCommand.SHUTDOWN:
                    self._begin_to_stop()
