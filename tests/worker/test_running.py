"""A worker beside other code: whoever waits for it hears of its end, and two of them share a loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import App
from taskq.errors import UnsafeStore
from taskq.runtime.worker import Worker
from tests.worker.support import options, work


async def test_the_body_of_running_hears_that_the_worker_could_not_start(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unfit(self: Any) -> list[str]:
        raise UnsafeStore("it forgets tasks")

    monkeypatch.setattr(type(app.stores.root), "check", unfit)
    with pytest.raises(UnsafeStore, match="it forgets tasks"):
        async with Worker(app).running():
            pytest.fail("there is no worker")


async def test_the_body_of_running_hears_that_the_worker_died(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = asyncio.Event()

    async def watch(self: Worker, backend: Any, work: Any) -> None:
        await dies.wait()
        raise MemoryError("gone")

    monkeypatch.setattr(Worker, "_work", watch)
    with pytest.raises(MemoryError, match="gone"):
        async with Worker(app, options()).running():
            dies.set()
            await asyncio.Event().wait()


async def test_an_error_of_the_body_is_the_bodys_own(app: App) -> None:
    with pytest.raises(KeyError):
        async with Worker(app, options()).running():
            raise KeyError


async def test_two_workers_on_one_loop_contain_exits_until_the_last_has_stopped(app: App) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    async with work(app):
        async with work(app):
            pass
        assert loop.get_task_factory() is not before
    assert loop.get_task_factory() is before
