"""A task and the call that tells of its end are stored together, or neither is, on each backend."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from taskq import (
    App,
    Debounce,
    FlowOver,
    IdempotencyConflict,
    InvalidOption,
    KeepLatest,
    ParentNotFound,
    QueueFull,
    Task,
    TaskHandle,
    TaskState,
    Unique,
    sending,
)
from taskq.config import Settings
from taskq.crypto import Crypto
from taskq.domain.message import Message
from taskq.middleware import Draft
from taskq.ports import Enqueued, EnqueueStatus
from taskq_memory.broker import MemoryBroker
from tests.hooks import HookServer, call_of, calls_in
from tests.unit.support import claim, count
from tests.worker.support import configure, ended, until, work

URL = "https://example.com/done?key=hush"
CREATED, DUPLICATE, REPLACED = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.REPLACED
GHOST = "01980000-0000-7000-8000-000000000000"


def add_task(app: App, **options: Any) -> Task[..., Any]:
    """A task that may have a unique key."""

    async def add(x: int, y: int = 0) -> int:
        return x + y

    made: Task[..., Any] = app.task(name="add", **options)(add)
    return made.options(on_complete_url=URL)


async def only_calls_of(app: App, *handles: TaskHandle[Any]) -> bool:
    """Whether these tasks, and no others, are to be told of, and nothing else is stored."""
    told = sorted(call_of(app, handle).id for handle in handles)
    return await calls_in(app) == told and await count(app) == 2 * len(told)


async def test_both_are_stored(any_app: App) -> None:
    handle = await add_task(any_app).options(tenant="acme", queue="sums", priority="high").aenqueue(1)
    record = await call_of(any_app, handle).ainfo()
    assert (record.name, record.state) == ("taskq.webhook", TaskState.BLOCKED)
    assert (record.queue, record.tenant) == ("sums", "acme")
    assert [edge.parent for edge in record.parents] == [handle.id]
    assert await only_calls_of(any_app, handle)


async def test_blocking_code_and_calls_by_name(any_app: App) -> None:
    first = await asyncio.to_thread(add_task(any_app).enqueue, 1)
    second = await any_app.aenqueue("nobody.knows", {"x": 1}, on_complete_url=URL)
    assert await only_calls_of(any_app, first, second)


@pytest.mark.parametrize("is_atomic", [False, True])
async def test_of_many_each_has_its_own(any_app: App, is_atomic: bool) -> None:
    handles = await add_task(any_app).aenqueue_many([(x,) for x in range(50 if is_atomic else 120)], atomic=is_atomic)
    assert {handle.enqueued for handle in handles} == {CREATED}
    assert await only_calls_of(any_app, *handles)


async def test_all_or_none_is_for_half_as_many(any_app: App) -> None:
    with pytest.raises(
        InvalidOption, match="add: atomic=True is for at most 50 tasks with on_complete_url, not for 51"
    ):
        await add_task(any_app).aenqueue_many([(x,) for x in range(51)], atomic=True)
    assert await count(any_app) == 0


# ---------------------------------------------------------------- full queues


async def test_a_full_queue_takes_neither(any_app: App) -> None:
    await configure(any_app, max_size=1)  # there is room for the task, and none for its call
    add = add_task(any_app)
    with pytest.raises(QueueFull):
        await add.aenqueue(1)
    assert await count(any_app) == 0
    await configure(any_app, max_size=2)
    assert await only_calls_of(any_app, await add.aenqueue(1))


async def test_of_many_those_that_find_room_have_theirs(any_app: App) -> None:
    await configure(any_app, max_size=5)
    handles = await add_task(any_app).aenqueue_many([(x,) for x in range(4)])
    assert [handle.enqueued for handle in handles] == [CREATED, CREATED, EnqueueStatus.FULL, EnqueueStatus.FULL]
    assert await only_calls_of(any_app, *handles[:2])


async def test_of_all_or_none_there_are_none(any_app: App) -> None:
    await configure(any_app, max_size=5)
    with pytest.raises(QueueFull):
        await add_task(any_app).aenqueue_many([(x,) for x in range(3)], atomic=True)
    assert await count(any_app) == 0


async def test_room_is_waited_for(any_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = asyncio.Event()

    async def sleep(pause: float) -> None:
        waits.set()
        await asyncio.sleep(0)

    monkeypatch.setattr(sending, "asyncio", SimpleNamespace(sleep=sleep))
    await configure(any_app, max_size=3)
    add = add_task(any_app)
    first = await add.aenqueue(1)
    async with asyncio.TaskGroup() as group:
        adding = group.create_task(add.options(block=30).aenqueue(2))
        await waits.wait()
        assert await only_calls_of(any_app, first)
        await configure(any_app, max_size=4)
    assert await only_calls_of(any_app, first, adding.result())


# ---------------------------------------------------------------- keys


async def test_the_task_that_holds_the_key_is_told_of_once(any_app: App) -> None:
    add = add_task(any_app, unique=Unique(key="x"))
    first, second = await add.aenqueue(1), await add.options(on_complete_url="https://example.com/other").aenqueue(1, 2)
    assert (second.id, second.enqueued) == (first.id, DUPLICATE)
    assert await only_calls_of(any_app, first)


async def test_of_a_holder_that_was_to_be_told_of_to_nobody_nobody_is_told(any_app: App) -> None:
    add = add_task(any_app, unique=Unique(key="x"))
    first = await add.options(on_complete_url=None).aenqueue(1)
    assert (await add.aenqueue(1)).id == first.id
    assert (await calls_in(any_app), await count(any_app)) == ([], 1)


@pytest.mark.parametrize("is_atomic", [False, True])
async def test_of_many_those_whose_key_is_free_have_theirs(any_app: App, is_atomic: bool) -> None:
    add = add_task(any_app, unique=Unique(key="x"))
    held = await add.aenqueue(1)
    handles = await add.aenqueue_many([(2,), (1,), (3,), (2, 1), (1, 1)], atomic=is_atomic)
    assert [handle.enqueued for handle in handles] == [CREATED, DUPLICATE, CREATED, DUPLICATE, DUPLICATE]
    assert [handle.id for handle in handles[1:]] == [held.id, handles[2].id, handles[0].id, held.id]
    assert await only_calls_of(any_app, held, handles[0], handles[2])


async def test_all_or_none_also_where_a_key_is_held(any_app: App) -> None:
    add = add_task(any_app, unique=Unique(key="x"))
    held = await add.aenqueue(1)
    await configure(any_app, max_size=5)
    with pytest.raises(QueueFull):
        await add.aenqueue_many([(1,), (2,), (3,)], atomic=True)
    assert await only_calls_of(any_app, held)


@pytest.mark.parametrize("unique", [Unique(key="x"), KeepLatest(key="x")])
async def test_each_task_is_told_of_once_whoever_else_calls(hooked: App, hooks: HookServer, unique: Any) -> None:
    add = add_task(hooked, unique=unique).options(on_complete_url=hooks.url)
    async with work(hooked):  # which ends tasks meanwhile
        one = [add.aenqueue(number % 3, number) for number in range(60)]
        many = [add.aenqueue_many([(x, number) for x in range(4)]) for number in range(15)]
        handles = [*await asyncio.gather(*one), *(each for some in await asyncio.gather(*many) for each in some)]
        ids = {handle.id for handle in handles}
        for id in ids:
            await ended(call_of(hooked, hooked.handle(id)))
    assert await only_calls_of(hooked, *map(hooked.handle, ids))
    assert sorted(json.loads(request.body)["data"]["id"] for request in hooks.received) == sorted(ids)


@pytest.mark.parametrize("others", [[], [(2,)]])
async def test_who_holds_the_key_may_end_while_it_is_asked(
    app: App, monkeypatch: pytest.MonkeyPatch, others: list[tuple[int]]
) -> None:
    add = add_task(app, unique=Unique(key="x"))
    held = await add.aenqueue(1)
    enqueue = MemoryBroker.enqueue

    async def ends(self: MemoryBroker, messages: Sequence[Message], **said: Any) -> list[Enqueued]:
        answers = await enqueue(self, messages, **said)
        if EnqueueStatus.NO_PARENT in {answer.status for answer in answers}:
            await self.cancel([held.id])
        return answers

    monkeypatch.setattr(MemoryBroker, "enqueue", ends)
    handles = await add.aenqueue_many([(1,), *others], atomic=True)
    assert {handle.enqueued for handle in handles} == {CREATED}
    assert await only_calls_of(app, held, *handles)


@pytest.mark.parametrize("unique", [KeepLatest(), Debounce(3600)])
async def test_what_takes_newer_arguments_is_told_of_once(any_app: App, unique: Any) -> None:
    add = add_task(any_app, unique=unique)
    first, second = await add.aenqueue(1), await add.aenqueue(2)
    assert (second.id, second.enqueued) == (first.id, REPLACED)
    assert await only_calls_of(any_app, first)


async def test_what_waits_behind_a_run_has_its_own(any_app: App) -> None:
    add = add_task(any_app, unique=KeepLatest())
    first = await add.aenqueue(1)
    assert (await claim(any_app)).id == first.id
    second = await add.aenqueue(2)
    assert second.enqueued is CREATED
    assert await only_calls_of(any_app, first, second)


async def test_a_call_that_is_said_twice_is_one(any_app: App) -> None:
    add = add_task(any_app).options(idempotency_key="o-17")
    first, again = await add.aenqueue(1), await add.options(on_complete_url="https://example.com/other").aenqueue(1)
    assert (again.id, again.enqueued) == (first.id, DUPLICATE)
    assert await only_calls_of(any_app, first)
    with pytest.raises(IdempotencyConflict):
        await add.aenqueue(2)
    assert await only_calls_of(any_app, first)


async def test_a_call_that_is_refused_adds_nothing_to_the_one_before(any_app: App) -> None:
    add = add_task(any_app).options(idempotency_key="o-17")
    await add.options(on_complete_url=None).aenqueue(1)
    with pytest.raises(IdempotencyConflict):
        await add.aenqueue(2)
    assert (await calls_in(any_app), await count(any_app)) == ([], 1)
    assert await only_calls_of(any_app, await add.aenqueue(1))


async def test_a_repeat_of_what_is_forgotten_is_told_of_no_more(any_app: App) -> None:
    add = add_task(any_app).options(idempotency_key="o-17", retention=0)
    first = await add.aenqueue(1)
    backend = await any_app.backend()
    await backend.broker.cancel([first.id])

    async def is_forgotten() -> bool:
        await backend.maintenance.prune()
        return await backend.inspector.get(first.id) is None

    await until(is_forgotten, "it is forgotten")
    call = call_of(any_app, first)
    await call.acancel()
    assert await backend.inspector.discard([call.id]) == 1
    again = await add.aenqueue(1)
    assert (again.id, again.enqueued, await count(any_app)) == (first.id, DUPLICATE, 0)


# ---------------------------------------------------------------- others


async def test_one_that_waits_for_others(any_app: App) -> None:
    add = add_task(any_app)
    with pytest.raises(ParentNotFound, match=f"add: it is to wait for task {GHOST}, of which there is no record"):
        await add.options(depends_on=GHOST).aenqueue(1)
    assert await count(any_app) == 0
    first = await add.aenqueue(1)
    second = await add.options(depends_on=first).aenqueue(2)
    assert await second.astatus() is TaskState.BLOCKED
    assert await only_calls_of(any_app, first, second)


async def test_hooks_see_it_and_their_metadata_is_told(hooked: App, hooks: HookServer) -> None:
    drafts: list[str] = []

    class Stamp:
        def on_enqueue(self, draft: Draft) -> None:
            drafts.append(draft.name)
            draft.metadata["by"] = "stamp"

    hooked.add_middleware(Stamp())
    add = add_task(hooked).options(on_complete_url=hooks.url)
    async with work(hooked):
        await ended(call_of(hooked, await add.aenqueue(1)))
    assert told(hooks)["data"]["metadata"] == {"by": "stamp"}
    assert drafts == ["add", "taskq.webhook"]


async def test_hooks_see_each_once_however_often_it_is_sent(any_app: App) -> None:
    drafts = Counter[str]()

    class Counts:
        def on_enqueue(self, draft: Draft) -> None:
            drafts[draft.name] += 1

    add = add_task(any_app, unique=Unique(key="x"))
    await add.aenqueue(1)
    any_app.add_middleware(Counts())
    await add.aenqueue_many([(1,), (2,), (3,)])
    assert drafts == {"add": 3, "taskq.webhook": 3}


async def test_members_of_a_batch(any_app: App) -> None:
    add = add_task(any_app, unique=Unique(key="x"))
    async with any_app.batch(on_success=any_app.task(name="done")(done).s()) as batch:
        await batch.aenqueue(add, 1)
        await batch.aenqueue_many(add.options(queue="sums"), [(2,), (3,), (1,)])
    members = (await (await any_app.backend()).flows.members(batch.id)).ids
    assert len(members) == (await batch.aprogress()).total == 3
    assert await only_calls_of(any_app, *map(any_app.handle, members))


async def test_a_batch_that_is_over_takes_neither(any_app: App) -> None:
    add = add_task(any_app)
    async with any_app.batch() as batch:
        pass
    for calls in ([(1,)], [(1,), (2,)]):
        with pytest.raises(FlowOver):
            await any_app.find_batch(batch.id).aenqueue_many(add, calls)
    assert await count(any_app) == 0


async def done() -> None: ...


async def test_a_task_that_runs_asks_for_it_too(hooked: App, hooks: HookServer) -> None:
    add = add_task(hooked).options(on_complete_url=hooks.url)

    @hooked.task(name="outer")
    async def outer() -> str:
        return (await add.aenqueue(3)).id

    async with work(hooked):
        inner = hooked.handle(await (await outer.aenqueue()).aresult(30))
        await ended(call_of(hooked, inner))
    assert told(hooks)["data"]["result"] == 3


@pytest.fixture
async def sealed_app(store_url: str) -> AsyncIterator[App]:
    """An application with a key."""
    async with App(store_url, settings=Settings(crypto=Crypto({"2026-11": bytes(32)}))) as app:
        yield app


@pytest.mark.parametrize("how", ["declared", "said"])
async def test_the_url_of_an_encrypted_task_is_encrypted(sealed_app: App, how: str) -> None:
    add = add_task(sealed_app, encrypt=True if how == "declared" else None)
    sealed = await (add.options(encrypt=True) if how == "said" else add).aenqueue(1)
    plain = await add.options(encrypt=False).aenqueue(1)
    bodies = [(await call_of(sealed_app, handle).ainfo()).body for handle in (sealed, plain)]
    assert [b"hush" in body for body in bodies] == [False, True]


def told(hooks: HookServer) -> Any:
    """What the only call has told."""
    [request] = hooks.received
    return json.loads(request.body)
