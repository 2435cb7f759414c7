"""Measure workflows and batches on private servers: `python -m benchmarks.workflows [redis] [postgres] [--runs 5]`.

It tells what the join of 10,000 tasks in one costs beside the same tasks without it, how long a link of a chain of
1,000 waits for the one before it, and what it costs to be counted in a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping
from itertools import pairwise

from rich.console import Console

from benchmarks import measures
from benchmarks.tasks import app, noop
from taskq import Workflow, chain

JOINS, PARENTS, LINKS = 5, 10_000, 1_000
"""Of joins there are several at once: to drain one alone takes a third of a second, too little to be measured well."""


async def join(runs: int) -> Mapping[str, float]:
    """Tasks a second of one worker, alone and as parents of one task; in turns, medians."""
    alone, joined, stored, ratios = [], [], [], []
    count = JOINS * (PARENTS + 1)
    for _ in range(runs):
        await noop.aenqueue_many((number,) for number in range(count))
        alone.append(await measures.drain(count))
        start = time.perf_counter()
        for _ in range(JOINS):
            workflow = Workflow("join")
            parents = [workflow.add(noop.s(number)) for number in range(PARENTS)]
            workflow.add(noop.s(PARENTS), after=parents)
            await workflow.aenqueue()
        stored.append(count / (time.perf_counter() - start))
        joined.append(await measures.drain(count))
        ratios.append(alone[-1] / joined[-1])
    return {
        "drained a second, alone": statistics.median(alone),
        "drained a second, 10,000 joined": statistics.median(joined),
        "times as long (1.3)": statistics.median(ratios),
        "least and": min(ratios),
        "most": max(ratios),
        "stored a second, joined": statistics.median(stored),
    }


async def links() -> Mapping[str, float]:
    """Milliseconds from the end of a link to the start of the next, p50 and p95, with an idle worker."""
    async with measures.worker():
        run = await chain(*(noop.si(number) for number in range(LINKS))).aenqueue()
        start = time.perf_counter()
        await run.aresult(300)
        seconds = time.perf_counter() - start
    records = [node.record for node in await run.anodes()]
    spans = sorted((r.started_at, r.completed_at) for r in records if r.started_at and r.completed_at)
    waits = [(start - end).total_seconds() for (_, end), (start, _) in pairwise(spans)]
    found = measures.percentiles(waits)
    return {"link after link p50 ms": found["p50"], "p95 ms": found["p95"], "ms a link": 1000 * seconds / LINKS}


async def batch(count: int = 50_000) -> Mapping[str, float]:
    """Tasks a second of one worker, alone and in a batch."""
    await noop.aenqueue_many((number,) for number in range(count))
    alone = await measures.drain(count)
    start = time.perf_counter()
    async with app.batch(on_complete=noop.s(-1)) as members:
        await members.aenqueue_many(noop, ((number,) for number in range(count)))
    stored = count / (time.perf_counter() - start)
    return {
        "drained a second, alone": alone,
        "drained a second, in a batch": await measures.drain(count + 1),
        "stored a second, in a batch": stored,
    }


async def measure(console: Console, backend: str, runs: int) -> None:
    """All of it on one backend."""
    async with measures.store(backend):
        for measured in (join(runs), links(), batch()):
            for name, value in (await measured).items():
                console.print(f"{backend:10} {name:40} {value:12,.2f}")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="benchmarks.workflows")
    parser.add_argument("backends", nargs="*", type=measures.backend, default=measures.BACKENDS)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    for backend in arguments.backends:
        asyncio.run(measure(Console(width=100), backend, arguments.runs))


if __name__ == "__main__":
    main()
