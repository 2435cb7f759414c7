"""The application: where tasks are declared, and the one way by which they reach a store."""

from __future__ import annotations

import fnmatch
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast, overload

from taskq import blocking
from taskq.backends import BackendPool, Stores
from taskq.config import Settings, backend_url, check_identifier
from taskq.context import TaskContext, current_or_none
from taskq.domain.envelope import seal
from taskq.domain.message import DEFAULT_QUEUE, Message
from taskq.domain.retry import to_dict
from taskq.errors import (
    CapabilityMissing,
    IdempotencyConflict,
    InvalidPayload,
    LeaseLost,
    PayloadTooLarge,
    QueueFull,
)
from taskq.handle import TaskHandle
from taskq.headers import Headers, encode_headers
from taskq.ids import derived_id, digest, new_id
from taskq.middleware import Draft, Stack
from taskq.payload import plain_payload
from taskq.ports import (
    Backend,
    BackendOptions,
    Capability,
    Clock,
    Enqueued,
    EnqueueStatus,
    Parent,
    ResultStore,
    SystemClock,
)
from taskq.ports.backend import TransactionalBackend
from taskq.registry import TaskRegistry, default_name
from taskq.task import AsyncTask, CallOptions, Task, TaskOptions, as_priority, as_seconds

P = ParamSpec("P")
R = TypeVar("R")

