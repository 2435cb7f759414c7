"""`taskq migrate` and `taskq doctor`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import click

from taskq.app import App
from taskq.backends import create_backend, redact
from taskq.cli.commands import FAILED, app_option, app_or_store, backend_option, run, says_errors, tell_damage
from taskq.errors import CapabilityMissing, ConfigError, TaskqError
from taskq.ports import Backend


@click.command()
@app_option(required=False)
@backend_option
@click.option("--sql", "print_sql", is_flag=True, help="Print the SQL instead, for those who run their own migrations.")
@says_errors()
def migrate(app_path: str | None, url: str | None, print_sql: bool) -> None:
    """Bring the store's schema up to date; safe to repeat, also from several places at once."""
    app = app_or_store(app_path, url)
    if print_sql:
        script = getattr(app.stores.root, "migration_sql", None)
        if script is None:
            raise CapabilityMissing(f"{redact(app.url)} has no schema, and so no SQL")
        click.echo(script())
        return

    async def bring_up() -> list[str]:
        steps = []
        for url in _urls(app):
            async with create_backend(url, app.stores.impatient_options) as backend:
                await tell_damage(backend)
                steps += await backend.migrate()
        return steps

    steps = run(bring_up())
    for step in steps:
        click.echo(step)
    click.echo("the schema is up to date" if not steps else f"{len(steps)} migrations were applied")


@click.command()
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def doctor(app_path: str | None, url: str | None, as_json: bool) -> None:
    """Check the store, the tasks and the workers, and say what to do about each fault."""
    app = app_or_store(app_path, url)
    findings = run(_examine(app))
    if as_json:
        click.echo(json.dumps([{"check": c, "status": s, "detail": d} for c, s, d in findings], indent=2))
    else:
        for check, status, detail in findings:
            colour = {"ok": "green", "warning": "yellow", "fault": "red"}[status]
            click.echo(f"{click.style(f'{status:8}', fg=colour)} {check}: {detail}")
    if any(status == "fault" for _, status, _ in findings):
        raise SystemExit(FAILED)


Finding = tuple[str, str, str]


def _urls(app: App) -> list[str]:
    """The stores of an application: of its tasks, and of its results where they are kept apart."""
    return [app.url, *([] if app.stores.results_url is None else [app.stores.results_url])]


async def _examine(app: App) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async with create_backend(app.url, app.stores.impatient_options) as backend:
            warnings = await backend.check()
            findings.append(("store", "ok", f"{redact(app.url)} answers"))
            findings += [("store", "warning", warning) for warning in warnings]
            for check, examine in (("queues", _queues), ("workers", _workers)):
                findings.append(await _finding(check, examine, backend))
    except TaskqError as error:
        findings.append(("store", "fault", str(error)))
    for url in _urls(app)[1:]:
        findings.append(await _results(app, url))
    for task in app.tasks:
        try:
            _ = task.codec
        except ConfigError as error:
            findings.append(("task", "fault", str(error)))
    if len(app.tasks):
        findings.append(("tasks", "ok", f"{len(app.tasks)} are registered"))
    return findings


async def _results(app: App, url: str) -> Finding:
    try:
        async with create_backend(url, app.stores.impatient_options) as backend:
            warnings = await backend.check()
    except TaskqError as error:
        return "results", "fault", str(error)
    return ("results", "warning", "; ".join(warnings)) if warnings else ("results", "ok", f"{redact(url)} answers")


async def _finding(check: str, examine: Callable[[Backend], Awaitable[tuple[str, str]]], backend: Backend) -> Finding:
    try:
        status, detail = await examine(backend)
    except TaskqError as error:
        return check, "fault", str(error)
    return check, status, detail


async def _queues(backend: Backend) -> tuple[str, str]:
    counts: dict[str, Any] = {queue: dict(states) for queue, states in (await backend.inspector.counts()).items()}
    shown = "; ".join(f"{q}: " + ", ".join(f"{n} {state}" for state, n in c.items()) for q, c in sorted(counts.items()))
    return "ok", shown or "none yet"


async def _workers(backend: Backend) -> tuple[str, str]:
    workers = await backend.registry.workers()
    if not workers:
        return "warning", "none lives: start one with `taskq worker -A module:app`"
    shown = "; ".join(f"{w.name} ({w.id}, {w.state}, {', '.join(w.queues)})" for w in workers)
    ailing = [f"{w.name} ({w.id}) cannot end {', '.join(w.unresponsive)}" for w in workers if w.unresponsive]
    ailing += [f"{w.name} ({w.id}) takes no tasks: {w.pressure}" for w in workers if w.pressure]
    return ("warning", "; ".join((shown, *ailing))) if ailing else ("ok", shown)
