"""An alert is cleared when its condition is over, and not because somebody else looks now."""

from __future__ import annotations

import pytest

from taskq import App, Breaker
from taskq.domain.limits import unpack_limits
from taskq.domain.outcome import Retry
from taskq.gauges import reset
from taskq.management import Management
from taskq.management.alert_readings import REMEMBERED
from taskq.management.alert_watch import AlertWatch
from taskq.management.alerts import AlertBook, Kept
from taskq.testing.clock import VirtualClock
from tests.management.alarms import AT_ONCE, lives, options, watch_of
from tests.management.conftest import ADMIN
from tests.management.test_alert_watch import UNSERVED, alert_of
from tests.unit.support import BROKEN, claim, settle


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of a store in memory."""
    return VirtualClock()


async def test_who_takes_over_raises_nothing_anew(app: App, management: Management) -> None:
    """Who had the duty was killed: nothing was said, and its time is over."""
    first, _ = watch_of(app, UNSERVED)
    await app.aenqueue("mail.send", {}, queue="mail")
    await first.tick()
    before = await management.alerts.list()
    registry = (await app.backend()).registry
    await registry.take_duty("alerts", first._duty._holder, 0)
    second, _ = watch_of(app, UNSERVED)
    await second.tick()
    assert second.is_holder
    assert await management.alerts.list() == before
    await lives(app, queues=("mail",))
    await second.tick()
    assert [one.id for one in await management.alerts.history()] == [before[0].id]


async def test_who_takes_over_keeps_the_alert_of_a_worker_that_is_lost(clock: VirtualClock) -> None:
    """It has never seen the worker: what it knows of it stands in the alert."""
    lost = options(worker_lost={"clear_after": 0.0})
    async with App("memory://", clock=clock) as app:
        alerts = Management(app, ADMIN).alerts

        async def another() -> AlertWatch:
            """One who takes over from whoever was killed."""
            clock.advance(20.0)
            watch, _ = watch_of(app, lost)
            await watch.tick()
            assert watch.is_holder
            return watch

        info = await lives(app, "w1", ttl=30.0, name="one", host="h1")
        first, _ = watch_of(app, lost)
        await first.tick()
        clock.advance(40.0)
        await first.tick()
        [raised] = await alerts.list()
        assert (raised.rule, raised.subject) == ("worker_lost", "w1")
        for _ in range(3):
            watch = await another()
            assert await alerts.list() == [raised]
        await lives(app, "w2", name=info.name, host="another", started_at=clock.now())
        await watch.tick()
        assert await alerts.list() == [raised], "one of another host is no successor"
        await lives(app, "w3", name=info.name, host=info.host, started_at=clock.now())
        await another()
        assert await alerts.list() == []
        [over] = await alerts.history()
        assert over.id == raised.id


async def test_who_takes_over_forgets_a_lost_worker_in_time(clock: VirtualClock) -> None:
    lost = options(worker_lost={"clear_after": 0.0})
    async with App("memory://", clock=clock) as app:
        alerts = Management(app, ADMIN).alerts
        await lives(app, "w1", ttl=30.0)
        first, _ = watch_of(app, lost)
        await first.tick()
        clock.advance(40.0)
        await first.tick()
        for seconds, number in ((REMEMBERED - 10.0, 1), (20.0, 0)):
            clock.advance(seconds)
            watch, _ = watch_of(app, lost)
            await watch.tick()
            assert len(await alerts.list()) == number


async def test_who_does_not_know_the_task_keeps_the_alert_of_its_breaker(url: str) -> None:
    async with App(url) as app, App(url) as stranger:
        other = app if url == "memory://" else stranger

        @app.task(name="pay", breaker=Breaker(least=1, cooldown=900))
        def pay() -> None: ...

        await pay.aenqueue()
        await settle(app, await claim(app), Retry(900.0, BROKEN))
        first, _ = watch_of(app, options(breaker_open=AT_ONCE))
        await first.tick()
        alerts = Management(app, ADMIN).alerts
        [raised] = await alerts.list()
        assert (raised.rule, raised.subject) == ("breaker_open", "pay")
        await first.farewell()
        other.tasks._tasks.pop("pay", None)
        second, _ = watch_of(other, options(breaker_open=AT_ONCE))
        await second.tick()
        assert [alert.id for alert in await alerts.list()] == [raised.id]
        await reset(app, "default", unpack_limits(str(raised.about["limit"])))
        second._readings.forget()
        await second.tick()
        assert await alerts.list() == []


async def test_a_breaker_that_nobody_probes_any_more_is_left(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="pay", breaker=Breaker(least=1, cooldown=900))
    def pay() -> None: ...

    await pay.aenqueue()
    await settle(app, await claim(app), Retry(900.0, BROKEN))
    watch, _ = watch_of(app, options(breaker_open=AT_ONCE))
    await watch.tick()
    app.tasks._tasks.pop("pay")
    monkeypatch.setattr("taskq.management.alert_readings.REMEMBERED", -901.0)
    watch._readings.forget()
    await watch.tick()
    assert await management.alerts.list() == []


async def test_what_somebody_has_edited_of_a_breaker_troubles_nobody(app: App) -> None:
    backend = await app.backend()
    for number, limit in enumerate(("", "no JSON", "[]", '[["z", 1]]', '[["b"]]', '[["b", "pay", "x"]]', "7", 7.0)):
        alert = alert_of("a", rule="breaker_open", subject=f"t{number}", about={"queue": "default", "limit": limit})
        assert await AlertBook(backend).put(Kept(alert), 0)
    watch, _ = watch_of(app, options(breaker_open=AT_ONCE))
    await watch.tick()
    assert watch.is_holder
    assert await Management(app, ADMIN).alerts.list() == []
