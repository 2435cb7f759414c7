"""Measure what a profile costs its worker: `python -m benchmarks.profiling [--tasks 20000] [--rounds 5]`.

A worker in memory, so that nothing but this process counts, runs tasks that do next to nothing, in turns with a profile
being taken and without; and a thread looks at many idle threads, to tell what a look costs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time

from rich.console import Console
from rich.table import Table

from taskq import App
from taskq.config import WorkerOptions
from taskq.runtime.sampler import sample
from taskq.runtime.worker import Worker


async def cost(tasks: int, is_profiled: bool) -> float:
    """Microseconds of a processor that a task costs, enqueueing included."""
    app = App("memory://")

    @app.task(name="nothing")
    async def nothing(number: int) -> None: ...

    async with Worker(app, WorkerOptions(poll=0.1)).running():
        stop = threading.Event()
        looking = threading.Thread(target=sample, args=(60.0, stop))
        if is_profiled:
            looking.start()
        begin = time.process_time()
        handles = await nothing.aenqueue_many([(number,) for number in range(tasks)])
        await handles[-1].aresult(timeout=120)
        seconds = time.process_time() - begin
        stop.set()
        if is_profiled:
            looking.join()
    await app.aclose()
    return 1e6 * seconds / tasks


def look(threads: int) -> float:
    """Microseconds of a processor that one look at so many idle threads costs."""
    stop = threading.Event()
    idle = [threading.Thread(target=stop.wait) for _ in range(threads)]
    for thread in idle:
        thread.start()
    begin = time.thread_time()
    profile = sample(2.0, threading.Event())
    seconds = time.thread_time() - begin
    stop.set()
    for thread in idle:
        thread.join()
    return 1e6 * seconds / profile.samples


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    said = parser.parse_args()
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(said.rounds):
        for is_profiled in found:
            found[is_profiled].append(asyncio.run(cost(said.tasks, is_profiled)))
    table = Table("measured", "figure")
    without, with_one = (statistics.median(found[is_profiled]) for is_profiled in (False, True))
    table.add_row("a task", f"{without:.1f} µs ({min(found[False]):.1f} to {max(found[False]):.1f})")
    table.add_row("with a profile", f"{with_one:.1f} µs ({min(found[True]):.1f} to {max(found[True]):.1f})")
    for threads in (5, 20, 100):
        micros = look(threads)
        table.add_row(f"a look at {threads} threads", f"{micros:.0f} µs, {micros / 100:.1f} % of a processor")
    Console().print(table)


if __name__ == "__main__":
    main()
