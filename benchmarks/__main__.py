"""Measure taskq on private servers: `python -m benchmarks [redis] [postgres] [--runs 5] [--tasks 30000]`."""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import measures
from taskq.config import cores

TARGETS = {
    ("redis", "live"): "≥ 10,000",
    ("postgres", "live"): "≥ 8,000",
    ("redis", "enqueue p95"): "< 2 ms",
    ("redis", "pickup p95"): "< 10 ms",
    ("postgres", "pickup p95"): "< 20 ms",
    ("redis", "idle rss"): "< 50 MiB",
    ("postgres", "idle rss"): "< 60 MiB",
    ("redis", "idle commands"): "≤ 1",
    ("postgres", "idle commands"): "≤ 1",
}


async def once(tasks: int, log: Path) -> Mapping[str, float]:
    """Every figure of one run; `log` is that of the server."""
    figures = {
        "live": await measures.live(tasks),
        "bulk": await measures.enqueue_bulk(tasks),
        "drain": await measures.drain(tasks),
    }
    for name, measured in (
        ("enqueue", await measures.enqueue_one_by_one(2000)),
        ("pickup", await measures.pickup(100)),
        ("idle", await measures.idle(log)),
    ):
        figures.update({f"{name} {key}": value for key, value in measured.items()})
    return figures


async def measure(backend: str, runs: int, tasks: int) -> Mapping[str, list[float]]:
    """The figures of some runs, each on an empty store."""
    collected: dict[str, list[float]] = {}
    for _ in range(runs):
        async with measures.store(backend) as server:
            for name, value in (await once(tasks, server.log)).items():
                collected.setdefault(name, []).append(value)
    return collected


def show(console: Console, backend: str, figures: Mapping[str, list[float]]) -> None:
    """Medians with their spread, beside the target."""
    table = Table("figure", "median", "least", "most", "target", title=backend)
    for name, values in figures.items():
        row = (statistics.median(values), min(values), max(values))
        table.add_row(name, *(f"{v:,.0f}" if v >= 1000 else f"{v:.2f}" for v in row), TARGETS.get((backend, name), ""))
    console.print(table)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("backends", nargs="*", type=measures.backend, default=measures.BACKENDS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=30_000)
    arguments = parser.parse_args()
    console = Console(width=100)
    console.print(
        f"{platform.python_implementation()} {platform.python_version()}, {cores()} cores, {arguments.runs} runs"
    )
    imports = [measures.import_milliseconds() for _ in range(arguments.runs)]
    show(console, "core", {"import taskq (ms)": imports})
    for backend in arguments.backends:
        show(console, backend, asyncio.run(measure(backend, arguments.runs, arguments.tasks)))


if __name__ == "__main__":
    main()
