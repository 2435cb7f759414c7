"""`taskq top`: how everything stands, live."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import click
import msgspec

from taskq.app import App
from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.following import Away, Face, looks, seconds, show_once, watch
from taskq.cli.manage import management
from taskq.cli.table import Line, Table, Tone, View
from taskq.cli.values import few
from taskq.domain.spans import spoken
from taskq.management import Look, Overview
from taskq.management.looks import QueueView, RunView, WorkerView

SPAN = 10.0
"""Seconds over which rates are measured, where there are looks from so long ago."""
_PRIORITIES = "c/h/n/l"
"""The head of what is ready by priority, critical to low."""
MOST = 100
"""Queues, workers and tasks that are shown of each."""


@click.command()
@app_option(required=False)
@backend_option
@click.option("--every", default="1", callback=seconds, show_default=True, metavar="DURATION",
              help="From one look to the next, 0.2 s at the least.")  # fmt: skip
@click.option("--once", is_flag=True, help="Look twice, as far apart, print what that tells, and end.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each look.")
@says_errors()
def top(app_path: str | None, url: str | None, every: float, once: bool, as_json: bool) -> None:
    """Show how everything stands: queues, workers, and what runs longest.

    \b
    q  leaves    n  queues by name    r  by what is ready    o  by the oldest    a  by arrivals
    """
    app = store_app(app_path, url)
    board = Board()
    face = Face(plain, board.view, keys=board.keys, legend=board.legend)
    if once:
        show_once(run(within(app, lambda: _second(app, every))), face, as_json)
    else:
        watch(app, _overviews(app, every), face, as_json)


async def _second(app: App, every: float) -> Overview:
    """What two looks tell.

    Raises:
        BackendUnavailable, OutcomeUnknown: the store was there at the first, and not at the second.
    """
    async with aclosing(_overviews(app, every)) as overviews:
        await anext(overviews)
        found = await anext(overviews)
    if isinstance(found, Away):
        raise found.error
    return found


async def _overviews(app: App, every: float) -> AsyncGenerator[Overview | Away]:
    """How everything stands, again and again."""
    seen: list[Look] = []
    last: Overview | None = None
    async with aclosing(looks(management(app).overview.glance, every)) as found:
        async for look in found:
            if isinstance(look, Away):
                seen.clear()  # what was counted meanwhile is no rate of now
                yield look._replace(before=last)
                continue
            seen = [*(one for one in seen if look.at - one.at <= max(SPAN, 1.5 * every)), look]
            last = Overview.of(seen[0] if len(seen) > 1 else None, look)
            yield last


def plain(overview: Overview) -> dict[str, Any]:
    """All of it as JSON data."""
    told: dict[str, Any] = msgspec.to_builtins(overview)
    return told


# ------------------------------------------------------------ drawing


def _oldest(queue: QueueView) -> float:
    return -1.0 if queue.oldest is None else queue.oldest


def _arrived(queue: QueueView) -> float:
    return 0.0 if queue.rates is None else queue.rates.arrived


ORDERS: dict[str, tuple[str, Callable[[QueueView], float]]] = {
    "n": ("name", lambda _: 0.0),
    "r": ("ready", lambda queue: queue.ready),
    "o": ("oldest", _oldest),
    "a": ("arrivals", _arrived),
}
"""By the key that chooses it: what queues are sorted by, the greatest first; those that are alike by name."""


class Board:
    """What is shown, and how it is sorted."""

    def __init__(self) -> None:
        self._order = "n"

    @property
    def keys(self) -> dict[str, Callable[[], None]]:
        """What is pressed to have it sorted otherwise."""

        def sort(key: str) -> Callable[[], None]:
            return lambda: setattr(self, "_order", key)

        return {key: sort(key) for key in ORDERS}

    def view(self, overview: Overview) -> View:
        """All of it for people."""
        _, weight = ORDERS[self._order]
        queues = sorted(overview.queues, key=lambda queue: (-weight(queue), queue.name))
        return [
            Line(overview.sentence, Tone.BAD if overview.troubles else Tone.GOOD),
            _totals(overview),
            *_part(_queues(queues[:MOST]), len(queues)),
            *_part(_workers(overview.workers[:MOST]), len(overview.workers)),
            *_part(_runs(overview.runs[:MOST]), len(overview.runs)),
            *(() if overview.has_all_runs else (Line("not all that runs was looked at", Tone.ASIDE),)),
        ]

    def legend(self) -> str:
        """What can be pressed."""
        keys = "  ".join(f"{key} {name}" for key, (name, _) in ORDERS.items())
        return f"queues by {ORDERS[self._order][0]}: {keys}"


def _totals(overview: Overview) -> str:
    totals, rates = overview.totals, overview.totals.rates
    counts = {"running": totals.running, "ready": totals.ready, "later": totals.later, "dead": totals.dead}
    parts = [f"{number:,} {name}" for name, number in counts.items()]
    if rates is not None:
        parts += [f"{_rate(rates.arrived)} arrive", f"{_rate(rates.done)} done", f"{_rate(rates.failed)} fail"]
    return "  ".join(parts)


def _part(table: Table, number: int) -> Sequence[str | Line | Table]:
    if not number:
        return ()
    more = number - len(table.rows)
    return ("", table, *((Line(f"and {more:,} more", Tone.ASIDE),) if more else ()))


def _rate(rate: float) -> str:
    return f"{rate:,.1f}/s"


def _queues(queues: Sequence[QueueView]) -> Table:
    numbers = ("ready", _PRIORITIES, "oldest", "arrive/s", "end/s", "gone in", "runs", "later", "dead", "workers")
    spare = ("dead", "later", _PRIORITIES, "gone in")
    return Table(("queue", *numbers, "note"), [_queue(queue) for queue in queues], spare)


def _queue(queue: QueueView) -> tuple[object, ...]:
    rates = queue.rates
    return (
        queue.name,
        queue.ready,
        "/".join(f"{number:,}" for number in reversed(queue.pending)),
        None if queue.oldest is None else timedelta(seconds=queue.oldest),
        None if rates is None else rates.arrived,
        None if rates is None else rates.ended,
        _drained(queue),
        queue.running,
        queue.later + queue.blocked,
        queue.dead,
        queue.workers,
        _note(queue),
    )


def _drained(queue: QueueView) -> str | None:
    if not queue.ready or queue.rates is None:
        return None
    return "never" if queue.to_drain is None else spoken(queue.to_drain)


def _note(queue: QueueView) -> str | None:
    pause = () if queue.paused is None else (f"paused: {queue.paused}" if queue.paused else "paused",)
    full = (f"{queue.fill:.0%} full",) if queue.warns and queue.fill is not None else ()
    return "; ".join((*pause, *full)) or None


def _workers(workers: Sequence[WorkerView]) -> Table:
    rows = [
        (
            *(worker.name, worker.id, worker.state, f"{worker.running:,}/{worker.slots:,}"),
            *(timedelta(seconds=worker.age), few(worker.queues), _ailment(worker)),
        )
        for worker in workers
    ]
    head = ("worker", "id", "state", "slots", "reported", "queues", "note")
    return Table(head, rows, spare=("id", "queues"))


def _ailment(worker: WorkerView) -> str | None:
    stuck = f"cannot end {worker.stuck:,}" if worker.stuck else ""
    return "; ".join(part for part in (worker.pressure, stuck) if part) or None


def _runs(runs: Sequence[RunView]) -> Table:
    rows = [(run.name, timedelta(seconds=run.seconds), run.queue, run.attempt, run.id, run.worker) for run in runs]
    head = ("running", "for", "queue", "attempt", "id", "worker id")
    return Table(head, rows, spare=("worker id", "attempt", "queue"))
