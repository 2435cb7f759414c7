"""`taskq doctor`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from taskq.app import App
from taskq.cli.commands import FAILED, app_option, app_or_store, backend_option, run, says_errors
from taskq.cli.manage import management
from taskq.errors import ConfigError
from taskq.management.doctor import Repaired
from taskq.ports import Finding, FindingStatus
from taskq.telemetry.logs import printable

_COLOURS = {FindingStatus.OK: "green", FindingStatus.WARNING: "yellow", FindingStatus.FAULT: "red"}
_NAMED = 5
_INDENT = " " * 9


@click.command()
@app_option(required=False)
@backend_option
@click.option("--deep", is_flag=True, help="Look at all records, not only at 100,000.")
@click.option("--repair", is_flag=True, help="Mend what can be mended, after a question.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def doctor(app_path: str | None, url: str | None, deep: bool, repair: bool, yes: bool, as_json: bool) -> None:
    """Examine the store, the tasks and the workers, and say what to do about each fault.

    Exit status 1 where there is a fault; with --repair, where one is left.
    """
    if yes and not repair:
        raise ConfigError("--yes is for --repair: without it nothing is asked")
    app = app_or_store(app_path, url)
    app.stores.hurry()
    found = run(_examine(app, deep))
    if repair and (broken := [finding for finding in found if finding.is_repairable]):
        if not yes:
            _ask(broken)
        for check, number in run(_repair(app, deep)):
            click.echo(f"taskq: {number:,} of {check} were mended", err=True)
        found = run(_examine(app, deep))
    elif repair:
        click.echo("taskq: nothing was found that a repair would mend", err=True)
    _print(found, as_json)
    if any(finding.status is FindingStatus.FAULT for finding in found):
        raise SystemExit(FAILED)


async def _examine(app: App, deep: bool) -> Sequence[Finding]:
    async with app:
        return await management(app).doctor.examine(deep)


async def _repair(app: App, deep: bool) -> Sequence[Repaired]:
    async with app:
        return await management(app).doctor.repair(deep)


def _ask(broken: Sequence[Finding]) -> None:
    """Say what a repair would do, and go on only where that is wanted."""
    for finding in broken:
        for line in _lines(finding):
            click.echo(line, err=True)
    click.confirm("repair this?", abort=True, err=True)


def _print(found: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
        return
    for finding in found:
        for line in _lines(finding):
            click.echo(line)


def _lines(finding: Finding) -> list[str]:
    status = click.style(f"{finding.status:8}", fg=_COLOURS[finding.status])
    lines = [f"{status} {finding.check}: {printable(finding.detail)}"]
    if finding.sample and finding.status is not FindingStatus.OK:
        more = ", and more" if finding.number > _NAMED else ""
        lines.append(f"{_INDENT}such as {printable(', '.join(finding.sample[:_NAMED]))}{more}")
    if finding.advice:
        lines.append(f"{_INDENT}do: {printable(finding.advice)}")
    return lines
