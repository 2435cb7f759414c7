"""Alerts where Redis loses replies, goes away, and comes back as another."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
import redis

from taskq import App
from taskq.alert_rules import WebhookOptions
from taskq.config import Settings
from taskq.management import Management
from taskq.management.alert_watch import EVERY
from taskq.management.alerts import JOURNAL
from tests.hooks import HookServer, webhooks_to
from tests.management.alarms import AT_ONCE, Hands, options, watch_of
from tests.management.conftest import ADMIN
from tests.redis.proxy import LossyProxy
from tests.servers import RedisServer


@pytest.mark.parametrize("text", ["no_worker mail", JOURNAL])
async def test_a_lost_reply_raises_nothing_twice(redis_url: str, text: str) -> None:
    parts = urlsplit(redis_url)
    async with LossyProxy(parts.port or 6379) as proxy, App(f"redis://127.0.0.1:{proxy.port}{parts.path}") as app:
        await app.aenqueue("mail.send", {}, queue="mail")
        watch, _ = watch_of(app, options(no_worker=AT_ONCE))
        proxy.lose_reply_to(text)
        await watch.tick()
        await watch.tick()
        management = Management(app, ADMIN)
        [alert] = await management.alerts.list()
        await (await app.backend()).inspector.purge("mail")
        await watch.tick()
        assert [one.id for one in await management.alerts.history()] == [alert.id]
        assert proxy.lost == 1


async def test_a_store_that_is_killed_and_comes_back(hooks: HookServer) -> None:
    hands = Hands()
    with RedisServer() as server:
        async with App(server.url, settings=Settings(webhooks=webhooks_to(hooks))) as app:
            app.stores.hurry()
            alerts = options(store_away={"hold_for": EVERY, "clear_after": EVERY}, webhook=WebhookOptions(hooks.url))
            watch, teller = watch_of(app, alerts, hands)
            await watch.tick()
            await teller.tick()
            server.kill()
            for _ in range(3):
                await watch.tick()
                hands.seconds += EVERY
                await teller.tick()
            [request] = hooks.received
            told = json.loads(request.body)
            assert (told["type"], told["data"]["rule"]) == ("alert.raised", "store_away")
            assert told["data"]["text"].startswith("the store does not answer: ")
            server.restart()
            management = Management(app, ADMIN)
            await watch.tick()
            [alert] = await management.alerts.list()
            assert alert.id == told["data"]["id"]


async def test_a_store_that_came_back_empty_is_told_of(redis_url: str) -> None:
    hands = Hands()
    async with App(redis_url) as app:
        watch, _ = watch_of(app, options(store_regressed=AT_ONCE), hands)
        await watch.tick()
        management = Management(app, ADMIN)
        assert await management.alerts.list() == []
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
        hands.seconds += 20
        await watch.tick()
        [alert] = await management.alerts.list()
        assert (alert.rule, alert.subject) == ("store_regressed", "store")
        assert "it came back empty, or from an older copy" in alert.text
    async with App(redis_url) as app:
        watch, _ = watch_of(app, options(store_regressed=AT_ONCE))
        await (await app.backend()).registry.take_duty("alerts", watch._duty._holder, 0)
        await watch._look(await app.backend())
        assert len(await Management(app, ADMIN).alerts.history()) == 1, "who starts anew knows it as it is"


async def test_a_store_that_came_back_older_is_told_of(redis_url: str) -> None:
    hands = Hands()
    async with App(redis_url) as app:
        with redis.Redis.from_url(redis_url) as client:
            watch, _ = watch_of(app, options(store_regressed=AT_ONCE), hands)
            await app.aenqueue("mail.send", {})
            [meta] = [key for key in client.scan_iter() if key.endswith(b":meta")]
            for age, raised in ((5000, 0), (4970, 0), (4000, 1)):
                client.hset(meta, "age", age)
                hands.seconds += 20
                await watch.tick()
                assert len(await Management(app, ADMIN).alerts.list()) == raised
