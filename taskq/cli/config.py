"""`taskq config …`: what is configured, by whom, and whether it is right."""

from __future__ import annotations

import difflib
import json
import os

import click

from taskq.cli.commands import WRONG_USAGE, app_option, backend_option, says_errors
from taskq.cli.configured import NAMED, config_file, given_arguments
from taskq.cli.showing import show as show_view
from taskq.cli.table import Table
from taskq.configuration import Configuration, load
from taskq.errors import ConfigError
from taskq.telemetry.logs import printable


@click.group()
def config() -> None:
    """Look at the configuration, and check it."""


@config.command()
@app_option(required=False)
@backend_option
@click.argument("section", required=False)
@click.option("--json", "as_json", is_flag=True)
@says_errors(WRONG_USAGE)
def show(app_path: str | None, url: str | None, section: str | None, as_json: bool) -> None:
    """Show every value, or those of SECTION, who said it, and whether it takes effect without a restart.

    Secrets are masked. What an option of `taskq worker` says, and what the code of the application says itself, goes
    before and is not shown.
    """
    from taskq.configuration.live import is_live
    from taskq.configuration.show import text_of, values

    found = load(config_file(), arguments=given_arguments(NAMED))
    _warn(found)
    shown = values(found, _known(found, section))
    if as_json:
        rows = [
            {"key": v.key, "value": v.shown, "source": v.origin.kind, "where": v.origin.where, "live": is_live(v.key)}
            for v in shown
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    lines = [(v.key, text_of(v), str(v.origin), "live" if is_live(v.key) else "restart") for v in shown]
    show_view([Table(("key", "value", "source", "change"), lines)])


@config.command()
@backend_option
@click.argument("file", required=False)
@says_errors(WRONG_USAGE)
def check(url: str | None, file: str | None) -> None:
    """Check FILE, or what would be read, with the variables of the environment; names all that is wrong at once."""
    found = load(file or config_file(), arguments=given_arguments(NAMED))
    _warn(found)
    if found.sections.alerts.webhook is not None and not found.sections.webhooks.secrets:
        sign = "alerts.webhook: the code of the application must have a secret to sign with, or webhooks.secrets"
        click.echo(f"taskq: {sign}", err=True)
    what = "no file, and the variables," if found.path is None else printable(str(found.path))
    click.echo(f"{what} can be used")


def _known(found: Configuration, section: str | None) -> str:
    """The name of a section, or of a part of one.

    Raises:
        ConfigError: there is none of that name.
    """
    from taskq.configuration.show import values

    if section is None or values(found, section):
        return section or ""
    known = list(type(found.sections).model_fields)
    if section in known:  # such as queues, where none is named
        return section
    near = difflib.get_close_matches(section, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise ConfigError(f"there is no section {section!r}, {hint}")


def _warn(found: Configuration) -> None:
    for warning in found.warnings:
        click.echo(f"taskq: {printable(warning)}", err=True)
    if os.environ.get("TASKQ_BACKEND") and os.environ.get("TASKQ_BACKEND__URL"):
        click.echo("taskq: TASKQ_BACKEND__URL goes before TASKQ_BACKEND: set one of them", err=True)
