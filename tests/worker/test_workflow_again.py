"""Running a workflow again, in real workers: what has become of the first run, and what each task was enqueued with."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from taskq import (
    App,
    DuplicateTask,
    Fixed,
    FlowState,
    InvalidOption,
    NoRetry,
    QueueFull,
    RateLimit,
    TaskContext,
    TaskNotFound,
    TaskRecord,
    TaskState,
    Unique,
    Workflow,
    WorkflowFailed,
    chain,
    chord,
    group,
)
from taskq.crypto import Crypto
from taskq.errors import KeyMissing
from taskq.flows import messages
from taskq.writing import Related
from tests.unit.flows import parents_in
from tests.unit.support import count, headers_of, payload_of
from tests.worker.flows import QUEUES, Sums, dies_after, only_run, over, spread, states, sums_of, work_wide
from tests.worker.support import PATIENCE, configure, twin, until

COMPLETED, DEAD, CANCELLED = TaskState.COMPLETED, TaskState.DEAD, TaskState.CANCELLED


@pytest.fixture
def sums(wide_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(wide_app)


async def test_one_that_has_completed(wide_app: App, sums: Sums) -> None:
    flows = [
        spread(sums, [1, 2, 3, 4, 5]),
        group(sums.add.options(queue=QUEUES[n % 3]).s(n, n) for n in range(4)),
        group(sums.add.options(queue=QUEUES[n % 3]).s(n, n) for n in range(130)),
        chain(sums.add.s(1, 2), group(sums.add.s(10), sums.add.options(queue="two").s(20)), sums.total.s()),
    ]
    async with work_wide(wide_app):
        for flow in flows:
            run = await flow.aenqueue()
            result = await run.aresult(PATIENCE)
            await over(run)
            before = await run.ainfo()
            again = await wide_app.find_workflow(run.id).arun_again()
            assert again.id != run.id
            assert await again.aresult(PATIENCE) == result
            assert set((await over(again)).values()) == {COMPLETED}
            assert await run.ainfo() == before
            assert await parents_in(again) == await parents_in(run)
            assert [node.name for node in await again.anodes()] == [node.name for node in await run.anodes()]
            third = await again.arun_again()
            assert await third.aresult(PATIENCE) == result
            assert (await third.ainfo()).name == before.name


async def test_ones_that_have_failed_and_were_cancelled(wide_app: App, sums: Sums) -> None:
    runs: Counter[str] = Counter()

    @wide_app.task(name="moody", retry=NoRetry())
    async def moody(name: str, *_: Any) -> str:
        runs[name] += 1
        if name == "bad" and runs[name] == 1:
            raise ConnectionError
        return name

    flow = Workflow("moods", metadata={"by": "hand"})
    good = flow.add(moody.s("good"), name="good")
    bad = flow.add(moody.options(queue="two").s("bad", good.output), name="bad")
    flow.add(moody.options(queue="one").s("last", bad.output), name="last")
    flow.add(moody.s("any"), after=bad, on_parent_failure="run", name="any")
    never = spread(sums, [1, 2])
    cancelled = await never.aenqueue()
    assert await cancelled.acancel("not today")
    async with work_wide(wide_app):
        run = await flow.aenqueue()
        assert await over(run) == {"good": COMPLETED, "bad": DEAD, "last": CANCELLED, "any": COMPLETED}
        again = await run.arun_again()
        assert set((await over(again)).values()) == {COMPLETED}
        assert await again.aresult(PATIENCE) == {"last": "last", "any": "any"}
        assert await (await cancelled.arun_again()).aresult(PATIENCE) == 6
        with pytest.raises(WorkflowFailed):
            await run.aresult(PATIENCE)
    assert runs == {"good": 2, "bad": 2, "last": 1, "any": 2}
    assert (await run.astatus(), await cancelled.astatus()) == (FlowState.FAILED, FlowState.CANCELLED)
    info = await again.ainfo()
    assert (info.name, b'"by":"hand"' in info.spec) == ("moods", True)


async def test_one_that_runs(wide_app: App, sums: Sums) -> None:
    run = await spread(sums, [1, 2]).aenqueue()
    again = await run.arun_again()
    async with work_wide(wide_app):
        assert [await each.aresult(PATIENCE) for each in (run, again)] == [6, 6]


def wanted(record: TaskRecord) -> dict[str, Any]:
    """What a call has said of its task."""
    said = headers_of(record)
    assert record.expires_at is not None
    return {
        "options": (record.queue, record.priority, record.tenant, record.retention, record.dead_letter),
        "limits": (record.limits, record.unique, record.max_lost_leases),
        "said": (
            said.metadata,
            said.retry,
            said.timeout,
            said.soft_timeout,
            said.delay,
            said.eta,
            said.node,
            said.version,
        ),
        "expires": round((record.expires_at - record.created_at).total_seconds(), 1),
        "payload": payload_of(record),
    }


async def test_what_each_call_has_said(wide_app: App, sums: Sums) -> None:
    @wide_app.task(
        name="limited",
        queue="one",
        unique=Unique(key="x"),
        rate_limit=RateLimit("100/s", key="tenant"),
        max_lost_leases=7,
        dead_letter=False,
        version=3,
        upcast={1: lambda given: given, 2: lambda given: given},
    )
    async def limited(ctx: TaskContext, x: int, y: int) -> list[Any]:
        return [x, y, ctx.tenant, dict(ctx.metadata)]

    flow = Workflow()
    first = flow.add(sums.add.options(queue="two", expires=3600, eta=datetime.now(UTC) - timedelta(days=1)).s(1, 2))
    call = limited.options(
        priority="high",
        tenant="acme",
        metadata={"a": 1},
        timeout=30,
        soft_timeout=20,
        retry=Fixed(5, max_retries=4),
        expires=7200,
        retention=9000,
        delay=0.01,
    )
    flow.add(call.s(7, first.output), name="mine")
    async with work_wide(wide_app):
        run = await flow.aenqueue()
        result = await run.aresult(PATIENCE)
        await over(run)
        again = await run.arun_again()
        assert await again.aresult(PATIENCE) == result == [7, 3, "acme", {"a": 1}]
    ones = [wanted(node.record) for node in await run.anodes()]
    assert [wanted(node.record) for node in await again.anodes()] == ones
    assert ones[1]["expires"] == 7200
    assert headers_of((await again.anodes())[0].record).flow == again.id


async def test_a_delay_is_kept(wide_app: App, sums: Sums) -> None:
    run = await chain(sums.add.s(1, 2), sums.add.options(delay=3600).s(3)).aenqueue()
    async with work_wide(wide_app):
        again = await run.arun_again()
        for each in (run, again):
            await over_first(wide_app, each.id)
    for each in (run, again):
        first, second = (node.record for node in await each.anodes())
        assert (first.state, second.state) == (COMPLETED, TaskState.SCHEDULED)
        assert second.due_at is not None
        assert first.completed_at is not None
        assert (second.due_at - first.completed_at).total_seconds() == pytest.approx(3600, abs=1)


async def over_first(app: App, id: str) -> None:
    """Wait for the end of the first task of a run, and until its child was told."""
    run = app.find_workflow(id)

    async def is_told() -> bool:
        return (await run.anodes())[1].record.state is TaskState.SCHEDULED

    await until(is_told, "the second is delayed")


async def test_a_unique_key_that_another_holds(wide_app: App, sums: Sums) -> None:
    @wide_app.task(name="only", unique=Unique(key="x"))
    async def only(x: int) -> int:
        return x

    flow = chain(sums.add.options(queue="two").s(1, 2), only.si(7))
    run = await flow.aenqueue()
    with pytest.raises(DuplicateTask, match="only"):  # held by itself
        await run.arun_again()
    async with work_wide(wide_app):
        assert await run.aresult(PATIENCE) == 7
        await over(run)
        again = await run.arun_again()
        assert await again.aresult(PATIENCE) == 7
        await over(again)
    await only.aenqueue(7)
    with pytest.raises(DuplicateTask, match="only"):
        await run.arun_again()
    assert (await count(wide_app), len((await (await wide_app.backend()).flows.list()).records)) == (5, 2)


async def test_a_queue_that_is_full(wide_app: App, sums: Sums) -> None:
    async with work_wide(wide_app):
        run = await spread(sums, list(range(12))).aenqueue()
        await over(run)
    await configure(wide_app, "two", max_size=1)
    with pytest.raises(QueueFull):
        await run.arun_again()
    assert await count(wide_app) == 13
    assert (await only_run(wide_app)).id == run.id


async def test_encrypted_tasks(wide_app: App) -> None:
    wide_app.stores.crypto = Crypto({"2026-11": os.urandom(32)}, encrypt_all=True)
    sums = sums_of(wide_app)
    async with work_wide(wide_app):
        run = await spread(sums, [1, 2, 3]).aenqueue()
        assert await run.aresult(PATIENCE) == 12
        await over(run)
        stranger = twin(wide_app)
        with pytest.raises(KeyMissing, match="2026-11"):
            await stranger.find_workflow(run.id).arun_again()
        assert (await only_run(wide_app)).id == run.id
        again = await run.arun_again()
        assert await again.aresult(PATIENCE) == 12
        await stranger.aclose()
    assert not any(b'"x"' in node.record.body for node in await again.anodes())


async def test_what_was_added_is_added_anew(wide_app: App, sums: Sums) -> None:
    @wide_app.task(name="splits")
    async def splits(ctx: TaskContext, number: int) -> int:
        run = wide_app.find_workflow(ctx.flow)
        parts = [sums.add.options(queue=QUEUES[n]).s(n, n) for n in range(number)]
        await run.aadd(chord(parts, sums.total.s()))
        return number

    flow = group(splits.options(queue=QUEUES[n]).s(n + 1) for n in range(4))
    async with work_wide(wide_app):
        run = await flow.aenqueue()
        assert set((await over(run)).values()) == {COMPLETED}
        total = (await run.aprogress()).total
        again = await run.arun_again()
        assert await again.aresult(PATIENCE) == [1, 2, 3, 4]
        assert set((await over(again)).values()) == {COMPLETED}
    assert (total, (await again.aprogress()).total) == (18, 18)
    assert set(await states(again)) == set(await states(run))


async def test_one_whose_tasks_are_not_all_kept(wide_app: App, sums: Sums) -> None:
    async def forgets(ctx: TaskContext) -> None:
        await wide_app.find_workflow(ctx.flow).aadd(sums.add.s(1, 2))

    wide_app.task(name="forgets")(forgets)
    flow = chain(sums.add.options(queue="two").s(1, 2), wide_app.tasks.get("forgets").si())
    async with work_wide(wide_app):
        run = await flow.aenqueue()
        await over(run)
    first, second, added = await run.anodes()
    inspector = (await wide_app.backend()).inspector
    await inspector.discard([added.record.id])
    again = await run.arun_again()  # that one is not needed
    assert (await again.aprogress()).total == 2
    for node, gone in ((first, 1), (second, 2)):
        await inspector.discard([node.record.id])
        with pytest.raises(TaskNotFound, match=f"workflow {run.id}: {gone} of its tasks are no longer kept"):
            await run.arun_again()


async def test_what_is_no_whole_workflow(wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch) -> None:
    with dies_after(monkeypatch, 1):
        await spread(sums, [1, 2]).aenqueue(idempotency_key="k")
    partial = await only_run(wide_app)
    for _ in range(2):  # open, and cancelled
        with pytest.raises(InvalidOption, match=f"workflow {partial.id} was never stored whole"):
            await partial.arun_again()
        await partial.acancel()
    async with wide_app.batch() as batch:
        await batch.aenqueue(sums.add, 1, 2)
    with pytest.raises(InvalidOption, match=f"{batch.id} is a batch, and only workflows can be run again"):
        await wide_app.find_workflow(batch.id).arun_again()
    with pytest.raises(TaskNotFound, match="no record of workflow or batch"):
        await wide_app.find_workflow("01980000-0000-7000-8000-000000000000").arun_again()


async def test_from_an_application_that_does_not_know_the_tasks(wide_app: App, sums: Sums) -> None:
    async with work_wide(wide_app):
        run = await spread(sums, [1, 2, 3]).aenqueue(idempotency_key="k")
        assert await run.aresult(PATIENCE) == 12
        await over(run)
        stranger = twin(wide_app)
        again = await stranger.find_workflow(run.id).arun_again()
        assert (await again.aresult(PATIENCE), again.id == run.id) == (12, False)
        assert (await spread(sums, [1, 2, 3]).aenqueue(idempotency_key="k")).id == run.id
        await stranger.aclose()


async def test_more_tasks_than_one_call_takes_with_parents_in_other_shards(wide_app: App, sums: Sums) -> None:
    flow = Workflow()
    last: Any = 0
    for n in range(520):
        signature = sums.add.options(queue=QUEUES[n % len(QUEUES)]).s(last, 1)
        last = flow.add(signature).output
    run = await flow.aenqueue()
    assert await run.acancel()
    again = await run.arun_again()
    assert await parents_in(again) == await parents_in(run)
    async with work_wide(wide_app):
        assert await again.aresult(PATIENCE) == 520


async def test_blocking_code(wide_app: App, sums: Sums) -> None:
    def view() -> Any:
        run = spread(sums, [1, 2]).enqueue()
        result = run.result(PATIENCE)
        return result, run.run_again().result(PATIENCE)

    async with work_wide(wide_app):
        assert await asyncio.to_thread(view) == (6, 6)


async def test_one_that_an_earlier_release_has_enqueued(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has noted neither how many tasks there are nor where each stands."""
    monkeypatch.setattr(messages, "Related", lambda flow, node, place, *rest: Related(flow, node, None, *rest))
    written = Workflow._written

    def earlier(self: Workflow, *args: Any) -> Any:
        run = written(self, *args)
        spec = msgspec.json.decode(run.new.spec)
        del spec["size"]
        return run._replace(new=run.new._replace(spec=msgspec.json.encode(spec)))

    monkeypatch.setattr(Workflow, "_written", earlier)
    named = Workflow()
    for n in range(120):
        named.add(sums.add.options(queue=QUEUES[n % 4]).s(n, n), name=f"n{n}")
    async with work_wide(wide_app):
        for flow in (spread(sums, [1, 2, 3]), named):
            run = await flow.aenqueue()
            result = await run.aresult(PATIENCE)
            await over(run)
            found = wide_app.find_workflow(run.id)
            assert await found.aresult(0) == result
            assert await (await found.arun_again()).aresult(PATIENCE) == result
            assert {node.name for node in await found.anodes()} == set(flow._steps)
