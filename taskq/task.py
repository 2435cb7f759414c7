"""A registered function, and the options of a task and of a call."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, cast

from taskq import blocking
from taskq.config import check_identifier
from taskq.context import TaskContext, current_or_none
from taskq.domain.message import DEFAULT_MAX_LOST_LEASES, DEFAULT_RETENTION, Delivery, Priority
from taskq.domain.record import Progress
from taskq.domain.retry import DEFAULT_RETRY, LONGEST, BuiltinRetry, RetryStrategy
from taskq.errors import InvalidOption, InvalidPayload
from taskq.handle import TaskHandle
from taskq.payload import Codec

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

Executor = Literal["async", "thread", "process"]
PriorityLike = Priority | int | str
Item = tuple[Any, ...] | Mapping[str, Any]
"""The arguments of one task of many: a tuple of positional ones, or a mapping by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What `@app.task` can be told. Durations are seconds."""

    queue: str | None = None
    """None: where the application's routes send it, else "default"."""
    priority: PriorityLike = Priority.NORMAL
    retry: RetryStrategy = DEFAULT_RETRY
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    no_retry_on: tuple[type[BaseException], ...] = ()
    timeout: float | None = 300.0
    expires: float | None = None
    retention: float = DEFAULT_RETENTION
    dead_letter: bool = True
    max_lost_leases: int = DEFAULT_MAX_LOST_LEASES
    executor: Executor | None = None
    """None: "async" for `async def`, "thread" for `def`."""

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_identifier("queue", self.queue)
        as_priority(self.priority)
        _seconds("timeout", self.timeout, above=0)
        _seconds("expires", self.expires, above=0)
        _seconds("retention", self.retention)
        leases = self.max_lost_leases
        _require(_is_number(leases) and 1 <= leases <= 1000, "max_lost_leases must be from 1 to 1000", leases)
        for option, kinds in (("retry_on", self.retry_on), ("no_retry_on", self.no_retry_on)):
            _require(_are_exceptions(kinds), f"{option} must be a tuple of exception classes", kinds)
        _require(
            self.executor in (None, "async", "thread", "process"),
            "executor must be async, thread or process",
            self.executor,
        )
        _require(_is_strategy(self.retry), "retry must be a retry strategy", self.retry)

    def should_retry(self, error: BaseException) -> bool:
        """Whether the task's `retry_on` and `no_retry_on` allow another attempt after this exception."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.no_retry_on)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What `.options(…)` can say of one call; None leaves it to the task. Durations are seconds or timedeltas."""

    queue: str | None = None
    priority: PriorityLike | None = None
    delay: float | timedelta | None = None
    eta: datetime | None = None
    """The instant of the first run, aware."""
    expires: float | timedelta | None = None
    timeout: float | None = None
    retry: BuiltinRetry | None = None
    retention: float | None = None
    tenant: str = ""
    idempotency_key: str | None = None
    """The same key with the same task, tenant and arguments makes one task; it is remembered for a day."""
    metadata: Mapping[str, Any] | None = None
    connection: Any = None
    """A connection or session of yours (Postgres): the task is enqueued inside its transaction."""

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_identifier("queue", self.queue)
        if self.tenant:
            check_identifier("tenant", self.tenant)
        if self.priority is not None:
            as_priority(self.priority)
        _require(self.delay is None or self.eta is None, "give delay or eta, not both", (self.delay, self.eta))
        _seconds("delay", as_seconds(self.delay))
        _seconds("expires", as_seconds(self.expires), above=0)
        _seconds("timeout", self.timeout, above=0)
        _seconds("retention", self.retention)
        if self.eta is not None:
            _require(_is_aware(self.eta), "eta must be a datetime with a time zone: datetime.now(UTC) + …", self.eta)
            _require(self.eta.timestamp() <= time.time() + LONGEST, "eta must be within ten years", self.eta)
        key = self.idempotency_key
        _require(key is None or _is_key(key), "idempotency_key must have 1 to 255 printable characters", key)
        _require(isinstance(self.metadata, Mapping | None), "metadata must be a mapping", self.metadata)
        _require(
            self.retry is None or isinstance(self.retry, BuiltinRetry), "retry must be a built-in strategy", self.retry
        )


class Submitter(Protocol):
    """What a task needs of its application: a way to enqueue."""

    async def submit(
        self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions, *, atomic: bool = False
    ) -> list[TaskHandle[R]]:
        """Enqueue one task for each payload."""
        ...

    def submit_inside(self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions) -> list[TaskHandle[R]]:
        """Enqueue inside the transaction of `call.connection`, a blocking one."""
        ...


