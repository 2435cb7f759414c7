"""A schedule of workflows, worked by hand."""

from __future__ import annotations

from typing import Any

from taskq import App, TaskRecord, Workflow, WorkflowRun, group
from taskq.domain.outcome import Complete
from taskq.domain.timing import Every
from tests.unit.support import claim, settle
from tests.worker.schedules import tasks


class Starter:
    """A task that starts a workflow, and a hand that does its work."""

    def __init__(self, app: App, overlap: str) -> None:
        self.app = app

        @app.workflow(name="nightly")
        def nightly() -> Workflow:
            return self.flow

        step = app.tasks.get("job").s
        self.flow = group(step(), step())
        app.periodic(Every(minutes=1), task=nightly, overlap=overlap)

    async def fires(self) -> list[TaskRecord]:
        """The tasks that the schedule has enqueued."""
        return [record for record in await tasks(self.app) if record.name == "nightly"]

    async def start(self) -> WorkflowRun[Any]:
        """Be the worker of the newest one."""
        delivery = await claim(self.app)
        assert delivery.name == "nightly"
        run = await self.flow.astart_for(delivery.id, self.app.tasks.get("job").submitter)
        await settle(self.app, delivery, Complete(b"1"))
        return run
