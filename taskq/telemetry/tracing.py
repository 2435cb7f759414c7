"""Traces with OpenTelemetry: the span in which a task is made, those of its runs, and of their ends.

Names and attributes follow OpenTelemetry's semantic conventions for messaging
(opentelemetry.io/docs/specs/semconv/messaging); the context travels with the task as W3C trace context. The API alone
is needed, the extra `pytaskq[otel]`; what becomes of spans is for the SDK of the application to say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.trace import (
    Link,
    NoOpTracerProvider,
    ProxyTracerProvider,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
)

from taskq.context import TaskContext, current_or_none
from taskq.domain.message import Delivery
from taskq.domain.outcome import Failed, Outcome, Rejected, Settlement
from taskq.middleware import CallNext, Draft

if TYPE_CHECKING:
    from taskq.app import App

SYSTEM = "taskq"
_KEY = "taskq.telemetry.tracing"
_BATCH = "taskq-batch"
MOST_HELD = 10_000
"""Runs whose spans are remembered until they are settled."""


class Tracing:
    """Middleware that makes spans.

    A run is a child of the span in which its task was made, each attempt; so is what its task enqueues of the run's.
    Tasks of one call share a span of making. Where a span of making has several runs, they are linked to it: attempts
    after the first, and those of such a batch.

    Arguments:
        provider: makes the tracer; None: the global one.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("taskq", tracer_provider=provider)
        self._processed: OrderedDict[tuple[str, int], SpanContext] = OrderedDict()

    def on_enqueue(self, draft: Draft) -> None:
        """See taskq.middleware.Middleware."""
        carried = draft.shared.get(_KEY)
        if carried is None:
            carried = draft.shared[_KEY] = self._create(draft)
        draft.trace.update(carried)

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
        """See taskq.middleware.Middleware."""
        parent = propagate.extract(context.trace)
        made = trace.get_current_span(parent).get_span_context()
        whys = {"retry": context.attempt > 1, "batch": _BATCH in context.trace}
        links = [Link(made, {"taskq.link": why}) for why, holds in whys.items() if holds and made.is_valid]
        attributes = {**_about("process", context.queue), **_of_task(context.id, context.name, context.attempt)}
        if context.tenant:
            attributes["taskq.tenant"] = context.tenant
        if context.flow:
            attributes["taskq.flow.id"] = context.flow
        with self._tracer.start_as_current_span(
            *(f"process {context.queue}", parent, SpanKind.CONSUMER, attributes, links),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            outcome = await call_next()
            failure = outcome.failure if isinstance(outcome, Failed | Rejected) else None
            if failure is not None:  # of its message, which may tell of the arguments, nothing
                span.set_attribute("error.type", failure.type)
                span.set_status(Status(StatusCode.ERROR, failure.type))
            span.set_attribute("taskq.outcome", type(outcome).__name__.lower())
            self._processed[context.id, context.fence] = span.get_span_context()
            if len(self._processed) > MOST_HELD:
                self._processed.popitem(last=False)
        return outcome

    def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """See taskq.middleware.Middleware."""
        processed = self._processed.pop((delivery.id, delivery.fence), None)
        if processed is None:
            return
        parent = trace.set_span_in_context(trace.NonRecordingSpan(processed))
        attributes = {
            **_about("settle", delivery.queue),
            **_of_task(delivery.id, delivery.name, delivery.attempt),
            "taskq.settlement": type(settlement).__name__.lower(),
        }
        self._tracer.start_span(f"settle {delivery.queue}", parent, SpanKind.CLIENT, attributes).end()

    def _create(self, draft: Draft) -> dict[str, str]:
        """What the tasks of one call carry."""
        context = current_or_none()
        # In a child process the run's own span is not known, but that in which its task was made.
        is_in_span = context is None or trace.get_current_span().get_span_context().is_valid
        parent = None if is_in_span or context is None else propagate.extract(context.trace)
        attributes = {**_about("create", draft.queue), "taskq.task.name": draft.name}
        if draft.count > 1:
            attributes["messaging.batch.message_count"] = draft.count
        carried: dict[str, str] = {_BATCH: str(draft.count)} if draft.count > 1 else {}
        with self._tracer.start_as_current_span(
            f"create {draft.queue}", parent, kind=SpanKind.PRODUCER, attributes=attributes
        ):
            propagate.inject(carried)
        return carried


def _about(operation: str, queue: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": queue,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _of_task(id: str, name: str, attempt: int) -> Mapping[str, Any]:
    return {"messaging.message.id": id, "taskq.task.name": name, "taskq.task.attempt": attempt}


def instrument(app: App, provider: TracerProvider | None = None) -> bool:
    """Have the tasks of an application traced, if anybody takes the spans.

    Arguments:
        app: the application.
        provider: makes the tracer; None: the global one, which the SDK has set by then.

    Returns:
        Whether they are: without an SDK nothing is added, and nothing costs time.

    >>> from taskq import App
    >>> instrument(App("memory://"))
    False
    """
    if isinstance(provider or trace.get_tracer_provider(), ProxyTracerProvider | NoOpTracerProvider):
        return False
    app.add_middleware(Tracing(provider))
    return True
