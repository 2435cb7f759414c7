"""`taskq workers …`: who works, and what they are told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Any

import click

from taskq.cli.commands import app_option, backend_option, opened_app, run, says_errors, store_app
from taskq.cli.manage import management
from taskq.cli.profiles import profile, profiles
from taskq.cli.values import few, print_table
from taskq.management.workers import WorkerDesk
from taskq.options import LOG_LEVELS
from taskq.ports import WorkerInfo


@click.group()
def workers() -> None:
    """Look at workers and steer them."""


@workers.command("list")
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def list_workers(app_path: str | None, url: str | None, as_json: bool) -> None:
    """List the workers that live."""
    app = store_app(app_path, url)

    async def look() -> Sequence[WorkerInfo]:
        async with opened_app(app):
            return await management(app).workers.list()

    found = run(look())
    if as_json:
        click.echo(json.dumps([asdict(worker) for worker in found], indent=2))
        return
    print_table(
        ("name", "id", "state", "running", "slots", "queues", "host", "pid", "seen", "version", "note"),
        [_row(worker) for worker in found],
    )
    if not found:
        click.echo("taskq: no worker lives: start one with `taskq worker -A module:app`", err=True)


def _row(worker: WorkerInfo) -> tuple[object, ...]:
    stuck = f"cannot end {len(worker.unresponsive)}" if worker.unresponsive else ""
    note = "; ".join(part for part in (worker.pressure, stuck) if part) or "-"
    seen = f"{max(0.0, time.time() - worker.seen_at):.0f} s ago"
    ids = (worker.name, worker.id, worker.state, worker.running, worker.concurrency, few(worker.queues))
    return (*ids, worker.host, worker.pid, seen, worker.version or "-", note)


def _of_one(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of a command to one worker, or to those of one name."""
    command = click.option("--json", "as_json", is_flag=True)(command)
    return app_option(required=False)(backend_option(click.argument("worker", metavar="ID|NAME")(command)))


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
