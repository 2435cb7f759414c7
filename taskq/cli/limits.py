"""`taskq limits …`: how the limits of a task stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import click

from taskq.app import App
from taskq.cli.commands import app_option, backend_option, opened_app, run, says_errors, store_app
from taskq.cli.completing import queue_names, task_names
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.overrides import overrides, plain, recall, set_limit, text_of
from taskq.cli.table import Table
from taskq.cli.tasks import read_arguments
from taskq.cli.values import seconds_of
from taskq.config import check_identifier
from taskq.domain.limits import Circuit, Limit, Rate, Slots
from taskq.domain.overrides import Override, heeded
from taskq.errors import ConfigError, TaskNotRegistered
from taskq.gauges import Gauge, keyed_of, limits_of
from taskq.task import Task

_HOLDERS = 3
"""Holders that a line names."""

Found = tuple[Sequence[Gauge], Mapping[str, Override]]
"""How limits stand, and by gate what operators have put in place of some."""


@click.group()
def limits() -> None:
    """Look at the limits and breakers of a task, reset them, and have others hold for now."""


def _of_task(command: Callable[..., Any]) -> Callable[..., Any]:
    """What the commands take."""
    for option in reversed(
        [
            click.argument("name", shell_complete=task_names),
            click.option("--key", metavar="JSON", help="Arguments of a run, for the limits that count by them."),
            click.option("--tenant", default="", help="The tenant of the run."),
            click.option(
                "--queue",
                "-q",
                metavar="NAME",
                shell_complete=queue_names,
                help="As it is met there.  [default: the task's own]",
            ),
            click.option("--json", "as_json", is_flag=True),
        ]
    ):
        command = option(command)
    return app_option()(backend_option(command))


@limits.command(cls=Watched)
@_of_task
@watch_option()
@says_errors()
def show(app_path: str, url: str | None, as_json: bool, every: float | None, **said: Any) -> None:
    """Show how the limits of the task NAME stand."""
    app = store_app(app_path, url)
    task, queue, meant = _meant(app, **said)
    notes = _keyed(task, said["key"])

    async def look() -> Found:
        desk = management(app).limits
        return await desk.gauges(queue, meant), {each.gate: each for each in await desk.overrides()}

    face = Face(_plains, lambda found: [_table(*found)], notes=lambda _: notes, has_silent_json=True)
    present(app, look, face, as_json, every)


def _plains(found: Found) -> list[dict[str, Any]]:
    gauges, held = found
    return [{**_plain(gauge), "override": plain(heeded(gauge.limit.gate, held))} for gauge in gauges]


def _table(found: Sequence[Gauge], held: Mapping[str, Override]) -> Table:
    rows = [(*_row(gauge), text_of(heeded(gauge.limit.gate, held))) for gauge in found]
    return Table(("gate", "limit", "stands", "waiting", "override"), rows, spare=("override",))


@limits.command()
@_of_task
@says_errors()
def reset(app_path: str, url: str | None, as_json: bool, **said: Any) -> None:
    """Take the limits of the task NAME back to where they began: full buckets, closed breakers."""
    app = store_app(app_path, url)
    task, queue, meant = _meant(app, **said)
    run(_within(app, lambda: management(app).limits.reset(queue, meant)))
    gates = [limit.gate for limit in meant]
    click.echo(json.dumps({"reset": gates}) if as_json else f"reset: {', '.join(gates) or 'none'}")
    for note in _keyed(task, said["key"]):
        click.echo(f"taskq: {note}", err=True)


async def _within(app: App, act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async with opened_app(app):
        return await act()


def _meant(
    app: App, name: str, key: str | None, tenant: str, queue: str | None
) -> tuple[Task[..., Any], str, Sequence[Limit]]:
    """The task, the queue, and the limits that are meant.

    Raises:
        ConfigError: the application has no such task, or the arguments are no JSON object.
    """
    try:
        task = app.tasks.get(name)
    except TaskNotRegistered as error:
        raise ConfigError(str(error)) from None
    arguments = None if key is None else read_arguments(key)
    if tenant:
        check_identifier("tenant", tenant)
    return task, check_identifier("queue", queue or task.queue), limits_of(task, arguments, tenant)


def _keyed(task: Task[..., Any], key: str | None) -> Sequence[str]:
    """What is to be said where limits are not shown."""
    if task.terms.breaker is None and not task.terms.has_limits:
        return (f"{task.name} has no limits",)
    if key is None and (keyed := keyed_of(task)):
        which = "one counts" if keyed == 1 else f"{keyed} count"
        return (f"{which} by the arguments of a run: give them with --key JSON",)
    return ()


def _row(gauge: Gauge) -> tuple[object, ...]:
    return gauge.limit.gate, _limit(gauge.limit), _stands(gauge), gauge.parked


def _limit(limit: Limit) -> str:
    match limit:
        case Rate():
            return f"{limit.per_second:g}/s, burst {limit.burst:g}"
        case Slots():
            return f"{limit.limit} at once"
        case Circuit():
            return f"{limit.failure_rate:.0%} of {limit.least} in {limit.window:g} s"


def _stands(gauge: Gauge) -> str:
    match gauge.limit:
        case Rate():
            cut = "" if gauge.share is None or gauge.share == 1.0 else f", slowed to {gauge.share:.0%}"
            return f"{gauge.tokens or 0.0:.1f} tokens{cut}"
        case Slots():
            named = ", ".join(gauge.holders[:_HOLDERS]) + (" …" if len(gauge.holders) > _HOLDERS else "")
            return f"{len(gauge.holders)} run" + (f": {named}" if named else "")
        case Circuit():
            return f"{gauge.status}" + (f" since {seconds_of(gauge.since)}" if gauge.since else "")


def _plain(gauge: Gauge) -> dict[str, Any]:
    told = {"gate": gauge.limit.gate, "kind": gauge.kind, "limit": gauge.limit._asdict(), "waiting": gauge.parked}
    match gauge.limit:
        case Rate():
            return {**told, "tokens": gauge.tokens, "share": gauge.share}
        case Slots():
            return {**told, "holders": list(gauge.holders)}
        case Circuit():
            since = None if gauge.since is None else gauge.since.isoformat()
            return {**told, "status": gauge.status, "since": since}


for command in (overrides, recall, set_limit):
    limits.add_command(command)
