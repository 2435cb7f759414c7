"""The beat: schedules that code declares fire, each instant once, whatever happens to beats. Under a virtual clock."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from taskq import App, FlowState, TaskState, Unique, group
from taskq.config import Settings
from taskq.crypto import Crypto
from taskq.domain.flow import NEVER_CLOSED
from taskq.domain.outcome import Complete
from taskq.domain.schedule import Why
from taskq.domain.timing import At, Every
from taskq.errors import BackendUnavailable
from taskq.middleware import Draft
from taskq.ports import QueueConfig
from taskq.runtime.beat import CANCELLED, Beat
from taskq.schedule_spec import Spec, read_spec
from taskq.testing.clock import VirtualClock
from tests.unit.support import claim, headers_of, payload_of, settle
from tests.worker.flows import dies_after
from tests.worker.schedules import BEGIN, beat_of, commit, declare, entry_of, run_for, state_of, tasks, why
from tests.worker.starter import Starter


@pytest.fixture
def app(virtual_app: App) -> App:
    """An application under a virtual clock, with a task."""

    @virtual_app.task(name="job")
    def job(number: int = 0) -> None: ...

    return virtual_app


async def test_a_schedule_fires_when_it_is_due(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(minutes=5), task=app.tasks.get("job"), args=(7,), priority="high", metadata={"by": "beat"})
    await declare(app, clock)
    await run_for(clock, 1000, beat_of(app))
    found = await tasks(app)
    assert [record.created_at - BEGIN for record in found] == [timedelta(minutes=5 * n) for n in (1, 2, 3)]
    assert {record.priority.name for record in found} == {"HIGH"}
    assert payload_of(found[0]) == {"number": 7}
    assert headers_of(found[0]).metadata == {"by": "beat"}
    state = await state_of(app)
    assert [fired.id for fired in state.fired] == [record.id for record in found]
    assert state.notes == []


async def test_three_beats_and_a_hundred_schedules_of_one_second(app: App, clock: VirtualClock) -> None:
    for number in range(100):
        app.periodic(Every(seconds=1), task=app.tasks.get("job"), args=(number,), name=f"every {number}")
    await declare(app, clock)
    await run_for(clock, 60.5, *(beat_of(app) for _ in range(3)))
    found = await tasks(app)
    assert len(found) == 6000
    assert set(Counter(payload_of(record)["number"] for record in found).values()) == {60}
    assert max(record.created_at.microsecond for record in found) < 100_000, "no later than that after the instant"


async def test_a_beat_that_dies_between_claim_and_commit_loses_nothing(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(seconds=10), task=app.tasks.get("job"))
    await declare(app, clock)
    scheduler = (await app.backend()).scheduler
    assert scheduler is not None
    clock.advance(10)

    dying, commit = beat_of(app), scheduler.commit

    async def die(changes: Any) -> Any:
        raise BackendUnavailable("killed")

    scheduler.commit = die  # type: ignore[method-assign]
    with pytest.raises(BackendUnavailable):
        await dying.tick()
    assert await tasks(app) == []
    scheduler.commit = commit  # type: ignore[method-assign]
    await beat_of(app).tick()
    await dying.tick()
    assert len(await tasks(app)) == 1


async def test_a_repeated_commit_whose_answer_was_lost_fires_once(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(seconds=10), task=app.tasks.get("job"))
    await declare(app, clock)
    scheduler = (await app.backend()).scheduler
    assert scheduler is not None
    commit = scheduler.commit

    async def twice(changes: Any) -> Any:
        await commit(changes)
        return await commit(changes)

    scheduler.commit = twice  # type: ignore[method-assign]
    await run_for(clock, 35, beat_of(app))
    assert len(await tasks(app)) == 3
    assert len((await state_of(app)).fired) == 3


@pytest.mark.parametrize(
    ("misfire", "fired", "notes"),
    [
        ("skip", 0, [(Why.MISSED, 3)]),
        ("latest", 1, [(Why.MISSED, 2), (Why.LATE, 1)]),
        ("all", 3, [(Why.LATE, 3)]),
    ],
)
async def test_what_no_beat_was_there_for(
    app: App, clock: VirtualClock, misfire: str, fired: int, notes: list[tuple[Why, int]]
) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"), misfire=misfire)
    await declare(app, clock)
    clock.advance(3.5 * 3600)
    await beat_of(app).tick()
    assert len(await tasks(app)) == fired
    assert await why(app) == notes
    await run_for(clock, 3600, beat_of(app))
    assert len(await tasks(app)) == fired + 1, "it goes on as before"


async def test_what_must_not_overlap_waits_for_the_end_of_the_last_one(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(minutes=1), task=app.tasks.get("job"), overlap="skip")
    await declare(app, clock)
    beat = beat_of(app)
    await run_for(clock, 200, beat)
    [record] = await tasks(app)
    assert await why(app) == [(Why.OVERLAP, 2)]
    await (await app.backend()).broker.cancel([record.id])
    await run_for(clock, 60, beat)
    assert len(await tasks(app)) == 2


async def test_what_cancels_the_other(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(minutes=1), task=app.tasks.get("job"), overlap="cancel")
    await declare(app, clock)
    await run_for(clock, 200, beat_of(app))
    assert [record.state for record in await tasks(app)] == [
        TaskState.CANCELLED,
        TaskState.CANCELLED,
        TaskState.PENDING,
    ]
    assert await why(app) == []


async def test_the_last_one_was_forgotten_by_the_store(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(minutes=1), task=app.tasks.get("job"), overlap="skip", retention=1)
    await declare(app, clock)
    beat = beat_of(app)
    await run_for(clock, 60, beat)
    [first] = await tasks(app)
    backend = await app.backend()
    await backend.broker.cancel([first.id])
    await backend.inspector.discard([first.id])
    await run_for(clock, 60, beat)
    assert len(await tasks(app)) == 1
    assert len((await state_of(app)).fired) == 2


async def test_what_must_not_overlap_waits_for_the_end_of_the_workflow(app: App, clock: VirtualClock) -> None:
    starter, beat = Starter(app, "skip"), beat_of(app)
    await declare(app, clock)
    await run_for(clock, 60, beat)
    run = await starter.start()
    await run_for(clock, 120, beat)
    [first] = await starter.fires()
    assert first.state is TaskState.COMPLETED
    assert await (await app.backend()).inspector.discard([first.id])
    await run_for(clock, 60, beat)
    assert await starter.fires() == []
    assert await why(app, "nightly") == [(Why.OVERLAP, 3)]
    for _ in range(2):
        await settle(app, await claim(app), Complete(b"1"))
    assert await run.astatus() is FlowState.COMPLETED
    await run_for(clock, 60, beat)
    assert len(await starter.fires()) == 1


async def test_the_next_one_cancels_the_workflow(app: App, clock: VirtualClock) -> None:
    starter, beat = Starter(app, "cancel"), beat_of(app)
    await declare(app, clock)
    await run_for(clock, 60, beat)
    first = await starter.start()
    await run_for(clock, 60, beat)
    record = await first.ainfo()
    assert (record.state, record.cancel_reason) == (FlowState.CANCELLED, CANCELLED)
    second = await starter.start()
    assert await second.astatus() is FlowState.RUNNING
    assert len(await starter.fires()) == 2
    assert await why(app, "nightly") == []


@pytest.mark.parametrize("stored", [0, 1, 2])
async def test_a_workflow_that_was_not_stored_whole_holds_up_the_next_one_until_it_is_given_up(
    app: App, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    starter, beat = Starter(app, "skip"), beat_of(app)
    await declare(app, clock)
    await run_for(clock, 60, beat)
    delivery = await claim(app)
    with dies_after(monkeypatch, stored):
        await starter.flow.astart_for(delivery.id, app.tasks.get("job").submitter)
    await settle(app, delivery, Complete(b"1"))
    await run_for(clock, 60, beat)
    assert len(await starter.fires()) == 1
    clock.advance(NEVER_CLOSED)
    await (await app.backend()).maintenance.relay()
    await run_for(clock, 60, beat)
    assert len(await starter.fires()) == 2


async def test_the_run_of_another_try_holds_up_the_next_one(
    app: App, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first try has begun was given up, and what the second has started runs."""
    starter, beat = Starter(app, "skip"), beat_of(app)
    await declare(app, clock)
    await run_for(clock, 60, beat)
    [fired] = await starter.fires()
    with dies_after(monkeypatch, 1):
        await starter.flow.astart_for(fired.id, app.tasks.get("job").submitter)
    starter.flow = group(app.tasks.get("job").s(7))
    run = await starter.start()
    await run_for(clock, 120, beat)
    assert len(await starter.fires()) == 1
    await run.acancel()
    await run_for(clock, 60, beat)
    assert len(await starter.fires()) == 2


