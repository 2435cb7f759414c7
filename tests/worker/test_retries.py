"""Retry policies of a task and of a call, on a store whose time is turned by hand."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from taskq import (
    App,
    Exponential,
    FailedRun,
    Fixed,
    Linear,
    NoRetry,
    Retry,
    RetryStrategy,
    Snooze,
    TaskContext,
    TaskRecord,
    TaskState,
    Throttled,
)
from taskq.domain.envelope import seal
from taskq.domain.message import Message
from taskq.domain.outcome import Complete
from taskq.domain.retry import BuiltinRetry
from taskq.handle import TaskHandle
from taskq.headers import Headers, encode_headers
from taskq.ids import new_id
from taskq.runtime.verdict import LEAST_SNOOZE
from taskq.testing.clock import VirtualClock
from tests.worker.support import Gate, ended, until, work, wrap


async def delays_of(handle: TaskHandle[None], clock: VirtualClock) -> tuple[list[float], TaskRecord]:
    """Turn the clock from retry to retry; returns the pauses between them, and the record at the end."""
    delays: list[float] = []

    async def settled() -> TaskRecord | None:
        record = await handle.ainfo()
        waits = record.state is TaskState.RETRYING and record.fence == len(delays) + 1
        return record if waits or record.state.is_final else None

    while not (record := await until(settled, "failed once more")).state.is_final:
        delays.append(round((record.due_at - record.attempts[-1].ended_at).total_seconds(), 3))
        clock.advance(delays[-1] + 0.001)
    return delays, record


POLICIES: list[tuple[BuiltinRetry, list[float]]] = [
    (NoRetry(), []),
    (Fixed(30.0, max_retries=2), [30.0, 30.0]),
    (Linear(60.0, max_retries=3), [60.0, 120.0, 180.0]),
    (Exponential(3600.0, 2.0, max_retries=3, max_delay=10_000.0, jitter=False), [3600.0, 7200.0, 10_000.0]),
    (Fixed(100.0, max_retries=10, deadline=350.0), [100.0, 100.0, 100.0]),
]


@pytest.mark.parametrize("where", ["task", "call"])
@pytest.mark.parametrize(("policy", "expected"), POLICIES, ids=lambda value: type(value).__name__)
async def test_a_policy(
    virtual_app: App, clock: VirtualClock, where: str, policy: BuiltinRetry, expected: list[float]
) -> None:
    @virtual_app.task(retry=policy if where == "task" else Fixed(1.0))
    async def fails() -> None:
        raise ValueError("once more")

    call = fails if where == "task" else fails.options(retry=policy)
    async with work(virtual_app, poll=0.05):
        delays, record = await delays_of(await call.aenqueue(), clock)
    assert delays == expected
    assert (record.state, record.reason, record.attempt) == (TaskState.DEAD, "exhausted", len(expected) + 1)
    assert [attempt.attempt for attempt in record.attempts] == [*range(1, len(expected) + 2)]


async def test_the_delay_that_a_task_asks_for_goes_before_its_policys(virtual_app: App, clock: VirtualClock) -> None:
    @virtual_app.task(retry=Fixed(10.0, max_retries=2))
    async def asks() -> None:
        raise Retry(delay=77.0)

    async with work(virtual_app, poll=0.05):
        delays, record = await delays_of(await asks.aenqueue(), clock)
    assert delays == [77.0, 77.0]
    assert record.reason == "exhausted"


class Odd(ValueError):
    """A ValueError of our own."""


@pytest.mark.parametrize(
    ("retry_on", "no_retry_on", "error", "attempts"),
    [
        ((Exception,), (), ValueError, 3),
        ((ConnectionError,), (), ConnectionResetError, 3),
        ((ConnectionError,), (), ValueError, 1),
        ((Exception,), (ValueError,), Odd, 1),
        ((ValueError,), (Odd,), ValueError, 3),
        ((ValueError,), (Odd,), Odd, 1),
        ((SystemExit,), (), SystemExit, 3),
        ((), (), ValueError, 1),
        ((Exception,), (), asyncio.CancelledError, 3),
        ((ConnectionError,), (), asyncio.CancelledError, 1),
        ((Exception,), (asyncio.CancelledError,), asyncio.CancelledError, 1),
    ],
)
async def test_which_exceptions_are_retried(
    app: App,
    retry_on: tuple[type[BaseException], ...],
    no_retry_on: tuple[type[BaseException], ...],
    error: type[BaseException],
    attempts: int,
) -> None:
    @app.task(retry=Fixed(0.0, max_retries=2), retry_on=retry_on, no_retry_on=no_retry_on)
    async def fails() -> None:
        raise error("again")

    async with work(app):
        record = await ended(await fails.aenqueue())
    assert (record.state, record.attempt) == (TaskState.DEAD, attempts)


async def test_a_task_that_fails_twice_succeeds_in_the_end(any_app: App) -> None:
    calls = []

    @any_app.task(retry=Fixed(0.0))
    async def flaky() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("not yet")
        return len(calls)

    async with work(any_app):
        handle = await flaky.aenqueue()
        assert await handle.aresult(30) == 3
    record = await handle.ainfo()
    assert [attempt.outcome.value for attempt in record.attempts] == ["failed", "failed", "succeeded"]
    assert (record.attempt, record.fence) == (3, 3)


class Strategy:
    """A strategy of the user's own."""

    def __init__(self, answer: Callable[[int], float | None]) -> None:
        self._answer = answer

    def next_delay(self, attempt: int, failure: FailedRun, random: Callable[[], float]) -> float | None:
        """As it is told."""
        return self._answer(attempt)


