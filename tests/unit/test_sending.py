"""A full queue, as its callers meet it: QueueFull, one warning, and block= that waits for room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from taskq import (
    App,
    BackendUnavailable,
    InvalidOption,
    KeepLatest,
    LeaseLost,
    OutcomeUnknown,
    QueueFull,
    Task,
    Unique,
    sending,
)
from taskq.domain.message import Message
from taskq.domain.outcome import Complete
from taskq.ports import Enqueued, EnqueueStatus, QueueConfig
from taskq_memory.broker import MemoryBroker
from tests.unit.support import claim, count, payload_of, record_of, settle

CREATED, DUPLICATE, FULL = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.FULL
AWAY = BackendUnavailable("away")


@pytest.fixture
def job(app: App) -> Task[..., None]:
    @app.task(name="job")
    def job(x: int = 0) -> None: ...

    return job


async def configure(app: App, queue: str = "default", **settings: Any) -> None:
    """Set something for a queue."""
    await (await app.backend()).queues.configure(queue, QueueConfig(**settings))


class Pauses:
    """Stands for the pauses between two looks at a full queue: time passes at once, and something may happen in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[float] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self._now = 0.0
        monkeypatch.setattr(sending, "time", SimpleNamespace(monotonic=lambda: self._now))
        monkeypatch.setattr(sending, "asyncio", SimpleNamespace(sleep=self._pass))

    async def _pass(self, seconds: float) -> None:
        self.lengths.append(seconds)
        self._now += seconds
        if self.meanwhile is not None:
            await self.meanwhile()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    return Pauses(monkeypatch)


async def test_a_full_queue_refuses_and_says_how_full_it_is(app: App, job: Task[..., None]) -> None:
    await configure(app, max_size=2)
    await job.aenqueue_many([(1,), (2,)])
    with pytest.raises(
        QueueFull, match=r"^job: its queue holds 2 tasks of at most 2; try again later, or wait"
    ) as caught:
        await job.aenqueue(3)
    assert (caught.value.depth, caught.value.limit) == (2, 2)
    assert await count(app) == 2


async def test_of_many_those_that_have_no_room_are_marked(app: App, job: Task[..., None]) -> None:
    await configure(app, max_size=2)
    handles = await job.aenqueue_many([(n,) for n in range(4)])
    assert [handle.enqueued for handle in handles] == [CREATED, CREATED, FULL, FULL]
    assert await count(app) == 2


async def test_all_or_none_where_there_is_not_room_for_all(app: App, job: Task[..., None]) -> None:
    await configure(app, max_size=2)
    with pytest.raises(QueueFull):
        await job.aenqueue_many([(n,) for n in range(3)], atomic=True)
    assert await count(app) == 0


async def test_a_duplicate_takes_no_room(app: App) -> None:
    @app.task(name="once", unique=Unique())
    def once() -> None: ...

    await configure(app, max_size=1)
    first = await once.aenqueue()
    again = await once.aenqueue()
    assert (again.id, again.enqueued) == (first.id, DUPLICATE)


# ---------------------------------------------------------------- block=


async def test_a_call_may_wait_for_room(app: App, job: Task[..., None], pauses: Pauses) -> None:
    await configure(app, max_size=1)
    await job.aenqueue(1)

    async def make_room() -> None:
        if len(pauses.lengths) == 3:
            await claim(app)

    pauses.meanwhile = make_room
    handle = await job.options(block=60).aenqueue(2)
    assert handle.enqueued is CREATED
    assert pauses.lengths == [0.05, 0.1, 0.2]


async def test_a_call_gives_up_when_its_time_is_over(app: App, job: Task[..., None], pauses: Pauses) -> None:
    await configure(app, max_size=1)
    await job.aenqueue(1)
    with pytest.raises(QueueFull):
        await job.options(block=10).aenqueue(2)
    assert sum(pauses.lengths) == pytest.approx(10)
    assert max(pauses.lengths) == sending.LONGEST_PAUSE
    assert await count(app) == 1


async def test_with_room_or_without_patience_nobody_waits(app: App, job: Task[..., None], pauses: Pauses) -> None:
    await configure(app, max_size=1)
    await job.options(block=10).aenqueue(1)
    with pytest.raises(QueueFull):
        await job.options(block=0).aenqueue(2)
    assert pauses.lengths == []


async def test_of_many_those_that_wait_get_in_one_by_one(app: App, job: Task[..., None], pauses: Pauses) -> None:
    await configure(app, max_size=2)

    async def make_room() -> None:
        await claim(app)

    pauses.meanwhile = make_room
    handles = await job.options(block=60).aenqueue_many([(n,) for n in range(5)])
    assert [handle.enqueued for handle in handles] == [CREATED] * 5
    assert len(pauses.lengths) == 3
    assert [payload_of(await record_of(app, handle)) for handle in handles] == [{"x": n} for n in range(5)]