async def test_a_full_queue_is_noted_and_the_schedule_goes_on(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(minutes=1), task=app.tasks.get("job"))
    await declare(app, clock)
    await (await app.backend()).queues.configure("default", QueueConfig(max_size=1))
    beat = beat_of(app)
    await run_for(clock, 180, beat)
    [record] = await tasks(app)
    state = await state_of(app)
    assert await why(app) == [(Why.REFUSED, 2)]
    assert [fired.id for fired in state.fired] == [record.id]
    await claim(app)
    await run_for(clock, 60, beat)
    assert len(await tasks(app)) == 2


async def test_a_unique_key_that_another_task_holds(app: App, clock: VirtualClock) -> None:
    @app.task(name="only", unique=Unique())
    def only() -> None: ...

    app.periodic(Every(minutes=1), task=only)
    await declare(app, clock)
    await run_for(clock, 130, beat_of(app))
    assert len(await tasks(app)) == 1
    assert await why(app, "only") == [(Why.HELD, 1)]


async def test_jitter_puts_a_fire_off_by_the_same_for_every_beat(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"), jitter=600)
    await declare(app, clock)
    await run_for(clock, 7300, beat_of(app))
    found = await tasks(app)
    offsets = [(record.due_at or record.created_at) - BEGIN - timedelta(hours=n) for n, record in enumerate(found, 1)]
    assert all(timedelta() < offset < timedelta(seconds=600) for offset in offsets)
    assert offsets[0] != offsets[1]


async def test_start_end_and_one_instant(app: App, clock: VirtualClock) -> None:
    job = app.tasks.get("job")
    app.periodic(
        Every(minutes=1), task=job, name="bounded", start=BEGIN + timedelta(minutes=5), end=BEGIN + timedelta(minutes=7)
    )
    app.periodic(At(BEGIN + timedelta(minutes=20)), task=job, name="once")
    await declare(app, clock)
    await run_for(clock, 3600, beat_of(app))
    assert [(record.created_at - BEGIN).total_seconds() // 60 for record in await tasks(app)] == [5, 6, 7, 20]
    assert (await entry_of(app, "bounded")).next_at is None
    assert (await entry_of(app, "once")).next_at is None


async def test_a_call_that_cannot_be_made_is_noted_and_the_others_fire(
    app: App, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Picky:
        def on_enqueue(self, draft: Draft) -> None:
            if draft.name == "job":
                raise RuntimeError("secret words")

    @app.task(name="other")
    def other() -> None: ...

    app.periodic(Every(minutes=1), task=app.tasks.get("job"))
    app.periodic(Every(minutes=1), task=other)
    app.add_middleware(Picky())
    await declare(app, clock)
    await run_for(clock, 130, beat_of(app))
    assert [record.name for record in await tasks(app)] == ["other", "other"]
    assert await why(app) == [(Why.REFUSED, 2)]
    assert "schedule job could not fire for 2026-01-01T00:01:00+00:00: RuntimeError" in caplog.text
    assert "secret words" not in caplog.text


async def test_a_schedule_that_cannot_be_read_is_told_of_once(
    app: App, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    app.periodic(Every(seconds=10), task=app.tasks.get("job"), name="a")
    app.periodic(Every(seconds=10), task=app.tasks.get("job"), name="b")
    await declare(app, clock)
    entry = await entry_of(app, "a")
    await commit(app, entry, Spec(read_spec(entry.spec).definition, changes={"timing": {"moon": "full"}}))
    await run_for(clock, 25, beat_of(app))
    assert len(await tasks(app)) == 2
    complaints = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(complaints) == 1
    assert complaints[0].startswith("schedule a does not fire: a timing is ")


async def test_a_task_of_another_application_fires_by_its_name(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(minutes=1), task=app.tasks.get("job"), args=(3,))
    await declare(app, clock)
    other = App("memory://", clock=clock)
    other.stores = app.stores  # its beat looks into the same store
    await run_for(clock, 60, beat_of(other))
    [record] = await tasks(app)
    assert (record.name, payload_of(record)) == ("job", {"number": 3})


async def test_what_has_fired_is_looked_at_again_when_it_is_due_again(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(seconds=0.1), task=app.tasks.get("job"))
    await declare(app, clock)
    clock.advance(0.1)
    assert await beat_of(app).tick() <= 0.1


async def test_a_beat_without_the_key_leaves_the_fire_to_one_that_has_it(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = App("memory://", clock=clock, settings=Settings(crypto=Crypto({"k": bytes(range(32))})))

    @app.task(name="job", encrypt=True)
    def job(secret: str) -> None: ...

    app.periodic(Every(minutes=1), task=job, args=("hunter2",))
    await declare(app, clock)
    keyless = App("memory://", clock=clock)
    keyless.stores = app.stores
    await run_for(clock, 61, beat_of(keyless))
    assert await tasks(app) == []
    await run_for(clock, 1, beat_of(app))
    assert len(await tasks(app)) == 1
    assert await why(app) == []
    [complaint] = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert complaint.startswith("schedule job does not fire: there is no key 'k' here")
    await app.aclose()


async def test_a_beat_says_whether_it_lives_and_whether_the_store_answers(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [1000.0]
    monkeypatch.setattr("taskq.runtime.beat.time.monotonic", lambda: seconds[0])
    beat = Beat(app, look_every=20.0)
    assert (beat.health().is_live, beat.health().is_ready) == (True, False)
    await beat._turn()
    await beat.tick()
    assert beat.health().is_ready
    seconds[0] += 25
    await beat._turn()
    assert beat.health().is_ready, "it looks no sooner"
    seconds[0] += 20
    await beat._turn()
    health = beat.health()
    assert (health.is_live, health.is_ready, health.checks["store"]) == (True, False, "has not answered for 45 s")
    seconds[0] += 40
    health = beat.health()
    assert (health.is_live, health.checks["loop"]) == (False, "has stood still for 40 s")
