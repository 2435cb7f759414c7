"""`taskq keys …`: keys of the API, to make, to look at, to revoke."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.manage import management
from taskq.cli.showing import show
from taskq.cli.table import Table
from taskq.cli.values import moment, seconds_of
from taskq.management import Key, Permission, Role


@click.group()
def keys() -> None:
    """Make, list and revoke keys of the API."""


@keys.command()
@app_option(required=False)
@backend_option
@click.argument("name")
@click.option(
    *("--role", "roles"),
    required=True,
    multiple=True,
    type=click.Choice([str(role) for role in Role]),
    help="What it may do; may be repeated.",
)
@click.option("--tenant", default="", metavar="NAME", help="The only tenant whose tasks it sees and touches.")
@click.option(
    "--payloads/--no-payloads", default=None, help="Whether it sees arguments and results, whatever its roles."
)
@click.option("--expires", callback=moment, metavar="90d|ISO", help="When it ends by itself; else it does not.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def create(
    app_path: str | None,
    url: str | None,
    name: str,
    roles: tuple[str, ...],
    tenant: str,
    payloads: bool | None,
    expires: datetime | timedelta | None,
    as_json: bool,
) -> None:
    """Make a key for NAME and print it, this once.

    The store keeps a digest of it, from which it cannot be told again.
    """
    app = store_app(app_path, url)
    given: dict[str, Any] = {"tenant": tenant, "payloads": payloads, "expires": expires}
    made = run(within(app, lambda: management(app).keys.create(name, roles, **given)))
    if as_json:
        click.echo(json.dumps({**_plain(made.key), "key": made.text}, indent=2))
        return
    # The key alone on standard output, for those who put it into a variable or a file.
    click.echo(f"the key {made.key.prefix} of {made.key.name}; it is not shown again:", err=True)
    click.echo(made.text)


@keys.command("list")
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def list_keys(app_path: str | None, url: str | None, as_json: bool) -> None:
    """List the keys, the newest first.

    Those that were revoked or have expired are listed for 90 days more.
    """
    app = store_app(app_path, url)
    found: Sequence[Key] = run(within(app, lambda: management(app).keys.list()))
    if as_json:
        click.echo(json.dumps([_plain(key) for key in found], indent=2))
        return
    now = datetime.now(UTC)
    rows = [
        (
            *(key.prefix, key.name, ",".join(key.roles), key.tenant or None, "yes" if _sees_payloads(key) else "no"),
            *(key.state(now), key.created_at, key.created_by, key.expires_at, key.used_at),
        )
        for key in found
    ]
    head = ("key", "name", "roles", "tenant", "payloads", "state", "made", "by", "expires", "used")
    show([Table(head, rows, spare=("by", "used", "payloads"))])


@keys.command()
@app_option(required=False)
@backend_option
@click.argument("key", metavar="ID")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def revoke(app_path: str | None, url: str | None, key: str, as_json: bool) -> None:
    """Have the key ID open nothing any more."""
    app = store_app(app_path, url)
    revoked = run(within(app, lambda: management(app).keys.revoke(key)))
    text = f"the key {revoked.prefix} of {revoked.name} was revoked at {seconds_of(revoked.revoked_at)}"
    click.echo(json.dumps(_plain(revoked), indent=2) if as_json else text)


def _sees_payloads(key: Key) -> bool:
    return key.actor().may(Permission.READ_PAYLOADS)


def _plain(key: Key) -> dict[str, Any]:
    """A key as JSON data, without the key itself, which nobody has any more."""
    fields = {name: getattr(key, name) for name in key.__struct_fields__}
    fields["payloads"] = _sees_payloads(key)
    state = key.state(datetime.now(UTC))
    plain: dict[str, Any] = msgspec.to_builtins({**fields, "prefix": key.prefix, "state": state})
    return plain
