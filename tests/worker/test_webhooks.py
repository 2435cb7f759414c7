"""Webhooks with real workers, on each backend: what is told of an end, and what becomes of a call that is not taken."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from taskq import App, ConfigError, Failure, Fixed, TaskHandle, TaskState, webhook_task
from taskq.config import Settings
from taskq.crypto import Crypto
from taskq.domain.outcome import Bury, Complete
from taskq.domain.record import DeadReason
from taskq.ids import is_id
from taskq.ports import RedriveStatus, Settled
from taskq.webhook_task import MOST_RESULT
from taskq.webhooks import Webhooks, verify
from tests.hooks import SECRET, HookServer, answer, call_of, hook_server, webhooks_to
from tests.worker.support import Gate, ended, until, until_state, work
from tests.worker.webhooks import add_task, seconds_put_off

CRYPTO = Crypto({"2026-11": bytes(32)})
QUICK = replace(webhook_task.OPTIONS, retry=Fixed(0.01, max_retries=3))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that fail are repeated at once."""
    monkeypatch.setattr(webhook_task, "OPTIONS", QUICK)


async def told_of(hooks: HookServer, handle: TaskHandle[Any], app: App) -> dict[str, Any]:
    """What the only call has told, once the far side has taken it; it was signed."""
    assert (await ended(call_of(app, handle))).state is TaskState.COMPLETED
    [request] = hooks.received
    assert verify([SECRET], request.headers, request.body) == call_of(app, handle).id
    told: dict[str, Any] = json.loads(request.body)
    return told


async def died(app: App, handle: TaskHandle[Any], message: str, reason: DeadReason = DeadReason.REJECTED) -> None:
    """See that the call of a task was given up, and why."""
    record = await ended(call_of(app, handle))
    assert (record.state, record.reason) == (TaskState.DEAD, reason)
    assert record.failure is not None
    assert record.failure.message == message


# ---------------------------------------------------------------- what is told


async def test_a_result_is_told(hooked: App, hooks: HookServer) -> None:
    add = add_task(hooked)
    async with work(hooked):
        handle = await add.options(on_complete_url=hooks.url, metadata={"order": 17}, tenant="acme").aenqueue(
            1234, 4321
        )
        told = await told_of(hooks, handle, hooked)
        record = await handle.ainfo()
    [request] = hooks.received
    assert request.line == "POST /hook?key=hush HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert record.completed_at is not None
    assert told == {
        "type": "task.completed",
        "timestamp": record.completed_at.isoformat(),
        "data": {
            "id": handle.id,
            "name": "add",
            "queue": "default",
            "tenant": "acme",
            "state": "completed",
            "attempt": 1,
            "reason": "",
            "created_at": record.created_at.isoformat(),
            "completed_at": record.completed_at.isoformat(),
            "metadata": {"order": 17},
            "failure": None,
            "result": 5555,
        },
    }
    assert b"1234" not in request.body  # arguments are not told


async def test_a_failure_is_told(hooked: App, hooks: HookServer) -> None:
    add = add_task(hooked)
    async with work(hooked):
        handle = await add.options(on_complete_url=hooks.url).aenqueue(0, 0)
        told = await told_of(hooks, handle, hooked)
    assert (told["type"], told["data"]["state"], told["data"]["reason"]) == ("task.dead", "dead", "exhausted")
    assert told["data"]["failure"] == {"type": "ValueError", "message": "nothing to add"}
    assert "result" not in told["data"]
    assert b"Traceback" not in hooks.received[0].body


async def test_the_failure_of_a_task_without_dead_letters_is_told(hooked: App, hooks: HookServer) -> None:
    add = add_task(hooked, dead_letter=False)
    async with work(hooked):
        handle = await add.options(on_complete_url=hooks.url).aenqueue(0, 0)
        assert (await told_of(hooks, handle, hooked))["type"] == "task.failed"


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_cancel_is_told(hooked: App, hooks: HookServer, is_running: bool) -> None:
    gate = Gate()

    @hooked.task(name="waits")
    async def waits() -> None:
        await gate.passed()

    async with work(hooked, heartbeat=0.1):
        handle = await waits.options(on_complete_url=hooks.url, delay=None if is_running else 3600).aenqueue()
        if is_running:
            await gate.until_arrived(1)
        assert await handle.acancel("not today")
        told = await told_of(hooks, handle, hooked)
    assert (told["type"], told["data"]["reason"]) == ("task.cancelled", "not today")


