"""Tasks that run only within a window: put off outside of it, without an attempt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App, InvalidOption, TaskState
from taskq.contrib import TimeWindow
from taskq.domain.record import AttemptOutcome
from taskq.testing import Harness
from tests.worker.support import until_state, work

NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)


async def nothing() -> str:
    return "done"


async def test_it_is_put_off_until_the_window_opens_and_then_runs() -> None:
    app = App("memory://")
    harness = Harness(app)
    begin = harness.clock.now()

    def clock() -> datetime:
        return NOON + timedelta(seconds=harness.clock.now() - begin)

    app.add_middleware(TimeWindow("22:00", "06:00", clock=clock))
    task = app.task(name="report")(nothing)
    async with harness:
        handle = await task.aenqueue()
        await harness.run_until_idle()
        record = await handle.ainfo()
        assert record.state is TaskState.SCHEDULED
        assert record.due_at is not None
        await harness.advance(hours=9, minutes=59)
        assert await handle.astatus() is TaskState.SCHEDULED
        await harness.advance(minutes=1)
        assert await handle.aresult(0) == "done"
        attempts = (await handle.ainfo()).attempts
    assert [(each.outcome, each.attempt) for each in attempts] == [
        (AttemptOutcome.SNOOZED, 1),
        (AttemptOutcome.SUCCEEDED, 1),
    ]


async def test_it_is_put_off_in_the_store() -> None:
    app = App("memory://")
    app.add_middleware(TimeWindow("22:00", "06:00", clock=lambda: NOON))
    task = app.task(name="report")(nothing)
    async with work(app):
        record = await until_state(await task.aenqueue(), TaskState.SCHEDULED)
    assert record.due_at is not None
    assert abs((record.due_at - record.attempts[-1].ended_at).total_seconds() - 36_000) < 1


SELECTED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all": ({}, []),
    "by name": ({"tasks": ("mail.send",)}, ["mail.read", "report"]),
    "by pattern": ({"tasks": ("mail.*",)}, ["report"]),
    "by queue": ({"queues": ("slow",)}, ["mail.send", "mail.read"]),
    "by metadata": ({"metadata_key": "nightly"}, ["mail.send", "report"]),
    "by either": ({"queues": ("slow",), "tasks": ("*.read",)}, ["mail.send"]),
}


@pytest.mark.parametrize("kind", SELECTED)
async def test_which_tasks_are_meant(kind: str) -> None:
    selected, expected = SELECTED[kind]
    app = App("memory://")
    app.add_middleware(TimeWindow("22:00", "06:00", clock=lambda: NOON, **selected))
    ran: list[str] = []
    async with Harness(app) as harness:
        await app.task(name="mail.send")(_notes(ran, "mail.send")).aenqueue()
        await app.task(name="mail.read")(_notes(ran, "mail.read")).options(metadata={"nightly": True}).aenqueue()
        await (
            app.task(name="report", queue="slow")(_notes(ran, "report")).options(metadata={"nightly": False}).aenqueue()
        )
        await harness.run_until_idle()
    assert sorted(ran) == sorted(expected)


def _notes(ran: list[str], name: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        ran.append(name)

    return run


@pytest.mark.parametrize(
    "arguments", [{"tasks": "mail.*"}, {"queues": "slow"}, {"queues": ("not a queue",)}, {"tasks": 5}]
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        TimeWindow("22:00", "06:00", **arguments)
