"""Measure large batches on private servers: `python -m benchmarks.batches [redis] [postgres] [--members 10000]`.

One batch is filled while workers run its members, of which one in a thousand fails for good: were all counted, and was
each callback enqueued once? What does it cost to ask how far it is, to list what has failed, and to start that anew? A
second batch, of which nothing runs, is cancelled, while another connection looks how long the store lets it wait.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from rich.console import Console

from benchmarks import measures
from benchmarks.pings import pinged
from benchmarks.tasks import FAILING, MENDED, app, member, on_complete, on_failure, on_success
from taskq import FlowState, TaskState
from taskq.domain.flow import Callback
from taskq.flows.batch import Batch
from taskq.ports import TaskQuery
from tests.servers import Server

FEW, WORKERS, CALLS = 1_000, 2, 200
MINUTES = 15
"""After which a step is given up."""


@contextlib.asynccontextmanager
async def workers() -> AsyncIterator[None]:
    """Two default workers, each in a process of its own, that keep quiet about each task that fails."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(WORKERS):
            await stack.enter_async_context(measures.worker("ERROR"))
        yield


async def filled(members: int) -> Batch:
    """A batch with so many members, and all callbacks."""
    async with app.batch(on_success=on_success.s(), on_failure=on_failure.s(), on_complete=on_complete.s()) as batch:
        await batch.aenqueue_many(member, ((number,) for number in range(members)))
    return batch


async def until(batch: Batch, state: FlowState, callback: Callback = Callback.COMPLETE) -> None:
    """Wait until a batch has come to a state, and a callback was enqueued."""
    async with asyncio.timeout(60 * MINUTES):
        while (record := await batch.ainfo()).state is not state or callback not in record.fired:
            await asyncio.sleep(0.05)  # `await_` looks once a second, too seldom for a rate, and waits for no callback


async def callbacks_enqueued() -> Mapping[str, int]:
    """How many there are of each callback."""
    inspector = (await app.backend()).inspector
    page = await inspector.list(TaskQuery(queue="callbacks", state=TaskState.PENDING, limit=500))
    return Counter(record.name for record in page.records)


async def milliseconds(call: Callable[[], Awaitable[object]], times: int = CALLS) -> float:
    """The median of some calls, one after the other."""
    samples = []
    for _ in range(times):
        start = time.perf_counter()
        await call()
        samples.append(1000 * (time.perf_counter() - start))
    return statistics.median(samples)


async def asking(batch: Batch, server: Server) -> tuple[float, float]:
    """Commands of one `progress()`, and its milliseconds; nobody else is at the store."""
    async with measures.statements_logged():
        await batch.aprogress()
        before = await commands_seen(server)
        for _ in range(CALLS):
            await batch.aprogress()
        commands = (await commands_seen(server) - before) / CALLS
    return commands, await milliseconds(batch.aprogress)


async def commands_seen(server: Server) -> float:
    """Commands that the store has been sent, but for those of this look."""
    if not app.url.startswith("redis"):
        return measures.statements_in(server.log)
    import redis.asyncio

    async with redis.asyncio.Redis.from_url(app.url) as client:
        stats = await client.info("commandstats")
    reads = ("cmdstat_hgetall", "cmdstat_hmget", "cmdstat_evalsha")
    return float(sum(stats[name]["calls"] for name in reads if name in stats))


async def bytes_stored() -> float:
    """What the store keeps: Redis in memory, Postgres in files."""
    if not app.url.startswith("redis"):
        return float(await measures.ask_postgres("select pg_database_size(current_database())"))
    import redis.asyncio

    async with redis.asyncio.Redis.from_url(app.url) as client:
        return float((await client.info("memory"))["used_memory"])


async def run(members: int, server: Server) -> Mapping[str, float]:
    """A batch that is filled while it runs, fails in part, and is tried again."""
    few = await filled(FEW)
    commands, took = await asking(few, server)
    figures = {f"commands of progress(), {FEW:,} members": commands, f"progress() ms, {FEW:,} members": took}
    async with workers():
        await until(few, FlowState.FAILED)
        before, start = await callbacks_enqueued(), time.perf_counter()
        batch = await filled(members)
        added = time.perf_counter()
        ended_by_then = 1 - (await batch.aprogress()).pending / members
        await until(batch, FlowState.FAILED)
        drained = time.perf_counter()
    commands, took = await asking(batch, server)
    progress = await batch.aprogress()
    figures |= {
        "members a second, added": members / (added - start),
        "of which had ended by then, %": 100 * ended_by_then,
        "members a second, added and run": members / (drained - start),
        "members counted": progress.total,
        f"failed (of {len(range(0, members, FAILING)):,})": progress.failed,
        "completed": progress.completed,
        "commands of progress()": commands,
        "progress() ms": took,
        "failed(limit=500) ms": await milliseconds(batch.afailed, 5),
    }
    figures |= {f"enqueued, {name}": number - before[name] for name, number in (await callbacks_enqueued()).items()}
    Path(os.environ[MENDED]).touch()
    start = time.perf_counter()
    figures["started anew by retry()"] = await batch.aretry(only_failed=True)
    figures["retry() s"] = time.perf_counter() - start
    async with workers():
        await until(batch, FlowState.COMPLETED, Callback.SUCCESS)
    after = await callbacks_enqueued()
    return figures | {f"enqueued, {name}, after the retry": number - before[name] for name, number in after.items()}


async def cancel(members: int) -> Mapping[str, float]:
    """The cancel of a batch of which nothing has run."""
    await (await app.backend()).inspector.purge("callbacks", 1_000)
    before = await bytes_stored()
    batch = await filled(members)
    stored = await bytes_stored()
    async with pinged(app.url) as idle:
        await asyncio.sleep(3)  # the time over which it is pinged
    async with pinged(app.url) as longest:
        start = time.perf_counter()
        await batch.acancel("withdrawn")
        seconds = time.perf_counter() - start
    await until(batch, FlowState.CANCELLED)
    progress = await batch.aprogress()
    return {
        "bytes a member that waits": (stored - before) / members,
        "bytes a member that was cancelled": (await bytes_stored() - before) / members,
        "cancel() s": seconds,
        "cancelled": progress.cancelled,
        "longest ping meanwhile, ms": 1000 * longest.seconds,
        "longest ping of an idle store, ms": 1000 * idle.seconds,
        "failed(limit=500) of the cancelled, ms": await milliseconds(batch.afailed, 5),
        **{f"enqueued, {name}, of the cancelled": number for name, number in (await callbacks_enqueued()).items()},
    }


async def measure(console: Console, backend: str, members: int) -> None:
    """All of it on one backend."""
    async with measures.store(backend) as server:
        for measured in (run(members, server), cancel(members)):
            for name, value in (await measured).items():
                console.print(f"{backend:10} {name:50} {value:14,.2f}")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="benchmarks.batches")
    parser.add_argument("backends", nargs="*", type=measures.backend, default=measures.BACKENDS)
    parser.add_argument("--members", type=int, default=10_000)
    arguments = parser.parse_args()
    for backend in arguments.backends:
        with tempfile.TemporaryDirectory() as folder:
            os.environ[MENDED] = f"{folder}/mended"
            asyncio.run(measure(Console(width=100), backend, arguments.members))


if __name__ == "__main__":
    main()
