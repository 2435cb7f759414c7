"""Enqueuing more than the store takes at once: what was stored before something went wrong is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from taskq import (
    App,
    BackendUnavailable,
    CapabilityMissing,
    InvalidOption,
    LeaseLost,
    OutcomeUnknown,
    QueueFull,
    Task,
    TaskqError,
)
from taskq.domain.message import Message
from taskq.ports import BackendOptions, Enqueued, EnqueueStatus
from taskq_memory import MemoryBackend
from taskq_memory.broker import MemoryBroker
from tests.unit.support import count

BATCH = BackendOptions().batch


@pytest.fixture
def job(app: App) -> Task[..., None]:
    @app.task(name="job")
    def job(x: int) -> None: ...

    return job


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the calls to the broker."""
    sizes: list[int] = []
    enqueue = MemoryBroker.enqueue

    async def counted(self: MemoryBroker, messages: Sequence[Message], **more: Any) -> list[Enqueued]:
        sizes.append(len(messages))
        return await enqueue(self, messages, **more)

    monkeypatch.setattr(MemoryBroker, "enqueue", counted)
    return sizes


def fail_after(monkeypatch: pytest.MonkeyPatch, good: int, error: Exception) -> None:
    """Let the store fail after some calls."""
    enqueue, made = MemoryBroker.enqueue, 0

    async def failing(self: MemoryBroker, messages: Sequence[Message], **more: Any) -> list[Enqueued]:
        nonlocal made
        made += 1
        if made > good:
            raise error
        return await enqueue(self, messages, **more)

    monkeypatch.setattr(MemoryBroker, "enqueue", failing)


async def test_many_go_batch_by_batch(app: App, job: Task[..., None], calls: list[int]) -> None:
    handles = await job.aenqueue_many((n,) for n in range(2 * BATCH + 1))
    assert calls == [BATCH, BATCH, 1]
    assert len({handle.id for handle in handles}) == await count(app) == 2 * BATCH + 1


async def test_a_backend_may_take_more_at_once(
    app: App, job: Task[..., None], calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBackend, "batch", 1000, raising=False)
    await job.aenqueue_many((n,) for n in range(1001))
    assert calls == [1000, 1]


async def test_a_store_that_goes_away_after_a_batch_was_stored(
    app: App, job: Task[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_after(monkeypatch, 2, BackendUnavailable("the store is away"))
    with pytest.raises(OutcomeUnknown, match=r"^job: 200 of 300 tasks were stored, then: the store is away$") as caught:
        await job.aenqueue_many((n,) for n in range(300))
    assert (caught.value.stored, await count(app)) == (200, 200)
    assert isinstance(caught.value.__cause__, BackendUnavailable)


async def test_a_batch_of_which_nothing_is_known(job: Task[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    fail_after(monkeypatch, 1, OutcomeUnknown("the line broke"))
    message = "^job: 100 of 250 tasks were stored, and perhaps some of the next 100: the line broke$"
    with pytest.raises(OutcomeUnknown, match=message) as caught:
        await job.aenqueue_many((n,) for n in range(250))
    assert caught.value.stored == 100


@pytest.mark.parametrize("error", [BackendUnavailable("away"), CapabilityMissing("cannot"), OutcomeUnknown("broke")])
async def test_what_went_wrong_with_the_first_batch_is_raised_as_it_is(
    app: App, job: Task[..., None], monkeypatch: pytest.MonkeyPatch, error: TaskqError
) -> None:
    fail_after(monkeypatch, 0, error)
    with pytest.raises(type(error)) as caught:
        await job.aenqueue_many((n,) for n in range(3 * BATCH))
    assert caught.value is error
    assert await count(app) == 0


async def test_all_or_none_is_for_one_batch(app: App, job: Task[..., None], calls: list[int]) -> None:
    with pytest.raises(InvalidOption, match=f"job: atomic=True is for at most {BATCH} tasks, not for {BATCH + 1}"):
        await job.aenqueue_many(((n,) for n in range(BATCH + 1)), atomic=True)
    assert (calls, await count(app)) == ([], 0)
    assert len(await job.aenqueue_many(((n,) for n in range(BATCH)), atomic=True)) == BATCH


async def test_a_run_that_lost_its_lease_on_the_way_is_told_and_enqueues_no_more(
    job: Task[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    async def enqueue(_: MemoryBroker, messages: Sequence[Message], **__: Any) -> list[Enqueued]:
        made.append(len(messages))
        status = EnqueueStatus.CREATED if len(made) == 1 else EnqueueStatus.STALE_PARENT
        return [Enqueued(message.id, status) for message in messages]

    monkeypatch.setattr(MemoryBroker, "enqueue", enqueue)
    with pytest.raises(LeaseLost, match="job: the task that enqueues it has lost its lease; 100 of 300 were stored"):
        await job.aenqueue_many((n,) for n in range(300))
    assert made == [100, 100]


async def test_a_full_queue_is_told_for_each_of_many(job: Task[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def enqueue(_: MemoryBroker, messages: Sequence[Message], **__: Any) -> list[Enqueued]:
        return [Enqueued(message.id, EnqueueStatus.FULL) for message in messages]

    monkeypatch.setattr(MemoryBroker, "enqueue", enqueue)
    assert [handle.enqueued for handle in await job.aenqueue_many([(1,), (2,)])] == [EnqueueStatus.FULL] * 2
    with pytest.raises(QueueFull):
        await job.aenqueue_many([(1,), (2,)], atomic=True)
