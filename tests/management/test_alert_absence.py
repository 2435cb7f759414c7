"""A store that is away is told of by what does not need it."""

from __future__ import annotations

import asyncio
import json

import pytest

from taskq import App
from taskq.alert_rules import WebhookOptions
from taskq.domain.alerts import Rule
from taskq.errors import BackendUnavailable
from taskq.management import Management
from taskq.management.alert_telling import LOOK_EVERY
from tests.hooks import HookServer
from tests.management.alarms import Hands, hook, options, watch_of
from tests.management.conftest import ADMIN


class Away:
    """Has the store of an application not answer."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch, hands: Hands) -> None:
        self._whole, self._patch, self._hands = app.stores.backend, monkeypatch, hands
        self._app = app

    def go(self, after: float) -> None:
        """From now on each question takes so many seconds in vain."""

        async def fails() -> None:
            self._hands.seconds += after
            raise BackendUnavailable("fetch: Redis could not be reached")

        self._patch.setattr(self._app.stores, "backend", fails)

    def come_back(self) -> None:
        """It answers again."""
        self._patch.setattr(self._app.stores, "backend", self._whole)


async def test_who_had_the_duty_tells_of_a_store_that_is_away(
    hooked: App, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands()
    webhook = WebhookOptions(hooks.url)
    alerts = options(store_away={"hold_for": 15.0, "clear_after": 0.0}, webhook=webhook)
    watch, teller = watch_of(hooked, alerts, hands)
    other, silent = watch_of(hooked, alerts, hands)
    for one in (watch, other, teller, silent):
        await one.tick()
    away = Away(hooked, monkeypatch, hands)
    away.go(after=10.0)
    for _ in range(2):
        assert hooks.received == []
        for one in (watch, other, teller, silent):
            await one.tick()
    [request] = hooks.received
    told = json.loads(request.body)
    assert (told["data"]["rule"], told["data"]["subject"]) == ("store_away", "store")
    assert told["data"]["text"] == "the store does not answer: fetch: Redis could not be reached"
    await watch.tick()
    await teller.tick()
    assert len(hooks.received) == 1
    away.come_back()
    await watch.tick()
    await teller.tick()
    management = Management(hooked, ADMIN)
    [over] = await management.alerts.history()
    assert over.id == told["data"]["id"]
    assert json.loads(hooks.received[1].body)["type"] == "alert.cleared"


async def test_who_tells_but_does_not_look_tells_of_a_store_that_is_away_too(
    hooked: App, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands()
    rule = {"hold_for": 15.0, "clear_after": 0.0}
    looking, mute = watch_of(hooked, options(store_away=rule), hands)
    watch, teller = watch_of(hooked, options(store_away=rule, webhook=WebhookOptions(hooks.url)), hands)
    everybody = (looking, watch, teller, mute)
    for one in everybody:
        await one.tick()
    assert (looking.is_holder, teller.tells) == (True, ("webhook",))
    away = Away(hooked, monkeypatch, hands)
    away.go(after=10.0)
    for _ in range(2):
        for one in everybody:
            await one.tick()
    assert len(hooks.received) == 1
    away.come_back()
    for _ in range(2):
        hands.seconds += LOOK_EVERY
        for one in (watch, looking, teller, mute):
            await one.tick()
    assert [json.loads(request.body)["type"] for request in hooks.received] == ["alert.raised", "alert.cleared"]
    ids = {json.loads(request.body)["data"]["id"] for request in hooks.received}
    assert ids == {alert.id for alert in await Management(hooked, ADMIN).alerts.history()}


async def test_a_store_that_comes_back_to_another_holder_keeps_the_alert(
    hooked: App, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands()
    alerts = options(store_away={"hold_for": 0.0, "clear_after": 0.0})
    watch, _ = watch_of(hooked, alerts, hands)
    await watch.tick()
    away = Away(hooked, monkeypatch, hands)
    away.go(after=1.0)
    await watch.tick()
    away.come_back()
    registry = (await hooked.backend()).registry
    await registry.take_duty("alerts", watch._duty._holder, 0)
    other, _ = watch_of(hooked, alerts, hands)
    await other.tick()
    assert other.is_holder
    await watch.tick()
    await other.tick()
    assert [alert.rule for alert in await Management(hooked, ADMIN).alerts.history()] == [Rule.STORE_AWAY]


async def test_a_short_absence_is_no_alert(hooked: App, monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands()
    watch, _ = watch_of(hooked, options(store_away={"hold_for": 15.0}), hands)
    await watch.tick()
    away = Away(hooked, monkeypatch, hands)
    for _ in range(4):
        away.go(after=10.0)
        await watch.tick()
        away.come_back()
        await watch.tick()
    assert await Management(hooked, ADMIN).alerts.history() == []


async def test_a_store_that_hangs_holds_up_nothing_that_is_to_be_told(
    hooked: App, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store operation is tried for half a minute."""
    watch, teller = watch_of(hooked, hook(hooks))
    await teller.tick()
    await watch.tick()
    monkeypatch.setattr("taskq.management.alert_telling.LOOK_EVERY", 0.01)
    whole = hooked.stores.backend

    async def hangs() -> None:
        await asyncio.Event().wait()

    teller._look_at = 0.0
    teller._waiting = {id: one._replace(is_kept=False) for id, one in teller._waiting.items()}
    monkeypatch.setattr(hooked.stores, "backend", hangs)
    async with asyncio.timeout(20):
        await teller.tick()
    assert len(hooks.received) == 1
    monkeypatch.setattr(hooked.stores, "backend", whole)
