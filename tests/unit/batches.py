"""What the tests of batches share: what a store holds of one, and which of its callbacks are due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq import App
from taskq.domain.record import TaskRecord
from taskq.flows.batch import Batch
from taskq.ports import QueueConfig
from taskq.task import Task
from tests.unit.support import claim, payload_of

GHOST = "01980000-0000-7000-8000-000000000000"
Loads = Task[..., None]


async def records(app: App, batch: Batch) -> Sequence[TaskRecord]:
    """The members, in the order in which they were stored."""
    backend = await app.backend()
    page = await backend.flows.members(batch.id)
    return [record for id in page.ids if (record := await backend.inspector.get(id)) is not None]


async def rows(app: App, batch: Batch) -> list[tuple[str, Any]]:
    """Name and arguments of each member."""
    return [(record.name, payload_of(record)) for record in await records(app, batch)]


async def due(app: App) -> list[str]:
    """The callbacks that were enqueued, of those that a test has named after when they are due."""
    listed = await (await app.backend()).inspector.counts()
    count = sum(listed.get("callbacks", {}).values())
    return sorted([payload_of_delivery(await claim(app, "callbacks")) for _ in range(count)])


def payload_of_delivery(delivery: Any) -> str:
    """The `what` of a callback that was claimed."""
    return str(payload_of(delivery)["what"])


def all_of(done: Task[..., None]) -> dict[str, Any]:
    """A callback for each occasion."""
    return {f"on_{when}": done.s(when) for when in ("success", "failure", "complete")}


async def fill_queue(app: App, max_size: int) -> None:
    """Have the default queue take so many tasks."""
    await (await app.backend()).queues.configure("default", QueueConfig(max_size=max_size))
