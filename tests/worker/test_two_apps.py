"""A task that enqueues into another application: another store, which knows nothing of the run that does it."""

from __future__ import annotations

from taskq import App
from taskq.config import WorkerOptions
from taskq.ports import EnqueueStatus
from taskq.runtime.worker import Worker


async def test_a_run_is_no_parent_in_another_applications_store() -> None:
    here, there = App("memory://"), App("memory://")

    @there.task(name="there")
    async def far(number: int) -> int:
        return number

    @here.task(name="here")
    async def near() -> str:
        return (await far.aenqueue(1)).enqueued

    async with Worker(here, WorkerOptions()).running():
        handle = await near.aenqueue()
        assert await handle.aresult(10) == EnqueueStatus.CREATED
    await here.aclose()
    await there.aclose()
