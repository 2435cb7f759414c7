"""`taskq audit …`: who did what, and whether the trail is whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click
import msgspec

from taskq.cli.commands import FAILED, app_option, backend_option, opened_app, run, says_errors, store_app
from taskq.cli.following import Face, present
from taskq.cli.manage import management
from taskq.cli.table import Table
from taskq.cli.values import duration, seconds_of, shortened
from taskq.domain.message import DAY
from taskq.management import AuditEntry, Head, Reach, Verification

Found = tuple[Sequence[AuditEntry], Reach]
"""Entries, and how far back the trail reaches."""


@click.group()
def audit() -> None:
    """Read the audit trail, and look whether it is whole."""


@audit.command("list")
@app_option(required=False)
@backend_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--before", type=click.IntRange(1), metavar="NUMBER", help="Those before an entry.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def list_entries(app_path: str | None, url: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """List the newest entries first."""
    app = store_app(app_path, url)

    async def look() -> Found:
        desk = management(app).audit
        return await desk.newest(limit, before), await desk.reach()

    face = Face[Found](
        plain=lambda found: [_plain(entry) for entry in found[0]],
        view=lambda found: [_table(found[0])],
        notes=lambda found: [_reached(found[1])] if found[1].entries else [],
    )
    present(app, look, face, as_json)


def _table(found: Sequence[AuditEntry]) -> Table:
    rows = [
        (entry.number, entry.at, entry.actor, entry.action, _short(entry.on), _short(entry.after)) for entry in found
    ]
    return Table(("number", "at", "actor", "action", "on", "after"), rows, spare=("after",))


def _reached(reach: Reach) -> str:
    return f"the trail reaches back to {seconds_of(reach.since)}: {reach.entries:,} entries, from {reach.first} on"


def _plain(entry: AuditEntry) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(entry)
    return {**fields, "digest": entry.digest}


def _short(value: dict[str, Any] | None) -> str:
    return shortened(json.dumps(value, default=str)) if value else "-"


@audit.command()
@app_option(required=False)
@backend_option
@says_errors()
def export(app_path: str | None, url: str | None) -> None:
    """Print all entries, the oldest first, a line of JSON each."""
    app = store_app(app_path, url)

    async def write() -> None:
        async with opened_app(app):
            async for entry in management(app).audit.export():
                click.echo(json.dumps(_plain(entry)))

    run(write())


def _head(_ctx: click.Context, _param: click.Parameter, given: str | None) -> Head | None:
    """The value of --known."""
    if given is None:
        return None
    number, colon, digest = given.partition(":")
    if not (colon and number.isascii() and number.isdigit() and digest):
        raise click.BadParameter(f"{given!r} is no head, such as 17:5f1c…: `taskq audit head` prints one")
    return Head(int(number), digest)


@audit.command()
@app_option(required=False)
@backend_option
@click.option("--known", callback=_head, metavar="NUMBER:DIGEST", help="A head that was noted elsewhere.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def verify(app_path: str | None, url: str | None, known: Head | None, as_json: bool) -> None:
    """Look whether an entry was changed, taken out or cut off."""
    app = store_app(app_path, url)

    async def look() -> tuple[Verification, Reach]:
        async with opened_app(app):
            desk = management(app).audit
            return await desk.verify(known), await desk.reach()

    found, reach = run(look())
    if as_json:
        told = {**found._asdict(), "head": found.head._asdict(), "reach": msgspec.to_builtins(reach._asdict())}
        click.echo(json.dumps(told, indent=2))
    else:
        for fault in found.faults:
            click.echo(f"{click.style('fault', fg='red')} {fault}")
        number, digest = found.head
        click.echo(f"{found.entries:,} entries, the newest {number}:{digest}")
        if reach.entries:
            click.echo(f"taskq: {_reached(reach)}", err=True)
    if found.faults:
        raise SystemExit(FAILED)


@audit.command()
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def head(app_path: str | None, url: str | None, as_json: bool) -> None:
    """Print the newest entry as NUMBER:DIGEST, to be kept where nobody can change it together with the trail."""
    app = store_app(app_path, url)

    async def look() -> Head:
        async with opened_app(app):
            return await management(app).audit.head()

    number, digest = found = run(look())
    click.echo(json.dumps(found._asdict()) if as_json else f"{number}:{digest}")


@audit.command()
@app_option(required=False)
@backend_option
@click.option("--older-than", "age", callback=duration, metavar="365d",
              help="How old they are.  [default: as the application keeps them, 90d]")  # fmt: skip
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@says_errors()
def trim(app_path: str | None, url: str | None, age: timedelta | None, yes: bool) -> None:
    """Forget old entries; that this was done stays in the trail, with the digest of the last of them."""
    app = store_app(app_path, url)
    if not yes:
        kept = management(app).audit.retention.age if age is None else age
        click.confirm(
            f"forget what was done longer than {kept.total_seconds() / DAY:g} days ago?", abort=True, err=True
        )

    async def forget() -> int:
        async with opened_app(app):
            return await management(app).audit.trim(age)

    click.echo(f"{run(forget()):,} were forgotten")
