"""Why a task does not run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App, Breaker, Concurrency, Exponential, RateLimit, TaskNotFound, Unique
from taskq.domain.outcome import Complete, Retry
from taskq.management import Actor, Management, Role
from taskq.management.explain import PEEKED, Check
from taskq.ports import WorkerState
from taskq.testing.conformance.fleet import worker_info
from tests.unit.support import BROKEN, buried, claim, settle

GONE = "01980000-0000-7000-8000-000000000000"


async def staff(app: App, **fields: Any) -> None:
    """Have a worker live that could run everything."""
    usual = {"id": "w1", "name": "n", "queues": ("default",), "state": WorkerState.IDLE, "running": 0, "tasks": ()}
    info = worker_info(**{**usual, "pressure": "", "unresponsive": (), **fields})
    await (await app.backend()).registry.report(info, 900.0)


async def checks(management: Management, id: str) -> dict[str, Check]:
    return {check.name: check for check in (await management.tasks.explain(id)).checks}


async def why(management: Management, id: str) -> str:
    return (await management.tasks.explain(id)).sentence


async def test_what_is_next_is_held_back_by_nothing(app: App, management: Management) -> None:
    await staff(app)
    first, second = [(await app.aenqueue("mail.send", {})).id for _ in range(2)]
    found = await management.tasks.explain(first)
    assert [(check.name, check.holds_back) for check in found.checks] == [
        ("paused", False),
        ("workers", False),
        ("place", False),
    ]
    assert (found.sentence, found.not_before) == ("it is the next of default", None)
    assert await why(management, second) == "1 task comes before it in default"


async def test_without_a_worker_nothing_runs(app: App, management: Management) -> None:
    id = (await app.aenqueue("mail.send", {}, queue="mail")).id
    assert await why(management, id) == "no live worker serves the queue mail"
    await staff(app)
    assert await why(management, id) == "no live worker serves the queue mail; those that live serve default"
    await staff(app, queues=("mail",), tasks=("mail.read",))
    assert await why(management, id) == "no worker that serves mail (1 do) knows the task mail.send"
    await staff(app, queues=("mail",), tasks=("mail.send",), state=WorkerState.PAUSED)
    assert await why(management, id) == "no worker takes tasks now: n is paused"
    await staff(app, queues=("mail",), pressure="memory 5 MiB of 4 MiB", state=WorkerState.PRESSED)
    assert await why(management, id) == "no worker takes tasks now: n is memory 5 MiB of 4 MiB"
    await staff(app, queues=("mail",), running=8, concurrency=8, state=WorkerState.BUSY)
    assert await why(management, id) == "each worker that could run it (1) is busy"


async def test_a_pause_says_why_and_until_when(app: App, management: Management) -> None:
    await staff(app)
    id = (await app.aenqueue("mail.send", {})).id
    await management.queues.pause("default", "the relay is away")
    found = await management.tasks.explain(id)
    assert found.sentence == "the queue default is paused: the relay is away"
    assert found.not_before is None
    until = datetime.now(UTC) + timedelta(hours=1)
    await management.queues.pause("default", "", until)
    found = await management.tasks.explain(id)
    assert found.sentence.startswith("the queue default is paused until 20")
    assert found.not_before is not None
    assert abs(found.not_before - until) < timedelta(seconds=1)


async def test_what_waits_for_its_time_says_when(app: App, management: Management) -> None:
    await staff(app)
    later = (await app.aenqueue("mail.send", {}, delay=90_000, expires=100_000)).id
    found = await checks(management, later)
    assert found["due"].text.startswith("it is due in 1 d")
    assert found["expires"].text.startswith("it expires in 1 d 3 h")
    id = (await app.aenqueue("mail.send", {})).id
    await settle(app, await claim(app), Retry(3600.0, BROKEN))
    assert (await why(management, id)).startswith("its next attempt is due in 59 min")


async def test_what_waits_for_others_names_them(app: App, management: Management) -> None:
    parent = await app.aenqueue("mail.read", {})
    id = (await app.aenqueue("mail.send", {}, depends_on=[parent])).id
    found = await management.tasks.explain(id)
    assert found.sentence == f"it waits for mail.read ({parent.id}, pending)"
    assert list(found.checks[0].ids) == [parent.id]


async def test_limits_say_how_they_stand(app: App, management: Management) -> None:
    await staff(app)
    limits: dict[str, Any] = {"rate_limit": RateLimit("1/h", name="calls"), "concurrency": Concurrency(1, name="desk")}

    @app.task(name="mail.send", **limits, breaker=Breaker(), retry=Exponential())
    def send(n: int) -> None: ...

    runs, waits = [(await send.aenqueue(n)).id for n in range(2)]
    assert (await claim(app)).id == runs
    found = (await management.tasks.explain(waits)).checks
    held = {check.name: check for check in found if check.holds_back}
    rate = next(check for check in found if check.until is not None)
    assert rate.text.startswith("the rate of calls, 0.000277778/s, lets one start in 3")
    slots = next(check for check in found if "slots" in check.text)
    assert slots.text == f"1 of 1 slots of desk are taken by {runs}"
    assert list(slots.ids) == [runs]
    assert any(check.text.startswith("the breaker of mail.send is closed") for check in found)
    assert "limit" in held


async def test_limits_of_a_queue_say_how_they_stand(app: App, management: Management) -> None:
    await staff(app)
    await management.queues.configure("default", workers=1, rate="1/h")
    _, waits = [(await app.aenqueue("mail.send", {})).id for _ in range(2)]
    await claim(app)
    texts = [check.text for check in (await management.tasks.explain(waits)).checks if check.holds_back]
    assert texts[0].startswith("the rate of the queue default, 0.000277778/s, lets one start in 3")
    assert texts[1] == "1 of 1 tasks that the queue may have at once run"


async def test_what_runs_says_where(app: App, management: Management) -> None:
    id = (await app.aenqueue("mail.send", {})).id
    delivery = await claim(app)
    assert "on worker w, which is silent" in await why(management, id)
    await staff(app, id=delivery.worker)
    assert (await why(management, id)).endswith("on worker n (w)")
    await management.tasks.cancel([id])
    assert (await why(management, id)).endswith("on worker n (w), and was asked to end")
    await settle(app, delivery, Complete())
    assert await why(management, id) == "it is completed"


async def test_what_is_dead_says_who_holds_its_key(app: App, management: Management) -> None:
    dead = await buried(app)
    assert await why(management, dead) == "it is dead (exhausted), ConnectionError"

    @app.task(name="draw", queue="draw", unique=Unique(key=("page",)))
    def draw(page: int) -> None: ...

    first = await draw.aenqueue(1)
    await first.acancel()
    assert await why(management, first.id) == "it is cancelled"
    second = await draw.aenqueue(1)
    found = await management.tasks.explain(first.id)
    assert found.sentence == f"it cannot start anew: task {second.id} holds its unique key"


async def test_far_behind_is_said_so(app: App, management: Management) -> None:
    await staff(app)

    @app.task(name="draw")
    def draw(page: int) -> None: ...

    await draw.aenqueue_many((n,) for n in range(PEEKED))
    id = (await draw.aenqueue(PEEKED)).id
    assert await why(management, id) == f"at least {PEEKED:,} tasks come before it in default"


async def test_of_what_is_not_there_nothing_is_said(app: App, management: Management) -> None:
    other = (await app.aenqueue("mail.send", {}, tenant="other")).id
    bound = Management(app, Actor("bob", [Role.OPERATOR], tenant="acme"))
    for look in (management.tasks.explain(GONE), bound.tasks.explain(other)):
        with pytest.raises(TaskNotFound):
            await look
