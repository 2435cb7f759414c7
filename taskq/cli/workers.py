"""`taskq workers …`: who works, and what they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from taskq.cli.autoscale import autoscale
from taskq.cli.commands import app_option, backend_option, opened_app, run, says_errors, store_app
from taskq.cli.completing import worker_names
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.profiles import profile, profiles
from taskq.cli.table import Table
from taskq.cli.values import few
from taskq.management.workers import WorkerDesk
from taskq.options import LOG_LEVELS
from taskq.ports import WorkerInfo


@click.group()
def workers() -> None:
    """Look at workers and steer them."""


@workers.command("list", cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def list_workers(app_path: str | None, url: str | None, as_json: bool, every: float | None) -> None:
    """List the workers that live."""
    app = store_app(app_path, url)
    face = Face(_plain, lambda found: [_table(found)], notes=_hint)
    present(app, lambda: management(app).workers.list(), face, as_json, every)


def _plain(found: Sequence[WorkerInfo]) -> list[dict[str, Any]]:
    return [asdict(worker) for worker in found]


def _table(found: Sequence[WorkerInfo]) -> Table:
    head = ("name", "id", "state", "running", "slots", "queues", "host", "pid", "seen", "version", "note")
    return Table(head, [_row(worker) for worker in found], spare=("version", "pid", "host", "queues", "note", "slots"))


def _hint(found: Sequence[WorkerInfo]) -> Sequence[str]:
    return () if found else ("no worker lives: start one with `taskq worker -A module:app`",)


def _row(worker: WorkerInfo) -> tuple[object, ...]:
    stuck = f"cannot end {len(worker.unresponsive)}" if worker.unresponsive else ""
    note = "; ".join(part for part in (worker.pressure, stuck) if part) or "-"
    seen = min(datetime.fromtimestamp(worker.seen_at, UTC), datetime.now(UTC))  # the clocks of two hosts
    ids = (worker.name, worker.id, worker.state, worker.running, worker.concurrency, few(worker.queues))
    return (*ids, worker.host, worker.pid, seen, worker.version or "-", note)


def _of_one(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of a command to one worker, or to those of one name."""
    command = click.option("--json", "as_json", is_flag=True)(command)
    return app_option(required=False)(
        backend_option(click.argument("worker", metavar="ID|NAME", shell_complete=worker_names)(command))
    )


workers.add_command(autoscale)


@workers.command()
@_of_one
@says_errors()
def pause(**said: Any) -> None:
    """Have workers take no more tasks; what they run goes on."""
    _tell(lambda desk, worker: desk.pause(worker), **said)


@workers.command()
@_of_one
@says_errors()
def resume(**said: Any) -> None:
    """Have workers that were paused take tasks again."""
    _tell(lambda desk, worker: desk.resume(worker), **said)


@workers.command()
@_of_one
@says_errors()
def drain(**said: Any) -> None:
    """Have workers end what they run, give back the rest, and stay without taking tasks until `resume`."""
    _tell(lambda desk, worker: desk.drain(worker), **said)


@workers.command()
@_of_one
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@says_errors()
def shutdown(yes: bool, **said: Any) -> None:
    """Have workers end what they run, give back the rest, and stop."""
    if not yes:
        click.confirm(f"stop {said['worker']}?", abort=True, err=True)
    _tell(lambda desk, worker: desk.shutdown(worker), **said)


@workers.command("log-level")
@_of_one
@click.argument("level", type=click.Choice(LOG_LEVELS, case_sensitive=False))
@says_errors()
def log_level(level: str, **said: Any) -> None:
    """Have workers log what is at LEVEL or above, until they start anew."""
    _tell(lambda desk, worker: desk.log_level(worker, level.upper()), **said)


def _tell(
    order: Callable[[WorkerDesk, str], Coroutine[Any, Any, Sequence[str]]],
    *,
    app_path: str | None,
    url: str | None,
    worker: str,
    as_json: bool,
) -> None:
    app = store_app(app_path, url)

    async def tell() -> Sequence[str]:
        async with opened_app(app):
            return await order(management(app).workers, worker)

    told = run(tell())
    text = (
        f"{len(told):,} worker{'s' if len(told) != 1 else ''} will heed it with the next heartbeat: {', '.join(told)}"
    )
    click.echo(json.dumps({"told": list(told)}) if as_json else text)


workers.add_command(profile)
workers.add_command(profiles)
