"""Batches with real workers, on each backend: what is counted, which callbacks run, and each of them once."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from taskq import App, NoRetry, TaskContext
from taskq.config import Settings
from taskq.crypto import Crypto
from taskq.domain.flow import FlowState
from taskq.domain.state import TaskState
from taskq.flows.batch import Batch
from taskq.middleware import Draft
from taskq.task import Task
from tests.worker import batch_tasks
from tests.worker.support import Gate, adopt, gated, twin, until, work, wrap

ALL = ("success", "failure", "complete")


class Callbacks:
    """A callback task of an application, and what it was told, with the ids of the batches."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.told: list[tuple[str, str, dict[str, Any]]] = []

        @app.task(name="callback", queue="callbacks")
        async def callback(ctx: TaskContext, when: str) -> None:
            self.told.append((when, ctx.flow, dict(ctx.metadata)))

        self.task: Task[..., Any] = callback

    def batch(self, *callbacks: str, **said: Any) -> Batch:
        """A new batch with callbacks."""
        signatures: dict[str, Any] = {f"on_{when}": self.task.s(when) for when in callbacks or ALL}
        return self.app.batch(**signatures, **said)

    async def heard(self, *expected: str) -> None:
        """Wait until these, in no order, were told, and see that the store has no more of them."""
        await until(lambda: len(self.told) >= len(expected), f"callbacks: {expected}, told: {self.told}")
        backend = await self.app.backend()
        while await backend.maintenance.relay():
            pass
        counts = await backend.inspector.counts()
        assert sum(counts["callbacks"].values()) == len(expected)
        assert sorted(when for when, *_ in self.told) == sorted(expected)


@pytest.fixture
def callbacks(any_app: App) -> Callbacks:
    """The callbacks of an application on each backend."""
    return Callbacks(any_app)


def load_task(app: App, bad: set[int]) -> Task[..., Any]:
    """A task that fails for some numbers."""

    @app.task(name="load", retry=NoRetry())
    async def load(number: int) -> None:
        if number in bad:
            raise ValueError(number)

    return load


async def until_over(batch: Batch) -> FlowState:
    """Wait for the end of a batch."""

    async def is_over() -> bool:
        return await batch.astatus() not in (FlowState.OPEN, FlowState.RUNNING)

    await until(is_over, f"{batch} is over")
    return await batch.astatus()


def serving(*queues: str) -> dict[str, Any]:
    """Options of a worker that serves these queues and that of the callbacks."""
    return {"queues": dict.fromkeys([*(queues or ("default",)), "callbacks"])}


async def test_all_have_completed(any_app: App, callbacks: Callbacks) -> None:
    load = load_task(any_app, set())
    async with work(any_app, **serving()):
        async with callbacks.batch(metadata={"day": "today"}) as batch:
            await batch.aenqueue_many(load, [(number,) for number in range(20)])
        assert await until_over(batch) is FlowState.COMPLETED
        await callbacks.heard("success", "complete")
    progress = await batch.aprogress()
    assert (progress.total, progress.completed, progress.pending, progress.fraction) == (20, 20, 0, 1.0)
    assert {(flow, tuple(metadata.items())) for _, flow, metadata in callbacks.told} == {
        (batch.id, (("day", "today"),))
    }


async def test_some_fail_and_are_started_anew(any_app: App, callbacks: Callbacks) -> None:
    bad = {3, 7}
    load = load_task(any_app, bad)
    async with work(any_app, **serving()):
        async with callbacks.batch() as batch:
            await batch.aenqueue_many(load, [(number,) for number in range(10)])
        assert await until_over(batch) is FlowState.FAILED
        await callbacks.heard("failure", "complete")
        progress = await batch.aprogress()
        assert (progress.completed, progress.failed, progress.pending, progress.cancelled) == (8, 2, 0, 0)
        failed = await batch.afailed()
        assert {(record.name, record.state, record.failure and record.failure.message) for record in failed} == {
            ("load", TaskState.DEAD, "3"),
            ("load", TaskState.DEAD, "7"),
        }
        bad.discard(3)
        assert await batch.aretry(only_failed=True) == 2
        assert await until_over(batch) is FlowState.FAILED
        bad.clear()
        assert await batch.aretry() == 1
        assert await until_over(batch) is FlowState.COMPLETED
        await callbacks.heard("failure", "complete", "success")
        assert await batch.aretry() == 0
    assert await batch.afailed() == []


