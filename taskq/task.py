"""A registered function, and the options of a task and of a call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast

from taskq import blocking
from taskq.config import check_identifier
from taskq.context import TaskContext, current_or_none
from taskq.domain.message import Delivery, Priority
from taskq.domain.record import Progress
from taskq.errors import InvalidOption, InvalidPayload
from taskq.handle import TaskHandle
from taskq.options import CallKeywords, CallOptions, Executor, TaskOptions, check_known
from taskq.payload import Codec

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

Item = tuple[Any, ...] | Mapping[str, Any]
"""The arguments of one task of many: a tuple of positional ones, or a mapping by name."""


class Submitter(Protocol):
    """What a task needs of its application: a way to enqueue."""

    def queue_of(self, task: Task[..., Any]) -> str:
        """The queue that its calls go to."""
        ...

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

    def options(self, **options: Unpack[CallKeywords]) -> Self:
        """The same task with options for its next calls (see CallOptions).

        Raises:
            InvalidOption: an option is unknown or out of its range.
        """
        check_known(CallOptions, options, f"{self.name}.options()")
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.__dict__["_call"] = replace(self._call, **options)
        other.__dict__["_plain"] = self._plain or self
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


class _LocalRun:
    def is_cancelled(self) -> bool:
        return False

    def report(self, progress: Progress) -> None:
        pass


def _local_context(name: str) -> TaskContext:
    """The context of a task that is called as a plain function."""
    return TaskContext(Delivery("local", name, b"", "local", Priority.NORMAL, 0, 1, 0, "local"), _LocalRun())
