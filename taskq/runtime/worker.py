"""The worker: owns Fetcher, Executor and Settler, and the concerns beside them; from start to a graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from taskq.app import App
from taskq.config import WorkerOptions, resident_mib
from taskq.errors import TaskqError
from taskq.lifespan import life_of
from taskq.ports import MOST_NAMES, Backend, WorkerInfo, WorkerState
from taskq.ports.events import CONTROL, SETTINGS
from taskq.runtime import cache
from taskq.runtime.capture import capturing
from taskq.runtime.executor import Executor
from taskq.runtime.exits import contained_exits
from taskq.runtime.heartbeat import Heartbeat, HeartbeatThread
from taskq.runtime.leases import Leases
from taskq.runtime.maintenance import Maintenance
from taskq.runtime.orders import Orders
from taskq.runtime.parts import Parts, build
from taskq.runtime.profiling import Profiling
from taskq.runtime.run import StopReason
from taskq.runtime.service import Beside, Tick, every

if TYPE_CHECKING:
    from taskq.runtime.beat import Beat

WATCH_EVERY = 0.05
IDLE_WATCH = 0.5
GIVE_BACK_AFTER = 0.1
"""Seconds that a delivery may wait for a slot before another worker may have it."""
MARGIN = 2.5
"""Seconds of the shutdown timeout kept for what comes after the wait: to interrupt, to tell the store, to leave."""
CLAIM_PATIENCE = 2.0
"""Seconds that a stopping worker waits for a claim that is on its way."""
LISTEN_AGAIN = 1.0
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
        self._started = asyncio.Event()
        profiling = Profiling(self.options.profiling, self.app.stores.root.clone)
        self._orders = Orders(lambda: self.parts, self._stopping.is_set, self._dismiss, profiling)
        self._was_told = False
        """Whether somebody has called `stop`: one that drains by itself has not been told yet."""
        self._rushes = False
        self.wants_restart = False
        """Whether it stopped to make room for a fresh process: it has done or grown enough, or threads are stuck."""
        self.is_dismissed = False
        """Whether it was told through its store to shut down."""
        self.beside: list[Beside] = []
        """What else is to be called again and again while it works."""
        self._beat: Beat | None = None
        self.parts: Parts | None = None
        """What it is made of, from its start on."""

    # ------------------------------------------------------------ from outside

    def stop(self) -> None:
        """Drain: take no more tasks, give back what has not begun, wait for the rest. A second call ends at once."""
        if self._was_told and not self._rushes and self.parts is not None:
            logger.warning("told to stop a second time: what runs is interrupted and given back")
            self._rush()
        self._was_told = True
        self.drain()

    def drain(self) -> None:
        """The same, however often it is said: never ends at once."""
        self._stopping.set()
        if self._starting is not None:
            self._starting.reschedule(0.0)
            self._starting = None

    def _dismiss(self) -> None:
        self.is_dismissed = True
        self.drain()

    def _rush(self) -> None:
        self._rushes = True
        if self.parts is not None:
            self.parts.executor.stop_all(StopReason.SHUTDOWN)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run beside other code, for tests and small programs: `async with worker.running(): …`.

        Raises:
            UnsafeStore, SchemaMismatch, BackendUnavailable: the store is not fit to be worked on.
        """
        body = asyncio.current_task()
        assert body is not None
        work = asyncio.create_task(self.run())

        def interrupt(ended: asyncio.Task[None]) -> None:
            """Nobody else would do what the body may be waiting for."""
            if not ended.cancelled() and ended.exception() is not None:
                body.cancel()

        await _first_of(work, self._started.wait())
        if work.done():
            await work
        work.add_done_callback(interrupt)
        try:
            yield self
        except asyncio.CancelledError:
            if work.done() and not work.cancelled() and (error := work.exception()) is not None:
                body.uncancel()
                raise error from None
            raise
        finally:
            work.remove_done_callback(interrupt)
            self.drain()
            await asyncio.wait([work])
        await work

    @property
    def is_healthy(self) -> bool:
        """Whether it has started, and the store has answered its newest claim."""
        return self.parts is not None and self.parts.fetcher.is_healthy

    @property
    def info(self) -> WorkerInfo:
        """What this worker says of itself."""
        parts = self.parts
        running = 0 if parts is None else len(parts.executor.runs)
        pressure = "" if parts is None else parts.restraint.reason
        state = WorkerState.BUSY if running else WorkerState.IDLE
        if pressure:
            state = WorkerState.PRESSED
        if self._orders.holds:
            state = self._orders.state(running)
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
            unresponsive=() if parts is None else parts.executor.unresponsive.ids(),
            pressure=pressure,
            runs={} if parts is None else parts.restraint.figures(),
            tasks=self._names(),
            heartbeat=self.options.heartbeat,
            profiling=self.options.profiling,
        )

    def _names(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.app.tasks) if len(self.app.tasks) <= MOST_NAMES else ()

    # ------------------------------------------------------------ the life

    async def run(self) -> None:
        """Work until `stop`.

        Raises:
            UnsafeStore, SchemaMismatch, BackendUnavailable: the store is not fit to be worked on.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(contained_exits())
            opened = await self._start(stack)
            if opened is None:
                logger.info("worker %s was told to stop before it had started", self.id)
                return
            backend, work = opened
            heartbeat = HeartbeatThread(self._heartbeat(work), self.app.stores.root.clone())
            heartbeat.start()
            stack.push_async_callback(self._say_farewell, backend, heartbeat)
            self._started.set()
            logger.info("worker %s (%s) serves %s", self.id, self.options.name, ", ".join(self.options.queues))
            await self._work(backend, work)
        logger.info("worker %s has stopped after %d runs", self.id, work.settler.settled)

    async def _start(self, stack: AsyncExitStack) -> tuple[Backend, Parts] | None:
        """Open the stores and the application; None where the worker was told to stop meanwhile."""
        if self._stopping.is_set():
            return None
        try:
            async with asyncio.timeout(None) as self._starting:
                # Connections of the worker's own: what its tasks enqueue never waits for them, nor they for it.
                backend: Backend = await stack.enter_async_context(self.app.stores.root.clone())
                for warning in await backend.check():
                    logger.warning(warning)
                await self.app.stores.detached_results()
                self._beat = await self._make_beat() if self.options.beat else None
                state = await stack.enter_async_context(life_of(self.app))
                work = build(self.app, self.options, self.id, backend, state, lambda: self._orders.holds)
                self.parts = work
                wants_logs = any(task.declared.capture_logs for task in self.app.tasks)
                stack.enter_context(capturing(work.executor.runs.get, wants_logs))
                await work.settings.tick()
        except TimeoutError:
            if not self._stopping.is_set():
                raise
            return None
        finally:
            self._starting = None
        return backend, work

    async def _make_beat(self) -> Beat:
        from taskq.runtime.beat import Beat  # most workers have none

        beat = Beat(self.app, self._stopping, self.options.look_every)
        await beat.check()
        return beat

    async def _say_farewell(self, backend: Backend, heartbeat: HeartbeatThread) -> None:
        """Stop the heartbeat first: a tick that came later would bring the worker back among the living."""
        await asyncio.gather(heartbeat.stop(timeout=FAREWELL), self._orders.profiling.farewell(timeout=FAREWELL))
        with contextlib.suppress(TaskqError, TimeoutError):
            await asyncio.wait_for(backend.registry.forget(self.id), FAREWELL)

    async def _work(self, backend: Backend, work: Parts) -> None:
        ended = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                settling = group.create_task(work.settler.run())
                services = self._services(backend, work)
                beside = [group.create_task(every(tick, ended, logger, name)) for name, tick in services]
                if self._beat is not None:
                    beside.append(group.create_task(self._beat.run()))
                fetching = group.create_task(work.fetcher.run())
                maintaining = group.create_task(self._upkeep(backend, work).run())
                try:
                    await self._stopping.wait()
                except asyncio.CancelledError:
                    # The program itself ends (Ctrl-C in `asyncio.run`): nothing is waited for, and nothing lost.
                    self._stopping.set()
                    self._rush()
                    raise
                finally:
                    await self._conclude(work, fetching)
                    for task in (*beside, fetching, maintaining, settling):
                        task.cancel()
        finally:
            work.executor.close()

    async def _conclude(self, work: Parts, fetching: asyncio.Task[None]) -> None:
        """Bring what is held to an end, and tell the store of it."""
        end = time.monotonic() + self.options.shutdown_timeout
        work.fetcher.stop.set()
        work.executor.is_closing = True
        await self._drain(work.executor, end)
        # A claim on its way is waited for, since what it takes must be given back; but not for a store that is away.
        await asyncio.wait([fetching], timeout=min(CLAIM_PATIENCE, max(0.1, end - FAREWELL - time.monotonic())))
        if await work.settler.flush(max(0.5, end - FAREWELL - time.monotonic())):
            await work.farewell(FAREWELL)
        else:
            logger.error(
                "the store could not be told of %d runs in time: their tasks run again when the leases have lapsed",
                len(work.settler.held),
            )

    async def _drain(self, executor: Executor, end: float) -> None:
        """Give back what has not begun, wait for what runs, interrupt what takes too long.

        Arguments:
            end: the monotonic second by which the worker must have stopped.
        """
        patience = max(end - 3 * MARGIN, time.monotonic() + self.options.shutdown_timeout / 2)
        while not self._rushes and time.monotonic() < patience:
            executor.release_all_waiting()
            if await executor.drain(0.1):
                return
        executor.stop_all(StopReason.SHUTDOWN)
        if not await executor.drain(0.5 if self._rushes else MARGIN):
            executor.give_up_all()

    # ------------------------------------------------------------ beside the tasks

    def _services(self, backend: Backend, work: Parts) -> list[tuple[str, Tick]]:
        return [
            ("the watch", lambda: self._watch(work)),
            ("the watch over memory", lambda: self._recycle(work)),
            ("listening", lambda: self._listen(backend, work)),
            *work.ticks(),
            *(service for each in self.beside for service in each(backend)),
        ]

    def _upkeep(self, backend: Backend, work: Parts) -> Maintenance:
        forget_results, stop = partial(cache.expire, self.app), work.fetcher.stop
        return Maintenance(backend, self.options, stop, forget_results, lambda: work.settler.settled)

    async def _watch(self, work: Parts) -> float:
        """End what runs too long, give back what waits too long for a slot; rest while nothing runs."""
        executor = work.executor
        if not executor.runs:
            return IDLE_WATCH
        now = time.monotonic()
        executor.watch(now)
        executor.slots.tend_suspects()
        executor.release_waiting(older_than=now - GIVE_BACK_AFTER)
        return WATCH_EVERY

    async def _recycle(self, work: Parts) -> float:
        """A worker that has done, or has grown, as much as it may makes room for a fresh process."""
        options = self.options
        if self._stopping.is_set():
            return IDLE_WATCH
        if options.max_tasks is not None and work.settler.settled >= options.max_tasks:
            logger.info("worker %s has done %d tasks and restarts", self.id, work.settler.settled)
            self._restart()
        elif options.max_memory is not None and resident_mib() > options.max_memory:
            logger.info("worker %s has grown over %d MiB and restarts", self.id, options.max_memory)
            self._restart()
        elif work.executor.stuck_threads * 2 >= options.threads:
            logger.error("half of the threads are stuck in tasks that do not end: this worker drains and restarts")
            self._restart()
        return IDLE_WATCH

    def _restart(self) -> None:
        self.wants_restart = True
        self._stopping.set()

    async def _listen(self, backend: Backend, work: Parts) -> float:
        """Hints of cancel requests, and of settings; the heartbeat, and the next look, bring what is missed."""
        async for event in backend.events.subscribe([CONTROL, SETTINGS]):
            if event.topic == CONTROL:
                work.executor.stop_ids([event.data], StopReason.CANCEL)
            elif event.data in self.options.queues:
                await work.settings.tick()
        return LISTEN_AGAIN

    def _heartbeat(self, work: Parts) -> Heartbeat:
        leases, hear = Leases(work.executor, work.settler), self._orders.hearing(asyncio.get_running_loop())
        return Heartbeat(self.options, leases.held, lambda: self.info, leases.extended, hear, work.restraint.latency)


async def _first_of(work: asyncio.Task[None], waiting: Coroutine[Any, Any, object]) -> None:
    """Wait for whichever ends first, and leave the first one running."""
    other = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait([work, other], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        work.cancel()
        raise
    finally:
        other.cancel()