async def test_the_first_failure_is_told_while_others_run(any_app: App, callbacks: Callbacks) -> None:
    gate, waits = gated(any_app)
    load = load_task(any_app, {1})
    async with work(any_app, **serving()):
        async with callbacks.batch() as batch:
            await batch.aenqueue(waits)
            await batch.aenqueue(load, 1)
        await callbacks.heard("failure")
        assert await batch.astatus() is FlowState.RUNNING
        gate.open()
        await callbacks.heard("failure", "complete")


async def test_its_status_through_its_life(any_app: App, callbacks: Callbacks) -> None:
    gate, waits = gated(any_app)
    async with work(any_app, **serving()):
        async with callbacks.batch("success") as batch:
            await any_app.find_batch(batch.id).aenqueue(waits)
            await gate.until_arrived(1)
            assert (await batch.astatus(), (await batch.aprogress()).pending) == (FlowState.OPEN, 1)
        assert (await batch.astatus(), (await batch.aprogress()).fraction) == (FlowState.RUNNING, 0.0)
        gate.open()
        assert await until_over(batch) is FlowState.COMPLETED
        await callbacks.heard("success")
    record = await batch.ainfo()
    assert record.closed_at is not None
    assert record.ended_at is not None
    assert record.created_at <= record.closed_at <= record.ended_at


async def test_one_whose_tasks_have_all_ended_stays_open_in_its_block(any_app: App, callbacks: Callbacks) -> None:
    load = load_task(any_app, set())
    async with work(any_app, **serving()):
        async with callbacks.batch() as batch:
            await any_app.find_batch(batch.id).aenqueue(load, 1)

            async def has_completed() -> bool:
                return (await batch.aprogress()).completed == 1

            await until(has_completed, "the only task has ended")
            assert await batch.astatus() is FlowState.OPEN
            await batch.aenqueue(load, 2)
        await callbacks.heard("success", "complete")
    assert (await batch.aprogress()).total == 2


@pytest.mark.parametrize("executor", ["async", "thread"])
async def test_a_member_adds_members(any_app: App, callbacks: Callbacks, executor: str) -> None:
    async def walk(ctx: TaskContext, depth: int) -> None:
        if depth:
            await any_app.find_batch(ctx.flow).aenqueue_many(walks, [(depth - 1,), (depth - 1,)])

    def climb(ctx: TaskContext, depth: int) -> None:
        for _ in range(2 if depth else 0):
            any_app.find_batch(ctx.flow).enqueue(walks, depth - 1)

    walks: Task[..., Any] = any_app.task(name="walks")(walk if executor == "async" else climb)
    async with work(any_app, **serving()):
        async with callbacks.batch() as batch:
            await batch.aenqueue(walks, 3)
        assert await until_over(batch) is FlowState.COMPLETED
        await callbacks.heard("success", "complete")
    assert (await batch.aprogress()).completed == 15


async def test_a_member_in_another_process_adds_members(any_app: App, callbacks: Callbacks, store_url: str) -> None:
    branches, _ = adopt(any_app, batch_tasks.branches), adopt(any_app, batch_tasks.leaf)
    async with work(any_app, **serving()):
        async with callbacks.batch() as batch:
            await batch.aenqueue(branches.options(retry=NoRetry()), 3)
        if store_url == "memory://":  # which no other process can reach: it says so
            assert await until_over(batch) is FlowState.FAILED
            [failed] = await batch.afailed()
            assert failed.failure is not None
            assert failed.failure.type == "CapabilityMissing"
            await callbacks.heard("failure", "complete")
        else:
            assert await until_over(batch) is FlowState.COMPLETED
            await callbacks.heard("success", "complete")
            assert (await batch.aprogress()).completed == 4


