"""Middleware: what each hook may do, in which order, and that a raising one loses no task."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taskq import (
    App,
    ConfigError,
    InvalidPayload,
    Middleware,
    NoRetry,
    Retry,
    TaskContext,
    TaskFailed,
    TaskState,
    current,
)
from taskq.config import WorkerOptions
from taskq.context import current_or_none
from taskq.domain.message import Delivery
from taskq.domain.outcome import Complete, Failed, Outcome, Settlement, Succeeded
from taskq.domain.record import Failure
from taskq.lifespan import life_of
from taskq.middleware import CallNext, Draft, Stack
from taskq.runtime.worker import Worker
from tests.unit.support import count, headers_of, record_of

PATIENCE = 30.0
QUICK = WorkerOptions(poll=0.05, threads=2, shutdown_timeout=8.0)


class Refused(Exception):
    """What a hook raises."""


class Tagger:
    def __init__(self, tag: str) -> None:
        self.tag = tag

    def on_enqueue(self, draft: Draft) -> None:
        draft.metadata.setdefault("tags", []).append(f"{self.tag} {draft.name} {draft.queue}")
        draft.trace["parent"] = self.tag


async def test_middleware_that_is_added_late_sees_the_next_call(app: App) -> None:
    @app.task(name="late")
    def late() -> None: ...

    before = await record_of(app, await late.aenqueue())
    app.add_middleware(Tagger("late"))
    after = await record_of(app, await late.aenqueue())
    assert [headers_of(record).trace for record in (before, after)] == [{}, {"parent": "late"}]


async def test_on_enqueue_adds_to_the_metadata_in_the_order_of_adding(app: App) -> None:
    app.add_middleware(Tagger("outer"))
    app.add_middleware(Tagger("inner"))
    given = {"own": 1}
    record = await record_of(app, await app.aenqueue("job", queue="mail", metadata=given))
    headers = headers_of(record)
    assert headers.metadata == {"own": 1, "tags": ["outer job mail", "inner job mail"]}
    assert headers.trace == {"parent": "inner"}
    assert given == {"own": 1}


async def test_on_enqueue_may_refuse(app: App) -> None:
    class Guard:
        def on_enqueue(self, draft: Draft) -> None:
            if draft.name == "forbidden":
                raise Refused(draft.name)

    app.add_middleware(Guard())
    with pytest.raises(Refused, match="forbidden"):
        await app.aenqueue("forbidden")
    assert await count(app) == 0
    await app.aenqueue("allowed")
    assert await count(app) == 1


async def test_on_enqueue_sees_each_task_of_many(app: App) -> None:
    class Numbering:
        seen = 0

        def on_enqueue(self, draft: Draft) -> None:
            draft.metadata["number"] = self.seen
            draft.metadata["tags"].append(self.seen)
            draft.trace["span"] = str(self.seen)
            self.seen += 1

    app.add_middleware(Numbering())

    @app.task(name="job")
    def job(x: int) -> None: ...

    given: dict[str, Any] = {"tags": ["own"]}
    handles = await job.options(metadata=given).aenqueue_many([(1,), (2,), (3,)])
    headers = [headers_of(await record_of(app, handle)) for handle in handles]
    assert [found.metadata for found in headers] == [{"number": n, "tags": ["own", n]} for n in range(3)]
    assert [found.trace for found in headers] == [{"span": str(n)} for n in range(3)]
    assert given == {"tags": ["own"]}


async def test_a_hook_that_refuses_one_of_many_refuses_all(app: App) -> None:
    class Third:
        seen = 0

        def on_enqueue(self, draft: Draft) -> None:
            self.seen += 1
            if self.seen == 3:
                raise Refused("the third")

    app.add_middleware(Third())

    @app.task(name="job")
    def job(x: int) -> None: ...

    with pytest.raises(Refused, match="the third"):
        await job.aenqueue_many([(1,), (2,), (3,)])
    assert await count(app) == 0


async def test_metadata_that_cannot_be_copied_for_a_hook(app: App) -> None:
    app.add_middleware(Tagger("t"))
    with pytest.raises(InvalidPayload, match="job: the metadata cannot be written as JSON"):
        await app.aenqueue("job", metadata={"lock": threading.Lock()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda draft: setattr(draft, "queue", "slow"),
            r"the queue of a draft cannot be changed: .*options\(queue=…\)",
        ),
        (lambda draft: setattr(draft, "name", "other"), "the name of a draft cannot be changed"),
        (lambda draft: setattr(draft, "nmae", "other"), "nmae"),
    ],
)
def test_what_a_hook_may_not_change_is_refused(change: Callable[[Draft], None], message: str) -> None:
    draft = Draft("job", "default")
    with pytest.raises(AttributeError, match=message):
        change(draft)
    draft.metadata, draft.trace = {"a": 1}, {"b": "2"}
    assert repr(draft) == "Draft(name='job', queue='default', metadata={'a': 1}, trace={'b': '2'})"


def test_a_stack_takes_only_the_hooks_that_there_are() -> None:
    class OnlyEnqueue(Middleware):
        def on_enqueue(self, draft: Draft) -> None: ...

    stack = Stack((Middleware(), OnlyEnqueue(), object(), Tagger("t")))
    assert (len(stack.on_enqueue), stack.around_run, stack.on_settled) == (2, (), ())


async def test_the_base_class_changes_nothing() -> None:
    async def run() -> Outcome:
        return Succeeded(b"1")

    context: Any = None
    assert await Middleware().around_run(context, run) == Succeeded(b"1")
    Middleware().on_enqueue(Draft("job", "default"))
    delivery: Any = None
    Middleware().on_settled(delivery, Complete())


class Recorder:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
        self.log.append(f"{self.name} before {context.name} {current().id == context.id}")
        outcome = await call_next()
        self.log.append(f"{self.name} after {type(outcome).__name__}")
        return outcome

    def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
        self.log.append(f"{self.name} settled {delivery.name} {type(settlement).__name__}")


async def test_around_run_is_an_onion_and_sees_the_outcome(app: App) -> None:
    log: list[str] = []
    for name in ("outer", "inner"):
        app.add_middleware(Recorder(name, log))

    @app.task(name="good")
    async def good() -> int:
        log.append("run")
        return 3

    @app.task(name="bad", retry=NoRetry())
    def bad() -> None:
        raise ValueError("no")

    async with Worker(app, QUICK).running():
        assert await (await good.aenqueue()).aresult(PATIENCE) == 3
        with pytest.raises(TaskFailed, match="ValueError: no"):
            await (await bad.aenqueue()).aresult(PATIENCE)
    assert log == [
        "outer before good True", "inner before good True", "run", "inner after Succeeded", "outer after Succeeded",
        "outer settled good Complete", "inner settled good Complete",
        "outer before bad True", "inner before bad True", "inner after Failed", "outer after Failed",
        "outer settled bad Bury", "inner settled bad Bury",
    ]  # fmt: skip


async def test_what_around_run_returns_counts(app: App) -> None:
    class Replacer:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            await call_next()
            return Failed(Failure("Vetoed", "by middleware"), retryable=False)

    app.add_middleware(Replacer())

    @app.task(name="job")
    async def job() -> int:
        return 3

    async with Worker(app, QUICK).running():
        with pytest.raises(TaskFailed, match="Vetoed: by middleware"):
            await (await job.aenqueue()).aresult(PATIENCE)


async def test_around_run_may_leave_the_run_out(app: App) -> None:
    class Cache:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            return Succeeded(b"42")

    app.add_middleware(Cache())

    @app.task(name="job")
    async def job() -> int:
        raise AssertionError("it ran")

    async with Worker(app, QUICK).running():
        assert await (await job.aenqueue()).aresult(PATIENCE) == 42


async def test_a_raising_around_run_is_a_failed_attempt_and_loses_nothing(app: App) -> None:
    class Broken:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            if context.metadata.get("break") == "retry":
                if context.attempt == 1:
                    raise Retry(delay=0)
                return await call_next()
            raise Refused("around")

    app.add_middleware(Broken())

    @app.task(name="job", retry=NoRetry())
    async def job() -> int:
        return 3

    async with Worker(app, QUICK).running():
        handle = await job.aenqueue()
        with pytest.raises(TaskFailed, match="Refused: around"):
            await handle.aresult(PATIENCE)
        assert await handle.astatus() is TaskState.DEAD


async def test_a_raising_on_settled_changes_nothing(app: App, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    class Broken:
        def on_settled(self, delivery: Delivery, settlement: Settlement) -> None:
            raise Refused("settled")

    app.add_middleware(Broken())
    app.add_middleware(Recorder("after", log))

    @app.task(name="job")
    async def job(x: int) -> int:
        return x

    async with Worker(app, QUICK).running():
        for number in range(3):
            assert await (await job.aenqueue(number)).aresult(PATIENCE) == number
    assert log.count("after settled job Complete") == 3
    assert "on_settled failed" in caplog.text


async def test_the_lifespan_s_state_is_in_the_context() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[dict[str, int]]:
        log.append(f"opened {app.namespace}")
        yield {"answer": 42}
        log.append("closed")

    app = App("memory://", lifespan=lifespan)

    @app.task(name="on_loop")
    async def on_loop(ctx: TaskContext) -> int:
        return int(ctx.state["answer"])

    @app.task(name="in_thread")
    def in_thread() -> int:
        log.append("run")
        return int(current().state["answer"])

    async with Worker(app, QUICK).running():
        assert await (await on_loop.aenqueue()).aresult(PATIENCE) == 42
        assert await (await in_thread.aenqueue()).aresult(PATIENCE) == 42
    assert log == ["opened default", "run", "closed"]


def test_there_is_no_context_outside_of_a_task() -> None:
    assert current_or_none() is None
    with pytest.raises(LookupError, match=r"taskq.current\(\) was called outside of a task"):
        current()


async def test_without_a_lifespan_there_is_no_state(app: App) -> None:
    async with life_of(app) as state:
        assert state is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (5, "must have one of the methods on_enqueue, around_run, on_settled, not 5"),
        (None, "not None"),
        (Tagger, r"must be an object, not the class Tagger: write Tagger\(…\)"),
    ],
)
def test_what_is_no_middleware_is_refused(app: App, given: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        app.add_middleware(given)