class Task(Generic[P, R]):
    """A registered function. Calling it runs it here and now; `enqueue` has a worker run it.

    Attributes:
        name: the registered name.
        function: the function itself.
        declared: the options of the decorator.
        submitter: what enqueues it.
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
        self.submitter = submitter
        self._call = CallOptions()
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        return f"Task({self.name!r})"

    @functools.cached_property
    def codec(self) -> Codec[R]:
        """Encodes and decodes this function's arguments and result."""
        return Codec(self.function, self.name, injected=TaskContext)

    # ------------------------------------------------------------ calling

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, without a queue."""
        return cast("R", self._run_here(args, kwargs))

    def _run_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = self.codec.injected in kwargs or any(isinstance(value, TaskContext) for value in args)
        if self.codec.injected is not None and not given:
            args, kwargs = self.codec.inject(args, kwargs, current_or_none() or _local_context(self.name))
        return self.function(*args, **kwargs)

    # ------------------------------------------------------------ enqueuing

    def options(self, **options: Any) -> Self:
        """The same task with options for its next calls (see CallOptions).

        Raises:
            InvalidOption: an option is unknown or out of its range.
        """
        check_known(CallOptions, options, f"{self.name}.options()")
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.__dict__["_call"] = replace(self._call, **options)
        return other

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Have a worker run the function with these arguments.

        Raises:
            InvalidPayload: an argument does not fit its annotation.
            PayloadTooLarge: the arguments take more than `max_payload`.
            IdempotencyConflict: the key was used with other arguments.
            BackendUnavailable: the store cannot be reached; nothing was enqueued.
            OutcomeUnknown: the connection broke; it may have been enqueued.
        """
        return await self.asubmit(self.codec.encode(args, kwargs))

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """The blocking twin of `aenqueue`."""
        return self.submit(self.codec.encode(args, kwargs))

    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """The same as `enqueue`, for hands that know Celery."""
        return self.enqueue(*args, **kwargs)

    async def asubmit(self, payload: bytes) -> TaskHandle[R]:
        """Enqueue with arguments that are encoded already (used by App, which enqueues by name)."""
        [handle] = await self.submitter.submit(self, [payload], self._call)
        return handle

    def submit(self, payload: bytes) -> TaskHandle[R]:
        """The blocking twin of `asubmit`."""
        if self._call.connection is not None:
            return self.submitter.submit_inside(self, [payload], self._call)[0]
        return blocking.run(self.asubmit(payload), f"{self.name}.enqueue()", f"{self.name}.aenqueue(…)")

    async def aenqueue_many(self, items: Iterable[Item], *, atomic: bool = False) -> list[TaskHandle[R]]:
        """Enqueue one task for each item, a batch a round trip.

        Arguments:
            items: for each task a tuple of positional arguments, or a mapping by name.
            atomic: all or none (for at most one batch, 100 tasks).

        Returns:
            A handle for each item; its `enqueued` says what became of it.

        Raises:
            InvalidPayload: an item does not fit the signature; nothing was enqueued.
        """
        payloads = self._payloads(items)
        return await self.submitter.submit(self, payloads, self._call, atomic=atomic)

    def enqueue_many(self, items: Iterable[Item], *, atomic: bool = False) -> list[TaskHandle[R]]:
        """The blocking twin of `aenqueue_many`."""
        if self._call.connection is not None:
            return self.submitter.submit_inside(self, self._payloads(items), self._call)
        what = f"{self.name}.enqueue_many()"
        return blocking.run(self.aenqueue_many(items, atomic=atomic), what, f"{self.name}.aenqueue_many(…)")

    def _payloads(self, items: Iterable[Item]) -> list[bytes]:
        encode, payloads = self.codec.encode, []
        for index, item in enumerate(items):
            try:
                payloads.append(encode((), item) if isinstance(item, Mapping) else encode(tuple(item), {}))
            except InvalidPayload as error:
                raise InvalidPayload(f"item {index}: {error}", parameter=error.parameter) from None
        return payloads


class AsyncTask(Task[P, Coroutine[Any, Any, S]], Generic[P, S]):
    """A registered `async def`: calling it gives its coroutine."""

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


def check_known(kind: type[TaskOptions | CallOptions], options: Mapping[str, Any], where: str) -> None:
    """Refuse options that there are not.

    Raises:
        InvalidOption: names them.
    """
    unknown = sorted(options.keys() - {field.name for field in fields(kind)})
    if unknown:
        raise InvalidOption(f"{where} has no option {', '.join(unknown)}")


def as_priority(value: PriorityLike) -> Priority:
    """A priority from its number or its name.

    >>> as_priority("critical"), as_priority(0)
    (<Priority.CRITICAL: 3>, <Priority.LOW: 0>)
    """
    try:
        if isinstance(value, str):
            return Priority[value.upper()]
        if not isinstance(value, bool):
            return Priority(value)
    except (KeyError, ValueError):
        pass
    raise InvalidOption(f"priority must be low, normal, high, critical or 0 to 3, not {value!r}")


def as_seconds(value: float | timedelta | None) -> float | None:
    """A duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def _seconds(name: str, value: float | None, above: float | None = None) -> None:
    if value is None:
        return
    in_range = _is_number(value) and 0 <= value <= LONGEST and (above is None or value > above)
    _require(in_range, f"{name} must be {'over' if above is not None else 'at least'} 0 s and at most ten years", value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_strategy(value: object) -> bool:
    return isinstance(value, RetryStrategy) and not isinstance(value, type)


def _is_aware(value: object) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def _is_key(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable()


def _are_exceptions(kinds: object) -> bool:
    return isinstance(kinds, tuple) and all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
    )


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise InvalidOption(f"{rule}, not {value!r}")


class _LocalRun:
    def is_cancelled(self) -> bool:
        return False

    def report(self, progress: Progress) -> None:
        pass


def _local_context(name: str) -> TaskContext:
    """The context of a task that is called as a plain function."""
    return TaskContext(Delivery("local", name, b"", "local", Priority.NORMAL, 0, 1, 0, "local"), _LocalRun())
