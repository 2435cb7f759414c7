"""A registered function, and the options of a task and of a call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast

from taskq import blocking
from taskq.config import check_identifier, shown
from taskq.context import TaskContext, current_or_none, local_context
from taskq.crypto import Crypto
from taskq.errors import InvalidOption, InvalidPayload
from taskq.handle import TaskHandle
from taskq.options import (
    NOTHING_SAID,
    CallKeywords,
    CallOptions,
    Executor,
    TaskOptions,
    check_known,
    check_soft_timeout,
)
from taskq.payload import Codec
from taskq.signatures import Signable, Signature
from taskq.terms import terms_of

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

Item = tuple[Any, ...] | Mapping[str, Any]
"""The arguments of one task of many: a tuple of positional ones, or a mapping by name."""


class Submitter(Protocol):
    """What a task needs of its application: a way to enqueue, and its keys."""

    @property
    def crypto(self) -> Crypto | None:
        """The keys of the application, None where it has none."""
        ...

    def queue_of(self, task: Task[..., Any]) -> str:
        """The queue that its calls go to."""
        ...

    def redirect(self, url: str) -> None:
        """Enqueue into another store from now on."""
        ...

    async def submit(
        self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions, *, atomic: bool = False, flow: str = ""
    ) -> list[TaskHandle[R]]:
        """Enqueue one task for each payload."""
        ...

    def submit_inside(
        self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions, *, atomic: bool = False
    ) -> list[TaskHandle[R]]:
        """Enqueue inside the transaction of `call.connection`, a blocking one."""
        ...


class Task(Signable[R], Generic[P, R]):
    """A registered function. Calling it runs it here and now; `enqueue` has a worker run it.

    Attributes:
        name: the registered name.
        function: the function itself.
        declared: the options of the decorator.
        terms: its limits and its unique key.
        submitter: what enqueues it.

    >>> from taskq import App
    >>> @App("memory://").task(name="add")
    ... def add(x: int, y: int) -> int:
    ...     return x + y
    >>> add(1, 2), add.queue
    (3, 'default')
    """

    def __init__(self, name: str, function: Callable[..., Any], options: TaskOptions, submitter: Submitter) -> None:
        self.name = check_identifier("task", name)
        self.function = function
        self.declared = options
        self.is_async = inspect.iscoroutinefunction(function)
        self.executor: Executor = options.executor or ("async" if self.is_async else "thread")
        if self.executor == "async" and not self.is_async:
            raise InvalidOption(f'task {name}: executor="async" needs an `async def`')
        if self.executor == "thread" and self.is_async:
            raise InvalidOption(f'task {name}: executor="thread" needs a plain `def`; an `async def` runs on the loop')
        if self.executor == "process" and "<locals>" in function.__qualname__:
            raise InvalidOption(f'task {name}: executor="process" needs a function at the top of its module')
        self.terms = terms_of(name, function, options)
        self.submitter = submitter
        self._call = NOTHING_SAID
        self._plain: Task[P, R] | None = None
        """The task without options, where this is one with."""
        functools.update_wrapper(self, function, updated=())

    @property
    def queue(self) -> str:
        """The queue that its calls go to: of `options()`, else of the decorator, else of the routes, else "default"."""
        return self._call.queue or self.submitter.queue_of(self)

    def __repr__(self) -> str:
        return f"Task({self.name!r})"

    @functools.cached_property
    def codec(self) -> Codec[R]:
        """Encodes and decodes this function's arguments and result."""
        # It takes ten times as long as a call: one for the task and all that its options give.
        plain = self._plain
        return Codec(self.function, self.name, injected=TaskContext) if plain is None else plain.codec

    @property
    def call_options(self) -> CallOptions:
        """The options of its calls."""
        return self._call

    # ------------------------------------------------------------ calling

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, without a queue."""
        return cast("R", self._run_here(args, kwargs))

    def _run_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = self.codec.injected in kwargs or any(isinstance(value, TaskContext) for value in args)
        if self.codec.injected is not None and not given:
            args, kwargs = self.codec.inject(args, kwargs, current_or_none() or local_context(self.name))
        return self.function(*args, **kwargs)

    # ------------------------------------------------------------ enqueuing

    def options(self, **options: Unpack[CallKeywords]) -> Self:
        """The same task with options for its next calls; the task itself stays as it is.

        Arguments:
            options: see CallOptions; what is not given stays as an earlier `options` or the decorator says.

        Returns:
            A task to enqueue with, which shares all else with this one.

        Raises:
            InvalidOption: an option is unknown or out of its range.

        >>> from taskq import App
        >>> @App("memory://").task(name="add", queue="sums")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> later = add.options(delay=60, queue="slow").options(priority="critical")
        >>> later.queue, add.queue
        ('slow', 'sums')
        """
        check_known(CallOptions, options, f"{self.name}.options()")
        if options.get("version") not in (None, self.declared.version):
            # The arguments are checked against the function, and it takes those of its own version.
            own = self.declared.version
            raise InvalidOption(f"{self.name}.options(): its arguments are of version {own}; others go by app.enqueue")
        call = replace(self._call, **options)
        hard = self.declared.timeout if call.timeout is None else call.timeout
        check_soft_timeout(call.soft_timeout, None if hard == "default" else hard)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.__dict__["_call"] = call
        other.__dict__["_plain"] = self._plain or self
        return other

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Have a worker run the function with these arguments; for code that runs in an event loop.

        Arguments:
            args, kwargs: as the function takes them, without its TaskContext.

        Returns:
            The handle of the enqueued task, or of the one that the idempotency key had made before, or that holds the
            unique key.

        Raises:
            InvalidPayload: an argument does not fit its annotation.
            PayloadTooLarge: the arguments and the metadata take more than `max_payload`.
            IdempotencyConflict: the key was used with other arguments.
            DuplicateTask: another task holds the unique key, and Unique(on_duplicate="raise") asks to be told.
            QueueFull: the queue holds as many tasks as it may.
            LeaseLost: the task that enqueues this one has lost its lease.
            CapabilityMissing: options(connection=…) on another backend than Postgres, the memory backend in a process
                task, or a queue in another shard than the task's limits.
            ConfigError: it is to be encrypted, and there is no key.
            BackendUnavailable: the store cannot be reached; nothing was enqueued.
            OutcomeUnknown: the connection broke; it may have been enqueued.

        >>> import asyncio
        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> async def example() -> str:
        ...     handle = await add.aenqueue(1, y=2)
        ...     return await handle.astatus()
        >>> asyncio.run(example())
        <TaskState.PENDING: 'pending'>
        """
        return await self.asubmit(self.codec.encode(args, kwargs))

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Have a worker run the function with these arguments; for code without an event loop.

        Arguments:
            args, kwargs: as the function takes them, without its TaskContext.

        Returns:
            The handle of the enqueued task, or of the one that the idempotency key had made before.

        Raises:
            WouldBlock: an event loop runs in this thread: await `aenqueue` instead.
            TaskqError: for the rest see `aenqueue`.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> add.enqueue(1, y=2).status()
        <TaskState.PENDING: 'pending'>
        >>> add.enqueue(1, y="two")
        Traceback (most recent call last):
            ...
        taskq.errors.InvalidPayload: add: parameter y: expected `int`, got `str`
        """
        return self.submit(self.codec.encode(args, kwargs))

    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """The same as `enqueue`, for hands that know Celery.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> add.delay(1, 2).status()
        <TaskState.PENDING: 'pending'>
        """
        return self.enqueue(*args, **kwargs)

    async def asubmit(self, payload: bytes) -> TaskHandle[R]:
        """Enqueue with arguments that are encoded already (used by App, which enqueues by name).

        Arguments:
            payload: what `codec.encode` has made.

        Returns, and raises: see `aenqueue`.

        >>> import asyncio
        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> asyncio.run(add.asubmit(b'{"x":1,"y":2}'))
        TaskHandle('...')
        """
        [handle] = await self.submitter.submit(self, [payload], self._call)
        return handle

    def submit(self, payload: bytes) -> TaskHandle[R]:
        """The blocking twin of `asubmit`.

        Arguments: see `asubmit`. Returns, and raises: see `enqueue`.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> add.submit(b'{"x":1,"y":2}')
        TaskHandle('...')
        """
        if self._call.connection is not None:
            return self.submitter.submit_inside(self, [payload], self._call)[0]
        return blocking.run(self.asubmit(payload), f"{self.name}.enqueue()", f"{self.name}.aenqueue(…)")

    async def aenqueue_many(self, items: Iterable[Item], *, atomic: bool = False) -> list[TaskHandle[R]]:
        """Enqueue one task for each item, a batch a round trip; for code that runs in an event loop.

        Arguments:
            items: for each task a tuple of positional arguments, or a mapping by name.
            atomic: all or none; for at most one batch (BackendOptions.batch: 100 tasks), except with a connection.

        Returns:
            A handle for each item, in their order; its `enqueued` says what became of it: FULL where it is not stored.

        Raises:
            InvalidPayload: an item does not fit the signature; the message says which, and nothing was enqueued.
            InvalidOption: `atomic` with more than a batch, or an idempotency key with more than one item.
            QueueFull: with `atomic`, the queue has no room for all; nothing was enqueued.
            LeaseLost: the task that enqueues these has lost its lease; the message says how many were stored.
            OutcomeUnknown: the store went away; its `stored` says how many tasks were stored before.
            TaskqError: for the rest see `aenqueue`; nothing was enqueued.

        >>> import asyncio
        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> handles = asyncio.run(add.aenqueue_many([(1, 2), {"x": 3, "y": 4}]))
        >>> [handle.enqueued.value for handle in handles]
        ['created', 'created']
        """
        return await self.submitter.submit(self, self.payloads(items), self._call, atomic=atomic)

    def enqueue_many(self, items: Iterable[Item], *, atomic: bool = False) -> list[TaskHandle[R]]:
        """Enqueue one task for each item, a batch a round trip; for code without an event loop.

        Arguments:
            items: for each task a tuple of positional arguments, or a mapping by name.
            atomic: all or none; for at most one batch (BackendOptions.batch: 100 tasks), except with a connection.

        Returns:
            A handle for each item, in their order; its `enqueued` says what became of it: FULL where it is not stored.

        Raises:
            WouldBlock: an event loop runs in this thread: await `aenqueue_many` instead.
            TaskqError: for the rest see `aenqueue_many`.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> [handle.enqueued.value for handle in add.enqueue_many((n, n) for n in range(3))]
        ['created', 'created', 'created']
        """
        if self._call.connection is not None:
            return self.submitter.submit_inside(self, self.payloads(items), self._call, atomic=atomic)
        what = f"{self.name}.enqueue_many()"
        return blocking.run(self.aenqueue_many(items, atomic=atomic), what, f"{self.name}.aenqueue_many(…)")

    def payloads(self, items: Iterable[Item]) -> list[bytes]:
        """The encoded arguments of several calls (used by batches).

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> add.payloads([(1, 2)])
        [b'{"x":1,"y":2}']
        """
        if not isinstance(items, Iterable):
            kind = type(items).__name__
            raise InvalidPayload(f"{self.name}: the items must be tuples or mappings, one for each task, not {kind}")
        payloads = []
        for index, item in enumerate(items):
            try:
                payloads.append(self._payload(item))
            except InvalidPayload as error:
                raise InvalidPayload(f"item {index}: {error}", parameter=error.parameter) from None
        return payloads

    def _payload(self, item: Item) -> bytes:
        if isinstance(item, tuple):
            return self.codec.encode(item, {})
        if isinstance(item, Mapping):
            return self.codec.encode_object(item)
        # Not spread, as any iterable could be: a text would be letters, and a list may be meant as the one argument.
        raise InvalidPayload(
            f"{self.name}: give the arguments as a tuple, such as ({shown(item)},), or as a mapping by name, "
            f"not as {type(item).__name__}"
        )


class AsyncTask(Task[P, Coroutine[Any, Any, S]], Generic[P, S]):
    """A registered `async def`: calling it gives its coroutine."""

    def s(self, /, *args: Any, **kwargs: Any) -> Signature[S]:  # type: ignore[override]
        """See Task.s."""
        return cast("Signature[S]", super().s(*args, **kwargs))

    def si(self, /, *args: Any, **kwargs: Any) -> Signature[S]:  # type: ignore[override]
        """See Task.si."""
        return cast("Signature[S]", super().si(*args, **kwargs))

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[S]:  # type: ignore[override]
        """See Task.aenqueue."""
        return cast("TaskHandle[S]", await super().aenqueue(*args, **kwargs))

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[S]:  # type: ignore[override]
        """See Task.enqueue."""
        return cast("TaskHandle[S]", super().enqueue(*args, **kwargs))

    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[S]:  # type: ignore[override]
        """See Task.delay."""
        return self.enqueue(*args, **kwargs)

    async def aenqueue_many(self, items: Iterable[Item], *, atomic: bool = False) -> list[TaskHandle[S]]:  # type: ignore[override]
        """See Task.aenqueue_many."""
        return cast("list[TaskHandle[S]]", await super().aenqueue_many(items, atomic=atomic))

    def enqueue_many(self, items: Iterable[Item], *, atomic: bool = False) -> list[TaskHandle[S]]:  # type: ignore[override]
        """See Task.enqueue_many."""
        return cast("list[TaskHandle[S]]", super().enqueue_many(items, atomic=atomic))
