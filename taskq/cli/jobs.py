"""`taskq jobs …`: changes of many tasks at once, and how far they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import click
import msgspec

from taskq.app import App
from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.following import Face, Watched, follow, present, show_once, watch_option
from taskq.cli.manage import management
from taskq.cli.table import Table
from taskq.cli.values import shortened
from taskq.management.jobs import Job


@click.group()
def jobs() -> None:
    """Look at changes of many tasks at once, cancel them, and go on with them."""


def plain_job(job: Job) -> dict[str, Any]:
    """A job as JSON data."""
    fields: dict[str, Any] = msgspec.to_builtins(job)
    known = {"state": job.state.value, "answers": job.answers, "left": job.left, "ended_at": None}
    return {**known, **fields, "done": job.done}


@jobs.command("list", cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def list_jobs(app_path: str | None, url: str | None, as_json: bool, every: float | None) -> None:
    """List the jobs of the last week, the newest first."""
    app = store_app(app_path, url)
    face = Face[Sequence[Job]](lambda found: [plain_job(job) for job in found], lambda found: [_table(found)])
    present(app, lambda: management(app).jobs.list(), face, as_json, every)


def _table(found: Sequence[Job]) -> Table:
    head = ("id", "action", "state", "done", "actor", "made", "query")
    rows = [
        (job.id, job.action, job.state, f"{job.done:,} of {job.counted:,}", job.actor, job.created_at, _of(job))
        for job in found
    ]
    return Table(head, rows, spare=("actor", "made"))


def _of(job: Job) -> str:
    return shortened(job.query or "(all)")


@jobs.command(cls=Watched)
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="With --watch, a line for each change.")
@watch_option("Go on until the job has ended; it is looked at every DURATION, 2 s if not said.")
@says_errors()
def show(app_path: str | None, url: str | None, id: str, as_json: bool, every: float | None) -> None:
    """Show how far the job ID is."""
    app = store_app(app_path, url)
    if every is not None:
        follow(app, _changes(app, id, every), _FACE, as_json)
    else:
        show_once(run(within(app, lambda: management(app).jobs.get(id))), _FACE, as_json)


async def _changes(app: App, id: str, every: float) -> AsyncGenerator[Job]:
    """How the job is, again and again until it has ended."""
    while True:
        job = await management(app).jobs.get(id)
        yield job
        if job.ended_at is not None:
            return
        await asyncio.sleep(every)


@jobs.command()
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def cancel(app_path: str | None, url: str | None, id: str, as_json: bool) -> None:
    """Have the job ID end; what it has done stays done."""
    app = store_app(app_path, url)
    show_once(run(within(app, lambda: management(app).jobs.cancel(id))), _FACE, as_json)


@jobs.command("run")
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def run_job(app_path: str | None, url: str | None, id: str, as_json: bool) -> None:
    """Do the job ID to its end, or go on with it where somebody died over it."""
    app = store_app(app_path, url)
    show_once(run(within(app, lambda: management(app).jobs.run(id))), _FACE, as_json)


def _lines(job: Job) -> list[str]:
    answers = ", ".join(f"{number:,} {answer}" for answer, number in sorted(job.answers.items())) or "nothing yet"
    asked = ", told to end" if job.is_told_to_end and job.ended_at is None else ""
    line = f"{job.action} {_of(job)}: {job.state}{asked}, {answers}, of {job.counted:,}"
    return [line, *(f"{id}  {answer}" for id, answer in job.left.items())]


_FACE = Face(plain_job, _lines)