async def test_that_nobody_has_begun_it_in_time_is_told(hooked: App, hooks: HookServer) -> None:
    handle = await add_task(hooked).options(on_complete_url=hooks.url, expires=0.01).aenqueue(1, 2)
    maintenance = (await hooked.backend()).maintenance

    async def is_over() -> bool:
        await maintenance.expire()
        return (await handle.astatus()) is TaskState.EXPIRED

    await until(is_over, "it has expired")
    async with work(hooked):
        assert (await told_of(hooks, handle, hooked))["type"] == "task.expired"


async def test_the_last_attempt_is_the_end(hooked: App, hooks: HookServer) -> None:
    seen: list[TaskState] = []

    @hooked.task(name="stumbles", retry=Fixed(0.01, max_retries=1))
    async def stumbles() -> str:
        if not seen:
            seen.append(await call_of(hooked, handle).astatus())
            raise OSError("the line broke")
        return "done"

    handle = await stumbles.options(on_complete_url=hooks.url).aenqueue()
    async with work(hooked):
        told = await told_of(hooks, handle, hooked)
    assert (told["data"]["attempt"], told["data"]["result"]) == (2, "done")
    assert seen == [TaskState.BLOCKED]


async def test_of_one_that_is_forgotten_the_id_alone_is_told(hooked: App, hooks: HookServer) -> None:
    handle = await add_task(hooked).options(on_complete_url=hooks.url, retention=0).aenqueue(1, 2)
    backend = await hooked.backend()
    [delivery] = (await backend.broker.fetch(["default"], 1, worker="w", lease=60, request_id="1")).deliveries
    await backend.broker.settle([Settled(delivery, Complete())])

    async def is_forgotten() -> bool:
        await backend.maintenance.prune()
        return await backend.inspector.get(handle.id) is None

    await until(is_forgotten, "it is forgotten")
    async with work(hooked):
        told = await told_of(hooks, handle, hooked)
    assert told == {"type": "task.ended", "timestamp": None, "data": {"id": handle.id}}


async def test_one_that_was_started_anew_before_it_was_told_of_has_not_ended(hooked: App, hooks: HookServer) -> None:
    handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(0, 0)
    backend = await hooked.backend()
    [delivery] = (await backend.broker.fetch(["default"], 1, worker="w", lease=60, request_id="1")).deliveries
    await backend.broker.settle([Settled(delivery, Bury("exhausted", Failure("ValueError", "nothing to add")))])
    [redriven] = await backend.inspector.redrive([handle.id], "later")
    assert redriven.status is RedriveStatus.MOVED
    async with work(hooked):
        record = await until_state(call_of(hooked, handle), TaskState.SCHEDULED)
    assert seconds_put_off(record) == pytest.approx(60, abs=5)
    assert (record.attempt, hooks.received) == (0, [])


@pytest.mark.parametrize("extra", [0, 1])
async def test_a_result_is_told_up_to_a_size(hooked: App, hooks: HookServer, extra: int) -> None:
    @hooked.task(name="long")
    async def long() -> str:
        return "x" * (MOST_RESULT - 2 + extra)

    async with work(hooked):
        handle = await long.options(on_complete_url=hooks.url).aenqueue()
        data = (await told_of(hooks, handle, hooked))["data"]
    assert data.get("result_left_out") == ("it takes 262,145 bytes" if extra else None)
    assert ("result" in data) == (not extra)


@pytest.mark.parametrize("detached", [False, True])
async def test_an_encrypted_result_is_not_told(store_url: str, hooks: HookServer, detached: bool) -> None:
    settings = Settings(webhooks=webhooks_to(hooks), crypto=CRYPTO)
    async with App(store_url, results="memory://" if detached else None, settings=settings) as app, work(app):

        @app.task(name="hides", encrypt=True)
        async def hides(word: str) -> str:
            return word.upper()

        handle = await hides.options(on_complete_url=hooks.url).aenqueue("secret")
        data = (await told_of(hooks, handle, app))["data"]
        assert await handle.aresult(30) == "SECRET"
    assert data["result_left_out"] == "it is encrypted"
    assert b"secret" not in hooks.received[0].body.lower()


async def test_a_result_that_is_kept_elsewhere_is_told(store_url: str, hooks: HookServer) -> None:
    settings = Settings(webhooks=webhooks_to(hooks))
    async with App(store_url, results="memory://", settings=settings) as app, work(app):
        handle = await add_task(app).options(on_complete_url=hooks.url).aenqueue(1, 2)
        assert (await told_of(hooks, handle, app))["data"]["result"] == 3


# ---------------------------------------------------------------- a call that is not taken


