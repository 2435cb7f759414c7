"""What is measured, each once; the caller repeats and takes medians."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.tasks import app, latency, noop
from taskq.domain.state import TaskState
from taskq.ports import QueueConfig
from tests.servers import PostgresServer, RedisServer, Server

ITEMS_A_CALL = 1000
IDLE_SECONDS = 60.0
BACKENDS = ("redis", "postgres")


@contextlib.asynccontextmanager
async def store(backend: str) -> AsyncIterator[Server]:
    """A private server of a kind, with our schema in it, as the store of the application, which is open meanwhile."""
    with RedisServer() if backend == "redis" else PostgresServer() as server:
        app.url = server.url
        async with app:
            opened = await app.backend()
            await opened.migrate()
            # What has ended is counted, so that none of it may be forgotten meanwhile.
            await opened.queues.configure("default", QueueConfig(max_finished=100_000_000))
            yield server


@contextlib.asynccontextmanager
async def worker(log_level: str = "WARNING") -> AsyncIterator[psutil.Process]:
    """A default worker in a process of its own, ready for work; gives the process that runs the tasks."""
    command = [sys.executable, "-m", "taskq", "worker", "-A", "benchmarks.tasks:app", "--log-level", log_level]
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "TASKQ_BACKEND": app.url})
    try:
        backend = await app.backend()
        while not (workers := await backend.registry.workers()):
            await asyncio.sleep(0.02)
        yield psutil.Process(workers[0].pid)
    finally:
        process.terminate()
        await process.wait()


async def completed() -> int:
    """How many tasks have completed since the store was emptied."""
    counts = await (await app.backend()).inspector.counts()
    return sum(states.get(TaskState.COMPLETED, 0) for states in counts.values())


async def until_completed(count: int) -> None:
    """Wait until so many have completed."""
    while await completed() < count:
        await asyncio.sleep(0.02)


async def produce(count: int) -> None:
    """Enqueue no-ops through the public API."""
    for start in range(0, count, ITEMS_A_CALL):
        await noop.aenqueue_many((number,) for number in range(start, min(start + ITEMS_A_CALL, count)))


async def live(count: int) -> float:
    """Tasks a second, produced here and run there at the same time, from the first enqueue to the last end."""
    async with worker():
        before = await completed()
        start = time.perf_counter()
        await produce(count)
        await until_completed(before + count)
        return count / (time.perf_counter() - start)


async def enqueue_bulk(count: int) -> float:
    """Tasks a second by `aenqueue_many`."""
    start = time.perf_counter()
    await produce(count)
    return count / (time.perf_counter() - start)


async def drain(count: int) -> float:
    """Tasks a second of a worker that finds `count` of them queued, from the first end that is seen to the last."""
    before = await completed()
    async with worker():
        while (first := await completed()) == before:
            await asyncio.sleep(0.005)
        start = time.perf_counter()
        await until_completed(before + count)
        return (before + count - first) / (time.perf_counter() - start)


async def enqueue_one_by_one(count: int) -> Mapping[str, float]:
    """Milliseconds of a single `aenqueue`, and how many there are in a second."""
    samples = []
    begin = time.perf_counter()
    for number in range(count):
        start = time.perf_counter()
        await noop.aenqueue(number)
        samples.append(time.perf_counter() - start)
    rate = count / (time.perf_counter() - begin)
    await drain(count)
    return {**percentiles(samples), "rate": rate}


async def pickup(count: int, a_second: float = 20.0) -> Mapping[str, float]:
    """Milliseconds from the enqueue to the start of the run, by an idle worker."""
    async with worker():
        handles = []
        for _ in range(count):
            await asyncio.sleep(1 / a_second)
            handles.append(await latency.aenqueue(time.time()))
        return percentiles([await handle.aresult(30) for handle in handles])


async def idle(log: Path) -> Mapping[str, float]:
    """What an idle worker costs: MiB resident (RSS) and its own (PSS), commands a second that the store sees.

    Arguments:
        log: the log of the server; Postgres writes its statements there meanwhile, Redis tells them to who monitors it.
    """
    async with worker() as process, statements_logged():
        await asyncio.sleep(5)
        if app.url.startswith("redis"):
            commands = await commands_sent(IDLE_SECONDS)
        else:
            before = statements_in(log)
            await asyncio.sleep(IDLE_SECONDS)
            commands = statements_in(log) - before
        memory = process.memory_full_info()
    mib = 1024 * 1024
    commands /= IDLE_SECONDS
    return {"rss": memory.rss / mib, "pss": memory.pss / mib, "commands": commands}


@contextlib.asynccontextmanager
async def statements_logged() -> AsyncIterator[None]:
    """Have Postgres log each statement that it is sent; its count of transactions has its own among them."""
    if app.url.startswith("redis"):
        yield
        return
    await ask_postgres("alter system set log_statement = 'all'", "select pg_reload_conf()")
    try:
        yield
    finally:
        await ask_postgres("alter system reset log_statement", "select pg_reload_conf()")


async def ask_postgres(*statements: str) -> Any:
    """The first value that the last statement answers."""
    import psycopg

    url = app.url.replace("postgres://", "postgresql://")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = await connection.execute(statement)
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None


async def commands_sent(seconds: float) -> float:
    """Commands that clients send to Redis meanwhile; what scripts call inside is sent by nobody."""
    import redis.asyncio

    commands = 0
    client = redis.asyncio.Redis.from_url(app.url)
    async with client, client.monitor() as monitor:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for command in monitor.listen():
                    commands += command["client_type"] != "lua"
    return commands


def statements_in(log: Path) -> int:
    """Statements that clients have sent to Postgres."""
    return len(re.findall(rb"LOG:  (?:execute|statement)", log.read_bytes()))


def import_milliseconds() -> float:
    """Milliseconds of `import taskq` in a fresh interpreter."""
    code = "import time; t = time.perf_counter(); import taskq; print((time.perf_counter() - t) * 1000)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def backend(name: str) -> str:
    """A backend of the command line; `choices` of argparse would refuse that there is none."""
    if name not in BACKENDS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(BACKENDS)}")
    return name


def percentiles(samples: list[float]) -> Mapping[str, float]:
    """p50, p95 and p99 of seconds, in milliseconds."""
    cuts = statistics.quantiles(samples, n=100)
    return {"p50": cuts[49] * 1000, "p95": cuts[94] * 1000, "p99": cuts[98] * 1000}
