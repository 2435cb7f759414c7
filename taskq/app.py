"""The application: where tasks are declared, and the way by which they reach a store."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, overload

from taskq import blocking
from taskq.assumed import assumed
from taskq.backends import Stores
from taskq.by_name import ByName
from taskq.config import Settings, check_identifier, check_url, require, shown
from taskq.context import TaskContext
from taskq.domain.schedule import Misfire, Overlap, Rules
from taskq.domain.timing import Timing
from taskq.errors import ConfigError
from taskq.flows.batch import FlowMethods
from taskq.handle import TaskHandle
from taskq.middleware import Stack
from taskq.options import CallKeywords, TaskKeywords, TaskOptions, as_seconds, check_known
from taskq.periodic import Declaration, Declarations, Fires, ScheduleKeywords
from taskq.ports import Backend, Clock
from taskq.registry import TaskRegistry, default_name
from taskq.schedule_spec import plain_timing
from taskq.submitter import Routes, StoreSubmitter, checked_routes
from taskq.task import AsyncTask, Task

if TYPE_CHECKING:
    from taskq.dead_letters import DeadLetters
    from taskq.schedules import Schedules

P = ParamSpec("P")
R = TypeVar("R")
AnyTask = TypeVar("AnyTask", bound=Task[..., Any])

DURABILITIES = ("process", "disk", "replica")
Lifespan = Callable[["App"], AbstractAsyncContextManager[Any]]


class App(FlowMethods):
    """An application: its tasks, its backend, its middleware.

    Arguments:
        backend: a URL; None reads TASKQ_BACKEND, else everything stays in memory.
        results: the URL of another backend that keeps the results; None: the same, in the same atomic step.
        namespace: keeps applications apart that share a store.
        durability: what an acknowledged task survives: "process" (None), "disk" or "replica".
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
        durability: str | None = None,
        routes: Routes | None = None,
        lifespan: Lifespan | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.namespace = check_identifier("namespace", namespace)
        require(durability in (None, *DURABILITIES), "durability must be process, disk or replica", durability)
        is_function = lifespan is None or callable(lifespan)
        require(is_function, "lifespan must be a function of the application to an async context manager", lifespan)
        known = settings is None or isinstance(settings, Settings)
        require(known, "settings must be taskq.config.Settings(…)", settings)
        self.assumed = assumed()
        self.settings = settings or self.assumed.settings
        self.tasks = TaskRegistry()
        self.middleware = Stack()
        options = self.assumed.options(namespace, durability, clock)
        # An empty URL comes of an environment variable that is not set.
        results = check_url("results", results) if results not in (None, "") else None
        crypto = self.settings.crypto or self.assumed.crypto()
        self.stores = Stores(self.assumed.url_of(backend), results, options, crypto)
        self.lifespan = lifespan
        """As it was given; a worker enters it by `taskq.lifespan.life_of`."""
        self._submitter = StoreSubmitter(
            self.stores,
            self.namespace,
            self.settings.max_payload,
            checked_routes(routes),
            lambda: self.middleware.on_enqueue,
            self.tasks,
            self.settings.webhooks or self.assumed.webhooks(),
        )
        self.tasks.add_own("taskq.webhook", lambda: self._submitter.webhook_task)
        self._by_name = ByName(self.tasks, self._submitter, self.assumed.retention)
        self.declarations = Declarations()
        """The schedules that the code declares."""
        self.fires = Fires(self._by_name, self.namespace, crypto)
        """What makes the tasks that schedules fire."""

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
        declared = TaskOptions(**{"retention": self.assumed.retention, **options})

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            if not callable(function):
                raise ConfigError(f"{shown(function)} is no function; options are given by name, @app.task(name=…)")
            kind = AsyncTask if iscoroutinefunction(function) else Task
            known_as = default_name(function) if name is None else name
            task: Task[..., Any] = kind(known_as, function, declared, self._submitter)
            self.tasks.add(task)
            return task

        return register if function is None else register(function)

    def periodic(
        self,
        timing: Timing,
        /,
        *,
        task: Task[..., Any] | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        misfire: Misfire | str = Misfire.LATEST,
        overlap: Overlap | str = Overlap.ALLOW,
        jitter: float | timedelta = 0.0,
        start: datetime | None = None,
        end: datetime | None = None,
        **options: Unpack[ScheduleKeywords],
    ) -> Callable[[AnyTask], AnyTask]:
        """Declare a schedule of a task; `taskq beat` has it fire.

        Arguments:
            timing: at which instants: Cron(…), Every(…) or At(…).
            task: what fires; None: the task that this stands above.
            args, kwargs: the arguments of each call.
            name: of the schedule; None: that of the task.
            misfire, overlap, jitter, start, end: see taskq.domain.schedule.Rules; jitter may be a timedelta.
            options: of each call, see taskq.options.CallOptions.

        Returns:
            A decorator, which gives the task as it is; where `task` is given nothing is left to do for it.

        Raises:
            InvalidOption: an option is unknown or out of its range.
            ConfigError: another schedule has that name.

        >>> from taskq.domain.timing import Cron, Every
        >>> app = App("memory://")
        >>> @app.periodic(Cron("0 3 * * MON-FRI", timezone="Europe/Berlin"), misfire="latest", jitter=30)
        ... @app.task(name="report")
        ... def report(days: int = 1) -> None: ...
        >>> _ = app.periodic(Every(days=7), task=report, args=(7,), name="weekly report")
        >>> [declaration.name for declaration in app.declarations]
        ['report', 'weekly report']
        """
        plain_timing(timing)
        spread = as_seconds(jitter)
        rules = Rules(timing=timing, misfire=misfire, overlap=overlap, jitter=spread, start=start, end=end)

        def declare(fires: AnyTask) -> AnyTask:
            given: object = fires
            if not isinstance(given, Task):
                raise ConfigError(f"@app.periodic(…) stands above @app.task, not above {shown(given)}")
            known_as = fires.name if name is None else name
            self.declarations.add(Declaration(known_as, fires, rules, args, kwargs, options))
            return fires

        if task is not None:
            declare(task)
        return declare

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

    @property
    def schedules(self) -> Schedules:
        """The schedules, at run time.

        >>> App("memory://").schedules.list()
        []
        """
        from taskq.schedules import Schedules  # as above

        return Schedules(self)

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
        task, encoded = self._by_name.call(name, payload, options)
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
        task, encoded = self._by_name.call(name, payload, options)
        return task.submit(encoded)

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
