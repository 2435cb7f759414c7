"""Measure finding and counting on private servers: `python -m benchmarks.search [redis] [postgres] [--tasks 1000000]`.

Half of the tasks wait in ten queues, the others have ended: one in five died, of many errors, tenants and tags. Each
query is asked for as a page of 50, for a page further on, and as a count, while the store does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from benchmarks import measures
from benchmarks.tasks import app
from taskq.domain.message import Message
from taskq.domain.outcome import Bury, Complete, Settlement
from taskq.domain.record import Failure
from taskq.ids import new_id
from taskq.management import Actor, Management
from taskq.ports import QueueConfig, Settled

QUEUES = tuple(f"queue-{number}" for number in range(10))
STEP = 1000
QUERIES = (
    "",
    "state:pending queue:queue-4",
    "state:dead",
    "state:dead queue:queue-3",
    "state:ended",
    "task:task-7 state:ended",
    "task:task-7 state:dead",
    "tenant:tenant-42 state:ended",
    "tag:tag-9 state:ended",
    "tag:rare state:ended",
    "error:Error7 state:dead",
    "fingerprint:print-123 state:dead",
    "ended:<1h state:dead,failed",
)


def _message(dice: random.Random, shard: int, queue: str) -> Message:
    tags = ("rare",) if dice.random() < 0.0001 else (f"tag-{dice.randrange(20)}",) if dice.random() < 0.2 else ()
    name, tenant = f"task-{dice.randrange(50)}", f"tenant-{dice.randrange(1000)}"
    return Message(new_id(shard), name, b"1 00000000 0\n{}", queue, tenant=tenant, tags=tags)


def _end(dice: random.Random) -> Settlement:
    if dice.random() < 0.8:
        return Complete()
    number = dice.randrange(1000)
    return Bury("exhausted", Failure(f"Error{number % 20}", "no luck", "…", f"print-{number}"))


async def fill(tasks: int) -> None:
    """Have so many tasks in the store, half of them ended."""
    dice, backend = random.Random(1), await app.backend()
    for queue in QUEUES:
        await backend.queues.configure(queue, QueueConfig(max_finished=tasks, max_size=tasks))
    for number in range(0, tasks, STEP):
        queue = QUEUES[number // STEP % len(QUEUES)]
        shard = backend.shard_of(queue)
        await backend.broker.enqueue([_message(dice, shard, queue) for _ in range(STEP)])
        if number // STEP % 2:
            for _ in range(STEP // 100 * 2):
                claim: dict[str, Any] = {"worker": "w", "lease": 600.0, "request_id": str(uuid4()), "aging": 1e9}
                taken = (await backend.broker.fetch([queue], 100, **claim)).deliveries
                await backend.broker.settle([Settled(delivery, _end(dice)) for delivery in taken])
    while await backend.search.catch_up():
        pass


async def spans(ask: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Milliseconds that each of some askings takes, in their order."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        await ask()
        found.append((time.perf_counter() - start) * 1000)
    return sorted(found)


async def measure(backend: str, tasks: int, times: int) -> Table:
    """The table of one store."""
    table = Table(
        "query", "found", "page p50", "p95", "later page p95", "count p95", title=f"{backend}, {tasks:,} tasks, ms"
    )
    async with measures.store(backend):
        start = time.perf_counter()
        await fill(tasks)
        table.caption = f"filled in {time.perf_counter() - start:,.0f} s"
        desk = Management(app, Actor("bench", ["admin"])).tasks
        for query in QUERIES:
            first = await desk.find(query)
            pages = await spans(lambda query=query: desk.find(query), times)  # type: ignore[misc]
            cursor = first.next_cursor
            later = await spans(lambda query=query, c=cursor: desk.find(query, cursor=c), times)  # type: ignore[misc]
            counts = await spans(lambda query=query: desk.count(query), times)  # type: ignore[misc]
            number = await desk.count(query)
            p95 = [_p95(found) for found in (pages, later, counts)]
            table.add_row(
                query or "(all)", str(number), f"{statistics.median(pages):.1f}", *(f"{ms:.1f}" for ms in p95)
            )
    return table


def _p95(found: list[float]) -> float:
    return found[int(0.95 * (len(found) - 1))]


def main() -> None:
    """Print a table for each store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backends", nargs="*", choices=measures.BACKENDS, default=list(measures.BACKENDS))
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=40)
    given = parser.parse_args()
    for backend in given.backends:
        Console().print(asyncio.run(measure(backend, given.tasks, given.times)))


if __name__ == "__main__":
    main()
