"""Schedules that somebody changes: who knows their tasks and who does not, while they are due, and meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from taskq import App
from taskq.domain.schedule import Why
from taskq.domain.timing import Every
from taskq.ports import ScheduleEntry
from taskq.runtime.declaring import AGAIN, DECLARE_EVERY, Declaring
from taskq.testing.clock import VirtualClock
from tests.worker.schedules import BEGIN, beat_of, declare, entry_of, run_for, tasks, why


@pytest.fixture
def app(virtual_app: App) -> App:
    """An application under a virtual clock, with a task that has a queue."""

    @virtual_app.task(name="job", queue="mail")
    def job(number: int = 0) -> None: ...

    return virtual_app


def beside(app: App, clock: VirtualClock) -> App:
    """Another application on the same store, which has no task."""
    other = App("memory://", clock=clock)
    other.stores = app.stores
    return other


async def test_who_does_not_know_its_task_leaves_its_queue(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    await declare(app, clock)
    await app.schedules.aput("made", Every(hours=1), "job")
    stranger = beside(app, clock).schedules
    for name in ("job", "made"):
        for change in (stranger.apause(name), stranger.aresume(name), stranger.achange(name, jitter=5)):
            assert (await change).queue == "mail"
    assert (await stranger.aput("made", Every(hours=2), "job")).queue == "mail"
    assert (await stranger.aput("made", Every(hours=2), "another")).queue == "default"
    assert (await stranger.achange("job", queue="slow")).queue == "slow"


async def test_code_says_at_once_what_the_queue_of_its_task_is(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    await declare(app, clock)
    await app.schedules.achange("job", queue="slow")
    assert (await beside(app, clock).schedules.areset("job")).queue == "default"
    await declare(app, clock)
    assert (await entry_of(app)).queue == "mail"


async def test_what_code_says_is_told_again_where_the_schedule_fires_meanwhile(
    app: App, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.schedules.aput("job", Every(hours=1), "job")
    clock.advance(3600)
    release = beside(app, clock)
    release.periodic(Every(minutes=10), task=release.task(name="job")(app.tasks.get("job").function))
    scheduler = (await app.backend()).scheduler
    assert scheduler is not None
    entries = scheduler.entries

    async def fires_meanwhile() -> Sequence[ScheduleEntry]:
        found = await entries()
        await beat_of(app).tick()
        return found

    declaring = Declaring(release, clock.monotonic)
    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "entries", fires_meanwhile)
        for pause in (AGAIN, 2 * AGAIN, 4 * AGAIN):  # it is due each time
            assert await declaring.tick() == pause
            assert not (await app.schedules.aget("job")).is_declared
            clock.advance(3600)
    assert await declaring.tick() == DECLARE_EVERY
    assert (await app.schedules.aget("job")).is_declared


async def test_what_people_have_asked_for_since_does_not_hide_the_last_one(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(minutes=1), task=app.tasks.get("job"), overlap="skip", queue="default")
    await declare(app, clock)
    beat = beat_of(app)
    await run_for(clock, 61, beat)
    for _ in range(2):
        await (await app.schedules.arun("job")).acancel()
    await run_for(clock, 60, beat)
    assert await why(app) == [(Why.OVERLAP, 1)]
    assert len([record for record in await tasks(app) if not record.state.is_final]) == 1


async def test_all_that_people_have_asked_for_makes_way(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(minutes=1), task=app.tasks.get("job"), overlap="cancel", queue="default")
    await declare(app, clock)
    beat = beat_of(app)
    await run_for(clock, 61, beat)
    for _ in range(2):
        await app.schedules.arun("job")
    await run_for(clock, 60, beat)
    assert len([record for record in await tasks(app) if not record.state.is_final]) == 1


@pytest.mark.parametrize(
    ("changes", "fired", "noted"),
    [
        ({"jitter": 0.0}, 3, []),
        ({"end": BEGIN + timedelta(days=300)}, 3, []),
        ({"start": BEGIN}, 3, []),
        ({"timing": Every(seconds=0.5)}, 6, []),
        ({"timing": Every(seconds=7)}, 0, [(Why.MISSED, 3)]),
        ({"start": BEGIN + timedelta(seconds=3.2)}, 0, [(Why.MISSED, 3)]),
    ],
)
async def test_what_was_due_before_a_change_fires_or_is_told(
    app: App, clock: VirtualClock, changes: dict[str, Any], fired: int, noted: list[tuple[Why, int]]
) -> None:
    await app.schedules.aput("tick", Every(seconds=1), "job", misfire="all")
    clock.advance(3.5)
    await app.schedules.achange("tick", **changes)
    await beat_of(app).tick()
    found = await app.schedules.aget("tick")
    assert (len(found.fired), [(note.why, note.number) for note in found.notes]) == (fired, noted)


async def test_what_was_due_in_a_pause_is_told_where_its_timing_changes_meanwhile(
    app: App, clock: VirtualClock
) -> None:
    await app.schedules.aput("tick", Every(seconds=1), "job")
    await app.schedules.apause("tick")
    clock.advance(3.5)
    await app.schedules.achange("tick", timing=Every(seconds=7))
    found = await app.schedules.aresume("tick")
    assert (list(found.fired), [(note.why, note.number) for note in found.notes]) == ([], [(Why.PAUSED, 3)])


async def test_the_arguments_of_another_task_are_not_kept(app: App, clock: VirtualClock) -> None:
    @app.task(name="report")
    def report(day: int = 0) -> None: ...

    await app.schedules.aput("poll", Every(hours=1), "job", {"number": 4}, jitter=9)
    app.periodic(Every(hours=1), task=report, name="poll")
    await declare(app, clock)
    found = await app.schedules.aget("poll")
    assert (found.task, found.payload, found.changed) == ("report", {}, ["jitter"])
