"""Runs that were told to end and do not: reported by their worker, until they end after all."""

from __future__ import annotations

import asyncio
import threading

import pytest

from taskq import App, NoRetry, TaskState
from taskq.domain.message import Delivery
from taskq.runtime import executor
from taskq.runtime.run import Run
from taskq.runtime.unresponsive import MOST, Unresponsive
from tests.worker.support import Gate, ended, until, work

SOON = 0.1
OFTEN = {"lease": 30.0, "heartbeat": 0.05}


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that does not end when it is told to is given up soon."""
    monkeypatch.setattr(executor, "GRACE", SOON)


async def reported(app: App) -> tuple[str, ...]:
    """What the only worker says of itself in the store."""
    workers = await (await app.backend()).registry.workers()
    return workers[0].unresponsive if workers else ()


async def test_a_thread_that_goes_on_is_in_the_report_until_it_ends(
    any_app: App, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    @any_app.task(timeout=SOON, retry=NoRetry())
    def stuck() -> None:
        release.wait()

    try:
        async with work(any_app, threads=4, **OFTEN):
            handle = await stuck.aenqueue()
            assert (await ended(handle)).state is TaskState.DEAD

            async def is_reported() -> bool:
                return await reported(any_app) == (handle.id,)

            async def is_forgotten() -> bool:
                return await reported(any_app) == ()

            await until(is_reported, "the worker says so")
            assert f"task {handle.id} ({stuck.name}) does not end" in caplog.text
            release.set()
            await until(is_forgotten, "the thread has ended")
    finally:
        release.set()


async def test_so_is_one_that_was_cancelled_and_a_coroutine_that_will_not_end(app: App) -> None:
    begun, release = threading.Event(), threading.Event()
    opened = asyncio.Event()

    @app.task
    def in_a_thread() -> None:
        begun.set()
        release.wait()

    @app.task(timeout=SOON, retry=NoRetry())
    async def on_the_loop() -> None:
        while not opened.is_set():
            try:
                await opened.wait()
            except asyncio.CancelledError:
                pass

    try:
        async with work(app, threads=4, **OFTEN) as worker:
            handles = [await in_a_thread.aenqueue(), await on_the_loop.aenqueue()]
            await until(begun.is_set, "the thread has begun")
            assert await handles[0].acancel()
            for handle in handles:
                await ended(handle)
            await until(lambda: set(worker.info.unresponsive) == {each.id for each in handles}, "both are reported")
            release.set()
            opened.set()
            await until(lambda: worker.info.unresponsive == (), "both have ended")
    finally:
        release.set()


async def test_who_ends_when_it_is_told_to_is_not(app: App) -> None:
    gate = Gate()

    @app.task(timeout=SOON, retry=NoRetry())
    async def polite() -> None:
        await gate.passed()

    async with work(app, **OFTEN) as worker:
        await ended(await polite.aenqueue())
        assert worker.info.unresponsive == ()


def test_the_report_is_bounded_and_names_each_task_once(app: App) -> None:
    task = app.task(name="stuck")(_nothing)
    unresponsive = Unresponsive()
    for number in (0, *range(30)):
        run = Run(Delivery(f"task {number}", "stuck", b"", "default", 1, 1, 1, 0, "w"), 0.0, task)
        run.is_in_thread = True
        unresponsive.add(run)
    assert unresponsive.ids() == tuple(f"task {number}" for number in range(MOST))


def _nothing() -> None: ...
