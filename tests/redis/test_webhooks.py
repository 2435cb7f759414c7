"""Webhooks on several shards: a task and its call lie in one, wherever its queue does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskq import App, Task
from taskq.config import Settings
from taskq.domain.flow import FlowState
from taskq.flows.batch import Batch
from taskq.ids import shard_in
from tests.hooks import HookServer, call_of, calls_in, webhooks_to
from tests.worker.support import ended, until, work

QUEUES = ("sums", "totals", "mail", "reports", "images", "nightly")


@pytest.fixture
async def app(redis_url: str, hooks: HookServer) -> AsyncIterator[App]:
    """An application on four shards that may call the server."""
    async with App(f"{redis_url}?shards=4", settings=Settings(webhooks=webhooks_to(hooks))) as app:
        yield app


@pytest.fixture
def add(app: App) -> Task[..., Any]:
    """A task."""

    @app.task(name="add")
    async def add(x: int) -> int:
        return x

    return add


async def test_each_end_is_told_wherever_its_queue_lies(app: App, add: Task[..., Any], hooks: HookServer) -> None:
    told = add.options(on_complete_url=hooks.url)
    handles = [await told.options(queue=queue).aenqueue(x) for x, queue in enumerate(QUEUES)]
    assert len({shard_in(handle.id) for handle in handles}) > 1
    assert await calls_in(app) == sorted(call_of(app, handle).id for handle in handles)
    async with work(app, queues=dict.fromkeys(QUEUES)):
        for handle in handles:
            await ended(call_of(app, handle))
    bodies = [json.loads(request.body)["data"] for request in hooks.received]
    assert sorted((body["result"], body["queue"]) for body in bodies) == list(enumerate(QUEUES))


async def test_members_of_a_batch_in_several_shards(app: App, add: Task[..., Any], hooks: HookServer) -> None:
    @app.task(name="done")
    async def done() -> str:
        return "done"

    told = add.options(on_complete_url=hooks.url)
    async with app.batch(on_success=done.s()) as batch:
        for x, queue in enumerate(QUEUES):
            await batch.aenqueue(told.options(queue=queue), x)
    members = (await (await app.backend()).flows.members(batch.id)).ids
    assert len(members) == len(QUEUES)
    async with work(app, queues=dict.fromkeys([*QUEUES, "default"])):
        for id in members:
            await ended(call_of(app, app.handle(id)))
        await until(lambda: is_completed(batch), "the batch has completed")
    assert sorted(json.loads(request.body)["data"]["result"] for request in hooks.received) == list(range(6))


async def is_completed(batch: Batch) -> bool:
    """Whether all of a batch have completed."""
    return await batch.astatus() is FlowState.COMPLETED


async def test_one_that_waits_for_a_task_in_another_shard(app: App, add: Task[..., Any], hooks: HookServer) -> None:
    shards = app.stores.root.shard_of
    far = next(queue for queue in QUEUES if shards(queue) != shards("default"))
    first = await add.options(queue=far).aenqueue(1)
    handles = await add.options(depends_on=first, on_complete_url=hooks.url).aenqueue_many([(2,), (3,)])
    async with work(app, queues=dict.fromkeys(["default", far])):
        for handle in handles:
            await ended(call_of(app, handle))
    assert sorted(json.loads(request.body)["data"]["result"] for request in hooks.received) == [2, 3]
