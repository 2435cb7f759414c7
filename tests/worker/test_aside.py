"""What blocks waits for no thread of user tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from taskq import App
from taskq.runtime.aside import aside
from taskq.runtime.profiling import Profiling
from tests.worker.support import PATIENCE, work


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """Set at the end of the test: what user tasks wait for."""
    event = threading.Event()
    yield event
    event.set()


def fill(stuck: threading.Event) -> None:
    """Have user tasks take every thread of the default executor."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    loop.run_in_executor(None, stuck.wait)


async def test_what_is_called_aside_needs_no_executor(stuck: threading.Event) -> None:
    fill(stuck)
    async with asyncio.timeout(PATIENCE):
        assert await aside("one", partial(int, "7")) == 7
        with pytest.raises(ValueError, match="invalid literal"):
            await aside("two", partial(int, "seven"))
    stuck.set()


async def test_who_waits_may_be_cancelled(stuck: threading.Event) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await aside("three", stuck.wait)


async def test_a_profile_that_is_being_taken_holds_up_no_end(stuck: threading.Event) -> None:
    """Neither by itself nor because user tasks have all threads."""
    fill(stuck)
    profiling = Profiling(True, lambda: pytest.fail("not asked for"))
    profiling._taking = threading.Thread(target=stuck.wait, daemon=True)
    profiling._taking.start()
    async with asyncio.timeout(PATIENCE):
        await profiling.farewell(0.01)
    stuck.set()


async def test_a_worker_stops_whatever_fills_the_executor(app: App, stuck: threading.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        async with work(app):
            fill(stuck)
    stuck.set()
