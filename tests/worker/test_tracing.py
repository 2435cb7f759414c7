"""Traces: which spans there are, what they say, and how they hang together, by the SDK's exporter in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from taskq import App, Fixed, Middleware, NoRetry, Reject, TaskContext, TaskState, Workflow
from taskq.context import current_context
from taskq.domain.message import Delivery
from taskq.domain.outcome import Complete, Outcome, Succeeded
from taskq.domain.record import Progress
from taskq.middleware import CallNext, Draft
from taskq.telemetry import tracing
from taskq.telemetry.tracing import Tracing, instrument
from tests.worker.support import ended, until, work


class Traces:
    """What an application has traced."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("shop")

    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    async def settled(self, count: int) -> None:
        await until(lambda: sum(span.name.startswith("settle") for span in self.all()) == count, f"{count} settled")


@pytest.fixture
def traces(app: App) -> Traces:
    found = Traces()
    assert instrument(app, found.provider)
    return found


class Held:
    """A run that nobody ends."""

    def is_cancelled(self) -> bool:
        return False

    def report(self, progress: Progress) -> None: ...

    def keep(self, checkpoint: bytes) -> None: ...


def delivery_of(id: str) -> Delivery:
    return Delivery(id, "buy", b"", "shop", 1, fence=1, attempt=1, lost_leases=0, worker="w")


async def succeeds() -> Outcome:
    return Succeeded()


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def links_of(span: ReadableSpan) -> list[tuple[int, object]]:
    return [(link.context.span_id, (link.attributes or {}).get("taskq.link")) for link in span.links]


async def test_a_task_has_spans_of_its_making_its_run_and_its_end(app: App, traces: Traces) -> None:
    @app.task(name="buy", queue="shop")
    async def buy() -> None: ...

    async with work(app, queues={"shop": 1}):
        with traces.tracer.start_as_current_span("request") as request:
            handle = await buy.options(tenant="acme").aenqueue()
        await ended(handle)
        await traces.settled(1)

    (create,), (process,), (settle,) = map(traces.named, ("create shop", "process shop", "settle shop"))
    assert parent_of(create) == request.get_span_context().span_id
    assert (parent_of(process), parent_of(settle)) == (id_of(create), id_of(process))
    assert (create.kind, process.kind, settle.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.CLIENT)
    assert (process.links, process.status.status_code) == ((), StatusCode.UNSET)
    common = {"messaging.system": "taskq", "messaging.destination.name": "shop", "taskq.task.name": "buy"}
    assert create.attributes == {**common, "messaging.operation.name": "create", "messaging.operation.type": "create"}
    run = {**common, "messaging.message.id": handle.id, "taskq.task.attempt": 1}
    assert process.attributes == {
        **run,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "taskq.outcome": "succeeded",
        "taskq.tenant": "acme",
    }
    assert settle.attributes == {
        **run,
        "messaging.operation.name": "settle",
        "messaging.operation.type": "settle",
        "taskq.settlement": "complete",
    }


async def test_a_try_after_the_first_is_linked_to_the_making(app: App, traces: Traces) -> None:
    left = [ConnectionError("card 4711"), ConnectionError("card 4711")]

    @app.task(name="buy", retry=Fixed(0.0, max_retries=5))
    def buy() -> None:
        if left:
            raise left.pop()

    async with work(app):
        await ended(await buy.aenqueue())
        await traces.settled(3)

    (create,) = traces.named("create default")
    runs = traces.named("process default")
    assert [links_of(run) for run in runs] == [[], [(id_of(create), "retry")], [(id_of(create), "retry")]]
    assert {parent_of(run) for run in runs} == {id_of(create)}
    assert [run.status.status_code for run in runs] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [(run.attributes or {}).get("error.type") for run in runs] == ["ConnectionError", "ConnectionError", None]
    assert [(end.attributes or {})["taskq.settlement"] for end in traces.named("settle default")] == [
        "retry",
        "retry",
        "complete",
    ]
    assert not any("4711" in span.to_json() for span in traces.all()), "what an exception says may be of the arguments"


async def test_tasks_of_one_call_share_a_span_and_are_linked_to_it(app: App, traces: Traces) -> None:
    @app.task(name="buy")
    async def buy(item: int) -> None: ...

    async with work(app):
        for handle in await buy.aenqueue_many([(1,), (2,), (3,)]):
            await ended(handle)
        await traces.settled(3)

    (create,) = traces.named("create default")
    assert (create.attributes or {})["messaging.batch.message_count"] == 3
    runs = traces.named("process default")
    assert [links_of(run) for run in runs] == [[(id_of(create), "batch")]] * 3
    assert {parent_of(run) for run in runs} == {id_of(create)}