async def test_a_redirect_is_not_followed(hooked: App, hooks: HookServer, soon: None) -> None:
    async with hook_server() as other, work(hooked):
        hooks.answers = [answer(307, f"Location: {other.url}\r\n") for _ in range(4)]
        handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(1, 2)
        why = "127.0.0.1 has answered 307, and redirects are not followed"
        await died(hooked, handle, why, DeadReason.EXHAUSTED)
        assert (len(hooks.received), other.received) == (4, [])


async def test_who_is_gone_is_not_called_again(hooked: App, hooks: HookServer) -> None:
    hooks.answers = [answer(410)]
    async with work(hooked):
        handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(1, 2)
        await died(hooked, handle, "127.0.0.1 wants no more calls: it has answered 410")
    assert len(hooks.received) == 1


async def test_who_fails_is_called_again_later(hooked: App, hooks: HookServer) -> None:
    hooks.answers = [answer(500)]
    async with work(hooked):
        handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(1, 2)
        record = await until_state(call_of(hooked, handle), TaskState.RETRYING)
    assert record.attempts[-1].failure is not None
    assert record.attempts[-1].failure.message == "127.0.0.1 has answered 500"
    assert seconds_put_off(record) <= 5


async def test_a_call_that_is_repeated_has_the_same_id(hooked: App, hooks: HookServer, soon: None) -> None:
    hooks.answers = [answer(500), answer(429), answer(503, "Retry-After: 0\r\n")]
    async with work(hooked):
        handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(1, 2)
        assert (await ended(call_of(hooked, handle))).state is TaskState.COMPLETED
    ids = {verify([SECRET], request.headers, request.body) for request in hooks.received}
    assert ids == {call_of(hooked, handle).id}
    assert (len(hooks.received), len({request.body for request in hooks.received})) == (4, 1)
    assert all(is_id(id) for id in ids)


@pytest.mark.parametrize(
    ("webhooks", "why"),
    [
        (
            Webhooks([SECRET], ports=range(1, 65536)),
            "127.0.0.1 is not on the public internet, nor in a network that is allowed",
        ),
        (
            Webhooks([SECRET], allow=["127.0.0.1"], ports=[443]),
            "on_complete_url: port {} is not one of those that are allowed",
        ),
    ],
)
async def test_who_may_not_be_called_is_not(store_url: str, hooks: HookServer, webhooks: Webhooks, why: str) -> None:
    async with App(store_url, settings=Settings(webhooks=webhooks)) as app, work(app):
        handle = await add_task(app).options(on_complete_url=hooks.url).aenqueue(1, 2)
        await died(app, handle, why.format(hooks.port))
    assert not hooks.received


async def test_a_worker_without_secrets_says_so(store_url: str, hooks: HookServer, soon: None) -> None:
    async with App(store_url) as app, work(app):
        handle = await add_task(app).options(on_complete_url=hooks.url).aenqueue(1, 2)
        why = "this worker has no secret to sign webhooks with: give it Settings(webhooks=Webhooks(…))"
        await died(app, handle, why, DeadReason.EXHAUSTED)
    assert not hooks.received


async def test_secrets_may_come_from_the_environment(
    store_url: str, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SECRETS", SECRET), ("ALLOW", "127.0.0.0/8"), ("PORTS", str(hooks.port))):
        monkeypatch.setenv(f"TASKQ_WEBHOOKS__{name}", value)
    async with App(store_url) as app, work(app):
        handle = await add_task(app).options(on_complete_url=hooks.url).aenqueue(1, 2)
        assert (await told_of(hooks, handle, app))["type"] == "task.completed"


def test_an_environment_that_is_wrong_is_told_of_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_WEBHOOKS__SECRETS", "changeme")
    with pytest.raises(ConfigError, match="webhooks: secret 1 must be text that begins with whsec_"):
        App("memory://")


async def test_nothing_that_is_secret_is_shown(
    hooked: App, hooks: HookServer, soon: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hooks.answers = [answer(500), answer(302, "Location: /there\r\n"), cut_off, answer(410)]
    async with work(hooked):
        handle = await add_task(hooked).options(on_complete_url=hooks.url).aenqueue(4711, 1)
        await died(hooked, handle, "127.0.0.1 wants no more calls: it has answered 410")
        record = await call_of(hooked, handle).ainfo()
    failures = [attempt.failure for attempt in record.attempts if attempt.failure is not None]
    assert len(failures) == 4
    shown = "".join([caplog.text, *(each.message + each.traceback for each in failures)])
    assert "taskq.webhook" in shown
    for secret in ("hush", SECRET[6:], "4711", "4712", "v1,"):
        assert secret not in shown


async def cut_off(writer: asyncio.StreamWriter) -> None:
    """Close in the middle of the answer."""
    writer.write(b"HTTP/1.1 200")
