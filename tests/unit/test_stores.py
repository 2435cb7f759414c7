"""From a URL to a store, what travels beside the arguments, and what a context refuses."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from taskq import (
    App,
    BackendUnavailable,
    CapabilityMissing,
    ConfigError,
    IdempotencyConflict,
    InvalidOption,
    LeaseLost,
    Progress,
    QueueFull,
    TaskContext,
    backends,
)
from taskq.backends import create_backend, redact
from taskq.domain.message import Delivery, Message
from taskq.errors import CorruptRecord
from taskq.headers import EMPTY, MAX_DEPTH, Headers, check_depth, decode_headers, encode_headers
from taskq.ports import BackendOptions, Enqueued, EnqueueStatus
from taskq_memory import MemoryBackend
from taskq_memory.broker import MemoryBroker


def raising(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: Any, **__: Any) -> Any:
        raise error

    return raise_it


@pytest.mark.parametrize(("scheme", "extra"), [("redis", "redis"), ("rediss", "redis"), ("postgresql", "postgres")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str, extra: str) -> None:
    monkeypatch.setattr(EntryPoint, "load", raising(ImportError("No module named 'driver'")))
    with pytest.raises(
        ConfigError, match=rf'^{scheme}:// needs a package .*\(No .*\): pip install "pytaskq\[{extra}\]"$'
    ):
        create_backend(f"{scheme}://host", BackendOptions())


def test_an_adapter_that_cannot_be_imported_for_a_reason_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EntryPoint, "load", raising(ImportError("its own")))
    with pytest.raises(ImportError, match="its own"):
        create_backend("memory://", BackendOptions())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("postgresql://me:se:c@ret@host/db", "postgresql://me:***@host/db"),
        ("redis://me@host", "redis://me@host"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


async def test_a_worker_s_child_cannot_reach_its_worker_s_memory(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "is_child", True)
    with pytest.raises(CapabilityMissing, match='a task with executor="process" cannot reach it'):
        await app.aenqueue("job")


async def test_a_store_that_could_not_be_opened_is_tried_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MemoryBackend, "__aenter__", raising(BackendUnavailable("away")))
        found = await asyncio.gather(*(app.backend() for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["away"] * 3
    assert await app.backend() is not None


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (EnqueueStatus.FULL, QueueFull, "job: its queue holds as many tasks as it may"),
        (EnqueueStatus.CONFLICT, IdempotencyConflict, "job: this idempotency key was used before"),
        (EnqueueStatus.STALE_PARENT, LeaseLost, "job: the task that enqueues it has lost its lease"),
    ],
)
async def test_what_the_store_refuses_is_raised(
    app: App, monkeypatch: pytest.MonkeyPatch, status: EnqueueStatus, error: type[Exception], message: str
) -> None:
    async def refuse(_: MemoryBroker, messages: Sequence[Message], **__: Any) -> list[Enqueued]:
        return [Enqueued(one.id, status) for one in messages]

    monkeypatch.setattr(MemoryBroker, "enqueue", refuse)
    job = app.task(name="job")(lambda: None)
    for name in ("job", "elsewhere"):
        with pytest.raises(error):
            await app.aenqueue(name)
    with pytest.raises(error, match=message):
        await job.aenqueue()
    with pytest.raises(error):
        await job.aenqueue_many([(), ()], atomic=True)
    if status is EnqueueStatus.STALE_PARENT:
        with pytest.raises(error, match=message):
            await job.aenqueue_many([(), ()])
    else:
        assert [handle.enqueued for handle in await job.aenqueue_many([(), ()])] == [status, status]


def test_headers_come_back() -> None:
    headers = Headers({"a": [None, {"b": 1.5}]}, {"strategy": "fixed"}, 5.0, {"traceparent": "00-…"})
    assert decode_headers(encode_headers(headers)) == headers
    assert (encode_headers(EMPTY), decode_headers(b"")) == (b"", EMPTY)
    assert decode_headers(b'{"timeout":1,"of_a_later_release":2}') == Headers(timeout=1)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"timeout":"long"}', b"\xff"])
def test_damaged_headers(data: bytes) -> None:
    with pytest.raises(CorruptRecord, match="the headers of the task cannot be read"):
        decode_headers(data)


def test_headers_hold_only_what_json_can() -> None:
    with pytest.raises(ValueError, match="NaN and infinity"):
        encode_headers(Headers({"a": [{"b": (math.nan,)}]}))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_the_depth_is_counted_outside_of_strings(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for text in (b'"[[{{\\""', b'"\\\\"', b"[]" if opening == b"[" else b"{}"):
        depth = MAX_DEPTH - (0 if text.startswith(b'"') else 1)
        check_depth(opening * depth + text + closing * depth)
        with pytest.raises(RecursionError):
            check_depth(opening * (depth + 1) + text + closing * (depth + 1))


class HeldRun:
    def __init__(self) -> None:
        self.reports: list[Progress] = []

    def is_cancelled(self) -> bool:
        return True

    def report(self, progress: Progress) -> None:
        self.reports.append(progress)

    def keep(self, checkpoint: bytes) -> None:
        raise AssertionError("no test keeps anything")


@pytest.fixture
def context() -> TaskContext:
    delivery = Delivery("id", "job", b"", "mail", 1, 3, 2, 0, "w", tenant="acme")
    return TaskContext(delivery, HeldRun(), metadata={"a": 1})


def test_a_context_tells_of_its_delivery(context: TaskContext) -> None:
    assert (context.id, context.name, context.queue, context.attempt, context.fence) == ("id", "job", "mail", 2, 3)
    assert (context.worker_id, context.tenant, context.metadata, context.state) == ("w", "acme", {"a": 1}, None)
    assert context.cancelled
    assert context.logger is context.logger
    fields = {"task_id": "id", "task": "job", "queue": "mail", "tenant": "acme", "attempt": 2, "worker_id": "w"}
    assert context.logger.extra == {"taskq": {**fields, "correlation_id": "id"}}


def test_progress_is_a_fraction(context: TaskContext) -> None:
    context.progress(0)
    context.progress(1, "x" * 2000, rows=7)
    run: Any = context._run
    assert [(progress.fraction, len(progress.message), progress.data) for progress in run.reports] == [
        (0, 0, b"{}"), (1, 1000, b'{"rows":7}'),
    ]  # fmt: skip
    for wrong in (-0.1, 1.1, math.nan, math.inf):
        with pytest.raises(InvalidOption, match="progress must be from 0 to 1"):
            context.progress(wrong)
