"""The tasks that are measured."""

from __future__ import annotations

import time

from taskq import App

app = App()


@app.task(name="bench.noop")
async def noop(number: int) -> None:
    """Does nothing."""


@app.task(name="bench.latency")
async def latency(enqueued_at: float) -> float:
    """Seconds from the enqueue to the start of the run; both on this machine's clock."""
    return time.time() - enqueued_at
