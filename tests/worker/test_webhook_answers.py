"""What a receiver's answer means for the next call, on each backend: when it comes, and that it tells the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from taskq import App, Fixed, NoRetry, TaskHandle, TaskState, webhook_task
from taskq.ports import RedriveStatus
from taskq.webhooks import verify
from tests.hooks import SECRET, HookServer, answer, call_of
from tests.worker.support import ended, until_state, work
from tests.worker.webhooks import add_task, seconds_put_off


@pytest.mark.parametrize("status", [429, 503])
async def test_who_asks_for_time_is_called_then(hooked: App, hooks: HookServer, status: int) -> None:
    hooks.answers = [answer(status, "Retry-After: 7200\r\n")]
    async with work(hooked):
        handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(1, 2)
        await handle.await_(30)
        record = await until_state(call_of(hooked, handle), TaskState.RETRYING)
    assert seconds_put_off(record) == pytest.approx(7200, abs=60)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", ["0", "1", "Thu, 01 Jan 1970 00:00:00 GMT"])
async def test_who_asks_for_less_than_the_usual_time_is_not_called_sooner(
    hooked: App, hooks: HookServer, status: int, after: str
) -> None:
    hooks.answers = [answer(status, f"Retry-After: {after}\r\n")]
    async with work(hooked):
        handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(1, 2)
        record = await until_state(call_of(hooked, handle), TaskState.RETRYING, TaskState.COMPLETED)
    assert record.state is TaskState.RETRYING
    assert seconds_put_off(record) == pytest.approx(3.75, abs=1.5)  # 2.5 to 5, as after any first failure
    assert len(hooks.received) == 1


async def test_the_usual_time_is_that_of_the_attempt(
    hooked: App, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_task, "OPTIONS", replace(webhook_task.OPTIONS, retry=Fixed(600, max_retries=3)))
    hooks.answers = [answer(429, "Retry-After: 60\r\n")]
    async with work(hooked):
        handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(1, 2)
        record = await until_state(call_of(hooked, handle), TaskState.RETRYING, TaskState.COMPLETED)
    assert record.state is TaskState.RETRYING
    assert seconds_put_off(record) == pytest.approx(600, abs=5)


async def redrive(app: App, handle: TaskHandle[Any]) -> None:
    """Start a dead task anew."""
    [redriven] = await (await app.backend()).inspector.redrive([handle.id])
    assert redriven.status is RedriveStatus.MOVED


async def test_a_call_that_is_redriven_tells_what_it_told_before(hooked: App, hooks: HookServer) -> None:
    luck: list[str] = []

    @hooked.task(name="tries", retry=NoRetry())
    async def tries() -> str:
        if not luck:
            raise ValueError("no luck")
        return luck[0]

    hooks.answers = [answer(410)]
    async with work(hooked):
        handle = await tries.options(on_complete_url=hooks.url).aenqueue()
        call = call_of(hooked, handle)
        assert (await ended(call)).state is TaskState.DEAD
        luck.append("some luck")
        await redrive(hooked, handle)
        assert await handle.aresult(30) == "some luck"
        await redrive(hooked, call)
        assert (await ended(call)).state is TaskState.COMPLETED
    first, second = hooks.received
    assert json.loads(first.body)["type"] == "task.dead"
    assert second.body == first.body
    assert {verify([SECRET], request.headers, request.body) for request in hooks.received} == {call.id}


async def test_what_is_too_long_to_be_kept_is_told_nevertheless(hooked: App, hooks: HookServer) -> None:
    metadata = {"quotes": '"' * 300_000}
    async with work(hooked):
        handle = await add_task(hooked).options(on_complete_url=hooks.url, metadata=metadata).aenqueue(1, 2)
        record = await ended(call_of(hooked, handle))
    assert (record.state, record.checkpoint) == (TaskState.COMPLETED, None)
    assert json.loads(hooks.received[0].body)["data"]["metadata"] == metadata
