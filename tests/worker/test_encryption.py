"""Encrypted tasks in real workers: nothing in plain in the store, nothing run without its key, nothing lost."""

from __future__ import annotations

import logging
import os
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from taskq import App, Failure, Task, TaskState
from taskq.config import Settings
from taskq.crypto import Crypto, key_of
from taskq.domain.envelope import seal, unseal
from taskq.domain.message import Message
from taskq.domain.outcome import KEY, Complete, Outcome, Succeeded
from taskq.domain.record import TaskRecord
from taskq.errors import KeyMissing, Tampered
from taskq.handle import TaskHandle
from taskq.headers import decode_headers
from taskq.ids import new_id
from taskq.ports import Settled
from taskq.testing import Harness
from taskq.testing.clock import VirtualClock
from taskq.testing.conformance.bench import moved
from tests.worker import jobs
from tests.worker.support import adopt, ended, twin, until, until_state, work
from tests.worker.test_results import Results

KINDS = ("async", "thread", "process")
OLD, NEW = os.urandom(32), os.urandom(32)
KEYS = Crypto({"2026-11": OLD})
NO_KEY = Failure("KeyMissing", "this worker knows no key '2026-11'")


@pytest.fixture
def vault(any_app: App) -> App:
    """An application with a key, on each backend in turn."""
    any_app.stores.crypto = KEYS
    return any_app


@pytest.fixture
def locked(app: App) -> App:
    """An application with a key, in memory."""
    app.stores.crypto = KEYS
    return app


def hides(app: App, kind: str = "async", **options: Any) -> Task[..., str]:
    """A task whose arguments and result are a secret."""
    options = {"encrypt": True, **options}
    if kind == "process":
        return adopt(app, jobs.hides, **options)

    async def on_the_loop(text: str) -> str:
        return text.upper()

    def in_a_thread(text: str) -> str:
        return text.upper()

    function: Any = on_the_loop if kind == "async" else in_a_thread
    task: Task[..., str] = app.task(name=jobs.hides.name, **options)(function)
    return task


def with_keys(app: App, crypto: Crypto | None) -> App:
    """Another application on the same store, which has these keys."""
    other = twin(app)
    other.stores.crypto = crypto
    return other


@pytest.fixture
def child_has_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes find the key in their environment."""
    monkeypatch.setenv("TASKQ_CRYPTO__KEYS__2026-11", b64encode(OLD).decode())


@pytest.mark.usefixtures("child_has_key")
@pytest.mark.parametrize("kind", KINDS)
async def test_neither_arguments_nor_result_are_in_the_store(vault: App, kind: str) -> None:
    task = hides(vault, kind)
    async with work(vault):
        handle = await task.aenqueue("hush")
        assert await handle.aresult(30) == "HUSH"
        assert await vault.handle(handle.id).aresult(0) == "HUSH"
    record = await handle.ainfo()
    assert record.result is not None
    assert (b"hush" in record.body, b"HUSH" in record.result) == (False, False)
    assert key_of(record.result) == "2026-11"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_waits_for_a_worker_with_its_key(vault: App, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, without = hides(vault, kind), with_keys(vault, None)
    hides(without, kind)
    async with work(without):
        handle = await task.aenqueue("hush")
        record = await until_state(handle, TaskState.SCHEDULED)
    failure = record.attempts[-1].failure
    assert failure is not None
    assert (record.attempt, failure.type, failure.message) == (0, NO_KEY.type, NO_KEY.message)
    monkeypatch.setenv("TASKQ_CRYPTO__KEYS__2026-11", b64encode(OLD).decode())
    async with work(vault):
        assert await handle.aresult(30) == "HUSH"
    await without.aclose()


async def test_a_child_without_the_key_puts_the_task_off_too(locked: App) -> None:
    async with work(locked):
        record = await until_state(await hides(locked, "process").aenqueue("hush"), TaskState.SCHEDULED)
    failure = record.attempts[-1].failure
    assert failure is not None
    assert (record.attempt, failure.type, failure.message) == (0, NO_KEY.type, NO_KEY.message)


async def test_a_task_without_its_key_is_quarantined_after_ten_minutes_and_runs_once_the_key_is_there(
    virtual_app: App, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    virtual_app.stores.crypto = KEYS
    without = with_keys(virtual_app, Crypto({"2026-12": NEW}))
    hides(without)
    handle: TaskHandle[str] = await hides(virtual_app).aenqueue("hush")
    body, waited = (await handle.ainfo()).body, 0.0
    async with work(without, poll=0.05):
        number = 0

        async def put_off_again() -> TaskRecord | None:
            record = await handle.ainfo()
            waits = record.state is TaskState.SCHEDULED and record.fence == number + 1
            return record if waits or record.state is TaskState.DEAD else None

        while (record := await until(put_off_again, "put off, or buried")).state is TaskState.SCHEDULED:
            number, delay = number + 1, record.due_at - record.attempts[-1].ended_at
            waited += delay / timedelta(seconds=1)
            assert record.attempt == 0
            clock.advance(delay / timedelta(seconds=1) + 0.001)
    assert KEY.grace <= waited < KEY.grace + KEY.longest
    assert (record.reason, record.body) == ("no key", body)
    assert record.failure is not None
    assert record.failure.message == "for ten minutes no worker knew a key '2026-11'"
    assert caplog.text.count("no key '2026-11' is known here") == 1
    assert moved(await (await virtual_app.backend()).inspector.redrive([handle.id])) == [True]
    async with work(virtual_app, poll=0.05):
        assert await handle.aresult(30) == "HUSH"
    await without.aclose()


async def test_another_key_of_the_same_id_is_no_attack(locked: App) -> None:
    handle, wrong = await hides(locked).aenqueue("hush"), with_keys(locked, Crypto({"2026-11": NEW}))
    hides(wrong)
    async with work(wrong):
        record = await until_state(handle, TaskState.SCHEDULED)
    assert record.attempts[-1].failure is not None
    assert record.attempts[-1].failure.message == "this worker knows no key '2026-11' of that content"
    async with work(locked):
        assert await handle.aresult(30) == "HUSH"
    await wrong.aclose()


async def test_a_rotation_leaves_nothing_behind(locked: App) -> None:
    before: TaskHandle[str] = await hides(locked).aenqueue("before")
    rotated = with_keys(locked, Crypto({"2026-11": OLD, "2026-12": NEW}, active="2026-12"))
    task = hides(rotated)
    async with work(rotated):
        after = await task.aenqueue("after")
        assert [await rotated.handle(each.id).aresult(30) for each in (before, after)] == ["BEFORE", "AFTER"]
        for handle in (before, after):
            assert key_of((await handle.ainfo()).result or b"") == "2026-12"
    with pytest.raises(KeyMissing, match=r"there is no key '2026-12' here: add it to Crypto\(keys=…\)") as caught:
        await before.aresult(0)
    assert caught.value.key_id == "2026-12"
    await rotated.aclose()


# ---------------------------------------------------------------- what was changed, or moved


async def sealed_parts(handle: TaskHandle[Any]) -> tuple[bytes, bytes]:
    """The ciphertext of a task's payload, and its headers."""
    record = await handle.ainfo()
    return unseal(record.id, record.name, record.body)


