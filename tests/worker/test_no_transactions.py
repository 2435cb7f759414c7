"""Where a task can have no transaction that completes it, it is told so, and what to do instead."""

from __future__ import annotations

import pytest

from taskq import App, CapabilityMissing, TaskContext
from taskq.testing import Harness
from tests.worker import jobs
from tests.worker.support import PATIENCE, adopt, work


def refusal(ctx: TaskContext) -> str:
    """What the task is told."""
    with pytest.raises(CapabilityMissing) as caught:
        ctx.transaction()
    return str(caught.value)


@pytest.mark.parametrize("store", ["memory", "redis"])
async def test_stores_that_have_none(store: str, request: pytest.FixtureRequest) -> None:
    url = "memory://" if store == "memory" else request.getfixturevalue("redis_url")
    async with App(url) as app:

        @app.task
        async def in_the_loop(ctx: TaskContext) -> str:
            return refusal(ctx)

        @app.task
        def in_a_thread(ctx: TaskContext) -> str:
            return refusal(ctx)

        async with work(app):
            for handle in (await in_the_loop.aenqueue(), await in_a_thread.aenqueue()):
                assert "needs a worker on the Postgres backend" in await handle.aresult(PATIENCE)


async def test_a_child_process(app: App) -> None:
    transacts = adopt(app, jobs.transacts)
    async with work(app):
        assert 'executor="thread"' in await (await transacts.aenqueue()).aresult(PATIENCE)


async def test_a_harness_and_a_plain_call(app: App) -> None:
    @app.task
    def tells(ctx: TaskContext) -> str:
        return refusal(ctx)

    assert "needs a worker" in tells()
    async with Harness(app) as harness:
        handle = await tells.aenqueue()
        await harness.run_until_idle()
        assert "needs a worker" in await handle.aresult()
