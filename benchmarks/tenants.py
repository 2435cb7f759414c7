"""Measure fairness: `python -m benchmarks.tenants [memory] [redis] [postgres] [--backlog 100000]`.

One tenant has a large backlog of runs that take 50 ms each and fill all ten slots of a worker; another one enqueues a
single task now and then. It tells how long such a task waits from its enqueue to its start, and how quickly the backlog
is worked off meanwhile: nobody stands idle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Mapping

from rich.console import Console

from benchmarks import measures
from benchmarks.tasks import app, latency, nap
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker

SLOTS, RUN = 10, 0.05
SINGLES = 60


@contextlib.asynccontextmanager
async def store(backend: str) -> AsyncIterator[None]:
    """An empty store of a kind."""
    if backend != "memory":
        async with measures.store(backend):
            yield
        return
    app.url = "memory://"
    async with app:
        yield


async def once(backlog: int) -> Mapping[str, float]:
    """How long the tasks of the small tenant wait."""
    large, small = nap.options(tenant="large"), latency.options(tenant="small")
    for start in range(0, backlog, measures.ITEMS_A_CALL):
        count = min(measures.ITEMS_A_CALL, backlog - start)
        await large.aenqueue_many((RUN,) for _ in range(count))
    async with Worker(app, WorkerOptions(concurrency=SLOTS, compare=False)).running():
        await asyncio.sleep(1.0)
        before, begin = await measures.completed(), time.perf_counter()
        waits = []
        for _ in range(SINGLES):
            handle = await small.aenqueue(time.time())
            waits.append(await handle.aresult(timeout=60))
        seconds = time.perf_counter() - begin
        done = await measures.completed() - before
    waits.sort()
    return {
        "median wait (ms)": statistics.median(waits) * 1000,
        "longest wait (ms)": waits[-1] * 1000,
        f"runs a second ({SLOTS / RUN:.0f})": done / seconds,
    }


async def main(backends: list[str], backlog: int) -> None:
    """Print a table for each backend."""
    console = Console()
    for backend in backends:
        async with store(backend):
            figures = await once(backlog)
        console.print(f"{backend}: a backlog of {backlog:,}, each run {RUN * 1000:.0f} ms, {SLOTS} at once")
        for name, value in figures.items():
            console.print(f"  {name:24} {value:,.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backends", nargs="*", default=["memory", "redis", "postgres"])
    parser.add_argument("--backlog", type=int, default=100_000)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.backends, arguments.backlog))
