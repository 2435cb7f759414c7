"""Deliveries that cannot be run: an unknown name, a payload that does not fit, a damaged record."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from taskq import App, NoRetry, Snooze, TaskContext, TaskState
from taskq.domain.envelope import seal
from taskq.domain.message import Message
from taskq.domain.outcome import UNKNOWN_TASK_GRACE, Failed, Outcome, Succeeded
from taskq.domain.record import TaskRecord
from taskq.handle import TaskHandle
from taskq.headers import Headers, encode_headers
from taskq.ids import new_id
from taskq.middleware import CallNext
from taskq.testing.clock import VirtualClock
from tests.worker import jobs
from tests.worker.support import adopt, ended, options, twin, until, until_state, work


async def test_an_unknown_task_is_put_off_and_buried_after_ten_minutes(
    virtual_app: App, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with work(virtual_app, poll=0.05):
        handle = await virtual_app.aenqueue("not.here", {"x": 1})
        delays: list[float] = []

        async def put_off_again() -> TaskRecord | None:
            record = await handle.ainfo()
            waits = record.state is TaskState.SCHEDULED and record.fence == len(delays) + 1
            return record if waits or record.state is TaskState.DEAD else None

        while (record := await until(put_off_again, "put off, or buried")).state is TaskState.SCHEDULED:
            delays.append((record.due_at - record.attempts[-1].ended_at) / timedelta(seconds=1))
            assert record.attempt == 0
            clock.advance(delays[-1] + 0.001)
    assert [round(delay) for delay in delays[:8]] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert sum(delays) >= UNKNOWN_TASK_GRACE
    assert record.reason == "unknown task"
    assert caplog.text.count("no task named 'not.here' is known here") == 1
    assert record.failure is not None
    assert (record.failure.type, "not.here" in record.failure.message) == ("TaskNotRegistered", True)


async def test_a_worker_that_knows_the_task_runs_it_after_one_that_does_not(any_app: App) -> None:
    newer = twin(any_app)

    @newer.task(name="new.one")
    async def new_one(x: int) -> int:
        return x

    async with work(any_app):
        handle = await any_app.aenqueue("new.one", {"x": 5})
        await until_state(handle, TaskState.SCHEDULED)
    async with work(newer):
        assert await handle.aresult(30) == 5
    assert (await handle.ainfo()).attempt == 1
    await newer.aclose()


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"x": 1}, "y"),
    "wrong type": ({"x": "one", "y": 2}, "x"),
    "unknown parameter": ({"x": 1, "y": 2, "z": 3}, "z"),
}


@pytest.mark.parametrize("kind", ["async", "thread", "process"])
async def test_a_payload_of_an_older_producer_is_buried(any_app: App, kind: str) -> None:
    older, ran = twin(any_app), []

    async def on_the_loop(x: int, y: int) -> None:
        ran.append(1)

    def in_a_thread(x: int, y: int) -> None:
        ran.append(1)

    name = jobs.add.name
    if kind == "process":
        adopt(any_app, jobs.add)
    else:
        any_app.task(name=name)(on_the_loop if kind == "async" else in_a_thread)
    async with work(any_app):
        for payload, parameter in MISFITS.values():
            record = await ended(await older.aenqueue(name, payload))
            assert (record.state, record.reason, record.attempt) == (TaskState.DEAD, "undecodable", 1)
            assert record.failure is not None
            assert record.failure.type == "InvalidPayload"
            assert f"parameter {parameter}" in record.failure.message
    assert ran == []
    await older.aclose()


@pytest.mark.parametrize("kind", ["async", "thread", "process"])
async def test_an_argument_whose_own_code_raises_has_failed_the_run(app: App, kind: str) -> None:
    name, outcomes = jobs.greets.name, list[Outcome]()

    async def on_the_loop(account: jobs.Account) -> str:
        return account.name

    class Notes:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            outcomes.append(await call_next())
            return outcomes[-1]

    older = twin(app)
    app.add_middleware(Notes())
    if kind == "process":
        adopt(app, jobs.greets, retry=NoRetry())
    else:
        app.task(name=name, retry=NoRetry())(on_the_loop if kind == "async" else jobs.greets.function)
    async with work(app):
        record = await ended(await older.aenqueue(name, {"account": {"name": "gone"}}))
        assert await (await older.aenqueue(name, {"account": {"name": "anna"}})).aresult(30) == "anna"
    assert (record.state, record.reason, record.lost_leases) == (TaskState.DEAD, "exhausted", 0)
    assert record.failure is not None
    assert (record.failure.type, record.failure.message) == ("LookupError", "no account gone")
    assert [type(outcome) for outcome in outcomes] == [Failed, Succeeded]
    await older.aclose()


async def test_a_record_with_one_flipped_bit_never_runs_with_other_arguments(any_app: App) -> None:
    ran: list[tuple[int, str]] = []

    @any_app.task(name="pay")
    async def pay(amount: int, to: str) -> None:
        ran.append((amount, to))

    messages = []
    for bit in range(8 * len(_body(new_id()))):
        id = new_id()
        body = bytearray(_body(id))
        body[bit // 8] ^= 1 << bit % 8
        messages.append(Message(id, "pay", bytes(body)))
    async with work(any_app):
        await (await any_app.backend()).broker.enqueue(messages)
        records = [await ended(any_app.handle(message.id)) for message in messages]
    assert set(ran) <= {(100, "ann")}
    for record in records:
        if record.state is TaskState.DEAD:
            assert record.reason == "undecodable"
    # What still runs is told no differently by the bit: a digit of the checksum in capitals, for one.
    completed = [record for record in records if record.state is TaskState.COMPLETED]
    assert len(completed) == len(ran) <= 8


def _body(id: str) -> bytes:
    return seal(id, "pay", b'{"amount":100,"to":"ann"}', encode_headers(Headers(timeout=60.0)))


async def test_a_record_under_another_name_never_runs(any_app: App) -> None:
    ran = []

    @any_app.task(name="refund")
    async def refund(amount: int, to: str) -> None:
        ran.append(amount)

    id = new_id()
    async with work(any_app):
        await (await any_app.backend()).broker.enqueue([Message(id, "refund", _body(id))])
        record = await ended(any_app.handle(id))
    assert (record.state, record.reason, ran) == (TaskState.DEAD, "undecodable", [])
    assert record.failure is not None
    assert record.failure.type == "CorruptRecord"


async def test_bodies_that_are_nothing_of_ours_are_buried(any_app: App) -> None:
    any_app.task(name="pay")(_never)
    bodies = [b"", b"\n", b"2 00000000 0\n{}", b"1 \n{}", b"1 zz 0\n{}", b"\xff" * 50, b"[" * 100_000, b"1 0 -5\n{}"]
    messages = [Message(new_id(), "pay", body) for body in bodies]
    async with work(any_app):
        await (await any_app.backend()).broker.enqueue(messages)
        for message in messages:
            record = await ended(any_app.handle(message.id))
            assert (record.state, record.reason) == (TaskState.DEAD, "undecodable")


async def test_a_payload_nested_too_deep_is_buried(app: App) -> None:
    app.task(name="pay")(_never)
    id = new_id()
    deep = b'{"amount":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    async with work(app):
        await (await app.backend()).broker.enqueue([Message(id, "pay", seal(id, "pay", deep))])
        record = await ended(app.handle(id))
    assert (record.state, record.reason) == (TaskState.DEAD, "undecodable")


async def _never(amount: Any) -> None:
    raise AssertionError("this was not to run")


async def test_a_task_that_wants_no_dead_letter_fails(app: App) -> None:
    older = twin(app)
    older.task(name="pay", dead_letter=False)(_anything)
    app.task(name="pay", dead_letter=False)(_never)
    async with work(app):
        record = await ended(await older.aenqueue("pay", {"sum": 1}))
    assert (record.state, record.reason) == (TaskState.FAILED, "undecodable")


async def _anything(sum: int) -> None: ...


async def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(Exception, match="two heartbeats"):
        options(lease=1.0, heartbeat=0.5)
    with pytest.raises(Exception, match="concurrency"):
        options(concurrency=0)
    await asyncio.sleep(0)


async def test_headers_that_are_no_text_bury_the_task_and_not_the_worker(any_app: App) -> None:
    add = adopt(any_app, jobs.add)
    backend = await any_app.backend()
    id = new_id(backend.shard_of("default"))
    await backend.broker.enqueue([Message(id, add.name, seal(id, add.name, b"[]", b'{"m":{"a":"\xff"}}'))])
    async with work(any_app):
        assert await (await add.aenqueue(1, 2)).aresult(30) == 3

        async def is_dead() -> bool:
            record = await backend.inspector.get(id)
            return record is not None and record.state is TaskState.DEAD

        await until(is_dead, "it is buried")
    record = await backend.inspector.get(id)
    assert record is not None
    assert record.reason == "undecodable"


async def test_what_a_task_did_before_does_not_count_against_an_unknown_name(
    virtual_app: App, clock: VirtualClock
) -> None:
    @virtual_app.task(name="not.here")
    async def snoozes(ctx: TaskContext) -> None:
        raise Snooze(60.0)

    async with work(virtual_app, poll=0.05):
        handle = await snoozes.aenqueue()
        for number in range(1, 31):
            await until_put_off(handle, number)
            clock.advance(60.1)
    newer = twin(virtual_app)
    async with work(newer, poll=0.05):
        record = await until_put_off(handle, 31)
    assert record.state is TaskState.SCHEDULED
    await newer.aclose()


async def until_put_off(handle: TaskHandle[Any], fence: int) -> TaskRecord:
    """Wait until the run with this fence has ended in a put-off, or in the end of the task."""

    async def put_off() -> TaskRecord | None:
        record = await handle.ainfo()
        is_through = record.fence >= fence and record.state is not TaskState.RUNNING
        return record if is_through and record.state is not TaskState.PENDING else None

    found: TaskRecord = await until(put_off, f"run {fence} is put off")
    return found
