"""What the user's own store does with tasks, measured from this process in a namespace that is removed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import NamedTuple

from taskq.app import App
from taskq.backends import create_backend
from taskq.config import WorkerOptions, check_identifier, is_number, is_whole, require, shown
from taskq.domain.message import Delivery
from taskq.domain.outcome import Settlement
from taskq.errors import CapabilityMissing, InvalidOption, NotApplied, TaskqError
from taskq.ports import Backend, Capability, ErasableBackend, WorkerInfo
from taskq.runtime.worker import Worker
from taskq.task import AsyncTask

logger = logging.getLogger("taskq.worker")
LOOKS = 200
"""Round trips that are timed."""
PICKUPS = 100
"""Tasks that an idle worker is given."""
PAUSE = 0.02
"""Seconds for which the worker is left idle before it is given the next one."""
MOST_ONE_BY_ONE = 1000
"""Tasks that are enqueued one after the other."""
ITEMS_A_CALL = 1000
PATIENCE = 10.0
"""Seconds after which a worker that has run nothing is not waited for any more."""
UNCOUNTED = 1
"""Samples that are left out at first: they open connections."""
LEAST_TASKS, MOST_TASKS = 100, 500_000
_NAMESPACE = re.compile(r"bench_[0-9a-f]{8}")


class Latency(NamedTuple):
    """How long something took, of so many samples."""

    samples: int
    p50: float
    """Seconds."""
    p95: float


class Throughput(NamedTuple):
    """How many tasks, and how many seconds they took."""

    tasks: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tasks a second.

        >>> Throughput(100, 0.5).rate
        200.0
        """
        return self.tasks / self.seconds


class Figures(NamedTuple):
    """What was measured."""

    round_trip: Latency
    """Of the smallest look into the store."""
    pickup: Latency
    """From the call that enqueues a task to the begin of its run, by an idle worker."""
    enqueue: Latency
    """Of one `aenqueue` after the other."""
    enqueue_many: Throughput
    drain: Throughput
    """By a worker that finds them queued: from the begin of the first run to the last answer of the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What to measure.

    Raises:
        ConfigError: a value is out of its range; the message says which.
        InvalidOption: the name of the queue cannot be one.

    >>> BenchOptions(tasks=500).one_by_one
    500
    """

    tasks: int = 10_000
    """Tasks that are enqueued in bulk, and drained."""
    queue: str = "bench"
    """Their queue: where a store has several shards its name decides which is measured."""
    concurrency: int = 100
    """Tasks that the worker runs at once."""
    seconds: float = 15.0
    """After which a step ends with what it has."""

    def __post_init__(self) -> None:
        rule = f"tasks must be a whole number from {LEAST_TASKS} to {MOST_TASKS:,}"
        require(is_whole(self.tasks) and LEAST_TASKS <= self.tasks <= MOST_TASKS, rule, self.tasks)
        in_range = is_number(self.seconds) and 0 < self.seconds <= 600
        require(in_range, "seconds must be over 0 and at most 600", self.seconds)
        check_identifier("queue", self.queue)
        _ = self.worker

    @property
    def one_by_one(self) -> int:
        """Tasks that are enqueued one after the other."""
        return min(self.tasks, MOST_ONE_BY_ONE)

    @property
    def worker(self) -> WorkerOptions:
        """How the worker is started."""
        queues = {self.queue: None}
        return WorkerOptions(queues=queues, concurrency=self.concurrency, name="taskq bench", shutdown_timeout=5.0)


