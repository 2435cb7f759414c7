"""`taskq alerts …`: what goes on, what is over, and who has seen to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.showing import show
from taskq.cli.table import Table
from taskq.domain.alerts import Bounds
from taskq.management.alerts import Alert, plain


def _table(found: Sequence[Alert]) -> Table:
    rows = [
        (
            *(alert.id, alert.rule, alert.subject, alert.since, alert.cleared_at, alert.acknowledged_by or None),
            alert.text,
        )
        for alert in found
    ]
    head = ("id", "rule", "subject", "since", "cleared", "seen by", "what")
    return Table(head, rows, spare=("cleared", "seen by", "id"))


FACE = Face[Sequence[Alert]](
    plain=lambda found: [plain(alert) for alert in found],
    view=lambda found: [_table(found)],
    notes=lambda found: [] if found else ["no alert"],
)


@click.group()
def alerts() -> None:
    """Look at alerts and acknowledge them; beats raise and clear them."""


@alerts.command("list", cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def list_alerts(app_path: str | None, url: str | None, as_json: bool, every: float | None) -> None:
    """List the alerts that go on, the newest first."""
    app = store_app(app_path, url)
    present(app, lambda: management(app).alerts.list(), FACE, as_json, every)


@alerts.command(cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def history(app_path: str | None, url: str | None, limit: int, as_json: bool, every: float | None) -> None:
    """List the alerts that are over, the last first."""
    app = store_app(app_path, url)
    present(app, lambda: management(app).alerts.history(limit), FACE, as_json, every)


@alerts.command()
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--note", default="", metavar="TEXT", help="What people are to know.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def ack(app_path: str | None, url: str | None, id: str, note: str, as_json: bool) -> None:
    """Say that you see to the alert ID, so that it is told no more while it lasts; the first letters will do."""
    app = store_app(app_path, url)
    alert = run(within(app, lambda: management(app).alerts.acknowledge(id, note)))
    by = f"{alert.acknowledged_by} sees to it{f': {alert.note}' if alert.note else ''}"
    click.echo(json.dumps(plain(alert), indent=2) if as_json else f"{alert.rule} {alert.subject}: {by}")


@alerts.command()
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def rules(app_path: str | None, url: str | None, as_json: bool) -> None:
    """List the rules with their bounds; times are seconds."""
    found = management(store_app(app_path, url)).alerts.rules()
    if as_json:
        click.echo(json.dumps({rule: _plain(bounds) for rule, bounds in found.items()}, indent=2))
        return
    rows = [(rule, f"{one.above:g}", f"{one.hold_for:g}", f"{one.clear_after:g}") for rule, one in found.items()]
    show([Table(("rule", "above", "for", "clear after"), rows)])


def _plain(bounds: Bounds) -> dict[str, Any]:
    """Bounds by the names that files have for them."""
    return {"for" if name == "hold_for" else name: value for name, value in asdict(bounds).items()}
