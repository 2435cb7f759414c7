"""What the tests of the worker share: waiting for a condition, options that do not dawdle, backends that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from taskq import App, Failure, Task, TaskState
from taskq.config import WorkerOptions
from taskq.domain.outcome import Crash
from taskq.domain.record import TaskRecord
from taskq.errors import BackendUnavailable, OutcomeUnknown
from taskq.handle import TaskHandle
from taskq.ports import QueueConfig, Settled
from taskq.runtime.parts import Parts
from taskq.runtime.worker import Worker
from taskq.task import AsyncTask

PATIENCE = 30.0
"""Seconds after which a test stops waiting for what should have happened long ago."""


async def until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Wait until `condition` gives something true, and return it.

    Arguments:
        condition: asked again and again; may be a coroutine function.
        what: names it in the error.
        timeout: seconds to go on asking.
    """
    end = time.monotonic() + timeout
    pause = 0.001
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.05)


async def state_of(handle: TaskHandle[Any]) -> TaskState:
    """The state of a task, however its store is doing."""
    return (await handle.ainfo()).state


async def until_state(handle: TaskHandle[Any], *states: TaskState) -> TaskRecord:
    """Wait until the task is in one of these states, and return its record."""

    async def reached() -> TaskRecord | None:
        record = await handle.ainfo()
        return record if record.state in states else None

    found: TaskRecord = await until(reached, f"task {handle.id} is {' or '.join(states)}")
    return found


async def ended(handle: TaskHandle[Any]) -> TaskRecord:
    """Wait for the end of a task, and return its record."""
    await handle.await_(PATIENCE)
    return await handle.ainfo()


def options(**said: Any) -> WorkerOptions:
    """Options of a worker that looks often and stops soon."""
    return WorkerOptions(**{"poll": 0.1, "threads": 4, "processes": 2, "shutdown_timeout": 8.0, **said})


@contextlib.asynccontextmanager
async def work(app: App, **said: Any) -> AsyncIterator[Worker]:
    """A worker of this application that works meanwhile."""
    async with Worker(app, options(**said)).running() as worker:
        yield worker


def parts(worker: Worker) -> Parts:
    """The parts of a worker that has started."""
    assert worker.parts is not None
    return worker.parts


async def until_held_back(worker: Worker) -> None:
    """Wait until the fetcher has looked and seen that it must not claim: then no claim is on its way either."""
    fetcher, seen = parts(worker).fetcher, [False]
    look = fetcher._is_held_back

    def noted() -> bool:
        seen[0] = look()
        return seen[0]

    fetcher._is_held_back = noted
    await until(lambda: seen[0], "it is held back")


@contextlib.asynccontextmanager
async def dying_of(app: App, handles: list[TaskHandle[Any]]) -> AsyncIterator[None]:
    """The only tasks of the default queue are held meanwhile; at the end they have lost all leases but one."""
    broker = (await app.backend()).broker
    turns = (await handles[0].ainfo()).max_lost_leases - 1
    for turn in range(turns):
        fetched = await broker.fetch(["default"], 100, worker="ghost", lease=30.0, request_id=f"request {turn}")
        assert {delivery.id for delivery in fetched.deliveries} == {handle.id for handle in handles}
        if turn == turns - 1:
            yield
        crash = Crash(Failure("ProcessCrashed", "gone"))
        await broker.settle([Settled(delivery, crash) for delivery in fetched.deliveries])


async def make_suspects(app: App, handles: list[TaskHandle[Any]]) -> None:
    """Have the only tasks of the default queue lose all leases but one."""
    async with dying_of(app, handles):
        pass


@contextlib.asynccontextmanager
async def suspect_behind(
    app: App, suspect: TaskHandle[Any], gate: Gate, waits: Task[[], Any]
) -> AsyncIterator[tuple[Worker, TaskHandle[Any]]]:
    """A worker, and the handle of a run that is at its gate before the worker can claim the suspect."""
    async with contextlib.AsyncExitStack() as stack:
        async with dying_of(app, [suspect]):
            worker = await stack.enter_async_context(work(app))
            handle = await waits.aenqueue()
            await gate.until_arrived(1)
        yield worker, handle


async def registered(app: App, worker: Worker) -> None:
    """Wait until the store knows the worker."""

    async def known() -> bool:
        registry = (await app.backend()).registry
        return any(info.id == worker.id for info in await registry.workers())

    await until(known, "the worker has reported")


