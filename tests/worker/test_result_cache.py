"""Results that are cached by their arguments: the function does not run again for the same ones."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import App, InvalidOption, NoRetry, TaskContext, TaskState
from taskq.domain.outcome import Outcome, Succeeded
from taskq.middleware import CallNext
from taskq.runtime import cache
from taskq.testing.clock import VirtualClock
from tests.worker import jobs
from tests.worker.support import adopt, ended, work, wrap

TTL = 600.0


class Calls(list[Any]):
    """Notes the calls of a task that is declared on an application."""

    def declare(self, app: App, name: str = "scale", **options: Any) -> Any:
        """The task."""

        async def scale(x: int, by: int = 1) -> int:
            self.append((name, x, by))
            if x < 0:
                raise ValueError("below zero")
            return x * by

        return app.task(name=name, **{"cache": TTL, "retry": NoRetry(), **options})(scale)


async def result(task: Any, *args: Any, **kwargs: Any) -> Any:
    """What a call gives."""
    return await (await task.aenqueue(*args, **kwargs)).aresult(30)


async def test_the_same_arguments_give_the_result_without_a_run(any_app: App) -> None:
    calls = Calls()
    task = calls.declare(any_app)
    async with work(any_app):
        assert [await result(task, 3, 2), await result(task, 3, by=2), await result(task, by=2, x=3)] == [6, 6, 6]
        assert await result(task, 3, 4) == 12
    assert calls == [("scale", 3, 2), ("scale", 3, 4)]


async def test_a_call_that_is_answered_so_is_a_task_like_any_other(any_app: App) -> None:
    task = Calls().declare(any_app)
    async with work(any_app):
        first, second = [await ended(await task.aenqueue(3, 2)) for _ in range(2)]
    assert first.id != second.id
    for record in (first, second):
        assert (record.state, record.result, len(record.attempts)) == (TaskState.COMPLETED, b"6", 1)


async def test_another_task_and_another_tenant_have_results_of_their_own(app: App) -> None:
    calls = Calls()
    task, other = calls.declare(app), calls.declare(app, "other")
    async with work(app):
        for _ in range(2):
            await result(task, 3)
            await result(other, 3)
            await result(task.options(tenant="acme"), 3)
            await result(task.options(tenant="umbrella", queue="default"), 3)
    assert len(calls) == 4


async def test_no_name_of_an_argument_can_stand_for_others(app: App) -> None:
    @app.task(name="collect", cache=TTL)
    async def collect(**named: int) -> dict[str, int]:
        return named

    async with work(app):
        for named in ({"a": 1, "b": 2}, {"a\x001\x00b": 2}):
            handle: Any = await collect.aenqueue(**named)
            assert await handle.aresult(30) == named


async def test_a_failure_is_not_cached(app: App) -> None:
    calls = Calls()
    task = calls.declare(app)
    async with work(app):
        for _ in range(2):
            assert (await ended(await task.aenqueue(-1))).state is TaskState.DEAD
    assert len(calls) == 2


async def test_it_counts_from_the_completion_and_is_not_prolonged_by_its_use(
    virtual_app: App, clock: VirtualClock
) -> None:
    calls = Calls()
    task = calls.declare(virtual_app)
    async with work(virtual_app):
        await result(task, 3)
        clock.advance(TTL - 1)
        await result(task, 3)
        assert len(calls) == 1
        clock.advance(2)
        await result(task, 3)
        assert len(calls) == 2
        clock.advance(TTL + 1)
        assert await cache.expire(virtual_app) == 1
        assert await cache.expire(virtual_app) == 0


async def test_without_the_option_every_call_runs_and_nothing_is_kept(app: App) -> None:
    calls = Calls()
    task = calls.declare(app, cache=None)
    wrapped = wrap(app)
    async with work(app):
        for _ in range(2):
            await result(task, 3)
    assert len(calls) == 2
    assert wrapped.calls["put"] == wrapped.calls["get"] == 0


async def test_in_a_process_and_in_a_thread(app: App) -> None:
    process = adopt(app, jobs.tells_its_name, cache=TTL)
    runs: list[int] = []

    @app.task(name="in_a_thread", cache=TTL)
    def in_a_thread() -> int:
        runs.append(1)
        return len(runs)

    async with work(app):
        assert await result(process, 1) == await result(process, 1)
        assert await result(process, 1) != await result(process, 2)
        assert [await result(in_a_thread), await result(in_a_thread)] == [1, 1]


async def test_with_results_on_a_store_of_their_own() -> None:
    app = App("memory://", results="memory://")
    calls = Calls()
    task = calls.declare(app)
    async with work(app):
        assert [await result(task, 3, 2), await result(task, 3, 2)] == [6, 6]
        assert await cache.expire(app) == 0
    await app.aclose()
    assert len(calls) == 1


async def test_where_the_cache_is_away_the_task_runs(app: App, caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    task = calls.declare(app)
    wrapped = wrap(app)
    wrapped.switch.away = {"put", "get"}
    async with work(app):
        assert [await result(task, 3), await result(task, 3)] == [3, 3]
    assert len(calls) == 2
    assert "a cached result cannot be read, so the task runs" in caplog.text
    assert "a result cannot be cached" in caplog.text


async def test_middleware_lies_around_it(app: App) -> None:
    seen: list[Outcome] = []

    class Notes:
        async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
            seen.append(await call_next())
            return seen[-1]

    app.add_middleware(Notes())
    task = Calls().declare(app)
    async with work(app):
        for _ in range(2):
            await result(task, 3)
    assert seen == [Succeeded(b"3")] * 2


async def test_arguments_that_do_not_fit_are_no_matter_of_the_cache(app: App) -> None:
    task = Calls().declare(app)
    async with work(app):
        record = await ended(await task.asubmit(b"[1]"))
    assert record.reason == "undecodable"


def test_the_time_is_checked(app: App) -> None:
    with pytest.raises(InvalidOption, match="cache must be over 0 s"):
        Calls().declare(app, cache=0)
