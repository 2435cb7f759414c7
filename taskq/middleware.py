"""Middleware: objects with any of `on_enqueue`, `around_run` and `on_settled`, composed like an onion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskq.context import TaskContext
from taskq.domain.message import Delivery
from taskq.domain.outcome import Outcome, Settlement

CallNext = Callable[[], Awaitable[Outcome]]


@dataclass(slots=True)
class Draft:
    """What is about to be enqueued; `on_enqueue` may add to its metadata and trace, or raise to refuse it."""

    name: str
    queue: str
    metadata: dict[str, Any] = field(default_factory=dict)
    trace: dict[str, str] = field(default_factory=dict)


class Middleware:
    """A base class for those who like one; any object with some of these methods will do."""

    def on_enqueue(self, draft: Draft) -> None:
        """Before a task is stored, in the process that enqueues it."""

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
        """Around each run, in the worker; what it returns is the outcome that counts."""
        return await call_next()

    def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """After a store has accepted what became of a run."""


class Stack:
    """The middleware of an application, first added outermost. A hook that nobody has costs nothing."""

    def __init__(self, middleware: Sequence[object] = ()) -> None:
        self._all = tuple(middleware)
        self.on_enqueue = self._hooks("on_enqueue")
        self.around_run = self._hooks("around_run")
        self.on_settled = self._hooks("on_settled")

    def adding(self, middleware: object) -> Stack:
        """The stack with one more, innermost."""
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
