"""Workflows keep the types of results. A line marked `# error` is one that both type checkers refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from taskq import App, Cron, Node, Signature, TaskContext, TaskHandle, Workflow, WorkflowRun, chain, chord, group
from taskq.domain.flow import FlowState
from taskq.domain.record import TaskRecord
from taskq.flows.run import NodeRecord
from taskq.flows.view import FlowProgress
from taskq.inputs import Output

app = App("memory://")


@dataclass
class Report:
    """A result."""

    rows: list[int]


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task
async def fetch(ctx: TaskContext, url: str) -> bytes:
    return url.encode()


@app.task(timeout=5)
async def report(source: bytes) -> Report:
    return Report([len(source)])


@app.task
def table() -> dict[str, list[int]]:
    return {}


def signatures() -> None:
    assert_type(add.s(1, 2), Signature[int])
    assert_type(add.si(1), Signature[int])
    assert_type(fetch.s("u"), Signature[bytes])
    assert_type(report.si(b"u"), Signature[Report])
    assert_type(fetch.s("u").options(queue="slow"), Signature[bytes])
    wrong: Signature[str] = add.s(1)  # error
    also: Signature[int] = fetch.s("u")  # error
    add.s(1).nothing()  # error
    print(wrong, also)


def outputs() -> None:
    flow = Workflow("nightly", metadata={"a": 1})
    number = flow.add(add.s(1, 2), name="number")
    assert_type(number, Node[int])
    assert_type(number.output, int)
    fetched = flow.add(fetch.s("u"), after=number, on_parent_failure="run")
    assert_type(fetched.output, bytes)
    reported = flow.add(report.s(fetched.output), after=[number, fetched])
    assert_type(reported.output, Report)
    assert_type(reported.output.rows, list[int])
    assert_type(flow.add(table.s()).output["rows"][0], int)
    assert_type(reported.after(number, fetched), Node[Report])
    text: str = number.output  # error
    report(number.output)  # error
    print(number.output.rows)  # error
    print(reported.output.colums)  # error
    print(reported.output["rows"])  # error
    print(number["rows"])  # error
    print(text)


def wrong_parts() -> None:
    flow = Workflow()
    node = flow.add(add.s(1))
    Workflow(1)  # error
    Workflow("a", metadata=1)  # error
    flow.add(add)  # error
    flow.add(1)  # error
    flow.add(add.s(1), after="add")  # error
    flow.add(add.s(1), after=1)  # error
    flow.add(add.s(1), name=1)  # error
    flow.add(add.s(1), on_parent_failure=1)  # error
    node.after("add")  # error
    node.after([node])  # error


def canvas() -> None:
    assert_type(chain(add.s(1), add.s(2)), Workflow)
    assert_type(group(add.s(n) for n in range(3)), Workflow)
    assert_type(group(add.s(1), fetch.s("u"), chain(add.s(1))), Workflow)
    assert_type(chord([add.s(1), fetch.s("u")], add.s()), Workflow)
    assert_type(chord([chain(add.s(1)), group(add.s(2))], chain(add.s())), Workflow)
    assert_type(Workflow().add(group(add.s(1))), Node[Any])
    chain(add)  # error
    chain([add.s(1)])  # error
    group(add)  # error
    group(1)  # error
    group([add])  # error
    chord(add.s(1), add.s())  # error
    chord([add.s(1)])  # error
    chord([add.s(1)], add)  # error


def runs() -> None:
    run = chain(add.s(1)).enqueue()
    assert_type(run, WorkflowRun[Any])
    assert_type(run.status(), FlowState)
    assert_type(run.progress(), FlowProgress)
    assert_type(run.nodes(), list[NodeRecord])
    assert_type(run.failed(limit=3), list[TaskRecord])
    assert_type(run.cancel("why"), bool)
    assert_type(run.retry(only_failed=True), int)
    assert_type(app.find_workflow(run.id), WorkflowRun[Any])
    run.result("soon")  # error
    run.cancel(1)  # error
    run.retry(True)  # error


async def runs_in_a_loop() -> None:
    run = await Workflow().aenqueue()
    assert_type(await run.astatus(), FlowState)
    assert_type(await run.acancel(), bool)
    run.aresult(timeout="soon")  # error


@app.workflow
def nightly(source: str, days: int = 1) -> Workflow:
    return chain(add.s(len(source), days))


@app.workflow(name="weekly", queue="slow", timeout=60)
async def weekly(ctx: TaskContext, source: str) -> Workflow:
    return chain(add.s(len(source)))


@app.workflow
async def monthly(source: str) -> Workflow:
    return chain(add.s(len(source)))


@app.workflow
async def yearly(ctx: TaskContext, source: str) -> Workflow:
    return chain(add.s(len(source)))


def starting() -> None:
    assert_type(nightly.enqueue("s3://x"), TaskHandle[str])
    assert_type(nightly.enqueue("s3://x", days=2).result(), str)
    assert_type(weekly.enqueue("s3://x").result(1), str)
    assert_type(weekly.s("s3://x"), Signature[str])
    app.periodic(Cron("0 3 * * *"), task=nightly, args=("s3://x",), overlap="skip")
    nightly.enqueue(1)  # error
    nightly.enqueue()  # error
    weekly.enqueue("s3://x", 2)  # error
    weekly.enqueue()  # error
    app.workflow(name=1)  # error
    app.workflow(dealy=1)  # error

    @app.workflow  # error
    def wrong() -> int:
        return 1

    @app.workflow(name="wrong")  # error
    async def wrong_too() -> int:
        return 1


async def starting_in_a_loop() -> None:
    assert_type(await weekly.aenqueue("s3://x"), TaskHandle[str])
    assert_type(await (await weekly.aenqueue("s3://x")).aresult(1), str)
    assert_type(await nightly.aenqueue("s3://x", days=2), TaskHandle[str])
    assert_type(await monthly.aenqueue("s3://x"), TaskHandle[str])
    assert_type(await yearly.aenqueue("s3://x"), TaskHandle[str])
    assert_type(await monthly("s3://x"), str)
    assert_type(await weekly("s3://x"), str)
    assert_type(await yearly("s3://x"), str)
    assert_type(nightly("s3://x"), str)
    await yearly.aenqueue(1)  # error
    assert_type(await weekly.options(queue="fast").aenqueue("s3://x"), TaskHandle[str])
    await weekly.aenqueue("s3://x", 2)  # error
    await weekly.aenqueue()  # error
    number: TaskHandle[int] = await weekly.aenqueue("s3://x")  # error
    print(weekly.aenqueue("s3://x").id)  # error
    print(number)


def under_a_key() -> None:
    run = chain(add.s(1)).enqueue(idempotency_key="k")
    assert_type(run, WorkflowRun[Any])
    assert_type(run.run_again(), WorkflowRun[Any])
    chain(add.s(1)).enqueue(idempotency_key=1)  # error
    chain(add.s(1)).enqueue("k")  # error


async def adding(run: WorkflowRun[int]) -> None:
    handle = await run.aadd(fetch.s("u"), name="fetched")
    assert_type(handle, TaskHandle[bytes])
    assert_type(await run.aadd(add.s(1), after=[handle, handle.id], on_parent_failure="run"), TaskHandle[int])
    assert_type(await run.aadd(group(add.s(1)), after=handle.id), list[TaskHandle[Any]])
    assert_type(run.add(add.s(1)), TaskHandle[int])
    assert_type(run.add(chain(add.s(1)), on_parent_failure=None), list[TaskHandle[Any]])
    assert_type(await run.arun_again(), WorkflowRun[int])
    run.add(add)  # error
    run.add(1)  # error
    run.add(add.s(1), after=Workflow().add(add.s(1)))  # error
    run.add(add.s(1), after=run)  # error
    run.add(add.s(1), name=1)  # error
    await run.aadd(add.s(1), on_parent_failure=1)  # error


def waiting() -> None:
    handle = add.enqueue(1)
    add.options(depends_on=handle, on_parent_failure="run").enqueue(1)
    add.options(depends_on=[handle, handle.id, fetch.enqueue("u")]).enqueue(1)
    add.options(depends_on=1)  # error
    add.options(depends_on=[1])  # error
    add.options(depends_on=chain(add.s(1)).enqueue())  # error
    add.options(depends_on=Workflow().add(add.s(1)))  # error


def parts(output: Output[dict[str, int]]) -> None:
    assert_type(output["rows"], Output[Any])
    assert_type(output["rows"][0], Output[Any])
    output[1.5]  # error