class Bench:
    """Measures the store of an application, beside it: in a namespace of its own.

    Arguments:
        app: whose store it is; its tasks are left alone.
        options: what to measure.

    >>> bench = Bench(App("memory://"), BenchOptions(tasks=100))
    >>> asyncio.run(bench.run()).drain.tasks > 100
    True
    >>> bench.is_removed
    True
    """

    def __init__(self, app: App, options: BenchOptions) -> None:
        root = app.stores.root
        is_shared = Capability.SHARED in root.capabilities
        if is_shared and not isinstance(root, ErasableBackend):
            raise CapabilityMissing("this store cannot take away again what a bench leaves in it: none is begun")
        self.options = options
        self.namespace = f"bench_{token_hex(4)}"
        # Memory is no other one for having a file.
        self._app = _beside(app, self.namespace, app.url if is_shared else "memory://")
        self._runs = _Runs()
        self._app.add_middleware(self._runs)
        self._nothing = self._declare()
        self.is_removed = True
        """Whether there is nothing of it in the store."""

    async def run(self) -> Figures:
        """Measure, and take away what that has left, however it ends.

        Raises:
            TaskqError: the store cannot be used, or what was left cannot be taken away: `is_removed` tells.
        """
        await remove(self._app, self.namespace)  # what cannot be taken away is not begun
        self.is_removed = False
        try:
            async with self._app:
                with _each_line_once():
                    return await self._measure(await self._opened())
        finally:
            await remove(self._app, self.namespace)
            self.is_removed = True

    async def _opened(self) -> Backend:
        backend = await self._app.backend()
        try:
            await backend.migrate()
        except NotApplied as error:
            if type(error) is not NotApplied:  # one that says by itself what to do
                raise
            needs = "on Postgres that is a schema, for which the user of the URL needs CREATE on the database"
            raise NotApplied(f"no namespace could be made for the bench ({error}); {needs}") from error
        return backend

    async def _measure(self, backend: Backend) -> Figures:
        round_trip = await self._timed(LOOKS, _seconds_of(lambda: backend.documents.get("bench", "nothing")))
        async with self._worker().running():
            pickup = await self._timed(PICKUPS, self._pick_up)
        enqueue = await self._timed(self.options.one_by_one, _seconds_of(lambda: self._nothing.aenqueue(0)))
        enqueue_many = await self._enqueue_many()
        self._runs.expect(UNCOUNTED + enqueue.samples + enqueue_many.tasks)
        async with self._worker().running():
            drain = await self._runs.ended(self.options.seconds)
        return Figures(round_trip, pickup, enqueue, enqueue_many, drain)

    def _declare(self) -> AsyncTask[[int], None]:
        @self._app.task(name="bench.nothing", queue=self.options.queue)
        async def nothing(number: int) -> None:
            self._runs.begin()

        return nothing

    def _worker(self) -> Worker:
        return Worker(self._app, self.options.worker)

    async def _timed(self, count: int, sample: Callable[[], Awaitable[float]]) -> Latency:
        """Take so many samples, or as many as the time is enough for."""
        for _ in range(UNCOUNTED):
            await sample()
        end = time.perf_counter() + self.options.seconds
        samples = [await sample()]
        while len(samples) < count and time.perf_counter() < end:
            samples.append(await sample())
        return latency(samples)

    async def _pick_up(self) -> float:
        """The seconds from a call that enqueues a task to the begin of its run."""
        await asyncio.sleep(PAUSE)
        self._runs.expect(1)
        begin = time.perf_counter()
        await self._nothing.aenqueue(0)
        await self._runs.ended(self.options.seconds)
        return self._runs.first - begin

    async def _enqueue_many(self) -> Throughput:
        begin, count = time.perf_counter(), 0
        while count < self.options.tasks and time.perf_counter() - begin < self.options.seconds:
            end = min(count + ITEMS_A_CALL, self.options.tasks)
            await self._nothing.aenqueue_many((number,) for number in range(count, end))
            count = end
        return Throughput(count, time.perf_counter() - begin)


class _Runs:
    """Hears of what the worker in this process does: middleware, and the body of the task."""

    def __init__(self) -> None:
        self.first = self._last = 0.0
        """When the first run began, and when the store had the last one's end."""
        self._settled = self._expected = 0
        self._some, self._all = asyncio.Event(), asyncio.Event()

    def expect(self, count: int) -> None:
        """Forget what was; so many runs come now."""
        self.first, self._settled, self._expected = 0.0, 0, count
        self._some.clear()
        self._all.clear()

    def begin(self) -> None:
        """A run begins."""
        self.first = self.first or time.perf_counter()

    def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """The store has the end of a run."""
        self._last = time.perf_counter()
        self._settled += 1
        self._some.set()
        if self._settled >= self._expected:
            self._all.set()

    async def ended(self, seconds: float) -> Throughput:
        """Wait until all have ended, so many seconds after the first end at the most.

        Raises:
            TaskqError: none has ended within PATIENCE.
        """
        if not await _within(PATIENCE, self._some):
            raise TaskqError(f"the worker has run no task within {PATIENCE:g} s: is the store that slow?")
        await _within(seconds, self._all)
        return Throughput(self._settled, self._last - self.first)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for something for so long; whether it has happened."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


@contextlib.contextmanager
def _each_line_once() -> Iterator[None]:
    """Two workers start; what they say of the store is the same."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text in said:
            return False
        said.add(text)
        return True

    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def latency(samples: Sequence[float]) -> Latency:
    """Median and 95th percentile by the nearest rank.

    >>> latency([0.3, 0.1, 0.2, 0.4])
    Latency(samples=4, p50=0.2, p95=0.4)
    """
    ordered = sorted(samples)
    p50, p95 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    return Latency(len(ordered), p50, p95)


async def busy_workers(app: App) -> Sequence[WorkerInfo]:
    """The workers of an application that run tasks, as they have reported last."""
    return [worker for worker in await (await app.backend()).registry.workers() if worker.running]


async def remove(app: App, namespace: str) -> None:
    """Take away what a bench has left in the store of an application.

    Raises:
        InvalidOption: it is no namespace of a bench.
        TaskqError: it could not be taken away.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidOption(f"{shown(namespace)} is no namespace of a bench, such as bench_0a1b2c3d")
    async with create_backend(app.url, _beside(app, namespace, app.url).stores.impatient_options) as backend:
        if isinstance(backend, ErasableBackend):
            await backend.erase()


def _beside(app: App, namespace: str, url: str) -> App:
    """An application without tasks in another namespace of the same store, which waits for no store that is away."""
    beside = App(url, namespace=namespace, durability=app.stores.impatient_options.durability)
    beside.stores.hurry()
    return beside


def _seconds_of(act: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
    """How long it takes to do something."""

    async def sample() -> float:
        begin = time.perf_counter()
        await act()
        return time.perf_counter() - begin

    return sample
