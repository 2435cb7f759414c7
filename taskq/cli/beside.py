"""What a process that has schedules fire does beside: it looks whether there is reason for an alert, and runs jobs."""

from __future__ import annotations

import socket
from uuid import uuid4

from taskq.app import App
from taskq.management.alert_rules import AlertOptions
from taskq.management.alert_telling import AlertTeller
from taskq.management.alert_watch import AlertWatch
from taskq.management.job_runner import JobRunner
from taskq.runtime.process import Beside


def beside_of(app: App, alerts: AlertOptions | None = None) -> Beside:
    """What is done beside in a beat, or in a worker that is one too.

    Arguments:
        app: whose store it is.
        alerts: bounds, and who is told; None: the defaults, by which nobody is told but listeners and the log.

    Raises:
        ConfigError: those who are to be told cannot be.
    """
    options = alerts or AlertOptions()
    runner = JobRunner(app, f"beat@{socket.gethostname()}")
    ticks = [("running jobs", runner.tick)]
    if not options.enabled:
        return Beside(ticks)
    teller = AlertTeller(app, options)
    watch = AlertWatch(app, options, teller, uuid4().hex)
    ticks += [("looking for alerts", watch.tick), ("telling of alerts", teller.tick)]
    return Beside(ticks, watch.farewell)
