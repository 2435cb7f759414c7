"""Webhooks under the harness: each call is noted as a worker would have made it, and nobody is called."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskq import App, Fixed, NoRetry, TaskState
from taskq.config import Settings
from taskq.outbound import client
from taskq.testing import Harness
from taskq.testing.webhooks import CalledWebhook
from tests.hooks import HookServer, call_of, webhooks_to

URL = "https://shop.example/done?key=hush"
app = App("redis://nobody.listens.example:1")


@app.task(name="add", retry=NoRetry())
async def add(x: int, y: int = 0) -> int:
    if x < 0:
        raise ValueError("too little")
    return x + y


told = add.options(on_complete_url=URL)


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with Harness(app) as opened:
        yield opened


async def test_what_is_told_is_noted(harness: Harness) -> None:
    handle = await told.options(metadata={"order": 17}).aenqueue(1, 2)
    assert harness.webhooks == []
    assert await harness.run_until_idle() == 2
    [call] = harness.webhooks
    assert call == CalledWebhook(URL, "task.completed", call.data)
    assert (call.data["id"], call.data["result"], call.data["metadata"]) == (handle.id, 3, {"order": 17})


async def test_each_end_has_its_type(harness: Harness) -> None:
    await told.aenqueue(-1)
    cancelled = await told.options(delay=60).aenqueue(1)
    await cancelled.acancel()
    await told.options(delay=60, expires=30).aenqueue(1)
    await harness.advance(minutes=2)
    assert sorted(call.type for call in harness.webhooks) == ["task.cancelled", "task.dead", "task.expired"]


async def test_nothing_is_told_before_the_last_attempt(harness: Harness) -> None:
    await told.options(retry=Fixed(3600, max_retries=1)).aenqueue(-1)
    await harness.run_until_idle()
    assert harness.webhooks == []
    await harness.advance(hours=1)
    assert [call.type for call in harness.webhooks] == ["task.dead"]


async def test_the_call_is_listed_as_a_task(harness: Harness) -> None:
    handle = await told.aenqueue(1)
    assert harness.enqueued("taskq.webhook").one().kwargs == {"url": URL, "task": handle.id}
    assert harness.enqueued(add).one().handle.id == handle.id


async def test_nobody_is_called(monkeypatch: pytest.MonkeyPatch, hooks: HookServer) -> None:
    async def post(*_: object, **__: object) -> None:
        raise AssertionError("the harness has called somebody")

    monkeypatch.setattr(client, "post", post)
    with_settings = App("memory://", settings=Settings(webhooks=webhooks_to(hooks)))
    with_settings.task(name="add")(add.function)
    async with Harness(with_settings) as harness:
        await with_settings.aenqueue("add", {"x": 1}, on_complete_url=hooks.url)
        await harness.run_until_idle()
        assert [call.url for call in harness.webhooks] == [hooks.url]
    assert not hooks.received


@pytest.mark.parametrize(("settings", "noted"), [(None, 1), (Settings(webhooks=webhooks_to()), 0)])
async def test_ports_are_those_that_the_application_allows(settings: Settings | None, noted: int) -> None:
    own = App("memory://", settings=settings)
    own.task(name="add")(add.function)
    async with Harness(own) as harness:
        handle = await own.aenqueue("add", {"x": 1}, on_complete_url="https://shop.example:8443/")
        await harness.run_until_idle()
        assert await call_of(own, handle).astatus() is (TaskState.COMPLETED if noted else TaskState.DEAD)
        assert len(harness.webhooks) == noted
