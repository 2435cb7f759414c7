"""What the tests of workflows share: tasks to build them of, and what a store holds of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from taskq import App, Task, Workflow
from taskq.flows.run import WorkflowRun
from tests.unit.support import payload_of


class Tasks(NamedTuple):
    """Tasks of one application."""

    add: Task[[int, int], int]
    total: Task[[list[int]], int]
    take: Task[..., Any]
    """Takes anything."""


def tasks_of(app: App) -> Tasks:
    """Declare them."""

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="take")
    def take(*values: Any, **named: Any) -> Any:
        return [list(values), named]

    return Tasks(add, total, take)


async def parents_in(run: WorkflowRun[Any]) -> dict[str, list[str]]:
    """Of each task of a run the names of those for which it waits; a task outside of the run has its id for a name."""
    nodes = await run.anodes()
    names = {node.record.id: node.name for node in nodes}
    return {
        node.name: [names.get(edge.parent, edge.parent) for edge in node.record.parents if edge.parent != run.id]
        for node in nodes
    }


async def graph_of(flow: Workflow) -> dict[str, list[str]]:
    """Of each task of a workflow the names of those for which it waits."""
    return await parents_in(await flow.aenqueue())


async def payloads_of(flow: Workflow) -> dict[str, Any]:
    """The payload of each task of a workflow, with the templates that stand for results."""
    return {node.name: payload_of(node.record) for node in await (await flow.aenqueue()).anodes()}
