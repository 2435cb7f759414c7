"""Alerts where Postgres loses replies."""

from __future__ import annotations

from taskq import App
from taskq.management import Management
from tests.management.alarms import AT_ONCE, options, watch_of
from tests.management.conftest import ADMIN
from tests.postgres.proxy import LossyProxy


async def test_a_lost_reply_raises_nothing_twice(postgres_url: str) -> None:
    async with LossyProxy(postgres_url) as proxy, App(proxy.url) as app:
        await app.aenqueue("mail.send", {}, queue="mail")
        watch, _ = watch_of(app, options(no_worker=AT_ONCE))
        management = Management(app, ADMIN)
        raised = set()
        for _ in range(12):
            proxy.lose_next_reply()
            await watch.tick()
            raised |= {alert.id for alert in await management.alerts.list()}
        assert len(raised) == 1
        assert proxy.lost > 0
        await (await app.backend()).inspector.purge("mail")
        for _ in range(6):
            proxy.lose_next_reply()
            await watch.tick()
        assert {one.id for one in await management.alerts.history()} == raised
