"""What the tests of alerts share: an application on a store, time that a test turns, and somebody who looks."""

from __future__ import annotations

import itertools
from typing import Any

from taskq import App
from taskq.alert_rules import AlertOptions, EmailOptions, WebhookOptions, bounds_of
from taskq.domain.alerts import Bounds, Rule
from taskq.management.alert_telling import AlertTeller
from taskq.management.alert_watch import AlertWatch
from taskq.management.alerts import AlertBook
from taskq.ports import WorkerInfo, WorkerState
from taskq.testing.conformance.fleet import worker_info
from tests.hooks import HookServer
from tests.management.mails import MailServer

AT_ONCE = {"hold_for": 0.0, "clear_after": 0.0}
"""Of rules that are to be seen without waiting."""
_numbers = itertools.count()


class Hands:
    """A monotonic clock that a test turns by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def options(**said: Any) -> AlertOptions:
    """All rules off, but those that are named, with their bounds."""
    channels = {name: said.pop(name) for name in ("webhook", "email", "remind_after") if name in said}
    rules: dict[Rule | str, Bounds] = {rule: bounds_of(rule, enabled=False) for rule in Rule}
    rules.update({name: bounds_of(name, **bounds) for name, bounds in said.items()})
    return AlertOptions(rules=rules, **channels)


def watch_of(app: App, alerts: AlertOptions, now: Hands | None = None) -> tuple[AlertWatch, AlertTeller]:
    """One who looks, and who tells for them."""
    now = now or Hands()
    teller = AlertTeller(app, alerts, now)
    return AlertWatch(app, alerts, teller, f"holder{next(_numbers)}", now), teller


async def lives(app: App, id: str = "w1", ttl: float = 900.0, **fields: Any) -> WorkerInfo:
    """Have a worker live."""
    usual = {"id": id, "name": "n", "queues": ("default",), "state": WorkerState.IDLE, "running": 0, "tasks": ()}
    info = worker_info(**{**usual, "pressure": "", "unresponsive": (), "heartbeat": 10.0, **fields})
    await (await app.backend()).registry.report(info, ttl)
    return info


def hook(hooks: HookServer, **said: object) -> AlertOptions:
    """Tell the server of queues without a worker."""
    webhook = WebhookOptions(hooks.url, {"authorization": "Bearer hush"})
    return options(no_worker=AT_ONCE, webhook=webhook, **said)


def mail(mails: MailServer, **said: object) -> AlertOptions:
    """The same by mail."""
    email = EmailOptions(
        host="127.0.0.1", port=mails.port, sender="taskq@example.com", to=("a@example.com", "b@example.com"), tls="none"
    )
    return options(no_worker=AT_ONCE, email=email, **said)


async def untold(app: App) -> list[str]:
    """The ids of what is still to be told, as the store has it."""
    rows = await AlertBook(await app.backend()).rows()
    return [notice.id for row in rows.values() for notice in row.kept.untold]
