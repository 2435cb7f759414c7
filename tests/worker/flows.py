"""Tasks of workflows: for any application, and for child processes, which find theirs by importing this module."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from taskq import App, Fixed, NoRetry, Reject, Task, TaskContext, TaskState, Workflow, chain
from taskq.domain.message import Message
from taskq.flows import once
from taskq.flows.members import add_members
from taskq.flows.run import WorkflowRun
from taskq.runtime.worker import Worker
from taskq.sending import Send
from taskq.task import AsyncTask
from tests.worker.support import PATIENCE, until, work

QUEUES = ("default", "one", "two", "three", "four", "five")
"""On a store of four shards they lie in more than one."""

app = App("memory://")


@app.task(executor="process")
def gathers(ctx: TaskContext, x: Any = None) -> dict[str, Any]:
    """What it was given by others."""
    return {"x": x, "parents": dict(ctx.parent_results), "flow": ctx.flow}


@app.task(name="leaf", executor="process")
def leaf(number: int) -> int:
    return number * 10


@app.workflow(name="makes", executor="process", retry=NoRetry())
def makes(ctx: TaskContext, number: int) -> Workflow:
    """Start a workflow from a child process."""
    return chain(leaf.s(number + ctx.attempt), leaf.s())


@app.task(name="splits", executor="process", retry=Fixed(0.01, max_retries=2, jitter=False))
def splits(ctx: TaskContext, number: int) -> int:
    """Add to its workflow from a child process, and fail the first time."""
    run = app.find_workflow(ctx.flow)
    first = run.add(leaf.s(number), name="first")
    run.add(chain(leaf.s(number + 1), leaf.s()), after=[first, ctx.id], name="part")
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    return number


class Sums(NamedTuple):
    """Tasks of one application."""

    add: AsyncTask[[int, int], int]
    total: Task[[list[int]], int]
    fails: AsyncTask[..., int]
    """It ends as DEAD, whatever it is given."""
    tells: AsyncTask[..., dict[str, Any]]
    """What it was given by others."""


def sums_of(app: App) -> Sums:
    """Declare them."""

    @app.task(name="add")
    async def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="fails", retry=NoRetry())
    async def fails(*values: Any, why: str = "not today") -> int:
        raise Reject(why)

    @app.task(name="tells")
    async def tells(ctx: TaskContext, *values: Any) -> dict[str, Any]:
        return {"values": list(values), "parents": dict(ctx.parent_results), "flow": ctx.flow}

    return Sums(add, total, fails, tells)


async def over(run: WorkflowRun[Any]) -> dict[str, TaskState]:
    """Wait for the end of a run; the state of each task by its name."""

    async def has_ended() -> bool:
        return (await run.ainfo()).ended_at is not None

    await until(has_ended, f"workflow {run.id} has ended", PATIENCE)
    return await states(run)


async def states(run: WorkflowRun[Any]) -> dict[str, TaskState]:
    """The state of each task of a run by its name."""
    return {node.name: node.record.state for node in await run.anodes()}


@contextlib.asynccontextmanager
async def work_wide(app: App, **said: Any) -> AsyncIterator[Worker]:
    """A worker of all these queues that works meanwhile."""
    async with work(app, queues=dict.fromkeys(QUEUES, 1), **said) as worker:
        yield worker


def spread(sums: Sums, numbers: Sequence[int], name: str = "spread", total: str = "total") -> Workflow:
    """A workflow with tasks in all these queues: the sum of the doubles of some numbers."""
    flow = Workflow(name)
    doubles = [
        flow.add(sums.add.options(queue=QUEUES[place % len(QUEUES)]).s(number, number))
        for place, number in enumerate(numbers)
    ]
    flow.add(sums.total.options(queue="three").s([node.output for node in doubles]), name=total)
    return flow


class Died(Exception):
    """Whoever was storing a workflow is gone."""


@contextlib.contextmanager
def dies_after(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """Whoever stores a workflow once dies meanwhile when so many of its tasks are stored."""

    async def some(way: Send, messages: Sequence[Message]) -> None:
        await add_members(way, messages[:number])
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(once, "add_members", some)
        with pytest.raises(Died):
            yield


async def only_run(app: App) -> WorkflowRun[Any]:
    """The one workflow that the store knows."""
    [record] = (await (await app.backend()).flows.list()).records
    return app.find_workflow(record.id)


def dies_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The first who stores a workflow once dies when so many of its tasks are stored."""
    turns: list[str] = []

    async def some(way: Send, messages: Sequence[Message]) -> None:
        turns.append(messages[0].flow)
        await add_members(way, messages[:number] if len(turns) == 1 else messages)
        if len(turns) == 1:
            raise Died

    monkeypatch.setattr(once, "add_members", some)
