"""Workflows that are enqueued under an idempotency key: one run for a key, however often, whoever has died."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import pytest

from taskq import (
    App,
    FlowOver,
    FlowState,
    IdempotencyConflict,
    ParentNotFound,
    QueueFull,
    TaskCancelled,
    TaskState,
    Workflow,
    chain,
    group,
)
from taskq.crypto import Crypto
from taskq.domain.flow import ABANDONED
from tests.unit.support import count
from tests.worker.flows import Sums, dies_after, only_run, over, spread, states, sums_of, work_wide
from tests.worker.support import PATIENCE, configure, gated, twin

COMPLETED = TaskState.COMPLETED


@pytest.fixture
def sums(wide_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(wide_app)


async def give_up(app: App, run: str) -> None:
    """What a store does with a workflow that nobody has stored whole for ten minutes."""
    assert await (await app.backend()).flows.give_up(run, ABANDONED)


async def test_one_run_before_while_and_after_it_runs(wide_app: App, sums: Sums) -> None:
    gate, waits = gated(wide_app)
    flow = Workflow("nightly", metadata={"by": "hand"})
    flow.add(sums.tells.s(flow.add(waits.s()).output), name="last")
    first = await flow.aenqueue(idempotency_key="k")
    runs = [first, await flow.aenqueue(idempotency_key="k")]
    async with work_wide(wide_app):
        await gate.until_arrived(1)
        runs.append(await flow.aenqueue(idempotency_key="k"))
        gate.open()
        told = await first.aresult(PATIENCE)
        runs.append(await flow.aenqueue(idempotency_key="k"))
        runs.append(wide_app.find_workflow(first.id))
        assert [await run.aresult(PATIENCE) for run in runs] == [told] * 5
    assert {run.id for run in runs} == {first.id}
    assert (gate.arrived, await count(wide_app), told["values"]) == (1, 2, ["done"])
    assert (await first.astatus(), (await first.aprogress()).total) == (FlowState.COMPLETED, 2)


async def test_many_at_once_and_other_processes(wide_app: App, sums: Sums) -> None:
    ran: Counter[int] = Counter()

    @wide_app.task(name="notes")
    async def notes(number: int) -> int:
        ran[number] += 1
        return number

    apps = [wide_app, twin(wide_app), twin(wide_app)]
    for other in apps[1:]:
        other.task(name="notes")(notes.function)
    flows = [
        group(app.tasks.get("notes").options(queue=f"{'default' if n % 2 else 'two'}").s(n) for n in range(230))
        for app in apps
    ]
    async with work_wide(wide_app):
        runs = await asyncio.gather(*(flows[n % 3].aenqueue(idempotency_key="k") for n in range(10)))
        assert len({run.id for run in runs}) == 1
        for run in (runs[0], runs[9], wide_app.find_workflow(runs[0].id)):
            assert await run.aresult(PATIENCE) == list(range(230))
        await over(runs[0])
    assert set(ran.values()) == {1}
    assert (len(ran), await count(wide_app), (await runs[0].aprogress()).total) == (230, 230, 230)
    for other in apps[1:]:
        await other.aclose()


async def test_another_name_another_key_and_none(wide_app: App, sums: Sums) -> None:
    ids = set()
    for name, key in (("a", "k"), ("b", "k"), ("a", "l"), ("ak", "k"), ("a", None), ("a", None)):
        flow = Workflow(name)
        flow.add(sums.add.s(1, 2))
        ids.add((await flow.aenqueue(idempotency_key=key)).id)
    assert (len(ids), await count(wide_app)) == (6, 6)


async def test_another_namespace(wide_app: App, sums: Sums) -> None:
    apart = twin(wide_app)  # the ids are kept apart, wherever the namespaces lie
    apart._submitter.namespace = "elsewhere"
    flows = [spread(each, [1, 2]) for each in (sums_of(apart), sums)]
    async with work_wide(wide_app):
        runs = [await flow.aenqueue(idempotency_key="k") for flow in flows]
        assert runs[0].id != runs[1].id
        assert [await run.aresult(PATIENCE) for run in runs] == [6, 6]
    assert await count(wide_app) == 6
    await apart.aclose()


async def test_what_differs_is_a_conflict_and_is_not_stored(wide_app: App, sums: Sums) -> None:
    def flow_of(
        x: int = 1, *, order: str = "ab", policy: str = "cancel", last: Any = None, name: str = "b"
    ) -> Workflow:
        flow = Workflow("sums")
        a, b = flow.add(sums.add.s(x, 2), name="a"), flow.add(sums.add.s(3, 4), name=name)
        parents = [{"a": a, "b": b}[each] for each in order]
        flow.add((last or sums.total).s([1]), after=parents, on_parent_failure=policy, name="last")
        return flow

    run = await flow_of().aenqueue(idempotency_key="k")
    longer = flow_of()
    longer.add(sums.add.s(1, 2), name="more")
    others = [flow_of(2), flow_of(order="ba"), flow_of(order="a"), flow_of(policy="run"), flow_of(last=sums.tells)]
    async with work_wide(wide_app):
        for _ in range(2):  # while it runs, and when it has ended
            for other in [*others, flow_of(name="c"), longer]:
                with pytest.raises(IdempotencyConflict, match="workflow sums: this idempotency key was used before"):
                    await other.aenqueue(idempotency_key="k")
            assert await (await flow_of().aenqueue(idempotency_key="k")).aresult(PATIENCE) == 1
    assert (await count(wide_app), (await run.aprogress()).total) == (3, 3)
    assert (await only_run(wide_app)).id == run.id


@pytest.mark.parametrize("stored", [0, 1, 4, 7])
async def test_one_who_died_in_the_middle_is_completed(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    flow = spread(sums, [1, 2, 3, 4, 5, 6])
    async with work_wide(wide_app):
        with dies_after(monkeypatch, stored):
            await flow.aenqueue(idempotency_key="k")
        dead = await only_run(wide_app)
        assert await dead.astatus() is FlowState.OPEN
        assert set((await states(dead)).values()) <= {TaskState.BLOCKED}
        with pytest.raises(IdempotencyConflict):
            await spread(sums, [1, 2, 3, 4, 5, 7]).aenqueue(idempotency_key="k")
        run = await flow.aenqueue(idempotency_key="k")
        assert (run.id, await run.aresult(PATIENCE)) == (dead.id, 42)
        assert set((await over(run)).values()) == {COMPLETED}
    assert await count(wide_app) == 7


async def test_one_that_was_given_up_gives_a_new_run(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, ids = spread(sums, [1, 2]), []
    for _ in range(2):
        with dies_after(monkeypatch, 2):
            await flow.aenqueue(idempotency_key="k")
        [*_, newest] = reversed((await (await wide_app.backend()).flows.list()).records)
        ids.append(newest.id)
        await give_up(wide_app, newest.id)
        assert set((await states(wide_app.find_workflow(newest.id))).values()) == {TaskState.CANCELLED}
    async with work_wide(wide_app):
        runs = [await flow.aenqueue(idempotency_key="k") for _ in range(3)]
        assert [await run.aresult(PATIENCE) for run in runs] == [6, 6, 6]
    assert len({*ids, *(run.id for run in runs)}) == 3
    with pytest.raises(IdempotencyConflict):
        await spread(sums, [1, 3]).aenqueue(idempotency_key="k")


@pytest.mark.parametrize("stored", [0, 1, 3])
async def test_one_that_is_given_up_while_another_completes_it(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    """In the last moment, before and after more of it was stored."""
    flow = spread(sums, [1, 2])
    with dies_after(monkeypatch, 1):
        await flow.aenqueue(idempotency_key="k")
    dead, backend = await only_run(wide_app), await wide_app.backend()
    enqueue, turns = backend.broker.enqueue, []

    async def late(messages: Any, **said: Any) -> Any:
        turns.append(len(messages))
        if len(turns) > 1:
            return await enqueue(messages, **said)
        some = list(await enqueue(messages[:stored], **said)) if stored else []
        await give_up(wide_app, dead.id)
        return [*some, *(await enqueue(messages[stored:], **said) if messages[stored:] else [])]

    with monkeypatch.context() as patch:
        patch.setattr(backend.broker, "enqueue", late)
        run = await flow.aenqueue(idempotency_key="k")
    assert run.id != dead.id
    assert await dead.astatus() is FlowState.CANCELLED
    async with work_wide(wide_app):
        assert await run.aresult(PATIENCE) == 6


async def test_one_that_was_completed_and_has_ended_while_another_stores_it(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, backend = spread(sums, [1, 2, 3]), await wide_app.backend()
    enqueue, turns = backend.broker.enqueue, []

    async def slow(messages: Any, **said: Any) -> Any:
        turns.append(len(messages))
        if len(turns) == 1:
            await (await flow.aenqueue(idempotency_key="k")).aresult(PATIENCE)
            await over(await only_run(wide_app))
        return await enqueue(messages, **said)

    async with work_wide(wide_app):
        with monkeypatch.context() as patch:
            patch.setattr(backend.broker, "enqueue", slow)
            run = await flow.aenqueue(idempotency_key="k")
        assert (await run.aresult(0), await count(wide_app)) == (12, 4)


async def test_one_that_a_person_cancelled_is_not_started_anew(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = spread(sums, [1, 2])
    with dies_after(monkeypatch, 1):
        await flow.aenqueue(idempotency_key="open")
    dead = await only_run(wide_app)
    whole = await flow.aenqueue(idempotency_key="whole")
    for run in (dead, whole):
        assert await run.acancel("not today")
    async with work_wide(wide_app):
        for key, cancelled in (("open", dead), ("whole", whole)):
            run = await flow.aenqueue(idempotency_key=key)
            assert (run.id, await run.astatus()) == (cancelled.id, FlowState.CANCELLED)
            for found in (run, wide_app.find_workflow(run.id)):
                with pytest.raises(TaskCancelled, match="was cancelled"):
                    await found.aresult(PATIENCE)
    assert set((await states(dead)).values()) == {TaskState.CANCELLED}


async def test_one_that_a_person_cancels_while_it_is_stored(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, backend = spread(sums, [1, 2]), await wide_app.backend()
    enqueue = backend.broker.enqueue

    async def late(messages: Any, **said: Any) -> Any:
        await (await only_run(wide_app)).acancel("not today")
        return await enqueue(messages, **said)

    with monkeypatch.context() as patch:
        patch.setattr(backend.broker, "enqueue", late)
        run = await flow.aenqueue(idempotency_key="k")
    assert await run.astatus() is FlowState.CANCELLED
    assert await count(wide_app) == 0


async def test_one_that_the_store_forgets_while_it_is_stored(
    wide_app: App, sums: Sums, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, backend = spread(sums, [1, 2]), await wide_app.backend()
    enqueue = backend.broker.enqueue

    async def late(messages: Any, **said: Any) -> Any:
        assert await backend.flows.forget((await only_run(wide_app)).id)
        return await enqueue(messages, **said)

    with monkeypatch.context() as patch:
        patch.setattr(backend.broker, "enqueue", late)
        with pytest.raises((FlowOver, ParentNotFound)):
            await flow.aenqueue(idempotency_key="k")


async def test_a_queue_that_is_full_in_the_middle_and_has_room_again(wide_app: App, sums: Sums) -> None:
    await configure(wide_app, "two", max_size=1)
    await configure(wide_app, "one", max_size=200)  # room for both, if what was refused takes none
    blocker = await sums.add.options(queue="two").aenqueue(1, 2)
    flow = spread(sums, list(range(150)))  # more than the record names, had it several ends
    ends = group(sums.add.options(queue="two" if n == 7 else "one").s(n, n) for n in range(150))
    for each in (flow, ends):
        with pytest.raises(QueueFull):
            await each.aenqueue(idempotency_key="k")
    refused = (await (await wide_app.backend()).flows.list()).records
    assert [(record.state, record.tally.pending, record.is_partial) for record in refused] == [
        (FlowState.CANCELLED, 0, True)
    ] * 2
    await configure(wide_app, "two", max_size=1000)
    runs = [await each.aenqueue(idempotency_key="k") for each in (flow, ends)]
    assert {run.id for run in runs}.isdisjoint(record.id for record in refused)
    async with work_wide(wide_app):
        assert await runs[0].aresult(PATIENCE) == sum(2 * n for n in range(150))
        for found in (runs[1], wide_app.find_workflow(runs[1].id)):
            assert await found.aresult(PATIENCE) == [2 * n for n in range(150)]
        assert await blocker.aresult(PATIENCE) == 3
    assert await count(wide_app) == 302 + sum(record.tally.total for record in refused)


async def test_encrypted_tasks(wide_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    wide_app.stores.crypto = Crypto({"2026-11": os.urandom(32)}, encrypt_all=True)
    sums = sums_of(wide_app)
    flow = spread(sums, [1, 2, 3])
    with dies_after(monkeypatch, 2):
        await flow.aenqueue(idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        await spread(sums, [1, 2, 4]).aenqueue(idempotency_key="k")
    runs = [await flow.aenqueue(idempotency_key="k") for _ in range(2)]
    async with work_wide(wide_app):
        assert [await run.aresult(PATIENCE) for run in runs] == [12, 12]
    assert runs[0].id == runs[1].id
    assert await count(wide_app) == 4
    assert not any(b'"x"' in node.record.body for node in await runs[0].anodes())


async def test_blocking_code(wide_app: App, sums: Sums) -> None:
    def view() -> Any:
        runs = [chain(sums.add.s(1, 2), sums.add.s(3)).enqueue(idempotency_key="k") for _ in range(2)]
        return len({run.id for run in runs}), [run.result(PATIENCE) for run in runs]

    async with work_wide(wide_app):
        assert await asyncio.to_thread(view) == (1, [6, 6])
