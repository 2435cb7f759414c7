"""`taskq tenants …`: what each has, and what it may have."""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.table import Table
from taskq.cli.values import pairs_of
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.management.tenants import Tenant, Tenants


@click.group()
def tenants() -> None:
    """Look at tenants, and set what they may have."""


@tenants.command("list", cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--cursor", help="Where the page before ended.")
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def list_tenants(
    app_path: str | None, url: str | None, limit: int, cursor: str | None, as_json: bool, every: float | None
) -> None:
    """List the tenants for which something is set, by name."""
    app = store_app(app_path, url)
    face = Face[Tenants](
        plain=lambda page: {"tenants": [_plain(each) for each in page.tenants], "next_cursor": page.next_cursor},
        view=lambda page: [_table(page)],
        notes=lambda page: [f"there are more: --cursor {page.next_cursor}"] if page.next_cursor else [],
    )
    present(app, lambda: management(app).tenants.list(limit, cursor), face, as_json, every)


@tenants.command(cls=Watched)
@app_option(required=False)
@backend_option
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def show(app_path: str | None, url: str | None, name: str, as_json: bool, every: float | None) -> None:
    """Show what the tenant NAME has and may have."""
    app = store_app(app_path, url)
    present(app, lambda: management(app).tenants.show(name), Face[Tenant](_plain, _lines), as_json, every)


@tenants.command("set")
@app_option(required=False)
@backend_option
@click.argument("name")
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE…")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def set_(app_path: str | None, url: str | None, name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Change what the tenant NAME may have; the value "default" takes a setting back.

    The keys are weight, running, rate, unfinished and payload_bytes.
    """
    app = store_app(app_path, url)
    given = pairs_of(settings)
    quota = run(within(app, lambda: management(app).tenants.configure(name, **given)))
    if as_json:
        click.echo(json.dumps({"name": name, "quota": msgspec.to_builtins(quota._asdict())}))
        return
    said = ", ".join(_said(quota)) or "nothing is set"
    click.echo(f"{name}: {said}")


def _plain(tenant: Tenant) -> dict[str, Any]:
    return {
        "name": tenant.name,
        "quota": msgspec.to_builtins(_fields(tenant.quota)),
        **tenant.load._asdict(),
    }


def _fields(quota: Quota) -> dict[str, Any]:
    rate = quota.rate and {"per_second": quota.rate.per_second, "burst": quota.rate.burst}
    return {**quota._asdict(), "rate": rate}


def _said(quota: Quota) -> list[str]:
    rate = quota.rate and f"{quota.rate.per_second:g}/s"
    shown = {**quota._asdict(), "rate": rate}
    return [f"{name} {value}" for name, value in shown.items() if value != getattr(NO_QUOTA, name)]


def _table(page: Tenants) -> Table:
    rows = [
        (
            *(
                each.name,
                each.load.unfinished,
                each.quota.unfinished,
                each.load.payload_bytes,
                each.quota.payload_bytes,
            ),
            *(each.quota.running, each.quota.rate and f"{each.quota.rate.per_second:g}/s", each.quota.weight),
        )
        for each in page.tenants
    ]
    head = ("tenant", "tasks", "of", "bytes", "of at most", "running at most", "rate", "weight")
    return Table(head, rows, spare=("of at most", "bytes", "weight"))


def _lines(tenant: Tenant) -> list[str]:
    quota = tenant.quota
    may = {
        "unfinished": f"{tenant.load.unfinished:,} of {_most(quota.unfinished)}",
        "payload_bytes": f"{tenant.load.payload_bytes:,} of {_most(quota.payload_bytes)}",
        "running": f"at most {_most(quota.running)} at once",
        "rate": "as many as can" if quota.rate is None else f"{quota.rate.per_second:g}/s",
        "weight": f"{quota.weight:g}",
    }
    return [f"{name:13} {text}" for name, text in may.items()]


def _most(number: int | None) -> str:
    return "any number" if number is None else f"{number:,}"
