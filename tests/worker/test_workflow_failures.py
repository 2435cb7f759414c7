"""Workflows that do not go as planned, on each backend: policies, retries, cancels, and what waiting raises."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import (
    App,
    Cancel,
    Fixed,
    FlowState,
    NoRetry,
    TaskCancelled,
    TaskContext,
    TaskFailed,
    TaskState,
    Workflow,
    WorkflowFailed,
    chain,
    chord,
    group,
)
from taskq.task import AsyncTask
from tests.worker.flows import Sums, over, states, sums_of
from tests.worker.support import PATIENCE, configure, gated, until, work

COMPLETED, DEAD, CANCELLED, FAILED = TaskState.COMPLETED, TaskState.DEAD, TaskState.CANCELLED, TaskState.FAILED


@pytest.fixture
def sums(any_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(any_app)


class Switch:
    """What has tasks fail."""

    def __init__(self, app: App) -> None:
        self.is_broken = True
        self.runs: list[str] = []

        @app.task(name="moody", retry=NoRetry())
        async def moody(name: str, *_: Any) -> str:
            self.runs.append(name)
            if self.is_broken and name.startswith("bad"):
                raise ConnectionError(f"{name} is broken")
            return name

        self.moody: AsyncTask[..., str] = moody


async def test_each_policy(any_app: App, sums: Sums) -> None:
    flow = Workflow()
    bad = flow.add(sums.fails.s(), name="bad")
    for policy in ("cancel", "run", "fail"):
        child = flow.add(sums.tells.s(bad.output), on_parent_failure=policy, name=policy)
        flow.add(sums.tells.s(), after=child, name=f"after {policy}")
        flow.add(sums.tells.s(), after=child, on_parent_failure="run", name=f"run after {policy}")
    async with work(any_app):
        run = await flow.aenqueue()
        assert await over(run) == {
            "bad": DEAD,
            "cancel": CANCELLED,
            "after cancel": CANCELLED,
            "run after cancel": COMPLETED,
            "run": COMPLETED,
            "after run": COMPLETED,
            "run after run": COMPLETED,
            "fail": FAILED,
            "after fail": CANCELLED,
            "run after fail": COMPLETED,
        }
    records = {node.name: node.record for node in await run.anodes()}
    bad_id = records["bad"].id
    assert records["cancel"].reason == f"task {bad_id}, for which it waited, ended as dead"
    assert records["fail"].failure is not None
    assert records["fail"].failure.type == "ParentFailed"
    assert await any_app.handle(records["run"].id).aresult(0) == {"values": [None], "parents": {}, "flow": run.id}
    progress = await run.aprogress()
    assert (progress.completed, progress.failed, progress.cancelled, progress.pending) == (5, 2, 3, 0)
    assert await run.astatus() is FlowState.FAILED
    assert {record.id for record in await run.afailed()} == {r.id for r in records.values() if r.state is not COMPLETED}
    assert len(await run.afailed(limit=2)) == 2


async def test_the_first_failure_and_the_names_of_all(any_app: App, sums: Sums) -> None:
    switch = Switch(any_app)
    flow = Workflow()
    first = flow.add(switch.moody.s("bad one"), name="one")
    flow.add(switch.moody.s("bad two"), after=first, on_parent_failure="run", name="two")
    flow.add(sums.add.s(1, 2), after=first, name="three")
    async with work(any_app):
        run = await flow.aenqueue()
        await over(run)
        for found in (run, any_app.find_workflow(run.id)):
            with pytest.raises(WorkflowFailed, match=r"ConnectionError: bad one is broken \(in one, two\)") as caught:
                await found.aresult(PATIENCE)
    error = caught.value
    assert isinstance(error, TaskFailed)
    assert (error.type, error.failed) == ("ConnectionError", ["one", "two"])
    assert "ConnectionError" in error.traceback


async def test_one_that_failed_because_another_did(any_app: App, sums: Sums) -> None:
    flow = Workflow()
    flow.add(sums.add.s(1, 2), after=flow.add(sums.fails.s(why="no rows"), name="load"), on_parent_failure="fail")
    async with work(any_app):
        with pytest.raises(WorkflowFailed, match="Reject: no rows") as caught:
            await (await flow.aenqueue()).aresult(PATIENCE)
    assert caught.value.failed[0] == "load"


async def test_a_failure_in_the_midst_that_is_run_over(any_app: App, sums: Sums) -> None:
    flow = chain(sums.add.s(1, 2), sums.fails.s(), sums.add.options(on_parent_failure="run").si(5, 6))
    async with work(any_app):
        run = await flow.aenqueue()
        assert await run.aresult(PATIENCE) == 11
    assert await run.astatus() is FlowState.FAILED


async def test_a_group_and_a_chord_of_which_one_fails(any_app: App, sums: Sums) -> None:
    async with work(any_app):
        run = await group(sums.add.s(1, 2), sums.fails.s()).aenqueue()
        with pytest.raises(WorkflowFailed, match="Reject: not today"):
            await run.aresult(PATIENCE)
        run = await chord([sums.add.s(1, 2), sums.fails.s()], sums.total.s()).aenqueue()
        with pytest.raises(WorkflowFailed) as caught:
            await run.aresult(PATIENCE)
    assert caught.value.failed == ["fails"]
    assert (await states(run))["total"] is CANCELLED


async def test_a_task_that_cancels_itself(any_app: App, sums: Sums) -> None:
    @any_app.task(name="leaves")
    async def leaves() -> int:
        raise Cancel("nothing to do")

    async with work(any_app):
        run = await chain(leaves.s(), sums.add.s(1)).aenqueue()
        with pytest.raises(TaskCancelled, match="for which it waited, ended as cancelled"):
            await run.aresult(PATIENCE)
    assert await states(run) == {"leaves": CANCELLED, "add": CANCELLED}
    assert await run.astatus() is FlowState.FAILED


async def test_one_that_expired(any_app: App, sums: Sums) -> None:
    flow = chain(sums.add.options(queue="nobody", expires=0.05).s(1, 2), sums.add.s(3))
    run = await flow.aenqueue()
    maintenance = (await any_app.backend()).maintenance

    async def has_expired() -> bool:
        await maintenance.expire()
        await maintenance.relay()
        return (await run.ainfo()).ended_at is not None

    await until(has_expired, "it has expired")
    with pytest.raises(WorkflowFailed, match=r"^Expired \(in add\)$"):
        await run.aresult(0)
    assert await states(run) == {"add": TaskState.EXPIRED, "add-2": CANCELLED}


async def test_retries_within(any_app: App, sums: Sums) -> None:
    @any_app.task(name="flaky", retry=Fixed(0.01, max_retries=3, jitter=False))
    async def flaky(ctx: TaskContext, x: int) -> int:
        if ctx.attempt < 3:
            raise ConnectionError
        return x + ctx.attempt

    async with work(any_app):
        run = await chord([flaky.s(1), flaky.s(2)], sums.total.s()).aenqueue()
        assert await run.aresult(PATIENCE) == 9
    assert [node.record.attempt for node in await run.anodes()] == [3, 3, 1]
    assert await run.astatus() is FlowState.COMPLETED


async def test_a_cancel_of_all(any_app: App, sums: Sums) -> None:
    gate, waits = gated(any_app)
    flow = Workflow()
    flow.add(sums.add.s(1, 2), name="done")
    running = flow.add(waits.s(), name="running")
    flow.add(sums.add.s(1, 2), after=running, name="blocked")
    flow.add(sums.add.s(1, 2), after=running, on_parent_failure="run", name="in any case")
    flow.add(sums.add.options(delay=3600).s(1, 2), name="later")
    async with work(any_app):
        run = await flow.aenqueue()
        await gate.until_arrived(1)

        async def first_has_ended() -> bool:
            return (await run.aprogress()).completed == 1

        await until(first_has_ended, "the first has ended")
        assert await run.acancel("not today")
        assert await over(run) == {
            "done": COMPLETED,
            "running": CANCELLED,
            "blocked": CANCELLED,
            "in any case": CANCELLED,
            "later": CANCELLED,
        }
        with pytest.raises(TaskCancelled, match="not today"):
            await run.aresult(PATIENCE)
    assert gate.interrupted == 1
    record = await run.ainfo()
    assert (record.state, record.cancel_reason) == (FlowState.CANCELLED, "not today")
    assert not await run.acancel("again")


async def test_a_cancel_of_one_that_has_ended(any_app: App, sums: Sums) -> None:
    async with work(any_app):
        run = await chain(sums.add.s(1, 2), sums.add.s(3)).aenqueue()
        await over(run)
        assert not await run.acancel()
        assert await run.astatus() is FlowState.COMPLETED
        assert await run.aretry() == 0


async def test_a_retry_of_all_that_failed_and_what_hangs_on_it(any_app: App, sums: Sums) -> None:
    switch = Switch(any_app)
    flow = Workflow()
    good = flow.add(switch.moody.s("good"), name="good")
    bad = flow.add(switch.moody.s("bad", good.output), name="bad")
    child = flow.add(switch.moody.s("child", bad.output), name="child")
    flow.add(switch.moody.s("grandchild", child.output), name="grandchild")
    flow.add(switch.moody.s("fails too", bad.output), on_parent_failure="fail", name="failed")
    async with work(any_app):
        run = await flow.aenqueue()
        assert await over(run) == {
            "good": COMPLETED,
            "bad": DEAD,
            "child": CANCELLED,
            "grandchild": CANCELLED,
            "failed": FAILED,
        }
        switch.is_broken = False
        assert await run.aretry() == 4
        assert await run.aresult(PATIENCE) == {"grandchild": "grandchild", "failed": "fails too"}
        assert set((await over(run)).values()) == {COMPLETED}
    assert (await run.astatus(), (await run.aprogress()).completed) == (FlowState.COMPLETED, 5)
    assert switch.runs[:2] == ["good", "bad"]
    assert sorted(switch.runs[2:]) == ["bad", "child", "fails too", "grandchild"]
    assert switch.runs.index("child") < switch.runs.index("grandchild")


async def test_a_retry_that_fails_again(any_app: App, sums: Sums) -> None:
    switch = Switch(any_app)
    async with work(any_app):
        run = await chain(switch.moody.s("bad"), switch.moody.s("child")).aenqueue()
        await over(run)
        assert await run.aretry() == 2
        assert await over(run) == {"moody": DEAD, "moody-2": CANCELLED}
        with pytest.raises(WorkflowFailed):
            await run.aresult(PATIENCE)
    assert switch.runs == ["bad", "bad"]
    progress = await run.aprogress()
    assert (progress.total, progress.failed, progress.cancelled) == (2, 1, 1)


async def test_a_retry_of_many_that_fail_again(any_app: App, sums: Sums) -> None:
    """Those that are started last still heed what has become meanwhile of those that were started first."""
    switch = Switch(any_app)
    flow = Workflow()
    bad = [flow.add(switch.moody.s(f"bad {n}"), name=f"bad {n}") for n in range(510)]
    for n, parent in enumerate(bad):
        flow.add(switch.moody.s("child"), after=parent, name=f"child {n}")
    async with work(any_app):
        run = await flow.aenqueue()
        await over(run)
        assert await run.aretry() == 1020
        found = list((await over(run)).values())
    assert (found.count(DEAD), found.count(CANCELLED)) == (510, 510)
    assert "child" not in switch.runs


async def test_a_retry_of_those_only_that_failed_themselves(any_app: App, sums: Sums) -> None:
    switch = Switch(any_app)
    flow = Workflow()
    for name in ("bad one", "bad two"):
        bad = flow.add(switch.moody.s(name), name=name)
        flow.add(switch.moody.s(f"after {name}"), after=bad, name=f"after {name}")
        flow.add(switch.moody.s("x"), after=bad, on_parent_failure="fail", name=f"fails with {name}")
    async with work(any_app):
        run = await flow.aenqueue()
        await over(run)
        switch.is_broken = False
        assert await run.aretry(only_failed=True) == 2
        assert await over(run) == {
            "bad one": COMPLETED,
            "after bad one": CANCELLED,
            "fails with bad one": FAILED,
            "bad two": COMPLETED,
            "after bad two": CANCELLED,
            "fails with bad two": FAILED,
        }
        assert await run.aretry() == 4
        assert set((await over(run)).values()) == {COMPLETED}


async def test_a_retry_of_what_was_cancelled(any_app: App, sums: Sums) -> None:
    await configure(any_app)
    run = await chain(sums.add.s(1, 2), sums.add.s(3), sums.add.s(4)).aenqueue()
    assert await run.acancel("too early")
    assert set((await states(run)).values()) == {CANCELLED}
    async with work(any_app):
        assert await run.aretry(only_failed=True) == 0
        assert await run.aretry() == 3
        assert await run.aresult(PATIENCE) == 10
        assert await over(run) == {"add": COMPLETED, "add-2": COMPLETED, "add-3": COMPLETED}