def _raise(attempt: int) -> float | None:
    raise ZeroDivisionError("no idea")


@pytest.mark.parametrize("answer", [_raise, lambda attempt: "soon"], ids=["raises", "no number"])
async def test_a_broken_strategy_buries_the_task_and_harms_nothing_else(
    any_app: App, answer: Callable[[int], float | None]
) -> None:
    strategy: RetryStrategy = Strategy(answer)

    @any_app.task(retry=strategy)
    async def fails() -> None:
        raise ValueError("once more")

    @any_app.task
    async def innocent() -> str:
        return "unharmed"

    async with work(any_app):
        record = await ended(await fails.aenqueue())
        assert record.state is TaskState.DEAD
        assert await (await innocent.aenqueue()).aresult(30) == "unharmed"


@pytest.mark.parametrize("delay", [-5.0, math.inf, math.nan, 1e300], ids=str)
async def test_a_strategy_that_answers_nonsense_does_not_stop_the_worker(any_app: App, delay: float) -> None:
    @any_app.task(retry=Strategy(lambda attempt: delay if attempt < 3 else None))
    async def fails() -> None:
        raise ValueError("once more")

    @any_app.task(retry=NoRetry())
    async def asks() -> None:
        raise Retry(delay=delay)

    @any_app.task
    async def innocent() -> str:
        return "unharmed"

    async with work(any_app):
        handles = [await fails.aenqueue(), await asks.aenqueue()]
        assert await (await innocent.aenqueue()).aresult(30) == "unharmed"
        for handle in handles:

            async def is_settled(handle: TaskHandle[None] = handle) -> bool:
                return (await handle.ainfo()).state not in (TaskState.PENDING, TaskState.RUNNING)

            await until(is_settled, "the failed run is settled")


async def test_an_outcome_that_the_store_refuses_holds_nothing_up(any_app: App) -> None:
    wrapped = wrap(any_app)
    gate = Gate()

    class NoStoreTakesThis(Exception):
        pass

    def refuse(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name == "settle" and any(settled.settlement == Complete(b'"odd"') for settled in args[0]):
            raise NoStoreTakesThis

    @any_app.task
    async def returns(value: str) -> str:
        await gate.passed()
        return value

    async with work(any_app):
        handles = await returns.aenqueue_many([("even",), ("odd",), ("even",)])
        await gate.until_arrived(3)
        wrapped.switch.on_call = refuse
        gate.open()
        records = [await ended(handle) for handle in handles]
    assert [record.state for record in records] == [TaskState.COMPLETED, TaskState.DEAD, TaskState.COMPLETED]
    assert records[1].failure is not None
    assert records[1].failure.type == "OutcomeRefused"


async def test_a_policy_of_another_release_is_replaced_by_the_tasks_own(any_app: App) -> None:
    @any_app.task(name="fails", retry=Fixed(0.0, max_retries=1))
    async def fails() -> None:
        raise ValueError("once more")

    id = new_id()
    headers = encode_headers(Headers(retry={"strategy": "fibonacci", "golden": True}))
    async with work(any_app):
        await (await any_app.backend()).broker.enqueue([Message(id, "fails", seal(id, "fails", b"{}", headers))])
        record = await ended(any_app.handle(id))
    assert (record.state, record.attempt) == (TaskState.DEAD, 2)


async def test_an_idle_worker_keeps_to_the_delay_of_a_retry(any_app: App) -> None:
    @any_app.task(retry=Fixed(0.05))
    async def fails_twice(ctx: TaskContext) -> int:
        if ctx.attempt < 3:
            raise ConnectionError
        return ctx.attempt

    async with work(any_app, poll=60.0):
        assert await (await fails_twice.aenqueue()).aresult(30) == 3


@pytest.mark.parametrize("signal", [Snooze(0), Snooze(-5), Throttled(retry_after=-5)], ids=repr)
async def test_one_that_is_put_off_for_no_time_does_not_spin(any_app: App, signal: Exception) -> None:
    runs: list[None] = []

    @any_app.task
    async def put_off() -> None:
        runs.append(None)
        if len(runs) == 1:
            raise signal

    async with work(any_app):
        record = await ended(await put_off.aenqueue())
    first, second = record.attempts
    assert first.ended_at is not None
    assert second.started_at - first.ended_at >= timedelta(seconds=LEAST_SNOOZE - 0.001)
    assert (record.state, record.attempt) == (TaskState.COMPLETED, 1)
