"""Three days in one call: each thing happens at its own instant, in order, without a thread or a sleep."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from taskq import App, Cron, Every, Exponential, NoRetry, Snooze, TaskContext, TaskHandle, TaskState, WorkflowRun, chain
from taskq.domain.message import Delivery
from taskq.flows.batch import Batch
from taskq.queues import Queues
from taskq.testing import Harness

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
app = App("redis://nobody.listens.example:1")
told: list[str] = []


class Diary:
    """Middleware that notes each end of a run, and who was there."""

    def __init__(self) -> None:
        self.harness: Harness
        self.threads: set[threading.Thread] = set()

    def on_settled(self, delivery: Delivery, settlement: object) -> None:
        self.threads |= set(threading.enumerate())
        since = self.harness.now - BEGIN
        clock = BEGIN + since
        told.append(f"{since.days} {clock:%H:%M:%S} {delivery.name} {type(settlement).__name__}")


diary = Diary()
app.add_middleware(diary)


@app.task(name="recovers", retry=Exponential(max_retries=5, base=600, factor=2, max_delay=3600, jitter=False))
async def recovers(ctx: TaskContext) -> int:
    if ctx.attempt < 4:
        raise ConnectionError("not yet")
    return ctx.attempt


@app.task(name="hopeless", retry=Exponential(max_retries=2, base=3600, factor=24, max_delay=86_400, jitter=False))
def hopeless() -> None:
    raise ConnectionError("never")


naps: list[bool] = []


@app.task(name="snoozes")
async def snoozes(ctx: TaskContext) -> int:
    if naps.pop():
        raise Snooze(2700)
    return ctx.attempt


@app.task(name="note")
def note() -> None: ...


@app.task(name="double", executor="process")
def double(number: int) -> int:
    return 2 * number


@app.task(name="member", retry=NoRetry())
async def member(number: int) -> int:
    return number


def called(name: str) -> Any:
    """A task that does nothing, for who is to be told apart by name."""
    return app.task(name=name)(lambda: None)


nightly, tick, later, on_the_day = called("nightly"), called("tick"), called("later"), called("on_the_day")
buried, unattended, some_failed, over, all_well = (
    called(name) for name in ("buried", "unattended", "some_failed", "over", "all_well")
)
app.periodic(Cron("0 3 * * *", timezone="Europe/Berlin"), task=nightly)
app.periodic(Every(hours=20, anchor=BEGIN), task=tick)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody starts a thread, nobody sleeps."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a harness neither sleeps nor starts threads")

    monkeypatch.setattr(time, "sleep", refuse)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    told.clear()
    naps[:] = [False, True, True]


EXPECTED = [
    *("0 00:00:00 recovers Retry", "0 00:00:00 hopeless Retry", "0 00:00:00 snoozes Snooze"),
    "0 00:00:00 member Complete",
    "0 00:10:00 recovers Retry",
    "0 00:30:00 recovers Retry",
    "0 00:45:00 snoozes Snooze",
    "0 01:00:00 hopeless Retry",
    *("0 01:10:00 recovers Complete", "0 01:10:00 taskq.webhook Complete"),
    *("0 01:30:00 some_failed Complete", "0 01:30:00 snoozes Complete"),
    "0 02:00:00 nightly Complete",
    *("0 02:30:00 member Complete", "0 02:30:00 over Complete"),
    "0 03:00:00 unattended Complete",
    "0 04:00:00 double Complete",
    "0 04:30:00 double Complete",
    "0 05:00:00 later Complete",
    "0 20:00:00 tick Complete",
    *("1 00:00:00 member Complete", "1 00:00:00 member Complete"),
    "1 00:01:00 all_well Complete",
    *("1 01:00:00 hopeless Bury", "1 01:00:00 buried Complete"),
    "1 02:00:00 nightly Complete",
    "1 12:30:00 on_the_day Complete",
    "1 16:00:00 tick Complete",
    "2 02:00:00 nightly Complete",
    "2 12:00:00 tick Complete",
]
"""Days, the time of the day, the task, and how its run ended."""


class Enqueued(NamedTuple):
    """What is looked at in the end."""

    paused: TaskHandle[None]
    run: WorkflowRun[Any]
    partly: Batch


async def enqueue_everything() -> Enqueued:
    """One of each kind."""
    await Queues(app).apause("closed", "nobody is there")
    await recovers.options(on_complete_url="https://example.org/ended").aenqueue()
    doomed = await hopeless.aenqueue()
    await buried.options(depends_on=doomed, on_parent_failure="run").aenqueue()
    await snoozes.aenqueue()
    await later.options(delay=timedelta(hours=5)).aenqueue()
    await on_the_day.options(eta=BEGIN + timedelta(days=1, hours=12, minutes=30)).aenqueue()
    paused = await note.options(queue="closed", expires=3 * 3600).aenqueue()
    await unattended.options(depends_on=paused, on_parent_failure="run").aenqueue()
    run = await chain(double.options(delay=4 * 3600).s(1), double.options(delay=1800).s()).aenqueue()
    async with app.batch(on_success=all_well.s(), on_failure=some_failed.s(), on_complete=over.s()) as partly:
        await partly.aenqueue(member, 1)
        await partly.aenqueue(member.options(delay=7200, expires=5400), 2)
        await partly.aenqueue(member.options(delay=9000), 3)
    async with app.batch(on_success=all_well.s().options(delay=60), on_failure=some_failed.s()) as batch:
        await batch.aenqueue_many(member.options(delay=86_400), [(4,), (5,)])
    return Enqueued(paused, run, partly)


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.TimerHandle]:
    """The timers that the event loop is given."""
    loop, noted = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
    call_at = loop.call_at

    def note(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        noted.append(call_at(when, *args, **kwargs))
        return noted[-1]

    monkeypatch.setattr(loop, "call_at", note)
    return noted


async def test_three_days_of_everything(no_waiting: None, timers: list[asyncio.TimerHandle]) -> None:
    before = set(threading.enumerate())
    async with Harness(app) as harness:
        diary.harness = harness
        made = await enqueue_everything()
        assert told == [], "nothing runs before it is told to"
        runs = await harness.advance(days=3)
        assert told == EXPECTED
        assert (runs, harness.now) == (len(told), BEGIN + timedelta(days=3))
        assert await made.run.aresult(0) == 4
        assert [(call.type, call.data["completed_at"]) for call in harness.webhooks] == [
            ("task.completed", "2026-01-01T01:10:00+00:00")
        ]
        [expired] = await made.partly.afailed()
        ends = [(record.state, record.completed_at) for record in (expired, await made.paused.ainfo())]
        assert ends == [(TaskState.EXPIRED, BEGIN + timedelta(hours=hours)) for hours in (1.5, 3)]
        assert await harness.advance(days=3) == 3 + 4, "the schedules go on"
    assert diary.threads | set(threading.enumerate()) <= before
    assert timers
    assert all(timer.cancelled() for timer in timers), "a sleep is a timer that rings; those of timeouts never do"