async def test_one_that_waited_replaces_what_another_has_enqueued_meanwhile(app: App, pauses: Pauses) -> None:
    @app.task(name="latest", unique=KeepLatest())
    def latest(x: int) -> None: ...

    await configure(app, max_size=1)
    blocker = await app.aenqueue("blocker")

    async def overtake() -> None:
        pauses.meanwhile = None
        await settle(app, await claim(app), Complete())
        await latest.aenqueue(1)

    pauses.meanwhile = overtake
    handle = await latest.options(block=60).aenqueue(2)
    assert handle.enqueued is EnqueueStatus.REPLACED
    assert payload_of(await record_of(app, handle)) == {"x": 2}
    assert (await record_of(app, blocker)).state.is_final


async def break_off(self: MemoryBroker, messages: Sequence[Message], **more: Any) -> list[Enqueued]:
    """Stands for an enqueue into a store that is away."""
    raise AWAY


async def test_what_has_found_no_room_when_the_store_goes_away_was_not_stored(
    app: App, job: Task[..., None], pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(app, max_size=1)
    await job.aenqueue(1)

    async def go_away() -> None:
        monkeypatch.setattr(MemoryBroker, "enqueue", break_off)

    pauses.meanwhile = go_away
    with pytest.raises(BackendUnavailable) as caught:
        await job.options(block=60).aenqueue(2)
    assert caught.value is AWAY


async def test_of_many_only_those_that_found_room_are_said_to_be_stored(
    app: App, job: Task[..., None], pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(app, max_size=2)

    async def go_away() -> None:
        monkeypatch.setattr(MemoryBroker, "enqueue", break_off)

    pauses.meanwhile = go_away
    with pytest.raises(OutcomeUnknown, match=r"^job: 2 of 5 tasks were stored, then: away$") as caught:
        await job.options(block=60).aenqueue_many([(n,) for n in range(5)])
    assert caught.value.stored == await count(app) == 2


async def test_a_lease_that_is_lost_while_some_wait_for_room_does_not_make_the_others_unstored(
    app: App, job: Task[..., None], pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(app, max_size=2)

    async def stale(self: MemoryBroker, messages: Sequence[Message], **more: Any) -> list[Enqueued]:
        return [Enqueued(message.id, EnqueueStatus.STALE_PARENT) for message in messages]

    async def lose_the_lease() -> None:
        monkeypatch.setattr(MemoryBroker, "enqueue", stale)

    pauses.meanwhile = lose_the_lease
    with pytest.raises(LeaseLost, match=r"has lost its lease; 2 of 5 were stored$"):
        await job.options(block=60).aenqueue_many([(n,) for n in range(5)])


async def test_arguments_that_were_to_replace_others_when_the_store_went_away_were_not_stored(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="latest", unique=KeepLatest())
    def latest(x: int) -> None: ...

    first = await latest.aenqueue(1)
    enqueue = MemoryBroker.enqueue

    async def away_for_replacements(self: MemoryBroker, messages: Sequence[Message], **more: Any) -> list[Enqueued]:
        return await (break_off if messages[0].replaces else enqueue)(self, messages, **more)

    monkeypatch.setattr(MemoryBroker, "enqueue", away_for_replacements)
    with pytest.raises(BackendUnavailable) as caught:
        await latest.aenqueue(2)
    assert caught.value is AWAY
    assert payload_of(await record_of(app, first)) == {"x": 1}


def test_nobody_waits_for_room_inside_a_transaction(job: Task[..., None]) -> None:
    with pytest.raises(InvalidOption, match="give block or connection, not both"):
        job.options(block=1, connection=object())


def test_blocking_code_waits_for_room_too(app: App, job: Task[..., None], pauses: Pauses) -> None:
    asyncio.run(configure(app, max_size=1))
    job.enqueue(1)
    pauses.meanwhile = lambda: claim(app)
    assert job.options(block=60).enqueue(2).enqueued is CREATED


# ---------------------------------------------------------------- the warning


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, logger="taskq")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "taskq"]


async def test_a_queue_gives_warning_once_and_again_after_it_was_calm(
    app: App, job: Task[..., None], warnings: Callable[[], list[str]]
) -> None:
    await configure(app, max_size=4, warn_at=0.5)
    for n in range(4):
        await job.aenqueue(n)
    assert warnings() == ["queue default holds 2 tasks of at most 4"]
    for _ in range(4):
        await claim(app)
    await job.aenqueue_many([(n,) for n in range(3)])
    assert len(warnings()) == 1
    for _ in range(3):
        await claim(app)
    await job.aenqueue()
    await job.aenqueue_many([(n,) for n in range(2)])
    assert warnings()[1:] == ["queue default holds 3 tasks of at most 4"]


async def test_each_queue_gives_warning_for_itself(
    app: App, job: Task[..., None], warnings: Callable[[], list[str]]
) -> None:
    for queue in ("one", "two"):
        await configure(app, queue, max_size=2, warn_at=0.5)
        await job.options(queue=queue).aenqueue()
    assert warnings() == [f"queue {queue} holds 1 tasks of at most 2" for queue in ("one", "two")]