async def test_cancel(any_app: App, callbacks: Callbacks) -> None:
    gate, waits = gated(any_app)
    load = load_task(any_app, set())
    async with work(any_app, **serving(), heartbeat=0.1):
        async with callbacks.batch() as batch:
            await batch.aenqueue(waits)
            await batch.aenqueue_many(load.options(delay=3600), [(number,) for number in range(5)])
        await gate.until_arrived(1)
        assert await batch.acancel("not today")
        assert await until_over(batch) is FlowState.CANCELLED
        await callbacks.heard("complete")
        assert not await batch.acancel("again")
    progress = await batch.aprogress()
    assert (progress.cancelled, progress.pending, gate.interrupted) == (6, 0, 1)
    assert {record.reason for record in await batch.afailed()} >= {"not today"}


async def test_one_that_was_cancelled_is_started_anew(any_app: App, callbacks: Callbacks) -> None:
    load = load_task(any_app, set())
    async with callbacks.batch() as batch:
        await batch.aenqueue_many(load, [(1,), (2,)])
    assert await batch.acancel()
    assert await until_over(batch) is FlowState.CANCELLED
    assert (await batch.aretry(only_failed=True), await batch.aretry()) == (0, 2)
    async with work(any_app, **serving()):
        assert await until_over(batch) is FlowState.COMPLETED
        await callbacks.heard("complete", "success")


async def test_two_workers_settle_the_last_ones_at_once(any_app: App) -> None:
    both = [any_app, twin(any_app)]
    gate, told = Gate(), Counter[str]()
    for app in both:

        @app.task(name="waits", retry=NoRetry())
        async def waits(number: int) -> None:
            await gate.passed()
            if number % 2:
                raise ValueError(number)

        @app.task(name="callback", queue="callbacks")
        async def callback(when: str) -> None:
            told[when] += 1

    async with work(both[0], **serving(), concurrency=10), work(both[1], **serving(), concurrency=10):
        callback_here: Task[..., Any] = any_app.tasks.get("callback")
        said: dict[str, Any] = {f"on_{when}": callback_here.s(when) for when in ALL}
        async with any_app.batch(**said) as batch:
            await batch.aenqueue_many(any_app.tasks.get("waits"), [(number,) for number in range(20)])
        await gate.until_arrived(20)
        gate.open()
        assert await until_over(batch) is FlowState.FAILED
        await until(lambda: told.total() >= 2, "both callbacks have run")
    counts = await (await any_app.backend()).inspector.counts()
    assert (sum(counts["callbacks"].values()), told) == (2, Counter(failure=1, complete=1))
    await both[1].aclose()


async def test_a_reply_that_is_lost_is_no_second_end(app: App) -> None:
    wrapped, callbacks = wrap(app), Callbacks(app)
    load = load_task(app, {1, 3})
    async with callbacks.batch() as batch:
        await batch.aenqueue_many(load, [(number,) for number in range(4)])
    wrapped.switch.lost_replies["settle"] = 2
    async with work(app, **serving()):
        assert await until_over(batch) is FlowState.FAILED
        await callbacks.heard("failure", "complete")
        await until(lambda: wrapped.switch.lost_replies["settle"] == 0, "the replies were lost")
    progress = await batch.aprogress()
    assert (progress.total, progress.completed, progress.failed, progress.pending) == (4, 2, 2, 0)


async def test_a_run_that_is_lost_is_no_end_and_the_next_one_is(any_app: App, callbacks: Callbacks) -> None:
    load = load_task(any_app, set())
    async with callbacks.batch() as batch:
        await batch.aenqueue(load, 1)
    # Whoever has claimed it is killed: its lease lapses, and it is found by others.
    broker = (await any_app.backend()).broker
    await broker.fetch(["default"], 1, worker="killed", lease=0.1, request_id="1")
    async with work(any_app, **serving(), lease=1.0, heartbeat=0.3):
        assert await until_over(batch) is FlowState.COMPLETED
        await callbacks.heard("success", "complete")
    assert (await batch.aprogress()).total == 1


