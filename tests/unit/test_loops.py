"""One store and many event loops: what a loop has opened is closed with it, and nothing of it is kept."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Awaitable
from typing import Any

import pytest

from taskq import App, BackendUnavailable, Task
from taskq.backends import BackendPool
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker
from taskq_memory import MemoryBackend
from tests.unit.support import count


@pytest.fixture
def job(app: App) -> Task[..., None]:
    @app.task(name="job")
    def job() -> None: ...

    return job


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the backends of all loops go through."""
    log: list[str] = []
    enter, leave = MemoryBackend.__aenter__, MemoryBackend.__aexit__

    async def opened(self: MemoryBackend) -> MemoryBackend:
        await asyncio.sleep(0)
        log.append("opened")
        return await enter(self)

    async def closed(self: MemoryBackend, *error: Any) -> None:
        await asyncio.sleep(0)  # a loop that is closed already would not come back from this
        log.append("closed")
        await leave(self, *error)

    monkeypatch.setattr(MemoryBackend, "__aenter__", opened)
    monkeypatch.setattr(MemoryBackend, "__aexit__", closed)
    return log


def pool_of(app: App) -> BackendPool:
    pool = app.stores._tasks
    assert isinstance(pool, BackendPool)
    return pool


def test_asyncio_run_closes_what_it_has_opened(app: App, job: Task[..., None], life: list[str]) -> None:
    for number in range(1, 4):
        asyncio.run(enqueue(job))
        assert life == ["opened", "closed"] * number
        assert len(pool_of(app)._open) == 0


async def enqueue(job: Task[..., None]) -> None:
    await job.aenqueue()


def run_without_care(awaitable: Awaitable[None]) -> weakref.ref[asyncio.AbstractEventLoop]:
    """Run something in a loop that is closed without shutting down its generators."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(awaitable)
    loop.close()
    return weakref.ref(loop)


def test_a_loop_that_was_closed_without_care_is_forgotten(app: App, job: Task[..., None]) -> None:
    loops = []
    for _ in range(4):
        loops.append(run_without_care(enqueue(job)))
        assert len(pool_of(app)._open) == 1
    gc.collect()
    assert [loop() is None for loop in loops] == [True, True, True, False]
    assert asyncio.run(counted(app)) == 4
    gc.collect()
    assert loops[-1]() is None


async def counted(app: App) -> int:
    return await count(app)


async def test_closing_closes_once(app: App, job: Task[..., None], life: list[str]) -> None:
    await job.aenqueue()
    await app.aclose()
    await app.aclose()
    assert life == ["opened", "closed"]
    await job.aenqueue()
    assert life == ["opened", "closed", "opened"]


async def test_a_loop_that_goes_on_after_its_generators_were_shut_down_opens_anew(
    app: App, job: Task[..., None], life: list[str]
) -> None:
    await job.aenqueue()
    await asyncio.get_running_loop().shutdown_asyncgens()
    assert life == ["opened", "closed"]
    with pytest.warns(ResourceWarning, match="asynchronous generator"):
        await job.aenqueue()
    await app.aclose()
    assert life == ["opened", "closed"] * 2


async def test_closing_what_could_not_be_opened(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: MemoryBackend) -> MemoryBackend:
        raise BackendUnavailable("away")

    monkeypatch.setattr(MemoryBackend, "__aenter__", away)
    with pytest.raises(BackendUnavailable):
        await app.backend()
    await app.aclose()


async def test_closing_while_it_opens(app: App, life: list[str]) -> None:
    opening = asyncio.ensure_future(app.backend())
    await asyncio.sleep(0)
    await app.aclose()
    await opening
    assert life == ["opened", "closed"]


def test_a_forked_child_leaves_alone_what_its_parent_has_opened(
    app: App, job: Task[..., None], life: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_both() -> None:
        await job.aenqueue()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        await job.aenqueue()
        gc.collect()
        assert life == ["opened", "opened"]
        await app.aclose()
        assert life == ["opened", "opened", "closed"]

    asyncio.run(in_both())


def test_blocking_calls_leave_one_thing_to_do_at_exit(
    app: App, job: Task[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskq import blocking

    closers = blocking._portal._closers
    before = len(closers)
    for _ in range(3):
        job.enqueue()
        app.close()
    assert len(closers) == before + 1


FACTORIES: list[Any] = [vars(asyncio)[name] for name in ("Task", "eager_task_factory") if name in vars(asyncio)]
"""Of tasks; Python 3.11 has none that starts them eagerly."""


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: str(factory.__name__))
async def test_a_worker_keeps_its_slots_also_where_the_loop_starts_tasks_eagerly(app: App, factory: Any) -> None:
    @app.task
    async def quick() -> str:
        return "done"

    asyncio.get_running_loop().set_task_factory(
        lambda loop, coroutine, **said: factory(coro=coroutine, loop=loop, **said)
    )
    async with Worker(app, WorkerOptions(concurrency=1)).running() as worker:
        assert [await (await quick.aenqueue()).aresult(30) for _ in range(3)] == ["done"] * 3
        assert worker.parts is not None
        assert worker.parts.executor.slots.running == 0
