"""What a process that has schedules fire does beside: it looks for alerts, runs jobs, keeps the audit trail."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from taskq.app import App
from taskq.domain.alerts import Bounds, Rule
from taskq.management.alert_rules import AlertOptions, EmailOptions, WebhookOptions, bounds_of
from taskq.management.alert_telling import AlertTeller
from taskq.management.alert_watch import AlertWatch
from taskq.management.audit_keeper import AuditKeeper
from taskq.management.job_runner import JobRunner
from taskq.runtime.process import Errands

if TYPE_CHECKING:
    from taskq.configuration import Configuration
    from taskq.configuration.alerts import Alerts, Email, Webhook


def errands_of(app: App, found: Configuration | None = None, *, tells: bool = True) -> Errands:
    """What is done beside in a beat, or in a worker that is one too.

    Arguments:
        app: whose store it is.
        found: the configuration, which says the bounds of alerts and who is told; None: the defaults, by which nobody
            is told but listeners and the log.
        tells: whether those are told whom the configuration names; False where things are tried out.

    Raises:
        ConfigError: those who are to be told cannot be.
    """
    options, holder = AlertOptions() if found is None else alert_options(found.sections.alerts), uuid4().hex
    options = options if tells else replace(options, webhook=None, email=None)
    runner, keeper = JobRunner(app, f"beat@{socket.gethostname()}"), AuditKeeper(app, holder)
    ticks = [("running jobs", runner.tick), ("keeping the audit trail", keeper.tick)]
    if not options.enabled:
        return Errands(ticks, keeper.farewell)
    teller = AlertTeller(app, options)
    watch = AlertWatch(app, options, teller, holder)
    ticks += [("looking for alerts", watch.tick), ("telling of alerts", teller.tick)]

    async def farewell() -> None:
        await watch.farewell()
        await keeper.farewell()

    return Errands(ticks, farewell)


def alert_options(section: Alerts) -> AlertOptions:
    """What the configuration says of alerts.

    Raises:
        ConfigError: a value is out of its range.
    """
    rules: dict[Rule | str, Bounds] = {}
    for rule in Rule:
        said = getattr(section.rules, rule)
        given: dict[str, Any] = {"above": said.above, "hold": said.for_, "clear_after": said.clear_after}
        given = {name: value for name, value in {**given, "queues": said.queues}.items() if value is not None}
        rules[rule] = bounds_of(rule, enabled=said.enabled, **given)
    return AlertOptions(
        enabled=section.enabled,
        rules=rules,
        webhook=None if section.webhook is None else _webhook(section.webhook),
        email=None if section.email is None else _email(section.email),
        remind_after=section.remind_after or None,
    )


def _webhook(said: Webhook) -> WebhookOptions:
    return WebhookOptions(said.url, {name: value.get_secret_value() for name, value in said.headers.items()})


def _email(said: Email) -> EmailOptions:
    password = "" if said.password is None else said.password.get_secret_value()
    return EmailOptions(
        host=said.host,
        port=said.port,
        sender=said.from_,
        to=tuple(said.to),
        user=said.user or "",
        password=password,
        tls=said.tls,
    )
