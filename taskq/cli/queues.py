"""`taskq queues …`: how full they are, pause and resume, what is set for them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import click
import msgspec

from taskq.app import App
from taskq.cli.commands import FAILED, app_option, backend_option, opened_app, run, says_errors, store_app
from taskq.cli.completing import queue_names
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.showing import show as print_view
from taskq.cli.table import Table
from taskq.cli.values import duration, instant, pairs_of, seconds_of
from taskq.config import check_identifier
from taskq.domain.limits import Rate
from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.errors import ConfigError
from taskq.management.queues import QueueDesk
from taskq.ports import QueueSettings
from taskq.queue_settings import queue_config
from taskq.queues import QueueState

_COUNTED = (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RETRYING, TaskState.RUNNING, TaskState.DEAD)


@click.group()
def queues() -> None:
    """Look at queues and steer them, for the whole fleet."""


def _of_one(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of a command on one queue."""
    return app_option(required=False)(backend_option(click.argument("name", shell_complete=queue_names)(command)))


# ------------------------------------------------------------ looking


@queues.command("list", cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def list_queues(app_path: str | None, url: str | None, as_json: bool, every: float | None) -> None:
    """List the queues that hold tasks, and those of the application."""
    app = store_app(app_path, url)
    face = Face[Sequence[QueueState]](lambda found: [_plain(state) for state in found], lambda found: [_table(found)])
    present(app, lambda: _known(app), face, as_json, every)


def _table(found: Sequence[QueueState]) -> Table:
    rows = [
        (state.name, *(state.counts.get(counted, 0) for counted in _COUNTED), *_limits(state.settings))
        for state in found
    ]
    head = ("queue", *map(str, _COUNTED), "paused", "max_size", "workers", "rate")
    return Table(head, rows, spare=("rate", "workers", "max_size", "retrying", "scheduled"))


def _limits(settings: QueueSettings) -> tuple[object, ...]:
    return _pause(settings), settings.max_size, settings.workers, _rate(settings.rate)


def _pause(settings: QueueSettings) -> str:
    if settings.paused_reason is None:
        return "-"
    end = "" if settings.paused_until is None else f"until {seconds_of(settings.paused_until)}"
    return ": ".join(part for part in (end or "yes", settings.paused_reason) if part)


def _rate(rate: Rate | None) -> str:
    return "-" if rate is None else f"{rate.per_second:g}/s"


async def _states(app: App, *names: str) -> Sequence[QueueState]:
    async with opened_app(app):
        return await _known(app, *names)


async def _known(app: App, *names: str) -> Sequence[QueueState]:
    """The queues that hold tasks, those of the application, and those that are named."""
    queues = management(app).queues
    found = list(await queues.list())
    more = set(names) - {state.name for state in found}
    return sorted([*found, *await queues.list(sorted(more))], key=lambda state: state.name)


def _plain(state: QueueState) -> dict[str, Any]:
    settings: dict[str, Any] = msgspec.to_builtins(state.settings)
    if state.settings.rate is not None:
        settings["rate"] = {"per_second": state.settings.rate.per_second, "burst": state.settings.rate.burst}
    counts = {str(counted): number for counted, number in state.counts.items()}
    return {"name": state.name, "counts": counts, "is_paused": state.is_paused, "settings": settings}


@queues.command(cls=Watched)
@_of_one
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def show(app_path: str | None, url: str | None, name: str, as_json: bool, every: float | None) -> None:
    """Show how full the queue NAME is, and what is set for it."""
    app = store_app(app_path, url)
    check_identifier("queue", name)

    def one(found: Sequence[QueueState]) -> QueueState:
        return next(state for state in found if state.name == name)

    face = Face[Sequence[QueueState]](
        plain=lambda found: _plain(one(found)),
        view=lambda found: _lines(one(found)),
        notes=lambda found: _stranger(app, name, found),
    )
    present(app, lambda: _known(app, name), face, as_json, every)


def _lines(state: QueueState) -> list[str]:
    counts = [f"{counted:13} {state.counts[counted]}" for counted in TaskState if state.counts.get(counted)]
    return [*counts, *_settings(state.settings)]


def _settings(settings: QueueSettings) -> list[str]:
    lines = [f"{'paused':13} {_pause(settings)}"]
    for field in QueueSettings.__slots__:
        value = getattr(settings, field)
        if field.startswith("paused") or value is None:
            continue
        shown = _rate(value) if isinstance(value, Rate) else json.dumps(value)
        mark = "" if value == getattr(QueueSettings(), field) else "  (set)"
        lines.append(f"{field:13} {shown}{mark}")
    return lines


@queues.command(cls=Watched)
@_of_one
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def peek(app_path: str | None, url: str | None, name: str, limit: int, as_json: bool, every: float | None) -> None:
    """Show the tasks that the next claims would take of the queue NAME, without taking them."""
    app = store_app(app_path, url)
    check_identifier("queue", name)

    face = Face[Sequence[TaskRecord]](lambda found: [_next(record) for record in found], lambda found: [_peeked(found)])
    present(app, lambda: management(app).tasks.peek(name, limit), face, as_json, every)


def _next(record: TaskRecord) -> dict[str, Any]:
    told = {"id": record.id, "name": record.name, "priority": record.priority.name.lower()}
    return {**told, "waits_at": record.waits_at, "created_at": record.created_at.isoformat()}


def _peeked(found: Sequence[TaskRecord]) -> Table:
    rows = [(r.id, r.name, r.priority.name.lower(), r.created_at, r.waits_at or None) for r in found]
    return Table(("id", "name", "priority", "enqueued", "waits at"), rows, spare=("waits at", "priority"))


# ------------------------------------------------------------ steering


@queues.command()
@_of_one
@click.option("--reason", default="", help="Why, for people.")
@click.option("--until", callback=instant, metavar="ISO", help="When it ends by itself.")
@click.option("--for", "lasts", callback=duration, metavar="2h", help="How long it lasts.")
@says_errors()
def pause(
    app_path: str | None, url: str | None, name: str, reason: str, until: datetime | None, lasts: timedelta | None
) -> None:
    """Hand out no task of the queue NAME to any worker; what runs goes on."""
    if until is not None and lasts is not None:
        raise ConfigError("give --until or --for, not both")
    _steer(app_path, url, name, lambda queues: queues.pause(name, reason, until or lasts))


@queues.command()
@_of_one
@says_errors()
def resume(app_path: str | None, url: str | None, name: str) -> None:
    """End the pause of the queue NAME."""
    _steer(app_path, url, name, lambda queues: queues.resume(name))


@queues.command("set")
@_of_one
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE…")
@says_errors()
def set_(app_path: str | None, url: str | None, name: str, settings: tuple[str, ...]) -> None:
    """Change what is set for the queue NAME; the value "default" takes a setting back.

    \b
    max_size=1000       waiting tasks that it may hold
    warn_at=0.8         the share of max_size at which it gives warning
    max_finished=1000   finished tasks to keep
    workers=5           of its tasks run at once in the whole fleet
    rate=100/s          of its tasks start in a time
    weight=3            how often it is served
    timeout=30          seconds; for tasks that say nothing themselves, as
    soft_timeout=25     expires=3600   retry='{"strategy":"fixed","delay":5}'
    """
    given = pairs_of(settings)
    queue_config(**given)  # what is wrong with them is said before the store is asked
    _steer(app_path, url, name, lambda queues: queues.configure(name, **given))


def _steer(app_path: str | None, url: str | None, name: str, act: Callable[[QueueDesk], Any]) -> None:
    """Do something with a queue, and print what holds for it then."""
    app = store_app(app_path, url)

    async def steer() -> Sequence[QueueState]:
        async with opened_app(app):
            await act(management(app).queues)
            return await _known(app, name)

    found = run(steer())
    for line in _stranger(app, name, found):
        click.echo(f"taskq: {line}", err=True)
    [state] = [state for state in found if state.name == name]
    print_view(_settings(state.settings))


def _stranger(app: App, name: str, found: Sequence[QueueState]) -> Sequence[str]:
    """What to say where a name may be misspelt; it may as well be of a queue that is to be used."""
    known = {state.name for state in found if state.counts} | {task.queue for task in app.tasks}
    if name in known:
        return ()
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return (f"no task is in the queue {name} yet{hint}",)


@queues.command()
@_of_one
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def purge(app_path: str | None, url: str | None, name: str, yes: bool, as_json: bool) -> None:
    """Cancel what waits in the queue NAME; what runs goes on."""
    app = store_app(app_path, url)
    found = run(_states(app, check_identifier("queue", name)))
    [state] = [state for state in found if state.name == name]
    if state.waiting and not yes:
        typed = click.prompt(f"{state.waiting:,} tasks wait. To cancel them type the name of the queue", err=True)
        if typed != name:
            click.echo(f"taskq: nothing was cancelled: {typed!r} is not {name!r}", err=True)
            raise SystemExit(FAILED)

    async def cancel() -> int:
        async with opened_app(app):
            return await management(app).queues.purge(name, state.waiting)

    purged = run(cancel())
    click.echo(json.dumps({"purged": purged}) if as_json else f"{purged:,} were cancelled")
