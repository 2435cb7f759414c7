"""`taskq jobs …`: changes of many tasks at once, and how far they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.manage import management
from taskq.cli.values import print_table, seconds_of, shortened
from taskq.management.jobs import Job


@click.group()
def jobs() -> None:
    """Look at changes of many tasks at once, cancel them, and go on with them."""


def plain_job(job: Job) -> dict[str, Any]:
    """A job as JSON data."""
    fields: dict[str, Any] = msgspec.to_builtins(job)
    known = {"state": job.state.value, "answers": job.answers, "left": job.left, "ended_at": None}
    return {**known, **fields, "done": job.done}


@jobs.command("list")
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def list_jobs(app_path: str | None, url: str | None, as_json: bool) -> None:
    """List the jobs of the last week, the newest first."""
    app = store_app(app_path, url)
    found: Sequence[Job] = run(within(app, lambda: management(app).jobs.list()))
    if as_json:
        click.echo(json.dumps([plain_job(job) for job in found], indent=2))
        return
    rows = [
        (
            job.id,
            job.action,
            job.state,
            f"{job.done:,} of {job.counted:,}",
            job.actor,
            seconds_of(job.created_at),
            _of(job),
        )
        for job in found
    ]
    print_table(("id", "action", "state", "done", "actor", "made", "query"), rows)


def _of(job: Job) -> str:
    return shortened(job.query or "(all)")


@jobs.command()
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def show(app_path: str | None, url: str | None, id: str, as_json: bool) -> None:
    """Show how far the job ID is."""
    app = store_app(app_path, url)
    _print(run(within(app, lambda: management(app).jobs.get(id))), as_json)


@jobs.command()
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def cancel(app_path: str | None, url: str | None, id: str, as_json: bool) -> None:
    """Have the job ID end; what it has done stays done."""
    app = store_app(app_path, url)
    _print(run(within(app, lambda: management(app).jobs.cancel(id))), as_json)


@jobs.command("run")
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def run_job(app_path: str | None, url: str | None, id: str, as_json: bool) -> None:
    """Do the job ID to its end, or go on with it where somebody died over it."""
    app = store_app(app_path, url)
    _print(run(within(app, lambda: management(app).jobs.run(id))), as_json)


def _print(job: Job, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plain_job(job), indent=2))
        return
    answers = ", ".join(f"{number:,} {answer}" for answer, number in sorted(job.answers.items())) or "nothing yet"
    asked = ", told to end" if job.is_told_to_end and job.ended_at is None else ""
    click.echo(f"{job.action} {_of(job)}: {job.state}{asked}, {answers}, of {job.counted:,}")
    for id, answer in job.left.items():
        click.echo(f"{id}  {answer}")
