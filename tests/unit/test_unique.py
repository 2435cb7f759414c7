"""Unique, Debounce, KeepLatest and unique_key as callers see them: handles, refusals, and what is stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import pytest

from taskq import App, Debounce, DuplicateTask, InvalidOption, KeepLatest, Task, TaskRecord, TaskState, Unique
from taskq.domain.message import Message
from taskq.domain.outcome import Complete, Retry
from taskq.domain.record import Failure
from taskq.domain.unique import UniqueKey, Until
from taskq.ports import Enqueued, EnqueueStatus
from taskq.testing.clock import VirtualClock
from taskq_memory.broker import MemoryBroker
from tests.unit.support import claim, count, payload_of, record_of, settle

CREATED, DUPLICATE, REPLACED = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.REPLACED


def send(to: str, subject: str = "hello") -> None: ...


def task(app: App, unique: Any = None, **options: Any) -> Task[..., None]:
    """A task of this application."""
    made: Task[..., None] = app.task(name=options.pop("name", "send"), unique=unique, **options)(send)
    return made


async def test_a_second_call_gets_the_handle_of_the_first(app: App) -> None:
    unique = task(app, Unique(key="to"))
    first, second, other = [await unique.aenqueue(*call) for call in (("a", "x"), ("a", "y"), ("b", "x"))]
    assert [handle.enqueued for handle in (first, second, other)] == [CREATED, DUPLICATE, CREATED]
    assert second.id == first.id
    assert other.id != first.id
    assert payload_of(await record_of(app, second)) == {"to": "a", "subject": "x"}
    assert await count(app) == 2


async def test_without_a_key_all_arguments_count_also_those_that_are_not_given(app: App) -> None:
    unique = task(app, Unique())
    ids = {(await call).id for call in (unique.aenqueue("a"), unique.aenqueue(subject="hello", to="a"))}
    assert len(ids) == 1
    assert (await unique.aenqueue("a", "x")).id not in ids


async def test_a_key_is_the_task_s_and_the_tenant_s_own(app: App) -> None:
    one, two = task(app, Unique()), task(app, Unique(), name="other")
    calls = (one, two, one.options(tenant="acme"), one.options(tenant="emca"))
    assert len({(await call.aenqueue("a")).id for call in calls}) == 4


async def test_a_key_in_the_store_tells_nothing_of_the_values(app: App) -> None:
    for call in (task(app, Unique(key="to")), task(app, name="other").options(unique_key="anna")):
        record = await record_of(app, await call.aenqueue("anna"))
        assert record.unique is not None
        assert re.fullmatch("[0-9a-f]{32}", record.unique.key)


@pytest.mark.parametrize(
    ("unique", "until", "ttl"),
    [
        (Unique(), Until.DONE, None),
        (Unique(until="start"), Until.START, None),
        (Unique(until="ttl", ttl=60), Until.TTL, 60),
        (Unique(ttl=60), Until.DONE, 60),
        (Debounce(5), Until.START, None),
        (KeepLatest(), Until.START, None),
    ],
)
async def test_until_when_a_key_is_held(app: App, unique: Any, until: Until, ttl: float | None) -> None:
    held = (await record_of(app, await task(app, unique).aenqueue("a"))).unique
    assert held is not None
    assert held == UniqueKey(held.key, until, ttl)


NO_DATA = [lambda to, **_: (letter for letter in to), lambda **_: [object()], lambda **_: {1, "1"}]


@pytest.mark.parametrize("key", NO_DATA)
async def test_a_function_of_a_key_that_returns_no_data_is_refused_at_the_call(app: App, key: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^the function of a key must return plain data: "):
        await task(app, Unique(key=key)).aenqueue("a")
    assert await count(app) == 0


async def test_a_function_of_a_key_may_return_what_can_be_an_argument(app: App) -> None:
    unique = task(app, Unique(key=lambda to, **_: [PurePath(to), Decimal(1), {to}]))
    assert (await unique.aenqueue("a")).id == (await unique.aenqueue("a", "x")).id != (await unique.aenqueue("b")).id


async def test_a_key_is_held_through_retries_and_free_at_the_end(app: App, clock: VirtualClock) -> None:
    unique = task(app, Unique())
    first = await unique.aenqueue("a")
    await settle(app, await claim(app), Retry(60.0, Failure("E", "once more")))
    assert (await unique.aenqueue("a")).id == first.id
    clock.advance(60)
    await settle(app, await claim(app), Complete())
    assert (await unique.aenqueue("a")).enqueued is CREATED


async def test_a_duplicate_is_refused_where_the_task_says_so(app: App) -> None:
    unique = task(app, Unique(on_duplicate="raise"))
    first = await unique.aenqueue("a")
    with pytest.raises(DuplicateTask, match=f"^send: task {first.id} holds the same unique key$") as caught:
        await unique.aenqueue("a")
    assert caught.value.holder == first.id
    assert await count(app) == 1


async def test_of_many_the_duplicates_are_marked_and_none_raises(app: App) -> None:
    unique = task(app, Unique(key="to", on_duplicate="raise"))
    handles = await unique.aenqueue_many([("a",), ("b",), ("a", "x")])
    assert [handle.enqueued for handle in handles] == [CREATED, CREATED, DUPLICATE]
    assert handles[2].id == handles[0].id
    again = await unique.aenqueue_many([("b",), ("c",)])
    assert [handle.enqueued for handle in again] == [DUPLICATE, CREATED]
    assert again[0].id == handles[1].id


async def test_what_is_said_again_after_a_lost_reply_is_no_duplicate_of_itself(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue = MemoryBroker.enqueue

    async def twice(self: MemoryBroker, messages: Sequence[Message], **more: Any) -> list[Enqueued]:
        await enqueue(self, messages, **more)
        return await enqueue(self, messages, **more)

    monkeypatch.setattr(MemoryBroker, "enqueue", twice)
    handle = await task(app, Unique(on_duplicate="raise")).aenqueue("a")
    assert await handle.astatus() is TaskState.PENDING


async def test_an_idempotent_repeat_is_no_duplicate_of_itself(app: App) -> None:
    unique = task(app, Unique(on_duplicate="raise")).options(idempotency_key="o-17")
    first, again = await unique.aenqueue("a"), await unique.aenqueue("a")
    assert (first.id, again.enqueued) == (again.id, DUPLICATE)


async def test_a_call_may_bring_a_key_of_its_own(app: App) -> None:
    plain = task(app)
    first = await plain.options(unique_key="o-17").aenqueue("a")
    second = await plain.options(unique_key="o-17").aenqueue("b")
    assert (second.id, second.enqueued) == (first.id, DUPLICATE)
    assert (await plain.options(unique_key="o-18").aenqueue("a")).enqueued is CREATED
    assert (await app.aenqueue("send", {"to": "c"}, unique_key="o-17")).id == first.id
    elsewhere = await app.aenqueue("elsewhere", {}, unique_key="o-17")
    assert (await app.aenqueue("elsewhere", {"x": 1}, unique_key="o-17")).id == elsewhere.id


async def test_the_key_of_a_call_takes_the_place_of_the_task_s(app: App) -> None:
    latest = task(app, KeepLatest())
    first = await latest.aenqueue("a")
    own = await latest.options(unique_key="o-17").aenqueue("b")
    again = await latest.options(unique_key="o-17").aenqueue("c")
    assert (own.enqueued, again.enqueued, again.id) == (CREATED, DUPLICATE, own.id)
    assert payload_of(await record_of(app, own)) == {"to": "b"}
    assert payload_of(await record_of(app, first)) == {"to": "a"}


async def test_a_call_with_a_key_of_its_own_is_not_debounced(app: App) -> None:
    record = await record_of(app, await task(app, Debounce(5, longest=60)).options(unique_key="o-17").aenqueue("a"))
    assert (record.state, record.due_at) == (TaskState.PENDING, None)


# ---------------------------------------------------------------- Debounce and KeepLatest


def seconds_to_due(record: TaskRecord) -> float:
    """Seconds from the enqueue until a task is due."""
    assert record.due_at is not None
    return (record.due_at - record.created_at).total_seconds()


async def test_a_newer_call_replaces_the_arguments_of_the_task_that_waits(app: App) -> None:
    latest = task(app, KeepLatest(key="to"))
    handles = [await latest.aenqueue("a", subject) for subject in ("x", "y", "z")]
    assert [handle.enqueued for handle in handles] == [CREATED, REPLACED, REPLACED]
    assert {handle.id for handle in handles} == {handles[0].id}
    assert payload_of(await record_of(app, handles[0])) == {"to": "a", "subject": "z"}
    assert (await latest.aenqueue("b")).enqueued is CREATED


@pytest.mark.parametrize(
    "unique", [KeepLatest(), KeepLatest(key=None), KeepLatest(key=()), Debounce(5), Debounce(5, ())]
)
async def test_of_many_at_once_the_last_remains(app: App, unique: Any) -> None:
    handles = await task(app, unique).aenqueue_many([(name,) for name in "abc"])
    assert [handle.enqueued for handle in handles] == [CREATED, REPLACED, REPLACED]
    assert payload_of(await record_of(app, handles[0])) == {"to": "c"}


async def test_one_that_has_begun_is_left_alone_and_the_next_waits_behind_it(app: App) -> None:
    latest = task(app, KeepLatest())
    first = await latest.aenqueue("a")
    delivery = await claim(app)
    second, third = await latest.aenqueue("b"), await latest.aenqueue("c")
    assert [second.enqueued, third.enqueued] == [CREATED, REPLACED]
    assert third.id == second.id != first.id
    broker = (await app.backend()).broker
    fetched = await broker.fetch(["default"], 1, worker="w", lease=60, request_id="while it runs")
    assert fetched.deliveries == []
    await settle(app, delivery, Complete())
    assert (await claim(app)).id == second.id
    assert payload_of(await record_of(app, second)) == {"to": "c"}


async def test_each_tenant_s_latest_may_run_at_once(app: App) -> None:
    latest = task(app, KeepLatest(key="to"))
    handles = [await latest.options(tenant=tenant).aenqueue("a") for tenant in ("acme", "emca")]
    assert {(await claim(app)).id for _ in handles} == {handle.id for handle in handles}


async def test_one_that_begins_between_the_look_and_the_replacing_is_not_lost(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest = task(app, KeepLatest())
    first = await latest.aenqueue("a")
    call = latest.options(idempotency_key="o-17")
    enqueue = MemoryBroker.enqueue

    async def overtaken(self: MemoryBroker, messages: Sequence[Message], **more: Any) -> list[Enqueued]:
        if messages[0].replaces:
            await claim(app)
        return await enqueue(self, messages, **more)

    monkeypatch.setattr(MemoryBroker, "enqueue", overtaken)
    second, again = await call.aenqueue("b"), await call.aenqueue("b")
    assert (second.enqueued, second.id != first.id) == (CREATED, True)
    assert (again.enqueued, again.id) == (DUPLICATE, second.id)
    assert payload_of(await record_of(app, first)) == {"to": "a"}
    assert payload_of(await record_of(app, second)) == {"to": "b"}


async def test_each_call_puts_a_debounced_task_off(app: App, clock: VirtualClock) -> None:
    debounced = task(app, Debounce(5, key="to"))
    first = await debounced.aenqueue("a", "x")
    clock.advance(4)
    again = await debounced.aenqueue("a", "y")
    assert (again.enqueued, again.id) == (REPLACED, first.id)
    record = await record_of(app, first)
    assert (record.state, seconds_to_due(record)) == (TaskState.SCHEDULED, 9)
    assert payload_of(record) == {"to": "a", "subject": "y"}


async def test_a_debounced_task_is_put_off_no_longer_than_it_says(app: App, clock: VirtualClock) -> None:
    debounced = task(app, Debounce(5, longest=12))
    first = await debounced.aenqueue("a")
    for _ in range(2):
        clock.advance(4)
        await debounced.aenqueue("b")
    assert seconds_to_due(await record_of(app, first)) == 12


async def test_the_delay_of_a_call_goes_before_the_task_s(app: App) -> None:
    assert seconds_to_due(await record_of(app, await task(app, Debounce(5)).options(delay=60).aenqueue("a"))) == 60
