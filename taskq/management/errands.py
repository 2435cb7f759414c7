"""What a process that has schedules fire does beside: it looks for alerts, runs jobs, keeps the audit trail."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from taskq.alert_rules import AlertOptions
from taskq.app import App
from taskq.management.alert_telling import AlertTeller
from taskq.management.alert_watch import AlertWatch
from taskq.management.audit_keeper import AuditKeeper
from taskq.management.job_runner import JobRunner
from taskq.runtime.process import Errands

if TYPE_CHECKING:
    from taskq.configuration import Configuration


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
    options, holder = AlertOptions() if found is None else found.sections.alerts.options, uuid4().hex
    options = options if tells else replace(options, webhook=None, email=None)
    runner, keeper = JobRunner(app, f"beat@{socket.gethostname()}"), AuditKeeper(app, holder)
    ticks = [("running jobs", runner.tick), ("keeping the audit trail", keeper.tick)]
    if not options.enabled:
        return Errands(ticks, keeper.farewell)
    teller = AlertTeller(app, options, holder=holder)
    watch = AlertWatch(app, options, teller, holder)
    ticks += [("looking for alerts", watch.tick), ("telling of alerts", teller.tick)]

    async def farewell() -> None:
        await watch.farewell()
        await teller.farewell()
        await keeper.farewell()

    return Errands(ticks, farewell)