Routes = Mapping[str, str] | Callable[[str], str | None]
"""Task name, or pattern as in fnmatch, → queue; or a function from the name to the queue or None."""
IMPATIENCE = 3.0
"""Seconds after which a command that only looks gives up on a store."""
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
        self.url = backend_url(backend)
        self.namespace = check_identifier("namespace", namespace)
        self.settings = settings or Settings()
        self.tasks = TaskRegistry()
        self.middleware = Stack()
        self._routes = routes or {}
        self._lifespan = lifespan
        self._results_url = results
        self._backend_options = BackendOptions(namespace=namespace, durability=durability, clock=clock or SystemClock())
        self._pool: Stores | None = None
        self._results_pool: BackendPool | None = None

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
    def task(self, /, *, name: str | None = None, **options: Any) -> _Decorator: ...
    def task(self, function: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
        """Register a function as a task; used with or without options (see TaskOptions).

        Raises:
            InvalidOption: an option is unknown or out of its range.
            ConfigError: another function has that name already.
        """
        declared = TaskOptions(**options)

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            kind = AsyncTask if iscoroutinefunction(function) else Task
            task: Task[..., Any] = kind(name or default_name(function), function, declared, self)
            self.tasks.add(task)
            return task

        return register if function is None else register(function)

    def add_middleware(self, middleware: object) -> None:
        """Add an object with any of `on_enqueue`, `around_run`, `on_settled` (see taskq.middleware)."""
        self.middleware = self.middleware.adding(middleware)

    # ------------------------------------------------------------ the backend

    @property
    def backends(self) -> Stores:
        """The store, opened once for each event loop."""
        if self._pool is None or self._pool.url != self.url:
            self._pool = BackendPool(self.url, self._backend_options)
        return self._pool

    @contextmanager
    def using(self, pool: Stores) -> Iterator[None]:
        """Send tasks to other stores for a while, and keep results there too (used by the test harness)."""
        url, own, results = self.url, self._pool, self._results_url
        self.url, self._pool, self._results_url = pool.url, pool, None
        try:
            yield
        finally:
            self.url, self._pool, self._results_url = url, own, results

    async def backend(self) -> Backend:
        """The open backend of the running loop."""
        return await self.backends.get()

    @property
    def impatient_options(self) -> BackendOptions:
        """How to open the store for one look: a store that is away is not waited for."""
        return replace(self._backend_options, retry_for=IMPATIENCE, connect_timeout=IMPATIENCE)

    @property
    def has_detached_results(self) -> bool:
        """Whether results are kept on another backend than the tasks."""
        return self._results_url is not None

    async def detached_results(self) -> ResultStore | None:
        """Where results are kept, if not with the tasks."""
        if self._results_url is None:
            return None
        if self._results_pool is None:
            self._results_pool = BackendPool(self._results_url, self._backend_options)
        return (await self._results_pool.get()).results

    async def aclose(self) -> None:
        """Close what the running loop has opened."""
        for pool in (self._pool, self._results_pool):
            if pool is not None:
                await pool.close()

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

    async def aenqueue(self, name: str, payload: Mapping[str, Any] | None = None, **options: Any) -> TaskHandle[Any]:
        """Enqueue by name, for code that does not import the task; checked where the task is registered here.

        Arguments:
            name: the registered name.
            payload: parameter name → value, plain JSON data.
            options: see CallOptions.
        """
        task = self.tasks.find(name)
        if task is not None:
            return await task.options(**options).aenqueue(**(payload or {}))
        call = CallOptions(**options)
        declared = TaskOptions()
        stranger: Task[..., Any] = Task(check_identifier("task", name), _stranger, declared, self)
        [handle] = await self.submit(stranger, [plain_payload(name, payload or {})], call)
        return TaskHandle(handle.id, self, None, handle.enqueued)

    def enqueue(self, name: str, payload: Mapping[str, Any] | None = None, **options: Any) -> TaskHandle[Any]:
        """The blocking twin of `aenqueue`."""
        return blocking.run(self.aenqueue(name, payload, **options), "app.enqueue()", "app.aenqueue(…)")

    def handle(self, id: str) -> TaskHandle[Any]:
        """The handle of a task whose id is known."""
        return TaskHandle(id, self)

    async def submit(
        self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions, *, atomic: bool = False
    ) -> list[TaskHandle[R]]:
        """Enqueue one task for each payload (used by Task)."""
        messages = self._messages(task, payloads, call)
        if call.connection is not None:
            answers = self._transactional().enqueue_in(call.connection, messages)
            return self._handles(task, cast("list[Enqueued]", await answers if isawaitable(answers) else answers))
        broker = (await self.backend()).broker
        answers = await broker.enqueue(messages, parent=self._parent(), atomic=atomic)
        return self._handles(task, answers, refuse_any=atomic)

    def submit_inside(self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions) -> list[TaskHandle[R]]:
        """Enqueue inside the transaction of a blocking connection (used by Task)."""
        answers = self._transactional().enqueue_in(call.connection, self._messages(task, payloads, call))
        if isawaitable(answers):
            cast("Coroutine[Any, Any, Any]", answers).close()
            raise InvalidPayload(f"{task.name}: this connection is asynchronous: write `await {task.name}.aenqueue(…)`")
        return self._handles(task, cast("list[Enqueued]", answers))

    def _transactional(self) -> TransactionalBackend:
        backend = self.backends.root
        if Capability.TRANSACTIONAL_ENQUEUE not in backend.capabilities:
            raise CapabilityMissing("options(connection=…) needs the Postgres backend: its tasks live in your database")
        return cast("TransactionalBackend", backend)

    def _messages(self, task: Task[..., Any], payloads: Sequence[bytes], call: CallOptions) -> list[Message]:
        declared, name = task.declared, task.name
        queue = call.queue or declared.queue or self._route(name) or DEFAULT_QUEUE
        headers = self._headers(name, queue, call)
        shard = self.backends.root.shard_of(queue)
        priority = as_priority(declared.priority if call.priority is None else call.priority)
        retention = declared.retention if call.retention is None else call.retention
        messages = []
        for payload in payloads:
            if len(payload) > self.settings.max_payload:
                raise PayloadTooLarge(name, len(payload), self.settings.max_payload)
            id, digest = self._identity(task, payload, call, shard)
            messages.append(
                Message(
                    id,
                    name,
                    seal(id, name, payload, headers),
                    queue,
                    priority,
                    "",
                    as_seconds(call.delay),
                    None if call.eta is None else call.eta.timestamp(),
                    as_seconds(call.expires) or declared.expires,
                    declared.max_lost_leases,
                    declared.dead_letter,
                    retention,
                    call.tenant,
                    digest,
                )
            )
        return messages

    def _identity(self, task: Task[..., Any], payload: bytes, call: CallOptions, shard: int) -> tuple[str, str]:
        if call.idempotency_key is None:
            return new_id(shard), ""
        id = derived_id(shard, self.namespace, call.tenant, task.name, call.idempotency_key)
        return id, digest(payload)

    def _headers(self, name: str, queue: str, call: CallOptions) -> bytes:
        metadata, trace = dict(call.metadata or {}), {}
        if self.middleware.on_enqueue:
            draft = Draft(name, queue, metadata)
            for hook in self.middleware.on_enqueue:
                hook(draft)
            metadata, trace = draft.metadata, draft.trace
        if not (metadata or trace or call.retry or call.timeout):
            return b""
        retry = None if call.retry is None else to_dict(call.retry)
        try:
            return encode_headers(Headers(metadata, retry, call.timeout, trace))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidPayload(f"{name}: the metadata cannot be written as JSON: {error}") from None

    def _route(self, name: str) -> str | None:
        if callable(self._routes):
            return self._routes(name)
        if name in self._routes:
            return self._routes[name]
        return next((queue for pattern, queue in self._routes.items() if fnmatch.fnmatchcase(name, pattern)), None)

    def _parent(self) -> Parent | None:
        context = current_or_none()
        if context is None or context.fence == 0:
            return None
        return Parent(context.id, context.fence, context.worker_id)

    def _handles(
        self, task: Task[..., R], answers: Sequence[Enqueued], *, refuse_any: bool = False
    ) -> list[TaskHandle[R]]:
        if refuse_any or len(answers) == 1:
            for answer in answers:
                _refuse(task.name, answer.status)
        codec = None if task.function is _stranger else task.codec
        return [TaskHandle(answer.id, self, codec, answer.status) for answer in answers]


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


def _stranger(**payload: Any) -> Any:
    """Stands for a function that only the workers know."""


def _refuse(name: str, status: EnqueueStatus) -> None:
    match status:
        case EnqueueStatus.CONFLICT:
            raise IdempotencyConflict(f"{name}: this idempotency key was used before with other arguments")
        case EnqueueStatus.FULL:
            raise QueueFull(f"{name}: its queue holds as many tasks as it may; try again later")
        case EnqueueStatus.STALE_PARENT:
            raise LeaseLost(f"{name}: the task that enqueues it has lost its lease, so nothing was enqueued")
        case EnqueueStatus.CREATED | EnqueueStatus.DUPLICATE:
            pass
