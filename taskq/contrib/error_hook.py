"""Middleware that tells you of failures: for Sentry, a pager, a counter."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable

from taskq.config import shown
from taskq.context import TaskContext
from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Crash, Fail, Outcome, Retry, Settlement, Succeeded
from taskq.domain.record import Failure, Progress
from taskq.errors import ConfigError
from taskq.middleware import CallNext, Middleware

MOST_CONTEXTS = 20_000
"""Runs whose contexts are remembered; that of a run whose lease was lost is never asked for."""

Callback = Callable[[TaskContext, Failure], object]


class ErrorHook(Middleware):
    """Calls you back with each failure that the store has taken note of.

    Arguments:
        callback: called with the context of the run and its failure, in the event loop of the worker: let it be quick.
            What it raises is logged and changes nothing.
        retried: whether to be told also of failures after which the task is tried again; else only of the last.

    Raises:
        ConfigError: the callback is no function, or an `async def`, which nobody would await.

    Failures that no run has had (a damaged record, a name that no worker knows) are told too; their context has no
    metadata. So are runs that were given up. A task that rejects itself has failed, one that was cancelled has not.

    >>> from taskq import App
    >>> app = App("memory://")
    >>> app.add_middleware(ErrorHook(lambda context, failure: print(context.name, failure.type, failure.fingerprint)))
    """

    def __init__(self, callback: Callback, *, retried: bool = False) -> None:
        given: object = callback
        if not callable(given) or inspect.iscoroutinefunction(given):
            raise ConfigError(f"the callback of an ErrorHook must be a plain function, not {shown(given)}")
        self._callback = callback
        self._retried = retried
        self._contexts: OrderedDict[tuple[str, int], TaskContext] = OrderedDict()

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
        """Remember the context until the run is settled; see Middleware.around_run."""
        key = context.id, context.fence
        self._contexts[key] = context
        if len(self._contexts) > MOST_CONTEXTS:
            self._contexts.popitem(last=False)
        outcome = await call_next()
        if isinstance(outcome, Succeeded):
            self._contexts.pop(key, None)
        return outcome

    def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """Tell of a failure; see Middleware.on_settled."""
        context = self._contexts.pop((delivery.id, delivery.fence), None)
        failure = _failure(delivery, settlement, self._retried)
        if failure is not None:
            self._callback(context or TaskContext(delivery, _Over()), failure)


def _failure(delivery: Delivery, settlement: Settlement, retried: bool) -> Failure | None:
    match settlement:
        case Bury(failure=failure) | Fail(failure=failure):
            return failure
        case Crash(failure=failure):
            is_last = delivery.lost_leases + 1 >= delivery.max_lost_leases
            return failure if retried or is_last else None
        case Retry(failure=failure) if retried:
            return failure
        case _:
            return None


class _Over:
    """The run of a context that is made for its end."""

    def is_cancelled(self) -> bool:
        return True

    def report(self, progress: Progress) -> None:
        pass

    def keep(self, checkpoint: bytes) -> None:
        pass
