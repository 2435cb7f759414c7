"""The application: where tasks are declared, and the way by which they reach a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, overload

from taskq import blocking
from taskq.backends import Stores
from taskq.config import Settings, backend_url, check_identifier
from taskq.context import TaskContext
from taskq.handle import TaskHandle
from taskq.middleware import Stack
from taskq.options import CallKeywords, TaskKeywords, TaskOptions, check_known
from taskq.payload import plain_payload
from taskq.ports import Backend, BackendOptions, Clock, SystemClock
from taskq.registry import TaskRegistry, default_name
from taskq.submitter import Routes, StoreSubmitter, stands_for_unknown
from taskq.task import AsyncTask, Task

P = ParamSpec("P")
R = TypeVar("R")

STRANGERS = 256
"""Names that are kept of tasks which are enqueued by name and not registered here."""
Lifespan = Callable[["App"], AbstractAsyncContextManager[Any]]


class App:
    """An application: its tasks, its backend, its middleware.

    Arguments:
        backend: a URL; None reads TASKQ_BACKEND, else everything stays in memory.
        results: the URL of another backend that keeps the results; None: the same, in the same atomic step.
        namespace: keeps applications apart that share a store.
        durability: what an acknowledged task survives: "process", "disk" or "replica".
        routes: which task goes to which queue, where the task itself does not say.
        lifespan: an async context manager over the life of a worker; what it yields is `ctx.state`.
        settings: limits (see Settings).
        clock: the clock of a store in memory, for tests.

    >>> app = App("memory://")
    >>> @app.task(name="add")
    ... def add(x: int, y: int) -> int:
    ...     return x + y
    >>> add(1, 2)
    3
    """

    def __init__(
        self,
        backend: str | None = None,
        *,
        results: str | None = None,
        namespace: str = "default",
        durability: str = "process",
        routes: Routes | None = None,
        lifespan: Lifespan | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.namespace = check_identifier("namespace", namespace)
        self.settings = settings or Settings()
        self.tasks = TaskRegistry()
        self.middleware = Stack()
        options = BackendOptions(namespace=namespace, durability=durability, clock=clock or SystemClock())
        self.stores = Stores(backend_url(backend), results, options)
        self._lifespan = lifespan
        self._submitter = StoreSubmitter(
            self.stores, self.namespace, self.settings.max_payload, routes or {}, lambda: self.middleware.on_enqueue
        )

        self._stranger = lru_cache(STRANGERS)(self._make_stranger)

    # ------------------------------------------------------------ declaring

    @overload
    def task(self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[Concatenate[TaskContext, P], R], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, *, name: str | None = None, **options: Unpack[TaskKeywords]) -> _Decorator: ...
    def task(self, function: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
        """Register a function as a task; used with or without options (see TaskOptions).

        Raises:
            InvalidOption: an option is unknown or out of its range.
            ConfigError: another function has that name already.
        """
        check_known(TaskOptions, options, "@app.task()")
        declared = TaskOptions(**options)

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            kind = AsyncTask if iscoroutinefunction(function) else Task
            task: Task[..., Any] = kind(name or default_name(function), function, declared, self._submitter)
            self.tasks.add(task)
            return task

        return register if function is None else register(function)

    def add_middleware(self, middleware: object) -> None:
        """Add an object with any of `on_enqueue`, `around_run`, `on_settled` (see taskq.middleware)."""
        self.middleware = self.middleware.adding(middleware)

    # ------------------------------------------------------------ the stores

    @property
    def url(self) -> str:
        """The URL of the backend; it may be changed until the backend is first used."""
        return self.stores.url

    @url.setter
    def url(self, url: str) -> None:
        self.stores.url = url

    async def backend(self) -> Backend:
        """The open backend of the running loop."""
        return await self.stores.backend()

    async def aclose(self) -> None:
        """Close what the running loop has opened."""
        await self.stores.close()

    def close(self) -> None:
        """Close what blocking calls have opened."""
        blocking.run(self.aclose(), "app.close()", "app.aclose()")

    async def __aenter__(self) -> Self:
        await self.backend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Any]:
        """The life of a worker: enters what `lifespan=` gave, and yields its state."""
        if self._lifespan is None:
            yield None
            return
        async with self._lifespan(self) as state:
            yield state

    # ------------------------------------------------------------ enqueuing

    async def aenqueue(
        self, name: str, payload: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> TaskHandle[Any]:
        """Enqueue by name, for code that does not import the task; checked where the task is registered here.

        Arguments:
            name: the registered name.
            payload: parameter name → value, plain JSON data.
            options: see CallOptions.
        """
        task, encoded = self._by_name(name, payload, options)
        return await task.asubmit(encoded)

    def enqueue(
        self, name: str, payload: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> TaskHandle[Any]:
        """The blocking twin of `aenqueue`."""
        task, encoded = self._by_name(name, payload, options)
        return task.submit(encoded)

    def _by_name(
        self, name: str, payload: Mapping[str, Any] | None, options: CallKeywords
    ) -> tuple[Task[..., Any], bytes]:
        payload = {} if payload is None else payload
        task = self.tasks.find(name)
        if task is not None:
            return task.options(**options), task.codec.encode_object(payload)
        return self._stranger(name).options(**options), plain_payload(name, payload)

    def _make_stranger(self, name: str) -> Task[..., Any]:
        """A task of which only the name is known here."""
        return Task(name, stands_for_unknown, TaskOptions(), self._submitter)

    def handle(self, id: str) -> TaskHandle[Any]:
        """The handle of a task whose id is known."""
        return TaskHandle(id, self.stores)


class _Decorator:
    """What `@app.task(…)` with options gives: typed by what it is put on."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        raise NotImplementedError  # pragma: no cover - for type checkers only