async def put(app: App, name: str, payload: bytes, headers: bytes) -> TaskHandle[Any]:
    """Store a task as one would who can write to the store."""
    backend = await app.backend()
    id = new_id(backend.shard_of("default"))
    await backend.broker.enqueue([Message(id, name, seal(id, name, payload, headers))])
    return app.handle(id)


@pytest.mark.usefixtures("child_has_key")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_payload_of_another_task_is_quarantined_at_once(vault: App, kind: str) -> None:
    task = hides(vault, kind)
    payload, headers = await sealed_parts(await task.options(delay=3600).aenqueue("hush"))
    async with work(vault):
        record = await ended(await put(vault, task.name, payload, headers))
    assert (record.state, record.reason, record.fence) == (TaskState.DEAD, "tampered", 1)
    assert record.failure is not None
    assert record.failure.type == "Tampered"
    assert payload in record.body


async def test_a_result_is_no_payload_and_a_payload_no_result(locked: App) -> None:
    task = hides(locked)
    async with work(locked):
        handle = await task.aenqueue("hush")
        await handle.await_(30)
        _, headers = await sealed_parts(handle)
        result = (await handle.ainfo()).result
        assert result is not None
        assert (await ended(await put(locked, task.name, result, headers))).reason == "tampered"
    other = await task.aenqueue("other")
    broker = (await locked.backend()).broker
    fetched = await broker.fetch(["default"], 1, worker="w", lease=30.0, request_id="r")
    await broker.settle([Settled(fetched.deliveries[0], Complete(result))])
    with pytest.raises(Tampered):
        await other.aresult(0)


@pytest.mark.parametrize("payload", [b'{"text":"hush"}', b"", b'{"$enc":"2026-11","data":"AAAA"}'])
async def test_what_is_said_to_be_encrypted_and_is_not_never_runs(locked: App, payload: bytes) -> None:
    task = hides(locked)
    async with work(locked):
        record = await ended(await put(locked, task.name, payload, b'{"encrypted":true}'))
    assert (record.state, record.reason) == (TaskState.DEAD, "undecodable")


@pytest.mark.parametrize("crypto", [KEYS, None], ids=["with keys", "without"])
async def test_data_that_looks_like_a_ciphertext_is_data(any_app: App, crypto: Crypto | None) -> None:
    any_app.stores.crypto = crypto

    @any_app.task
    async def gives_back(**data: Any) -> dict[str, Any]:
        return data

    lookalikes = ({"$enc": "2026-11", "data": b64encode(b"\1" * 99).decode()}, {"$enc": None, "data": 17}, {"$enc": 1})
    async with work(any_app):
        for data in lookalikes:
            handle = await gives_back.aenqueue(**data)
            assert await handle.aresult(30) == data
            assert await any_app.handle(handle.id).aresult(0) == data


