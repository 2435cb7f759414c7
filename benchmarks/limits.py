"""Measure limits and priorities on private servers: `python -m benchmarks.limits [redis] [postgres] [--backlog N]`.

It tells how well a rate of 100/s is kept by four workers over ten seconds, how many of a task with Concurrency(5) ran
at once, what limits cost that never close, and how long an urgent task waits behind a large backlog of LOW ones.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta

from rich.console import Console

from benchmarks import measures
from benchmarks.tasks import app, bounded, latency, noop, rated, slotted
from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.ports import TaskQuery

RATE, SECONDS, WORKERS = 100, 10, 4


@contextlib.asynccontextmanager
async def workers(count: int) -> AsyncIterator[None]:
    """So many default workers, each in a process of its own."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(measures.worker())
        yield


async def records(count: int) -> list[TaskRecord]:
    """The newest completed tasks."""
    inspector, found, cursor = (await app.backend()).inspector, list[TaskRecord](), None
    while len(found) < count:
        page = await inspector.list(
            TaskQuery(queue="default", state=TaskState.COMPLETED, limit=min(500, count - len(found)), cursor=cursor)
        )
        found += page.records
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


async def rate() -> Mapping[str, float]:
    """Starts of a task with a limit of 100/s by four workers: in the busiest ten seconds, and a second on average."""
    count = RATE * (SECONDS + 3)
    async with workers(WORKERS):
        before = await measures.completed()
        await rated.aenqueue_many((number,) for number in range(count))
        await measures.until_completed(before + count)
    starts = sorted(record.started_at for record in await records(count) if record.started_at)
    window = timedelta(seconds=SECONDS)
    busiest = max(sum(start <= other < start + window for other in starts) for start in starts[: RATE * 3])
    return {
        "starts in the busiest 10 s (1,000)": busiest,
        "starts a second (100)": (count - 1) / (starts[-1] - starts[0]).total_seconds(),
    }


async def concurrency() -> Mapping[str, float]:
    """The most runs at once of a task that may run five times at once, by four workers."""
    count = 500
    async with workers(WORKERS):
        before, begin = await measures.completed(), time.perf_counter()
        await slotted.aenqueue_many((number,) for number in range(count))
        await measures.until_completed(before + count)
        seconds = time.perf_counter() - begin
    return {"most at once (5)": most_at_once(await records(count)), "of 250 a second": count / seconds}


def most_at_once(found: Sequence[TaskRecord]) -> int:
    """How many runs overlapped, at the most."""
    edges: list[tuple[datetime, int]] = []
    for record in found:
        if record.started_at and record.completed_at:
            edges += [(record.started_at, 1), (record.completed_at, -1)]
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


async def cost(count: int = 20_000) -> Mapping[str, float]:
    """Tasks a second of one worker, without limits and with two that never close."""
    figures: dict[str, float] = {}
    kinds = (("plain", noop), ("with two limits", bounded))
    for name, task in kinds:
        await task.aenqueue_many((number,) for number in range(count))
        figures[f"drained a second, {name}"] = await measures.drain(count)
    return figures


async def urgent(backlog: int) -> Mapping[str, float]:
    """Milliseconds until a CRITICAL task starts, p50 and p95, while a worker drains a backlog of LOW ones."""
    low, figures = noop.options(priority="low"), {}
    for size in (100_000, backlog):
        for start in range(0, size, 10_000):
            await low.aenqueue_many((number,) for number in range(start, start + 10_000))
        samples = []
        async with measures.worker():
            for _ in range(60):
                handle = await latency.options(priority="critical").aenqueue(time.time())
                samples.append(await handle.aresult(30))
        found = measures.percentiles(samples)
        figures[f"urgent p50 ms, {size:,} LOW"] = found["p50"]
        figures[f"urgent p95 ms, {size:,} LOW"] = found["p95"]
        await (await app.backend()).inspector.purge("default", size)
    return figures


async def measure(console: Console, backend: str, backlog: int) -> None:
    """All of it on one backend."""
    async with measures.store(backend):
        for measured in (rate(), concurrency(), cost(), urgent(backlog)):
            for name, value in (await measured).items():
                console.print(f"{backend:10} {name:40} {value:12,.2f}")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="benchmarks.limits")
    parser.add_argument("backends", nargs="*", type=measures.backend, default=measures.BACKENDS)
    parser.add_argument("--backlog", type=int, default=1_000_000)
    arguments = parser.parse_args()
    for backend in arguments.backends:
        asyncio.run(measure(Console(width=100), backend, arguments.backlog))


if __name__ == "__main__":
    main()