@pytest.mark.parametrize("executor", ["async", "thread"])
async def test_what_a_task_enqueues_is_made_in_its_run(app: App, traces: Traces, executor: str) -> None:
    @app.task(name="pack", queue="inner")
    async def pack() -> None: ...

    @app.task(name="buy", queue="outer")
    async def buy() -> None:
        await pack.aenqueue()

    @app.task(name="buy_in_thread", queue="outer")
    def buy_in_thread() -> None:
        pack.enqueue()

    async with work(app, queues={"inner": 1, "outer": 1}):
        await (buy if executor == "async" else buy_in_thread).aenqueue()
        await traces.settled(2)

    (outer,), (inner,) = traces.named("process outer"), traces.named("create inner")
    assert parent_of(inner) == id_of(outer)
    assert len({span.context.trace_id for span in traces.all() if span.context}) == 1


async def test_a_rejected_task_is_an_error_a_cancelled_one_is_none(app: App, traces: Traces) -> None:
    @app.task(name="refuse", queue="refused", retry=NoRetry())
    async def refuse() -> None:
        raise Reject("no such card")

    async with work(app, queues={"refused": 1}):
        assert (await ended(await refuse.aenqueue())).state is TaskState.DEAD
        await traces.settled(1)
    (run,) = traces.named("process refused")
    assert run.status.status_code is StatusCode.ERROR
    assert (run.attributes or {})["taskq.outcome"] == "rejected"


async def test_members_of_a_workflow_say_so(app: App, traces: Traces) -> None:
    @app.task(name="buy")
    async def buy() -> None: ...

    workflow = Workflow("order")
    workflow.add(buy.s())
    async with work(app):
        run = await workflow.aenqueue()
        await run.aresult(30)
        await traces.settled(1)
    assert (traces.named("process default")[0].attributes or {})["taskq.flow.id"] == run.id


async def test_a_task_from_before_there_were_traces_begins_one(app: App) -> None:
    @app.task(name="buy")
    async def buy() -> None: ...

    handle = await buy.aenqueue()
    traces = Traces()
    instrument(app, traces.provider)
    async with work(app):
        await ended(handle)
        await traces.settled(1)
    (run,) = traces.named("process default")
    assert (parent_of(run), run.links) == (None, ())


async def test_runs_that_are_never_settled_are_forgotten_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST_HELD", 2)
    traces = Traces()
    middleware = Tracing(traces.provider)
    deliveries = [delivery_of(f"{number}") for number in range(3)]
    for delivery in deliveries:
        await middleware.around_run(TaskContext(delivery, Held()), succeeds)
    for delivery in deliveries:
        middleware.on_settled(delivery, Complete())
    settled = [(span.attributes or {})["messaging.message.id"] for span in traces.named("settle shop")]
    assert settled == ["1", "2"], "of the two newest alone it is known whose child the end is"


def test_in_a_child_process_a_task_is_made_in_the_trace_of_the_one_that_runs() -> None:
    traces = Traces()
    middleware = Tracing(traces.provider)
    outer, inner = Draft("buy", "outer"), Draft("pack", "inner")
    middleware.on_enqueue(outer)
    token = current_context.set(TaskContext(delivery_of("1"), Held(), trace=outer.trace))
    try:
        middleware.on_enqueue(inner)
    finally:
        current_context.reset(token)
    assert parent_of(traces.named("create inner")[0]) == id_of(traces.named("create outer")[0])


async def test_a_run_that_a_middleware_breaks_ends_its_span(app: App, traces: Traces) -> None:
    class Breaks(Middleware):
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            raise ValueError("card 4711")

    app.add_middleware(Breaks())

    @app.task(name="buy", retry=NoRetry())
    async def buy() -> None: ...

    async with work(app):
        assert (await ended(await buy.aenqueue())).state is TaskState.DEAD
    assert len(traces.named("process default")) == 1
    assert "4711" not in traces.named("process default")[0].to_json()


def test_without_an_sdk_nothing_is_added(app: App) -> None:
    assert not instrument(app)
    assert not instrument(app, NoOpTracerProvider())
    assert not [*app.middleware.on_enqueue, *app.middleware.around_run, *app.middleware.on_settled]


def test_the_settlement_of_a_run_that_nobody_traced_makes_no_span(app: App) -> None:
    traces = Traces()
    Tracing(traces.provider).on_settled(delivery_of("1"), Complete())
    assert not traces.all()


def test_the_core_loads_no_opentelemetry() -> None:
    program = "import sys, taskq, taskq.runtime.worker; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_global_provider_is_asked_where_none_is_given(monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    traces = Traces()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: traces.provider)
    assert instrument(app)
