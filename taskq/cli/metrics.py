"""`taskq metrics`: charts of what the store keeps, in the terminal; no Prometheus is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from taskq.cli.commands import app_option, backend_option, says_errors, store_app
from taskq.cli.completing import queue_names, task_names
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.table import Line, Table, Tone, View
from taskq.cli.values import SECONDS, duration
from taskq.domain.spans import spoken
from taskq.management.metrics import ChartPoint, Panel, Panels

WIDTH = 40
"""Characters of a chart."""
BARS = "▁▂▃▄▅▆▇█"
RATES, TIMES = ("throughput", "failures"), ("wait_p95", "duration_p95", "oldest")
_NAMES = {"wait_p95": "wait p95", "duration_p95": "duration p95", "oldest": "oldest age"}


@click.command(cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--by", type=click.Choice(["task", "queue"]), help="Of each by itself.  [default: all together]")
@click.option("--task", metavar="NAME", shell_complete=task_names, help="Of this task alone.")
@click.option("--queue", "-q", metavar="NAME", shell_complete=queue_names, help="Of this queue alone.")
@click.option("--range", "since", callback=duration, default="1h", show_default=True, metavar="DURATION",
              help="How far back, 30d at the most.")  # fmt: skip
@click.option("--step", type=SECONDS, help="Of each point.  [default: as short as is kept]")
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def metrics(
    app_path: str | None, url: str | None, since: timedelta, step: float | None, as_json: bool, every: float | None,
    **about: Any,
) -> None:  # fmt: skip
    """Draw throughput, failures, waits, durations and the oldest age over time, from the figures in the store."""
    app = store_app(app_path, url)
    seconds = None if step is None else round(step)

    async def look() -> Panels:
        return await management(app).metrics.panels(**about, since=since, step=seconds)

    present(app, look, Face(plain, view, notes=_hint), as_json, every)


def plain(found: Panels) -> dict[str, Any]:
    """All of it as JSON data."""
    panels = [
        {
            "task": panel.about.task,
            "queue": panel.about.queue,
            "points": [{"at": point.at.isoformat(), **point.values} for point in panel.points],
        }
        for panel in found.panels
    ]
    times = {"since": found.since.isoformat(), "until": found.until.isoformat()}
    return {**times, "step": found.step, "panels": panels, "number": found.number}


def view(found: Panels) -> View:
    """All of it for people: a row for each figure, the busiest first."""
    rows = [row for panel in found.panels for row in _rows(panel, found.since, found.until)]
    more = found.number - len(found.panels)
    rest = (Line(f"and {more:,} more", Tone.ASIDE),) if more else ()
    return [Table(("of", "figure", "chart", "most", "last"), rows, spare=("most",)), *rest] if rows else []


def _hint(found: Panels) -> Sequence[str]:
    if any(panel.points for panel in found.panels):
        return ()
    return ("nothing is known of that time: a worker or a beat that lives leaves figures",)


def _rows(panel: Panel, since: datetime, until: datetime) -> list[tuple[object, ...]]:
    name = " ".join(part for part in (panel.about.task, panel.about.queue) if part) or "all"
    rows: list[tuple[object, ...]] = []
    for figure in (*RATES, *TIMES):
        known = [(point, point.values[figure]) for point in panel.points if figure in point.values]
        if known:
            most, last = max(value for _, value in known), known[-1][1]
            told = (sparkline(known, since, until), _said(figure, most), _said(figure, last))
            rows.append((name, _NAMES.get(figure, figure), *told))
    return rows


def _said(figure: str, value: float) -> str:
    if figure in RATES:
        return f"{value:,.3g}/s"
    return spoken(value) if value >= 1 else f"{1000 * value:.3g} ms"


def sparkline(known: Sequence[tuple[ChartPoint, float]], since: datetime, until: datetime, width: int = WIDTH) -> str:
    """Values over time as bars, from nothing to the most; what is not known is a gap.

    >>> from datetime import UTC
    >>> noon = datetime(2030, 1, 2, 12, tzinfo=UTC)
    >>> points = [(ChartPoint(noon + timedelta(minutes=at), {}), value) for at, value in ((0, 1), (1, 8), (3, 4))]
    >>> sparkline(points, noon, noon + timedelta(minutes=4), 4)
    '▁█ ▄'
    """
    span = max((until - since).total_seconds(), 1.0)
    cells: dict[int, float] = {}
    for point, value in known:
        place = min(width - 1, max(0, int((point.at - since).total_seconds() / span * width)))
        cells[place] = max(cells.get(place, 0.0), value)
    most = max(cells.values(), default=0.0)
    return "".join(_bar(cells.get(place), most) for place in range(width))


def _bar(value: float | None, most: float) -> str:
    if value is None:
        return " "
    return BARS[0] if most <= 0 else BARS[max(0, round(value / most * len(BARS)) - 1)]
