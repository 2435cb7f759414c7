"""Have beats fire on private servers: `python -m benchmarks.beats [redis] [postgres] [--seconds 60]`.

Three beats and a hundred schedules of one second; then the same while one of the beats is killed every five seconds. It
tells how many tasks there are of how many that there should be, and how late they were enqueued.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import cycle

from rich.console import Console

from benchmarks import measures
from benchmarks.tasks import app
from taskq import Every, TaskRecord, TaskState
from taskq.ids import derived_id
from taskq.ports import TaskQuery

BEATS, SCHEDULES, KILL_EVERY = 3, 100, 5.0


async def start_beat() -> asyncio.subprocess.Process:
    """A beat in a process of its own."""
    command = [sys.executable, "-m", "taskq", "beat", "-A", "benchmarks.tasks:app", "--log-level", "WARNING"]
    return await asyncio.create_subprocess_exec(*command, env={**os.environ, "TASKQ_BACKEND": app.url})


@contextlib.asynccontextmanager
async def beats(kills: bool) -> AsyncIterator[None]:
    """Three beats, one of which is killed now and then and begins anew."""
    running = [await start_beat() for _ in range(BEATS)]

    async def kill() -> None:
        for place in cycle(range(BEATS)):
            await asyncio.sleep(KILL_EVERY)  # whatever happens meanwhile
            running[place].kill()
            await running[place].wait()
            running[place] = await start_beat()

    killing = asyncio.create_task(kill()) if kills else None
    try:
        yield
    finally:
        if killing is not None:
            killing.cancel()
        for process in running:
            process.terminate()
        for process in running:
            await process.wait()


async def records() -> list[TaskRecord]:
    """All tasks that wait."""
    inspector, found, cursor = (await app.backend()).inspector, list[TaskRecord](), None
    while True:
        query = TaskQuery(queue="default", state=TaskState.PENDING, limit=500, cursor=cursor)
        page = await inspector.list(query)
        found += page.records
        cursor = page.next_cursor
        if cursor is None:
            return found


async def fire(seconds: int, kills: bool) -> Mapping[str, float]:
    """How many tasks there are after so many seconds, and how late each was."""
    async with beats(kills):
        await asyncio.sleep(3)  # the beats have begun by then: no store tells of one that has nothing to fire
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
        end = start + timedelta(seconds=seconds - 1)
        names = [f"every second {number}" for number in range(SCHEDULES)]
        for name in names:
            await app.schedules.aput(name, Every(seconds=1), "bench.noop", {"number": 1}, start=start, end=end)
        # Until the last instant and some seconds more: whether all have fired by then is what is measured.
        await asyncio.sleep((end - datetime.now(UTC)).total_seconds() + 3)
    instants = {
        derived_id(0, "default", "schedule", name, instant.isoformat()): instant
        for name in names
        for instant in (start + timedelta(seconds=number) for number in range(seconds))
    }
    found = await records()
    samples = [(record.created_at - instants[record.id]).total_seconds() for record in found]
    late = measures.percentiles(samples)
    await (await app.backend()).inspector.purge("default", 10 * len(found))
    for name in names:
        await app.schedules.aremove(name)
    return {
        f"tasks (of {SCHEDULES * seconds:,})": len(found),
        "of different instants": len({record.id for record in found}),
        **{f"late by, {which} ms": value for which, value in late.items()},
    }


async def measure(console: Console, backend: str, seconds: int) -> None:
    """Both on one backend."""
    async with measures.store(backend):
        for kills in (False, True):
            what = "one killed every 5 s" if kills else "three beats"
            for name, value in (await fire(seconds, kills)).items():
                console.print(f"{backend:10} {what:22} {name:30} {value:12,.2f}")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="benchmarks.beats")
    parser.add_argument("backends", nargs="*", type=measures.backend, default=measures.BACKENDS)
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    for backend in arguments.backends:
        asyncio.run(measure(Console(width=100), backend, arguments.seconds))


if __name__ == "__main__":
    main()