# ---------------------------------------------------------------- who does not encrypt


async def test_a_secret_result_of_arguments_in_plain_is_encrypted(locked: App) -> None:
    task, stranger = hides(locked), with_keys(locked, None)
    async with work(locked):
        record = await ended(await stranger.aenqueue(task.name, {"text": "hush"}))
    assert decode_headers(unseal(record.id, record.name, record.body)[1]).encrypted is False
    assert key_of(record.result or b"") == "2026-11"
    assert await locked.handle(record.id).aresult(0) == "HUSH"
    await stranger.aclose()


async def test_a_worker_without_keys_runs_nothing_whose_result_is_a_secret(app: App) -> None:
    task = hides(app)
    async with work(app):
        record = await until_state(await twin(app).aenqueue(task.name, {"text": "hush"}), TaskState.SCHEDULED)
    assert record.attempts[-1].failure is not None
    assert (
        record.attempts[-1].failure.message == f"this worker knows no key to encrypt the result of {task.name!r} with"
    )


async def test_a_call_that_is_encrypted_has_an_encrypted_result(locked: App) -> None:
    task = hides(locked, encrypt=None)
    async with work(locked):
        plain, secret = await task.aenqueue("plain"), await task.options(encrypt=True).aenqueue("hush")
        assert [await handle.aresult(30) for handle in (plain, secret)] == ["PLAIN", "HUSH"]
    assert (await plain.ainfo()).result == b'"PLAIN"'
    assert key_of((await secret.ainfo()).result or b"") == "2026-11"


# ---------------------------------------------------------------- around it


async def test_middleware_sees_the_result_and_what_it_gives_instead_is_encrypted(locked: App) -> None:
    seen: list[Outcome] = []

    class Replaces:
        async def around_run(self, context: Any, call_next: Any) -> Outcome:
            seen.append(await call_next())
            return Succeeded(b'"instead"')

    locked.add_middleware(Replaces())
    task = hides(locked)
    async with work(locked):
        handle = await task.aenqueue("hush")
        assert await handle.aresult(30) == "instead"
    assert seen == [Succeeded(b'"HUSH"')]
    assert b"instead" not in ((await handle.ainfo()).result or b"")


@pytest.fixture
def results(locked: App, monkeypatch: pytest.MonkeyPatch) -> Results:
    """A store of results of its own."""
    store = Results()
    store.is_away = False

    async def detached(self: Any) -> Results:
        return store

    monkeypatch.setattr(type(locked.stores), "detached_results", detached)
    monkeypatch.setattr(type(locked.stores), "has_detached_results", True)
    return store


async def test_a_result_on_a_store_of_its_own_is_encrypted_there(locked: App, results: Results) -> None:
    task = hides(locked)
    async with work(locked):
        await ended(await task.aenqueue("hush"))
    [(_, _, result, _)] = results.kept
    assert key_of(result) == "2026-11"


async def test_encrypted_tasks_in_the_harness() -> None:
    app = App(settings=Settings(crypto=KEYS))
    task = hides(app)
    async with Harness(app) as harness:
        handle = await task.aenqueue("hush")
        assert harness.enqueued(task).one().kwargs == {"text": "hush"}
        await harness.run_until_idle()
        assert await handle.aresult(0) == "HUSH"
        assert b"HUSH" not in ((await handle.ainfo()).result or b"")


async def test_old_arguments_are_decrypted_and_then_lifted(locked: App) -> None:
    @locked.task(name="job", version=2, upcast={1: lambda old: {"x": old["a"]}}, encrypt=True)
    async def job(x: str) -> str:
        return x

    async with work(locked):
        assert await (await locked.aenqueue("job", {"a": "hush"}, version=1)).aresult(30) == "hush"


async def test_no_log_and_no_failure_shows_a_key_or_a_secret(locked: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    task, wrong = hides(locked), with_keys(locked, Crypto({"2026-11": NEW}))
    hides(wrong)
    payload, headers = await sealed_parts(await task.options(delay=3600).aenqueue("hush"))
    async with work(locked):
        await (await task.aenqueue("hush")).aresult(30)
        tampered = await ended(await put(locked, task.name, payload, headers))
    async with work(wrong):
        put_off = await until_state(await task.aenqueue("hush"), TaskState.SCHEDULED)
    said = f"{caplog.text} {tampered.failure} {tampered.attempts} {put_off.attempts}"
    for key in (OLD, NEW):
        assert not any(form in said for form in (repr(key)[2:-1], key.hex(), b64encode(key).decode()[:40]))
    assert "hush" not in said.lower()
    await wrong.aclose()
