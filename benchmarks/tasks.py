"""The tasks that are measured."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from taskq import App, Concurrency, NoRetry, RateLimit

app = App()
FAILING = 1000
"""One member in so many fails."""
MENDED = "TASKQ_BENCH_MENDED"
"""The variable that names the file whose presence lets them complete."""


@app.task(name="bench.noop")
async def noop(number: int) -> None:
    """Does nothing."""


@app.task(name="bench.latency")
async def latency(enqueued_at: float) -> float:
    """Seconds from the enqueue to the start of the run; both on this machine's clock."""
    return time.time() - enqueued_at


@app.task(name="bench.nap")
async def nap(seconds: float) -> None:
    """Takes a while."""
    await asyncio.sleep(seconds)


@app.task(name="bench.rated", rate_limit=RateLimit("100/s"))
async def rated(number: int) -> None:
    """Does nothing, a hundred times a second."""


@app.task(name="bench.slotted", concurrency=Concurrency(5))
async def slotted(number: int) -> None:
    """Takes a while, five at once."""
    await asyncio.sleep(0.02)


@app.task(name="bench.bounded", rate_limit=RateLimit(1e6, burst=1e6), concurrency=Concurrency(1_000_000))
async def bounded(number: int) -> None:
    """Does nothing, with limits that never close."""


@app.task(name="bench.member", retry=NoRetry())
async def member(number: int) -> None:
    """Does nothing; one in a thousand fails for good, until a file says that they are mended."""
    if number % FAILING == 0 and not Path(os.environ[MENDED]).exists():
        raise ValueError(number)


@app.task(name="bench.on_success", queue="callbacks")
async def on_success() -> None:
    """Nobody serves its queue, so that it can be counted there."""


@app.task(name="bench.on_failure", queue="callbacks")
async def on_failure() -> None:
    """As `on_success`."""


@app.task(name="bench.on_complete", queue="callbacks")
async def on_complete() -> None:
    """As `on_success`."""
