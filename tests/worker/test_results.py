"""Results on a store of their own: written before the task is settled, and no fault of the task where that fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import App, NoRetry, TaskState
from taskq.errors import BackendUnavailable, ConfigError
from taskq.runtime.worker import Worker
from tests.worker.support import ended, options, until, work


class Results:
    """A store of results that is away until it is told to be back."""

    def __init__(self) -> None:
        self.is_away = True
        self.refused = 0
        self.kept: list[tuple[str, int, bytes, float]] = []
        self.expired = 0

    async def put(self, id: str, fence: int, result: bytes, retention: float) -> None:
        """Keep a result."""
        if self.is_away:
            self.refused += 1
            raise BackendUnavailable("the store of results is away")
        self.kept.append((id, fence, result, retention))

    async def expire(self, limit: int = 1000) -> int:
        """Forget nothing."""
        self.expired += 1
        return 0


@pytest.fixture
def results(app: App, monkeypatch: pytest.MonkeyPatch) -> Results:
    """The store of results of the application."""
    store = Results()

    async def detached(self: Any) -> Results:
        return store

    monkeypatch.setattr(type(app.stores), "detached_results", detached)
    monkeypatch.setattr(type(app.stores), "has_detached_results", True)
    return store


async def test_a_store_of_results_that_is_away_holds_the_run_and_fails_it_not(app: App, results: Results) -> None:
    runs = 0

    @app.task(timeout=0.1, retry=NoRetry(), retention=3600.0)
    async def counts() -> int:
        nonlocal runs
        runs += 1
        return runs

    async with work(app):
        handle = await counts.aenqueue()
        await until(lambda: results.refused >= 2, "the result was refused")
        assert (await handle.ainfo()).state is TaskState.RUNNING
        results.is_away = False
        assert (await ended(handle)).state is TaskState.COMPLETED
    assert runs == 1
    assert results.kept == [(handle.id, 1, b"1", 3600.0)]


async def test_the_retention_of_a_call_is_that_of_its_result(app: App, results: Results) -> None:
    results.is_away = False

    @app.task(retention=3600.0)
    async def quick() -> None: ...

    async with work(app):
        said = await quick.options(retention=60.0).aenqueue()
        unsaid = await quick.aenqueue()
        for handle in (said, unsaid):
            assert (await ended(handle)).state is TaskState.COMPLETED
    assert {id: retention for id, _, _, retention in results.kept} == {said.id: 60.0, unsaid.id: 3600.0}


async def test_a_stop_meanwhile_gives_the_run_back(app: App, results: Results) -> None:
    @app.task
    async def quick() -> None: ...

    async with work(app, shutdown_timeout=0.5):
        handle = await quick.aenqueue()
        await until(lambda: results.refused >= 1, "the result was refused")
    record = await handle.ainfo()
    assert (record.state, record.attempt) == (TaskState.PENDING, 0)


async def test_the_worker_has_the_store_of_results_expire(app: App, results: Results) -> None:
    async with work(app):
        await until(lambda: results.expired >= 1, "results were looked after")


async def test_a_wrong_url_of_the_results_is_told_at_the_start() -> None:
    app = App("memory://", results="nosuch://host")
    with pytest.raises(ConfigError, match="nosuch"):
        await asyncio.wait_for(Worker(app, options()).run(), 30)
    await app.aclose()
