"""Middleware: objects with any of `on_enqueue`, `around_run` and `on_settled`, composed like an onion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from taskq.config import shown
from taskq.context import TaskContext
from taskq.domain.message import Delivery
from taskq.domain.outcome import Outcome, Settlement
from taskq.errors import ConfigError

CallNext = Callable[[], Awaitable[Outcome]]
HOOKS = ("on_enqueue", "around_run", "on_settled")


class Draft:
    """One task that is about to be enqueued; `on_enqueue` may add to its metadata and trace, or raise to refuse it.

    Attributes:
        name: the task's registered name; read only.
        queue: the queue that it goes to; read only, for the store and the id are chosen by it.
        metadata: JSON data that travels with the task, the caller's own included.
        trace: text that travels with the task and only middleware reads (`context.trace` in `around_run`).
        count: how many tasks the same call enqueues; read only.
        shared: what hooks keep from one draft to the next of the same call; it goes nowhere.

    >>> draft = Draft("mail.send", "mail")
    >>> draft.metadata["by"] = "cron"
    >>> draft.queue = "slow"
    Traceback (most recent call last):
        ...
    AttributeError: the queue of a draft cannot be changed: say it at the call, .options(queue=…), or in the routes
    """

    __slots__ = ("_count", "_name", "_queue", "metadata", "shared", "trace")

    def __init__(
        self,
        name: str,
        queue: str,
        metadata: dict[str, Any] | None = None,
        trace: dict[str, str] | None = None,
        *,
        count: int = 1,
        shared: dict[str, Any] | None = None,
    ) -> None:
        self._name = name
        self._queue = queue
        self._count = count
        self.shared: dict[str, Any] = {} if shared is None else shared
        self.metadata: dict[str, Any] = {} if metadata is None else metadata
        self.trace: dict[str, str] = {} if trace is None else trace

    @property
    def name(self) -> str:
        """The task's registered name."""
        return self._name

    @property
    def queue(self) -> str:
        """The queue that it goes to."""
        return self._queue

    @property
    def count(self) -> int:
        """How many tasks the same call enqueues."""
        return self._count

    def __setattr__(self, attribute: str, value: object) -> None:
        if attribute == "name":
            raise AttributeError("the name of a draft cannot be changed: raise to refuse the task, and enqueue another")
        if attribute == "queue":
            raise AttributeError(
                "the queue of a draft cannot be changed: say it at the call, .options(queue=…), or in the routes"
            )
        if attribute == "count":
            raise AttributeError("the count of a draft cannot be changed: it is that of the tasks of the call")
        object.__setattr__(self, attribute, value)

    def __repr__(self) -> str:
        return f"Draft(name={self.name!r}, queue={self.queue!r}, metadata={self.metadata!r}, trace={self.trace!r})"


class Middleware:
    """A base class for those who like one; any object with some of these methods will do (see App.add_middleware).

    >>> class Stamp(Middleware):
    ...     def on_enqueue(self, draft):
    ...         draft.metadata.setdefault("by", "web")
    ...
    ...     async def around_run(self, context, call_next):
    ...         context.logger.info("begins")
    ...         return await call_next()
    >>> draft = Draft("mail.send", "mail")
    >>> Stamp().on_enqueue(draft); draft.metadata
    {'by': 'web'}
    """

    def on_enqueue(self, draft: Draft) -> None:
        """Before each task is stored, in the process that enqueues it.

        Arguments:
            draft: the task's name and queue, to be read, and its metadata and trace, to be added to.

        Raises:
            Exception: whatever it raises refuses the call and reaches its caller; of many tasks none is stored.

        >>> Middleware().on_enqueue(Draft("mail.send", "mail"))
        """

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
        """Around each run, in the worker.

        Arguments:
            context: of the run.
            call_next: runs the task and the middleware inside; call it once, or not at all. It does not raise what
                the task raises, but returns it as an outcome.

        Returns:
            The outcome that counts: that of `call_next`, or another one (taskq.domain.outcome).

        Raises:
            Exception: it counts as if the task had raised it.

        >>> import asyncio
        >>> from taskq.domain.outcome import Succeeded
        >>> async def run():
        ...     return Succeeded(b"3")
        >>> asyncio.run(Middleware().around_run(None, run))
        Succeeded(result=b'3')
        """
        return await call_next()

    def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """After a store has accepted what became of a run, in the worker.

        Arguments:
            delivery: what was run.
            settlement: what became of it (taskq.domain.outcome).

        What it raises is logged and changes nothing.

        >>> from taskq.domain.outcome import Complete
        >>> held = Delivery("5b", "mail.send", b"", "mail", 1, fence=1, attempt=1, lost_leases=0, worker="w")
        >>> Middleware().on_settled(held, Complete())
        """


class Stack:
    """The middleware of an application, first added outermost. A hook that nobody has costs nothing."""

    def __init__(self, middleware: Sequence[object] = ()) -> None:
        self._all = tuple(middleware)
        self.on_enqueue = self._hooks("on_enqueue")
        self.around_run = self._hooks("around_run")
        self.on_settled = self._hooks("on_settled")

    def adding(self, middleware: object) -> Stack:
        """The stack with one more, innermost.

        Raises:
            ConfigError: it is a class, or has none of the methods.
        """
        if isinstance(middleware, type):
            name = middleware.__name__
            raise ConfigError(f"middleware must be an object, not the class {name}: write {name}(…)")
        if not any(callable(getattr(middleware, hook, None)) for hook in HOOKS):
            raise ConfigError(f"middleware must have one of the methods {', '.join(HOOKS)}, not {shown(middleware)}")
        return Stack((*self._all, middleware))

    def wrap(self, context: TaskContext, run: CallNext) -> CallNext:
        """The run with every `around_run` about it."""
        for around in reversed(self.around_run):
            run = _bind(around, context, run)
        return run

    def _hooks(self, name: str) -> tuple[Callable[..., Any], ...]:
        inherited = getattr(Middleware, name)
        hooks = [getattr(one, name, None) for one in self._all]
        return tuple(hook for hook in hooks if hook is not None and getattr(hook, "__func__", None) is not inherited)


def _bind(around: Callable[..., Awaitable[Outcome]], context: TaskContext, call_next: CallNext) -> CallNext:
    return lambda: around(context, call_next)
