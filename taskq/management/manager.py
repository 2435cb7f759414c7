"""The Management of an application: its parts, for somebody who asks."""

from __future__ import annotations

from functools import cached_property

from taskq.app import App
from taskq.management.access import Actor
from taskq.management.alert_desk import AlertDesk
from taskq.management.audit_desk import AuditDesk
from taskq.management.dead_letters import DeadLetterDesk
from taskq.management.doctor import DoctorDesk
from taskq.management.flows import FlowDesk
from taskq.management.jobs import JobDesk
from taskq.management.keys import KeyDesk
from taskq.management.limits import LimitDesk
from taskq.management.metrics import MetricsDesk
from taskq.management.overview_desk import OverviewDesk
from taskq.management.queues import QueueDesk
from taskq.management.schedules import ScheduleDesk
from taskq.management.tasks import TaskDesk
from taskq.management.tenants import TenantDesk
from taskq.management.workers import WorkerDesk


class Management:
    """What operators do, with the permissions of one of them, each change noted in the audit trail.

    All methods of its parts are for async code.

    Arguments:
        app: the application; one without tasks, `App(url)`, will do for all that needs none.
        actor: who asks.

    >>> import asyncio
    >>> from taskq import App
    >>> async def example() -> int:
    ...     management = Management(App("memory://"), Actor("ann", ["operator"]))
    ...     await management.queues.pause("mail", "the relay is away")
    ...     return len((await management.tasks.find("queue:mail")).records)
    >>> asyncio.run(example())
    0
    """

    def __init__(self, app: App, actor: Actor) -> None:
        self.app = app
        self.actor = actor

    @cached_property
    def overview(self) -> OverviewDesk:
        """All of it at a glance: looks at the store, of which two make an Overview."""
        return OverviewDesk(self.app, self.actor)

    @cached_property
    def tasks(self) -> TaskDesk:
        """Tasks: to find, to show, to cancel, to start anew."""
        return TaskDesk(self.app, self.actor)

    @cached_property
    def jobs(self) -> JobDesk:
        """Changes of many tasks at once."""
        return JobDesk(self.app, self.actor)

    @cached_property
    def queues(self) -> QueueDesk:
        """Queues: how they stand, pause and resume, what is set for them, purge."""
        return QueueDesk(self.app, self.actor)

    @cached_property
    def workers(self) -> WorkerDesk:
        """Workers: who lives, what they are told, and how many are needed."""
        return WorkerDesk(self.app, self.actor)

    @cached_property
    def schedules(self) -> ScheduleDesk:
        """Schedules: to look at, to make and change, to pause, to have fire at once."""
        return ScheduleDesk(self.app, self.actor)

    @cached_property
    def flows(self) -> FlowDesk:
        """Workflows and batches: to cancel, to start anew."""
        return FlowDesk(self.app, self.actor)

    @cached_property
    def dead_letters(self) -> DeadLetterDesk:
        """Dead letters: grouped by what went wrong, started anew, forgotten."""
        return DeadLetterDesk(self.app, self.actor)

    @cached_property
    def limits(self) -> LimitDesk:
        """Limits: how they stand, and taking them back to where they began."""
        return LimitDesk(self.app, self.actor)

    @cached_property
    def tenants(self) -> TenantDesk:
        """Tenants: what each has, and what it may have."""
        return TenantDesk(self.app, self.actor)

    @cached_property
    def doctor(self) -> DoctorDesk:
        """What is wrong with stores, queues and workers, and mending what is damaged."""
        return DoctorDesk(self.app, self.actor)

    @cached_property
    def metrics(self) -> MetricsDesk:
        """Figures over time, for charts."""
        return MetricsDesk(self.app, self.actor)

    @cached_property
    def alerts(self) -> AlertDesk:
        """Alerts: what goes on, what is over, and who has seen to it."""
        return AlertDesk(self.app, self.actor)

    @cached_property
    def audit(self) -> AuditDesk:
        """The audit trail: to read, to verify, to trim."""
        return AuditDesk(self.app, self.actor)

    @cached_property
    def keys(self) -> KeyDesk:
        """Keys of the API: to make, to look at, to revoke."""
        return KeyDesk(self.app, self.actor)
