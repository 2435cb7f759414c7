"""The application: where tasks are declared, and the way by which they reach a store."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import lru_cache
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, overload

from taskq import blocking
from taskq.backends import Stores
from taskq.config import Settings, backend_url, check_identifier, check_url, require, shown
from taskq.context import TaskContext
from taskq.crypto import crypto_from_environment
from taskq.errors import ConfigError
from taskq.handle import TaskHandle
from taskq.middleware import Stack
from taskq.options import CallKeywords, CallOptions, TaskKeywords, TaskOptions, check_known
from taskq.payload import plain_payload
from taskq.ports import Backend, BackendOptions, Clock, SystemClock
from taskq.registry import TaskRegistry, default_name
from taskq.submitter import Routes, StoreSubmitter, stands_for_unknown
from taskq.task import AsyncTask, Task
from taskq.terms import terms_of_version
from taskq.versions import FIRST

if TYPE_CHECKING:
    from taskq.dead_letters import DeadLetters

P = ParamSpec("P")
R = TypeVar("R")

DURABILITIES = ("process", "disk", "replica")
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
        lifespan: an async context manager over the life of a worker; what it yields is `ctx.state`. It is None in a
            task with executor="process", which runs outside of the worker and shares no object with it: let such a
            task open what it needs by itself, once for its process.
        settings: limits (see Settings).
        clock: the clock of a store in memory, for tests.

    Raises:
        ConfigError: an argument cannot be what it is.
        InvalidOption: the namespace, or a queue of the routes, cannot be one.

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
        require(durability in DURABILITIES, "durability must be process, disk or replica", durability)
        is_function = lifespan is None or callable(lifespan)
        require(is_function, "lifespan must be a function of the application to an async context manager", lifespan)
        known = settings is None or isinstance(settings, Settings)
        require(known, "settings must be taskq.config.Settings(…)", settings)
        self.settings = settings or Settings()
        self.tasks = TaskRegistry()
        self.middleware = Stack()
        options = BackendOptions(namespace=namespace, durability=durability, clock=clock or SystemClock())
        # An empty URL comes of an environment variable that is not set.
        results = check_url("results", results) if results not in (None, "") else None
        crypto = self.settings.crypto or crypto_from_environment()
        self.stores = Stores(backend_url(backend), results, options, crypto)
        self.lifespan = lifespan
        """As it was given; a worker enters it by `taskq.lifespan.life_of`."""
        self._submitter = StoreSubmitter(
            self.stores,
            self.namespace,
            self.settings.max_payload,
            _checked_routes(routes),
            lambda: self.middleware.on_enqueue,
            self.tasks,
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
        """Register a function as a task; used with or without options.

        Arguments:
            function: a `def` or an `async def`; a parameter annotated with TaskContext is filled in by the worker.
            name: None: the importable name of the function, "package.module.function".
            options: see TaskOptions.

        Returns:
            A Task, which is called as the function was; with options a decorator that gives one.

        Raises:
            InvalidOption: an option is unknown or out of its range.
            ConfigError: another function has that name already, or it is no function.

        >>> app = App("memory://")
        >>> @app.task(name="mail.send", queue="mail", timeout=30)
        ... def send(to: str) -> None: ...
        >>> send
        Task('mail.send')
        """
        check_known(TaskOptions, options, "@app.task()")
        declared = TaskOptions(**options)

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            if not callable(function):
                raise ConfigError(f"{shown(function)} is no function; options are given by name, @app.task(name=…)")
            kind = AsyncTask if iscoroutinefunction(function) else Task
            known_as = default_name(function) if name is None else name
            task: Task[..., Any] = kind(known_as, function, declared, self._submitter)
            self.tasks.add(task)
            return task

        return register if function is None else register(function)

    def add_middleware(self, middleware: object) -> None:
        """Add middleware, innermost: what was added before goes around it.

        Arguments:
            middleware: an object with any of the methods of taskq.Middleware.

        Raises:
            ConfigError: it has none of them, or is a class.

        >>> class Stamp:
        ...     def on_enqueue(self, draft):
        ...         draft.metadata["by"] = "web"
        >>> app = App("memory://")
        >>> app.add_middleware(Stamp())
        """
        self.middleware = self.middleware.adding(middleware)

    # ------------------------------------------------------------ the stores

    @property
    def url(self) -> str:
        """The URL of the backend; it may be changed until the backend is first used."""
        return self.stores.url

    @url.setter
    def url(self, url: str) -> None:
        self.stores.url = check_url("backend", url)

    async def backend(self) -> Backend:
        """The open backend of the running loop; it is opened where it is not yet.

        Raises:
            ConfigError: no backend has the scheme of the URL, or the URL is wrong.
            BackendUnavailable: the store cannot be reached.

        >>> import asyncio
        >>> async def example() -> int:
        ...     backend = await App("memory://").backend()
        ...     return len(await backend.inspector.counts())
        >>> asyncio.run(example())
        0
        """
        return await self.stores.backend()

    @property
    def dead_letters(self) -> DeadLetters:
        """The tasks that were given up: to look at, to start anew, to forget.

        >>> App("memory://").dead_letters.list().letters
        []
        """
        from taskq.dead_letters import DeadLetters  # `import taskq` does without it

        return DeadLetters(self)

    async def aclose(self) -> None:
        """Close what the running loop has opened; what is used afterwards is opened anew.

        `asyncio.run` does so at its end by itself.

        >>> import asyncio
        >>> asyncio.run(App("memory://").aclose())
        """
        await self.stores.close()

    def close(self) -> None:
        """Close what blocking calls have opened; what is used afterwards is opened anew.

        The end of the process does so by itself.

        Raises:
            WouldBlock: an event loop runs in this thread: await `aclose` instead.

        >>> app = App("memory://")
        >>> handle = app.enqueue("mail.send", {"to": "a@b.c"})
        >>> app.close()
        """
        blocking.run(self.aclose(), "app.close()", "app.aclose()")

    async def __aenter__(self) -> Self:
        await self.backend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ------------------------------------------------------------ enqueuing

    async def aenqueue(
        self, name: str, payload: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> TaskHandle[Any]:
        """Enqueue by name, for async code that does not import the task.

        Arguments:
            name: the registered name.
            payload: parameter name → value, plain JSON data; checked against the signature where the task is
                registered here in that version, and by the worker in any case.
            options: see CallOptions.

        Returns:
            The handle; its result is plain JSON data where the task is not registered here.

        Raises:
            InvalidOption: the name cannot be one, or an option is unknown or out of its range.
            TaskqError: for the rest see Task.aenqueue.

        >>> import asyncio
        >>> async def example():
        ...     handle = await App("memory://").aenqueue("mail.send", {"to": "a@b.c"}, queue="mail")
        ...     return (await handle.ainfo()).queue
        >>> asyncio.run(example())
        'mail'
        """
        task, encoded = self._by_name(name, payload, options)
        return await task.asubmit(encoded)

    def enqueue(
        self, name: str, payload: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> TaskHandle[Any]:
        """Enqueue by name, for blocking code that does not import the task.

        Arguments:
            name: the registered name.
            payload: parameter name → value, plain JSON data; checked against the signature where the task is
                registered here in that version, and by the worker in any case.
            options: see CallOptions.

        Returns:
            The handle; its result is plain JSON data where the task is not registered here.

        Raises:
            WouldBlock: an event loop runs in this thread: await `aenqueue` instead.
            TaskqError: for the rest see `aenqueue`.

        >>> App("memory://").enqueue("mail.send", {"to": "a@b.c"}, queue="mail").info().queue
        'mail'
        """
        task, encoded = self._by_name(name, payload, options)
        return task.submit(encoded)

    def _by_name(
        self, name: str, payload: Mapping[str, Any] | None, options: CallKeywords
    ) -> tuple[Task[..., Any], bytes]:
        check_identifier("task", name)
        payload = {} if payload is None else payload
        task, version = self.tasks.find(name), CallOptions(version=options.get("version")).version
        if task is not None and version in (None, task.declared.version):
            return task.options(**options), task.codec.encode_object(payload)
        if task is None:
            stranger = self._stranger(name, version or FIRST)
        else:
            stranger = self._make_stranger(name, version or FIRST, task)
        return stranger.options(**options), plain_payload(name, payload)

    def _make_stranger(self, name: str, version: int, ours: Task[..., Any] | None = None) -> Task[..., Any]:
        """A task whose signature is not known here: of another application, or another version of one of ours."""
        declared = TaskOptions(timeout=None) if ours is None else ours.declared
        options = replace(declared, version=version, upcast={}, executor=None)
        stranger: Task[..., Any] = Task(name, stands_for_unknown, options, self._submitter)
        if ours is not None:
            stranger.terms = terms_of_version(ours.terms, version, declared)
        return stranger

    def handle(self, id: str) -> TaskHandle[Any]:
        """The handle of a task whose id is known; nothing is asked of the store.

        Arguments:
            id: a task's id, a UUID in text form.

        Returns:
            A handle whose result is plain JSON data.

        >>> App("memory://").handle("01980000-0000-7000-8000-000000000000")
        TaskHandle('01980000-0000-7000-8000-000000000000')
        """
        return TaskHandle(id, self.stores)


def _checked_routes(routes: Routes | None) -> Routes:
    if routes is None or callable(routes):
        return routes or {}
    given: object = routes
    are_names = isinstance(given, Mapping) and all(isinstance(name, str) for name in given)
    require(are_names, "routes must be a mapping of task names to queues, or a function", given)
    for queue in routes.values():
        check_identifier("queue", queue)
    return routes


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
