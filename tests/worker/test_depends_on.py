"""Tasks that wait for others by `.options(depends_on=…)`, on each backend."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import App, ParentNotFound, Reject, TaskCancelled, TaskContext, TaskFailed, TaskState
from taskq.domain.workflow import OnParentFailure
from taskq.errors import TaskqError
from tests.unit.support import count
from tests.worker.flows import Sums, sums_of
from tests.worker.support import PATIENCE, ended, gated, until_state, work

UNKNOWN = "01980000-0000-7000-8000-000000000000"


@pytest.fixture
def sums(any_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(any_app)


async def test_a_task_runs_after_another(any_app: App, sums: Sums) -> None:
    gate, waits = gated(any_app)
    async with work(any_app):
        parent = await waits.aenqueue()
        child = await sums.tells.options(depends_on=parent).aenqueue(7)
        await gate.until_arrived(1)
        assert await child.astatus() is TaskState.BLOCKED
        gate.open()
        given = {"values": [7], "parents": {parent.id: "done"}, "flow": ""}
        assert await child.aresult(PATIENCE) == given


async def test_a_task_runs_after_the_last_of_several(any_app: App, sums: Sums) -> None:
    gate, waits = gated(any_app)
    async with work(any_app, queues={"default": 1, "other": 1}):
        quick, slow = await sums.add.options(queue="other").aenqueue(1, 2), await waits.aenqueue()
        child = await sums.tells.options(depends_on=[quick.id, slow], queue="other").aenqueue()
        await ended(quick)
        assert await child.astatus() is TaskState.BLOCKED
        gate.open()
        assert (await child.aresult(PATIENCE))["parents"] == {quick.id: 3, slow.id: "done"}


async def test_parents_that_have_completed(any_app: App, sums: Sums) -> None:
    async with work(any_app):
        parent = await sums.add.aenqueue(1, 2)
        await ended(parent)
        child = await sums.tells.options(depends_on=[parent]).aenqueue()
        assert (await child.aresult(PATIENCE))["parents"] == {parent.id: 3}


@pytest.mark.parametrize("is_over", [True, False])
@pytest.mark.parametrize("policy", OnParentFailure)
async def test_parents_that_fail(any_app: App, sums: Sums, policy: OnParentFailure, is_over: bool) -> None:
    async with work(any_app):
        parent = await sums.fails.options(delay=0 if is_over else 0.1).aenqueue()
        if is_over:
            await ended(parent)
        child = await sums.tells.options(depends_on=parent, on_parent_failure=policy.value).aenqueue()
        record = await ended(child)
        why = f"task {parent.id}, for which it waited, ended as dead"
        match policy:
            case OnParentFailure.RUN:
                assert await child.aresult(0) == {"values": [], "parents": {}, "flow": ""}
            case OnParentFailure.CANCEL:
                assert (record.state, record.reason) == (TaskState.CANCELLED, why)
                with pytest.raises(TaskCancelled, match=why):
                    await child.aresult(0)
            case OnParentFailure.FAIL:
                assert (record.state, record.reason) == (TaskState.FAILED, "parent failed")
                with pytest.raises(TaskFailed, match=f"ParentFailed: {why}"):
                    await child.aresult(0)


async def test_a_parent_that_is_cancelled(any_app: App, sums: Sums) -> None:
    parent = await sums.add.options(delay=3600).aenqueue(1, 2)
    child = await sums.tells.options(depends_on=parent).aenqueue()
    grandchild = await sums.tells.options(depends_on=child, on_parent_failure="run").aenqueue()
    await parent.acancel("not today")
    assert (await ended(child)).state is TaskState.CANCELLED
    async with work(any_app):
        assert await grandchild.aresult(PATIENCE) == {"values": [], "parents": {}, "flow": ""}


async def test_a_parent_that_nobody_knows(any_app: App, sums: Sums) -> None:
    parent = await sums.add.aenqueue(1, 2)
    call = sums.tells.options(depends_on=[parent, UNKNOWN])
    with pytest.raises(ParentNotFound, match=UNKNOWN):
        await call.aenqueue()
    with pytest.raises(TaskqError, match=UNKNOWN):
        await call.options(depends_on=UNKNOWN).aenqueue_many([(1,)], atomic=True)
    assert await count(any_app) == 1


async def test_many_that_wait_for_one(any_app: App, sums: Sums) -> None:
    async with work(any_app):
        parent = await sums.add.options(delay=0.1).aenqueue(1, 2)
        handles = await sums.tells.options(depends_on=parent).aenqueue_many([(n,) for n in range(120)])
        values = [(await handle.aresult(PATIENCE))["values"] for handle in handles]
    assert values == [[n] for n in range(120)]


async def test_by_name(any_app: App, sums: Sums) -> None:
    async with work(any_app):
        parent = await sums.add.aenqueue(1, 2)
        child = await any_app.aenqueue("total", {"numbers": [1, 2]}, depends_on=parent.id)
        assert await child.aresult(PATIENCE) == 3


async def test_what_a_task_enqueues_may_wait_for_the_task_itself(any_app: App, sums: Sums) -> None:
    @any_app.task(name="makes")
    async def makes(ctx: TaskContext) -> str:
        return (await sums.tells.options(depends_on=ctx.id).aenqueue()).id

    async with work(any_app):
        parent = await makes.aenqueue()
        child: Any = any_app.handle(await parent.aresult(PATIENCE))
        assert (await child.aresult(PATIENCE))["parents"] == {parent.id: child.id}


async def test_a_retry_of_both(any_app: App, sums: Sums) -> None:
    moods = [True, False]

    @any_app.task(name="moody", dead_letter=True)
    async def moody() -> int:
        if moods.pop(0):
            raise Reject("not yet")
        return 5

    async with work(any_app):
        parent = await moody.aenqueue()
        child = await sums.tells.options(depends_on=parent).aenqueue()
        await ended(child)
        backend = await any_app.backend()
        await backend.inspector.redrive([parent.id, child.id])
        assert (await child.aresult(PATIENCE))["parents"] == {parent.id: 5}


async def test_a_delay_of_one_that_waits(any_app: App, sums: Sums) -> None:
    async with work(any_app):
        parent = await sums.add.aenqueue(1, 2)
        child = await sums.tells.options(depends_on=parent, delay=3600).aenqueue()
        record = await until_state(child, TaskState.SCHEDULED)
        done = (await ended(parent)).completed_at
    assert record.due_at is not None
    assert done is not None
    assert (record.due_at - done).total_seconds() == pytest.approx(3600, abs=5)
