"""`taskq bench`: how fast the user's own store is."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from taskq.app import App
from taskq.backends import redact
from taskq.cli.commands import app_option, app_or_store, backend_option, run, says_errors, within
from taskq.cli.showing import show
from taskq.cli.table import Table
from taskq.cli.values import SECONDS, few
from taskq.errors import NotApplied
from taskq.ports import Capability

if TYPE_CHECKING:
    from taskq.runtime.bench import Bench, BenchOptions, Figures, Latency, Throughput

T = TypeVar("T")


@click.command()
@app_option(required=False)
@backend_option
@click.option(
    "--tasks", type=int, default=10_000, show_default=True, help="Tasks that are enqueued in bulk and drained."
)
@click.option("--queue", default="bench", show_default=True, help="Their queue; its name says which shard is measured.")
@click.option("-c", "--concurrency", type=int, default=100, show_default=True, help="Tasks that run at once.")
@click.option("--seconds", type=SECONDS, default=15.0, show_default=True, help="After which each step ends.")
@click.option("--yes", "-y", is_flag=True, help="Load the store also where workers are busy.")
@click.option(
    "--remove", "namespace", metavar="NAMESPACE", help="Only take away what a bench that was killed has left."
)
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def bench(
    app_path: str | None, url: str | None, yes: bool, namespace: str | None, as_json: bool, **options: Any
) -> None:
    """Measure the store: its round trip, enqueuing, and a worker in this process.

    It loads the store, in a namespace of its own, which is removed at the end, also after Ctrl-C.
    """
    from taskq.runtime.bench import Bench, BenchOptions, remove

    app = app_or_store(app_path, url)
    app.stores.hurry()
    if namespace is not None:
        run(remove(app, namespace))
        click.echo(f"{namespace} is removed")
        return
    chosen = BenchOptions(**options)
    if not yes:
        _refuse_where_it_hurts(app)
    figures = _measure(app, Bench(app, chosen))
    if as_json:
        click.echo(json.dumps(_plain(app, chosen, figures), indent=2))
    else:
        _print(chosen, figures)


def _refuse_where_it_hurts(app: App) -> None:
    """Refuse to load a store on which workers are busy.

    Raises:
        NotApplied: some are.
    """
    from taskq.runtime.bench import busy_workers

    if Capability.SHARED not in app.stores.root.capabilities:
        return
    busy = run(within(app, lambda: busy_workers(app)))
    if busy:
        names = few([worker.name for worker in busy])
        raise NotApplied(
            f"workers run tasks of {redact(app.url)} ({names}), which this would slow: --yes does it anyhow"
        )


def _measure(app: App, bench: Bench) -> Figures:
    """The figures, unless somebody has had enough of it."""
    options = bench.options
    where = redact(app.url) if Capability.SHARED in app.stores.root.capabilities else "the memory of this process"
    tasks, seconds = options.tasks + options.one_by_one, 5 * options.seconds
    click.echo(
        f"taskq: this loads {where}: {tasks:,} tasks, about {seconds:g} s at most, in {bench.namespace}", err=True
    )
    told: list[signal.Signals] = []
    try:
        return run(_until_told_to_end(bench.run(), told))
    except asyncio.CancelledError:
        raise SystemExit(128 + told[0]) from None  # as a shell tells it
    finally:
        if not bench.is_removed:
            remedy = f"taskq bench --remove {bench.namespace}"
            click.echo(f"taskq: some of {bench.namespace} may be left; take it away: {remedy}", err=True)


async def _until_told_to_end(work: Coroutine[Any, Any, T], told: list[signal.Signals]) -> T:
    """Have a signal end it so that it takes back what it has begun; a second one ends that, too.

    Arguments:
        told: filled with the signals that came.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def end(number: signal.Signals) -> None:
        told.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` has said that this is nothing to us
            loop.add_signal_handler(number, end, number)
    return await work


def _plain(app: App, options: BenchOptions, figures: Figures) -> dict[str, Any]:
    """The figures as JSON data."""
    return {
        "store": redact(app.url),
        "durability": app.stores.impatient_options.durability,
        **asdict(options),
        "round_trip": _plain_latency(figures.round_trip),
        "pickup": _plain_latency(figures.pickup),
        "enqueue": _plain_latency(figures.enqueue),
        "enqueue_many": _plain_throughput(figures.enqueue_many),
        "drain": _plain_throughput(figures.drain),
    }


def _plain_latency(figure: Latency) -> dict[str, Any]:
    return {"samples": figure.samples, "p50_ms": _ms(figure.p50), "p95_ms": _ms(figure.p95)}


def _plain_throughput(figure: Throughput) -> dict[str, Any]:
    return {"tasks": figure.tasks, "seconds": round(figure.seconds, 3), "tasks_per_second": round(figure.rate)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _print(options: BenchOptions, figures: Figures) -> None:
    trip, pickup, one, many, drain = figures
    rows = [
        ("round trip to the store", *_times(trip), "", f"{trip.samples:,} looks"),
        ("pickup by an idle worker", *_times(pickup), "", f"{pickup.samples:,} tasks"),
        ("enqueue, one after the other", *_times(one), "", f"{one.samples:,} tasks"),
        ("enqueue_many", "", "", f"{many.rate:,.0f}", f"{many.tasks:,} tasks"),
        ("drained by the worker", "", "", f"{drain.rate:,.0f}", f"{drain.tasks:,} tasks"),
    ]
    show([Table(("what", "p50 ms", "p95 ms", "tasks/s", "of"), rows)])


def _times(figure: Latency) -> tuple[str, str]:
    return f"{figure.p50 * 1000:.2f}", f"{figure.p95 * 1000:.2f}"