def adopt(app: App, task: Task[..., Any], **options: Any) -> Task[..., Any]:
    """The task of another application in this one: a child process finds it where it was declared."""
    adopted: Task[..., Any] = app.task(name=task.name, executor=task.executor, **options)(task.function)
    return adopted


class Proxy:
    """Stands before any object: counts the calls of its methods, and may break them or hold them up.

    Attributes:
        calls: how often each method was called.
        away: while true, every asynchronous method raises BackendUnavailable.
    """

    def __init__(self, inner: Any, calls: Counter[str], switch: Switch) -> None:
        self._inner = inner
        self._calls = calls
        self._switch = switch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return self._guarded(name, found)

    def _guarded(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._calls[name] += 1
            self._switch.ask(name, args, kwargs)
            result = await method(*args, **kwargs)
            self._switch.answer(name)
            return result

        return call


class Switch:
    """What the proxies of one backend obey."""

    def __init__(self) -> None:
        self.away: set[str] | bool = False
        """True: every call fails; a set: the calls of these methods."""
        self.lost_replies: Counter[str] = Counter()
        """How many of the next replies of each method get lost on their way."""
        self.on_call: Callable[[str, tuple[Any, ...], dict[str, Any]], None] = lambda name, args, kwargs: None
        """Sees each call before it is made, and may raise."""

    def ask(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call is to be made."""
        if self.away is True or (self.away and name in self.away):
            raise BackendUnavailable("the store is away")
        self.on_call(name, args, kwargs)

    def answer(self, name: str) -> None:
        """A reply is on its way."""
        if self.lost_replies[name] > 0:
            self.lost_replies[name] -= 1
            raise OutcomeUnknown("the reply was lost")


class WrappedBackend:
    """A backend whose ports stand behind proxies that share one counter and one switch."""

    PORTS = ("broker", "maintenance", "annotations", "results", "inspector", "registry", "flows")

    def __init__(self, inner: Any, calls: Counter[str] | None = None, switch: Switch | None = None) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter() if calls is None else calls
        self.switch = switch or Switch()
        for port in self.PORTS:
            setattr(self, port, Proxy(getattr(inner, port), self.calls, self.switch))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def clone(self) -> WrappedBackend:
        """Another on the same store, behind the same switch."""
        return WrappedBackend(self.inner.clone(), self.calls, self.switch)

    async def __aenter__(self) -> WrappedBackend:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.inner.__aexit__(*exception)


def wrap(app: App) -> WrappedBackend:
    """Put the application's backend behind proxies, before its first use."""
    wrapped = WrappedBackend(app.stores.root)
    _set_root(app, wrapped)
    return wrapped


def twin(app: App) -> App:
    """Another application on the same store, as another process would have it."""
    other = App(app.url)
    if app.url.startswith("memory:"):
        root = app.stores.root
        _set_root(other, (root.inner if isinstance(root, WrappedBackend) else root).clone())
    return other


def _set_root(app: App, backend: Any) -> None:
    stores: Any = app.stores
    stores._opener()._root = backend


class Gate:
    """Holds loop tasks up until it is opened, and counts those that have come."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self.arrived = 0
        self.interrupted = 0

    def open(self) -> None:
        """Let everyone through."""
        self._open.set()

    async def passed(self) -> None:
        """Wait for the gate."""
        self.arrived += 1
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.interrupted += 1
            raise

    async def until_arrived(self, number: int) -> None:
        """Wait until so many have come."""
        await until(lambda: self.arrived >= number, f"{number} tasks have begun")


def gated(app: App) -> tuple[Gate, AsyncTask[[], str]]:
    """A gate, and a loop task that waits at it and then is "done"."""
    gate = Gate()

    @app.task(name="waits")
    async def waits() -> str:
        await gate.passed()
        return "done"

    return gate, waits


class Crowd:
    """Counts who is inside, and how many there ever were at once; each stays until others had a chance to come."""

    def __init__(self) -> None:
        self.inside: Counter[Any] = Counter()
        self.most: Counter[Any] = Counter()
        self.came = 0

    async def visit(self, key: Any = None) -> None:
        """Come in, stay for some turns of the loop, and go."""
        self.came += 1
        self.inside[key] += 1
        self.most[key] = max(self.most[key], self.inside[key])
        for _ in range(10):
            await asyncio.sleep(0)
        self.inside[key] -= 1


async def configure(app: App, queue: str = "default", **settings: Any) -> None:
    """Set something for a queue."""
    await (await app.backend()).queues.configure(queue, QueueConfig(**settings))
