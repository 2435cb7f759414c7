"""The tasks that are measured."""

from __future__ import annotations

import asyncio
import time

from taskq import App, Concurrency, RateLimit

app = App()


@app.task(name="bench.noop")
async def noop(number: int) -> None:
    """Does nothing."""


@app.task(name="bench.latency")
async def latency(enqueued_at: float) -> float:
    """Seconds from the enqueue to the start of the run; both on this machine's clock."""
    return time.time() - enqueued_at


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