async def test_one_whose_block_never_ends_stays_open_until_it_is_cancelled(any_app: App, callbacks: Callbacks) -> None:
    load = load_task(any_app, {1})
    async with AsyncExitStack() as block:
        batch = await block.enter_async_context(callbacks.batch())
        # Some are sent already, and more are not: how many a store takes in one call is its own affair.
        await any_app.find_batch(batch.id).aenqueue_many(load, [(number,) for number in range(5)])
        await batch.aenqueue(load, 5)
        block.pop_all()  # as if the process had died there: nobody will ever close it
    async with work(any_app, **serving()):

        async def have_ended() -> bool:
            return (await batch.aprogress()).pending == 0

        await until(have_ended, "what was sent has ended")
        await callbacks.heard("failure")
        assert await batch.astatus() is FlowState.OPEN
        assert await any_app.find_batch(batch.id).acancel("who filled it is gone")
        await callbacks.heard("failure", "complete")
    record = await batch.ainfo()
    assert (record.state, record.tally.total, record.tally.failed) == (FlowState.CANCELLED, 5, 1)


async def test_2000_members_in_two_queues(any_app: App, callbacks: Callbacks) -> None:
    load = load_task(any_app, {500, 1500})
    async with work(any_app, **serving("left", "right")):
        async with callbacks.batch() as batch:
            for number in range(2000):
                await batch.aenqueue(load.options(queue=("left", "right")[number % 2]), number)
        assert await until_over(batch) is FlowState.FAILED
        await callbacks.heard("failure", "complete")
        progress = await batch.aprogress()
        assert (progress.total, progress.completed, progress.failed) == (2000, 1998, 2)
        assert sorted(record.queue for record in await batch.afailed()) == ["left", "left"]


async def test_a_callback_starts_a_batch_of_its_own(any_app: App) -> None:
    load, made = load_task(any_app, set()), asyncio.Queue[Batch]()

    @any_app.task(name="follow", queue="callbacks")
    async def follow(ctx: TaskContext) -> None:
        async with any_app.batch() as batch:
            await batch.aenqueue(load, 2)
        made.put_nowait(batch)

    async with work(any_app, **serving()):
        async with any_app.batch(on_success=follow.s()) as batch:
            await batch.aenqueue(load, 1)
        following = await made.get()
        assert await until_over(following) is FlowState.COMPLETED
    assert [(await one.aprogress()).total for one in (batch, following)] == [1, 1]


async def test_members_and_callbacks_are_encrypted_and_pass_the_hooks_as_other_tasks_do() -> None:
    app, told = App("memory://", settings=Settings(crypto=Crypto({"k": bytes(32)}, encrypt_all=True))), list[str]()

    class Numbers:
        def on_enqueue(self, draft: Draft) -> None:
            draft.metadata["by"] = draft.name

    app.add_middleware(Numbers())

    @app.task(name="say")
    async def say(ctx: TaskContext, word: str) -> None:
        told.append(f"{word} {ctx.metadata['by']}")

    async with app.batch(on_success=say.s("hunter-2")) as batch:
        await batch.aenqueue(say, "hunter-1")
        await batch.aenqueue(say.options(encrypt=False), "plain")
    backend = await app.backend()
    bodies = [(await app.handle(id).ainfo()).body for id in (await backend.flows.members(batch.id)).ids]
    assert [b"hunter" in body or b"plain" in body for body in bodies] == [False, True]
    async with work(app):
        await until(lambda: len(told) == 3, "all have run")
    assert sorted(told) == ["hunter-1 say", "hunter-2 say", "plain say"]
    await app.aclose()
