"""Measure three days under a harness: `python -m benchmarks.harness [--runs 5]`.

Each in a fresh application, with nothing but this process: what a cron of each minute costs, an interval of thirty
seconds, many tasks that fail again and again, and a few tasks of each kind.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping

from rich.console import Console

from taskq import App, Cron, Every, Exponential, NoRetry, Snooze, TaskContext, chain
from taskq.testing import Harness

TASKS, RETRIES = 1_000, 10
Prepare = Callable[[App], Awaitable[None]]


async def three_days(app: App, prepare: Prepare | None = None) -> tuple[int, float]:
    """How many runs there are in three days, and the seconds that they take."""
    async with Harness(app) as harness:
        if prepare is not None:
            await prepare(app)
        start = time.perf_counter()
        runs = await harness.advance(days=3)
        return runs, time.perf_counter() - start


async def tick() -> None:
    """Does nothing."""


async def every_minute() -> tuple[int, float]:
    """A cron of each minute."""
    app = App()
    app.periodic(Cron("* * * * *"), task=app.task(name="tick")(tick))
    return await three_days(app)


async def every_thirty_seconds() -> tuple[int, float]:
    """An interval."""
    app = App()
    app.periodic(Every(seconds=30), task=app.task(name="tick")(tick))
    return await three_days(app)


async def retries() -> tuple[int, float]:
    """Tasks each of which fails ten times, and once more."""
    app = App()

    @app.task(name="fails", retry=Exponential(max_retries=RETRIES, base=60, max_delay=6 * 3600))
    async def fails(number: int) -> None:
        raise ConnectionError(number)

    async def prepare(app: App) -> None:
        await fails.aenqueue_many((number,) for number in range(TASKS))

    return await three_days(app, prepare)


async def some_of_each() -> tuple[int, float]:
    """Retries, delays, a snooze, schedules, an expiry, a workflow, a batch with callbacks, a webhook."""
    app = App()

    @app.task(name="job", retry=Exponential(max_retries=5, base=600, jitter=False))
    async def job(ctx: TaskContext, fails: int = 0) -> int:
        if ctx.attempt <= fails:
            raise ConnectionError
        return fails

    @app.task(name="naps", retry=NoRetry())
    async def naps() -> None:
        if not rested:
            rested.append(True)
            raise Snooze(2700)

    rested: list[bool] = []
    app.periodic(Cron("0 3 * * *", timezone="Europe/Berlin"), task=job, name="nightly")
    app.periodic(Every(hours=20), task=job, name="often")

    async def prepare(app: App) -> None:
        await job.options(on_complete_url="https://example.org/").aenqueue(3)
        await job.options(delay=7200, expires=3600).aenqueue()
        await naps.aenqueue()
        await chain(job.options(delay=3600).s(), job.s()).aenqueue()
        async with app.batch(on_success=job.s(), on_complete=job.s()) as batch:
            await batch.aenqueue_many(job.options(delay=86_400), [(0,), (2,)])

    return await three_days(app, prepare)


KINDS: Mapping[str, Callable[[], Coroutine[None, None, tuple[int, float]]]] = {
    "a few tasks of each kind": some_of_each,
    "a cron of each minute": every_minute,
    "an interval of 30 s": every_thirty_seconds,
    f"{TASKS:,} tasks, {RETRIES} retries each": retries,
}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="benchmarks.harness")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    console = Console(width=100)
    for name, kind in KINDS.items():
        found = [asyncio.run(kind()) for _ in range(arguments.runs)]
        seconds = [taken for _, taken in found]
        spread = f"{statistics.median(seconds):8.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"
        console.print(f"{name:32} {found[0][0]:8,} runs {spread}")


if __name__ == "__main__":
    main()
