"""Schedules: what code declares, and what people changed, brought together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App, ConfigError
from taskq.config import Settings
from taskq.crypto import Crypto
from taskq.domain.schedule import Why
from taskq.domain.timing import Cron, Every
from taskq.errors import InvalidOption, KeyMissing
from taskq.runtime.declaring import RETIRED_AFTER, RETIREMENT, Declaring
from taskq.schedule_spec import Spec, read_spec
from taskq.testing.clock import VirtualClock
from tests.unit.support import headers_of
from tests.worker.schedules import BEGIN, beat_of, commit, declare, entry_of, run_for, spec_of, tasks, why


@pytest.fixture
def app(virtual_app: App) -> App:
    """An application under a virtual clock, with a task."""

    @virtual_app.task(name="job")
    def job(number: int = 0) -> None: ...

    return virtual_app


async def test_a_decorator_above_a_task(app: App, clock: VirtualClock) -> None:
    @app.periodic(Cron("0 3 * * *"), misfire="latest", jitter=30)
    @app.task(name="report")
    def report() -> None: ...

    assert report.name == "report"
    await declare(app, clock)
    entry = await entry_of(app, "report")
    assert entry.next_at == BEGIN + timedelta(hours=3)
    assert read_spec(entry.spec).definition.jitter == 30


async def test_nothing_is_written_where_nothing_has_changed(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    for _ in range(3):
        await declare(app, clock)
    assert (await entry_of(app)).revision == 1
    clock.advance(121)
    await declare(app, clock)
    assert (await entry_of(app)).revision == 2, "others see that it is still declared"


def redeclared(app: App, clock: VirtualClock, timing: Any, **options: Any) -> App:
    """The next release of the application on the same store."""
    other = App("memory://", clock=clock, settings=app.settings)
    other.stores = app.stores

    @other.task(name="job")
    def job(number: int = 0) -> None: ...

    if timing is not None:
        other.periodic(timing, task=job, **options)
    return other


async def test_what_code_changes_holds_from_then_on(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    await declare(app, clock)
    await declare(redeclared(app, clock, Every(minutes=10), args=(5,), queue="mail"), clock)
    entry = await entry_of(app)
    assert (entry.next_at, entry.queue) == (BEGIN + timedelta(minutes=10), "mail")


async def test_what_people_changed_stays_changed(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    await declare(app, clock)
    entry, spec = await entry_of(app), await spec_of(app)
    await commit(app, entry, Spec(spec.definition, is_declared=True, changes={"jitter": 5.0}))
    next_release = redeclared(app, clock, Every(minutes=10), jitter=60)
    await declare(next_release, clock)
    effective = (await spec_of(app)).effective
    assert (effective.jitter, effective.timing) == (5.0, {"every": 600.0})


async def test_what_people_made_counts_as_their_change(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    await declare(app, clock)
    entry, spec = await entry_of(app), await spec_of(app)
    made = Spec(spec.definition, is_declared=False)
    await commit(app, entry, made)
    await declare(redeclared(app, clock, Every(minutes=10), jitter=9), clock)
    spec = await spec_of(app)
    assert spec.is_declared
    assert spec.changes == {"timing": {"every": 3600.0}, "jitter": 0.0}


async def test_what_nobody_declares_any_more_rests_until_somebody_does(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    await declare(app, clock)
    later = Declaring(redeclared(app, clock, None), clock.monotonic)
    await later.tick()
    assert (await spec_of(app)).pause is None, "it has not been there for long enough to tell"
    clock.advance(RETIRED_AFTER.total_seconds())
    await later.tick()
    pause = (await spec_of(app)).pause
    assert pause is not None
    assert (pause.reason, pause.is_retirement) == (RETIREMENT, True)
    assert (await entry_of(app)).next_at is None
    await later.tick()
    clock.advance(7200)
    await declare(app, clock)
    assert (await spec_of(app)).pause is None
    assert (await entry_of(app)).next_at == BEGIN + timedelta(hours=3)
    assert await why(app) == [(Why.PAUSED, 2)]


async def test_what_people_made_never_rests(app: App, clock: VirtualClock) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    await declare(app, clock)
    await commit(app, await entry_of(app), Spec((await spec_of(app)).definition))
    later = Declaring(redeclared(app, clock, None), clock.monotonic)
    clock.advance(RETIRED_AFTER.total_seconds())
    await later.tick()
    assert (await spec_of(app)).pause is None


async def test_a_declaration_that_cannot_be_told_is_complained_of_once(
    app: App, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    app.periodic(Every(hours=1), task=app.tasks.get("job"), name="bad", args=("x",))
    app.periodic(Every(hours=1), task=app.tasks.get("job"))
    declaring = Declaring(app, clock.monotonic)
    with pytest.raises(ConfigError, match="schedule 'bad' cannot be declared: job: parameter number"):
        declaring.check()
    await declaring.tick()
    await declaring.tick()
    assert (await entry_of(app)).revision == 1
    assert caplog.text.count("schedule bad is not declared: job: parameter number") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "the name of a schedule must have 1 to 255 printable characters, not ''"),
        ({"name": "a\nb"}, "printable characters"),
        ({"misfire": "often"}, "misfire must be one of skip, latest, all"),
        ({"jitter": -1}, "jitter must be from 0 s"),
        ({"on_complete_url": "https://example.com/"}, "a schedule has no option 'on_complete_url'"),
        ({"prority": "high"}, "no option 'prority', did you mean 'priority'"),
        ({"delay": 5}, "no option 'delay'"),
        ({"expires": BEGIN}, "expires of a schedule must be seconds or a timedelta"),
        ({"metadata": {"x": object()}}, "the metadata of a schedule cannot be written as JSON"),
        ({"timeout": -1}, "timeout must be over 0 s"),
        ({"args": 5}, r"args must be a tuple, such as \(7,\), not 5"),
        ({"args": "ab"}, "args must be a tuple"),
        ({"args": None}, "args must be a tuple"),
        ({"kwargs": 5}, "kwargs must be a mapping of names to values, not 5"),
        ({"kwargs": []}, "kwargs must be a mapping"),
        ({"kwargs": {1: 2}}, "kwargs must be a mapping"),
    ],
)
def test_what_cannot_be_declared(app: App, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        app.periodic(Every(hours=1), task=app.tasks.get("job"), **{"name": "n", **options})


@pytest.mark.parametrize("timing", [5, None, "daily", lambda: None])
def test_what_is_no_timing(app: App, timing: Any) -> None:
    with pytest.raises(InvalidOption, match="a schedule's timing must be Cron"):
        app.periodic(timing)


async def test_a_start_at_the_end_of_the_calendar_means_never(app: App, clock: VirtualClock) -> None:
    app.periodic(Cron("* * * * *"), task=app.tasks.get("job"), start=datetime.max.replace(tzinfo=UTC))
    app.periodic(Every(seconds=1), task=app.tasks.get("job"), name="other")
    await declare(app, clock)
    assert (await entry_of(app)).next_at is None
    assert (await entry_of(app, "other")).next_at is not None


def test_two_schedules_of_one_name(app: App) -> None:
    job = app.tasks.get("job")
    app.periodic(Every(hours=1), task=job)
    with pytest.raises(ConfigError, match="two schedules want the name 'job'"):
        app.periodic(Every(hours=2), task=job)
    app.periodic(Every(hours=2), task=job, name="second")
    assert len(app.declarations) == 2
    strange: Any = lambda: None  # noqa: E731
    with pytest.raises(ConfigError, match=r"stands above @app\.task, not above <function"):
        app.periodic(Every(hours=1))(strange)


async def test_arguments_are_kept_encrypted_where_the_tasks_are(clock: VirtualClock) -> None:
    crypto = Crypto({"k": bytes(range(32))})
    app = App("memory://", clock=clock, settings=Settings(crypto=crypto))

    @app.task(name="job", encrypt=True)
    def job(secret: str) -> None: ...

    app.periodic(Every(minutes=1), task=job, args=("hunter2",))
    await declare(app, clock)
    entry = await entry_of(app)
    assert b"hunter2" not in entry.spec
    assert read_spec(entry.spec).definition.is_sealed
    await declare(app, clock)
    assert (await entry_of(app)).revision == 1, "encrypted anew it would look changed"
    await run_for(clock, 60, beat_of(app))
    [record] = await tasks(app)
    assert headers_of(record).encrypted
    assert b"hunter2" not in record.body

    keyless = App("memory://", clock=clock)
    keyless.stores = app.stores
    with pytest.raises(KeyMissing):
        keyless.fires.message("job", "default", (await spec_of(app)).definition, BEGIN)
    await app.aclose()


def test_options_of_a_task_are_for_the_schedule_to_say(app: App) -> None:
    job = app.tasks.get("job")
    with pytest.raises(
        InvalidOption, match=r"give the options of its calls to app\.periodic\(…\), not to job\.options"
    ):
        app.periodic(Every(hours=1), task=job.options(queue="slow"))
    assert len(app.declarations) == 0
