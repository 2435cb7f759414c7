"""`.options(depends_on=…)`: for whom a task waits, and what it may not be."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import App, InvalidOption, ParentNotFound, TaskState, Workflow
from taskq.depends import DependsOn
from taskq.domain.workflow import OnParentFailure
from tests.unit.flows import Tasks, tasks_of
from tests.unit.support import count, headers_of

UNKNOWN = "01980000-0000-7000-8000-000000000000"


@pytest.fixture
def tasks(app: App) -> Tasks:
    """Tasks that wait for each other."""
    return tasks_of(app)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
@pytest.mark.parametrize("by", ["handle", "id"])
async def test_several(tasks: Tasks, kind: Any, by: str) -> None:
    parents = [await tasks.add.aenqueue(1, 2) for _ in range(3)]
    given = kind(parent if by == "handle" else parent.id for parent in parents)
    record = await (await tasks.add.options(depends_on=given, on_parent_failure="run").aenqueue(1, 2)).ainfo()
    assert record.state is TaskState.BLOCKED
    assert {edge.parent for edge in record.parents} == {parent.id for parent in parents}
    assert {edge.on_failure for edge in record.parents} == {OnParentFailure.RUN}
    assert headers_of(record).parents == []  # they have no names


async def test_one_and_the_same_twice(tasks: Tasks) -> None:
    parent = await tasks.add.aenqueue(1, 2)
    several: tuple[DependsOn, ...] = (parent, parent.id, [parent, parent.id, parent])
    for given in several:
        record = await (await tasks.add.options(depends_on=given).aenqueue(1, 2)).ainfo()
        assert [tuple(edge) for edge in record.parents] == [(parent.id, OnParentFailure.CANCEL)]


async def test_none(tasks: Tasks) -> None:
    record = await (await tasks.add.options(depends_on=[]).aenqueue(1, 2)).ainfo()
    assert (record.state, record.parents, headers_of(record).parents) == (TaskState.PENDING, (), None)


async def test_many_that_wait_for_one(tasks: Tasks) -> None:
    parent = await tasks.add.aenqueue(1, 2)
    handles = await tasks.add.options(depends_on=parent).aenqueue_many([(n, n) for n in range(3)])
    assert [await handle.astatus() for handle in handles] == [TaskState.BLOCKED] * 3


async def test_by_name(app: App, tasks: Tasks) -> None:
    parent = await tasks.add.aenqueue(1, 2)
    handle = await app.aenqueue("add", {"x": 1, "y": 2}, depends_on=parent)
    assert await handle.astatus() is TaskState.BLOCKED


@pytest.mark.parametrize(
    "wrong", [5, None, "add", "", UNKNOWN.upper().replace("8", "A"), [None], [UNKNOWN, 5], {UNKNOWN: 1}, object()]
)
def test_what_nobody_can_wait_for(tasks: Tasks, wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="depends_on must be a handle or the id of a task, or several, not "):
        tasks.add.options(depends_on=wrong)


async def test_parts_and_runs_of_workflows(app: App, tasks: Tasks) -> None:
    """A run has an id too: what waited for it would wait for its start."""
    flow = Workflow()
    node = flow.add(tasks.add.s(1, 2))
    run = await flow.aenqueue()
    for wrong in (node, node.output, tasks.add.s(1, 2), flow, run, app.find_workflow(run.id), app.find_batch(run.id)):
        given: Any = wrong
        with pytest.raises(InvalidOption, match="depends_on must be a handle or the id of a task, or several, not "):
            tasks.add.options(depends_on=given)


async def test_a_parent_that_nobody_knows(app: App, tasks: Tasks) -> None:
    parent = await tasks.add.aenqueue(1, 2)
    with pytest.raises(ParentNotFound, match=UNKNOWN):
        await tasks.add.options(depends_on=[parent, UNKNOWN]).aenqueue(1, 2)
    assert await count(app) == 1
