"""Schedules at run time, on each backend: made, changed, paused, run at once, forgotten."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from taskq import App, At, Cron, Every, InvalidOption, InvalidPayload, QueueFull, ScheduleNotFound, Unique
from taskq.config import Settings
from taskq.crypto import Crypto
from taskq.domain.schedule import Misfire, Why
from taskq.errors import KeyMissing, NotApplied
from taskq.ports import Change, QueueConfig
from taskq.runtime.beat import Beat
from taskq.runtime.declaring import RETIRED_AFTER, Declaring
from taskq.schedule_control import ATTEMPTS
from taskq.schedules import Schedules
from taskq.testing.clock import VirtualClock
from taskq.testing.conformance.bench import eventually
from tests.unit.support import payload_of, record_of
from tests.worker.schedules import beat_of, declare, run_for, tasks

FAR = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def schedules(any_app: App) -> Schedules:
    """The schedules of an application on each backend, which has a task `job`."""

    @any_app.task(name="job")
    def job(number: int = 0) -> None: ...

    return any_app.schedules


async def test_one_is_made_looked_at_and_forgotten(schedules: Schedules) -> None:
    cron = Cron("0 3 * * *")
    made = await schedules.aput("tick", cron, "job", {"number": 3}, priority="high", jitter=5, misfire="all")
    assert (made.name, made.task, made.queue, made.is_declared, made.changed) == ("tick", "job", "default", False, [])
    assert (made.payload, made.options) == ({"number": 3}, {"priority": 2})
    assert (made.rules.timing, made.rules.jitter, made.rules.misfire) == (cron, 5, Misfire.ALL)
    assert made.next_at is not None
    assert [instant.hour for instant in made.upcoming(3)] == [3, 3, 3]
    await schedules.aput("a", At(FAR), "elsewhere", queue="mail")
    assert [schedule.name for schedule in await schedules.alist()] == ["a", "tick"]
    assert (await schedules.aget("a")).upcoming() == [FAR]
    await schedules.aremove("tick")
    with pytest.raises(ScheduleNotFound, match="there is no schedule 'tick'"):
        await schedules.aremove("tick")
    with pytest.raises(ScheduleNotFound, match="there is no schedule 'aa', did you mean 'a'"):
        await schedules.aget("aa")


@pytest.mark.parametrize("count", ["x", -1, 1.5, None, True])
async def test_no_number_of_instants(app: App, count: Any) -> None:
    made = await app.schedules.aput("tick", Every(hours=1), "job")
    assert made.upcoming(0) == []
    with pytest.raises(InvalidOption, match="count must be a whole number, 0 or more, not "):
        made.upcoming(count)


async def test_one_is_made_anew(schedules: Schedules) -> None:
    await schedules.aput("tick", Every(hours=1), "job", {"number": 3})
    await schedules.apause("tick", "why not")
    made = await schedules.aput("tick", Every(hours=2), "job")
    assert (made.rules.timing, made.payload, made.paused_reason) == (Every(seconds=7200), {}, "why not")


async def test_what_is_changed(schedules: Schedules) -> None:
    before = await schedules.aput("tick", Every(hours=1), "job", priority="low", end=FAR)
    after = await schedules.achange("tick", jitter=3, payload={"number": 9}, queue="mail", priority=None, end=None)
    assert (after.rules.jitter, after.rules.end, after.payload) == (3, None, {"number": 9})
    assert (after.options, after.queue, after.next_at) == ({"queue": "mail"}, "mail", before.next_at)
    later = await schedules.achange("tick", timing=At(FAR))
    assert (later.next_at, later.payload) == (FAR, {"number": 9})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"on_complete_url": "https://example.com/"}, "a schedule has no field 'on_complete_url'"),
        ({"jiter": 3}, "a schedule has no field 'jiter', did you mean 'jitter'"),
        ({"jitter": -3}, "jitter must be from 0 s"),
        ({"timing": "daily"}, "a schedule's timing must be Cron"),
        ({"timeout": 0}, "timeout must be over 0 s"),
        ({"delay": 4}, "no field 'delay'"),
    ],
)
async def test_what_cannot_be_changed(schedules: Schedules, changes: dict[str, Any], said: str) -> None:
    before = await schedules.aput("tick", Every(hours=1), "job")
    with pytest.raises(InvalidOption, match=said):
        await schedules.achange("tick", **changes)
    assert await schedules.aget("tick") == before


async def test_jitter_may_be_a_timedelta(app: App) -> None:
    @app.task(name="job")
    def job() -> None: ...

    app.periodic(Every(hours=1), task=job, jitter=timedelta(minutes=1))
    await Declaring(app, lambda: 0.0).tick()
    assert (await app.schedules.aget("job")).rules.jitter == 60
    assert (await app.schedules.achange("job", jitter=timedelta(seconds=5))).rules.jitter == 5
    made = await app.schedules.aput("tick", Every(hours=1), "job", jitter=timedelta(milliseconds=1500))
    assert made.rules.jitter == 1.5
    for wrong in (timedelta(days=2), timedelta(seconds=-1), "5", None):
        with pytest.raises(InvalidOption, match="jitter must be from 0 s to a day, not "):
            await app.schedules.achange("tick", jitter=wrong)


async def test_what_does_not_fit_the_task(schedules: Schedules) -> None:
    with pytest.raises(InvalidPayload, match="job: parameter number"):
        await schedules.aput("tick", Every(hours=1), "job", {"number": "x"})
    with pytest.raises(InvalidOption, match="the name of a schedule must have 1 to 255"):
        await schedules.aput("", Every(hours=1), "job")
    await schedules.aput("tick", Every(hours=1), "job")
    with pytest.raises(InvalidPayload, match="job: parameter number"):
        await schedules.achange("tick", payload={"number": "x"})


async def test_a_pause_and_its_end(schedules: Schedules) -> None:
    before = await schedules.aput("tick", Every(hours=1), "job")
    paused = await schedules.apause("tick", "too loud")
    assert (paused.paused_reason, paused.next_at, paused.upcoming()) == ("too loud", None, [])
    assert await schedules.apause("tick", "still too loud") != paused
    after = await schedules.aresume("tick")
    assert (after.paused_reason, after.next_at, after.notes) == (None, before.next_at, [])
    with pytest.raises(InvalidOption, match="the reason of a pause must be text of at most 1,000 characters"):
        await schedules.apause("tick", "x" * 1001)


async def test_one_fires_at_once(any_app: App, schedules: Schedules) -> None:
    before = await schedules.aput("tick", Every(hours=1), "job", {"number": 4}, jitter=60)
    await schedules.apause("tick")
    handle = await schedules.arun("tick")
    record = await record_of(any_app, handle)
    assert (record.name, payload_of(record), record.due_at) == ("job", {"number": 4}, None)
    after = await schedules.aresume("tick")
    assert after.next_at == before.next_at
    [fired] = after.fired
    assert (fired.id, fired.instant) == (handle.id, None)
    assert (await schedules.arun("tick")).id != handle.id


async def test_one_that_its_queue_refuses(any_app: App, schedules: Schedules) -> None:
    await (await any_app.backend()).queues.configure("default", QueueConfig(max_size=1))
    await schedules.aput("tick", Every(hours=1), "job")
    await schedules.arun("tick")
    with pytest.raises(QueueFull):
        await schedules.arun("tick")
    found = await schedules.aget("tick")
    assert (len(found.fired), [(note.why, note.number) for note in found.notes]) == (1, [(Why.REFUSED, 1)])


async def test_one_whose_unique_key_another_task_holds(any_app: App, schedules: Schedules) -> None:
    @any_app.task(name="only", unique=Unique())
    def only() -> None: ...

    holder = await only.aenqueue()
    await schedules.aput("tick", Every(hours=1), "only")
    assert (await schedules.arun("tick")).id == holder.id
    found = await schedules.aget("tick")
    assert (list(found.fired), [(note.why, note.number) for note in found.notes]) == ([], [(Why.HELD, 1)])


async def test_what_others_write_meanwhile_is_not_lost(any_app: App, schedules: Schedules) -> None:
    await schedules.aput("tick", Every(hours=1), "job")
    await asyncio.gather(
        schedules.achange("tick", jitter=3),
        schedules.apause("tick", "why not"),
        schedules.achange("tick", queue="mail"),
        schedules.arun("tick"),
    )
    found = await schedules.aget("tick")
    assert (found.rules.jitter, found.paused_reason, found.queue, len(found.fired)) == (3, "why not", "mail", 1)


async def test_one_that_others_write_all_the_time(any_app: App, schedules: Schedules) -> None:
    await schedules.aput("tick", Every(hours=1), "job")
    scheduler = (await any_app.backend()).scheduler
    assert scheduler is not None
    commit, calls = scheduler.commit, 0

    async def late(changes: list[Change]) -> Any:
        nonlocal calls
        calls += 1
        entry = await scheduler.get("tick")
        assert entry is not None
        await commit([Change(entry)])
        return await commit(changes)

    scheduler.commit = late  # type: ignore[method-assign, assignment]
    for attempt in (schedules.apause, schedules.arun):
        with pytest.raises(NotApplied, match="schedule 'tick' is written by others all the time"):
            await attempt("tick")
    assert calls == 2 * ATTEMPTS


async def test_what_code_declares_is_changed_and_taken_back(any_app: App, schedules: Schedules) -> None:
    any_app.periodic(Every(hours=1), task=any_app.tasks.get("job"), args=(1,), queue="slow")
    await Declaring(any_app, lambda: 0.0).tick()
    changed = await schedules.achange("job", jitter=7, payload={"number": 2})
    assert (changed.is_declared, changed.changed) == (True, ["jitter", "payload"])
    await Declaring(any_app, lambda: 0.0).tick()
    assert (await schedules.aget("job")).payload == {"number": 2}
    taken_back = await schedules.areset("job")
    assert (taken_back.changed, taken_back.payload, taken_back.rules.jitter) == ([], {"number": 1}, 0)
    with pytest.raises(InvalidOption, match="is declared by code: change it, or give yours another name"):
        await schedules.aput("job", Every(hours=2), "job")
    with pytest.raises(InvalidOption, match="schedule 'job' is declared by code, which would make it anew: pause it"):
        await schedules.aremove("job")


async def test_what_code_declares_is_not_there_before_a_beat_was(app: App) -> None:
    @app.task(name="job")
    def job() -> None: ...

    app.periodic(Every(hours=1), task=job)
    for look in (app.schedules.aget, app.schedules.arun, app.schedules.apause):
        with pytest.raises(
            ScheduleNotFound,
            match="schedule 'job' is declared by code, but no beat has told the store of it yet: run taskq beat",
        ):
            await look("job")
    with pytest.raises(ScheduleNotFound, match="there is no schedule 'jobs'"):
        await app.schedules.aget("jobs")
    await Declaring(app, lambda: 0.0).tick()
    assert (await app.schedules.aget("job")).is_declared


async def test_what_people_have_made_is_not_taken_back(schedules: Schedules) -> None:
    await schedules.aput("tick", Every(hours=1), "job")
    changed = await schedules.achange("tick", jitter=3)
    with pytest.raises(InvalidOption, match="schedule 'tick' was made by hand: there is no declaration to go back"):
        await schedules.areset("tick")
    assert await schedules.aget("tick") == changed


async def test_what_code_declares_no_more_can_be_forgotten(virtual_app: App, clock: VirtualClock) -> None:
    @virtual_app.task(name="job")
    def job() -> None: ...

    virtual_app.periodic(Every(hours=1), task=job)
    await declare(virtual_app, clock)
    other = App("memory://", clock=clock)
    other.stores = virtual_app.stores
    later = Declaring(other, clock.monotonic)
    clock.advance(RETIRED_AFTER.total_seconds())
    await later.tick()
    assert (await other.schedules.aget("job")).paused_reason == "no code declares it any more"
    await other.schedules.aremove("job")
    assert await other.schedules.alist() == []


async def test_what_was_due_in_a_pause_is_told(virtual_app: App, clock: VirtualClock) -> None:
    schedules = virtual_app.schedules
    await schedules.aput("tick", Every(hours=1), "job")
    await schedules.apause("tick")
    await run_for(clock, 3 * 3600 + 60, beat_of(virtual_app))
    found = await schedules.aresume("tick")
    assert [(note.why, note.number) for note in found.notes] == [(Why.PAUSED, 3)]
    assert await tasks(virtual_app) == []
    await run_for(clock, 3600, beat_of(virtual_app))
    assert len(await tasks(virtual_app)) == 1


async def test_who_has_no_key_may_pause_and_see_all_but_the_arguments(any_app: App, store_url: str) -> None:
    crypto = Crypto({"k": bytes(range(32))})
    app = App(store_url, settings=Settings(crypto=crypto))
    if store_url == "memory://":
        app.stores = any_app.stores
        app.fires._by_name._submitter._stores = any_app.stores
        any_app.stores.crypto = crypto
    made = await app.schedules.aput("tick", Every(hours=1), "job", {"secret": "hunter2"}, encrypt=True)
    assert made.payload == {"secret": "hunter2"}
    any_app.stores.crypto = None
    keyless = any_app.schedules
    assert (await keyless.aget("tick")).payload is None
    assert (await keyless.apause("tick", "no key")).paused_reason == "no key"
    with pytest.raises(KeyMissing):
        await keyless.arun("tick")
    assert (await app.schedules.aresume("tick")).payload == {"secret": "hunter2"}
    await app.aclose()


def test_the_blocking_twins(any_app: App) -> None:
    schedules = any_app.schedules
    schedules.put("tick", Every(hours=1), "job")
    assert schedules.change("tick", jitter=5).rules.jitter == 5
    assert schedules.pause("tick", "x").paused_reason == "x"
    assert schedules.resume("tick").paused_reason is None
    with pytest.raises(InvalidOption, match="was made by hand"):
        schedules.reset("tick")
    assert schedules.run("tick").info().name == "job"
    assert schedules.get("tick") == schedules.list()[0]
    schedules.remove("tick")
    any_app.close()


async def test_a_beat_fires_what_was_made(any_app: App, schedules: Schedules) -> None:
    await schedules.aput("tick", Every(seconds=0.1), "job", {"number": 5})
    beat = Beat(any_app)
    await beat.check()
    beating = asyncio.create_task(beat.run())

    async def has_fired_thrice() -> bool:
        return len((await schedules.aget("tick")).fired) >= 3

    await eventually(has_fired_thrice)
    beat.stop()
    await beating
    fired = (await schedules.aget("tick")).fired
    gaps = {b.instant - a.instant for a, b in pairwise(fired) if a.instant and b.instant}
    assert gaps == {timedelta(seconds=0.1)}
    assert len(await tasks(any_app)) == len(fired)
