"""`taskq schedules …`: what fires when, what has become of it, and how to change it at run time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import click
import msgspec

from taskq.app import App
from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.completing import queue_names, schedule_names, task_names
from taskq.cli.following import Face, Watched, present, show_once, watch_option
from taskq.cli.manage import management
from taskq.cli.table import Table, View
from taskq.cli.tasks import read_arguments
from taskq.cli.values import SECONDS, duration, instant, seconds_of
from taskq.domain.schedule import Misfire, Overlap
from taskq.domain.timing import At, Cron, Every, Timing
from taskq.errors import ConfigError, TaskNotRegistered
from taskq.schedule_control import Schedule
from taskq.schedule_spec import plain_timing
from taskq.telemetry.logs import printable

Command = Callable[..., Any]
UPCOMING = 5


@click.group()
def schedules() -> None:
    """Look at schedules and steer them."""


def _of_one(command: Command) -> Command:
    """The arguments of a command on one schedule."""
    return app_option(required=False)(backend_option(click.argument("name", shell_complete=schedule_names)(command)))


def _steers(command: Command) -> Command:
    """What a command that changes a schedule has besides."""
    return click.option("--json", "as_json", is_flag=True)(says_errors()(command))


def _fields(command: Command) -> Command:
    """What can be said of a schedule."""
    for option in (
        click.option("--priority", type=click.Choice(["low", "normal", "high", "critical"])),
        click.option("--queue", "-q", shell_complete=queue_names),
        click.option("--end", callback=instant, metavar="ISO", help="It does not fire after."),
        click.option("--start", callback=instant, metavar="ISO", help="It does not fire before."),
        click.option("--jitter", type=SECONDS, help="Each fire is put off by a part of it."),
        click.option(
            "--overlap",
            type=click.Choice([str(one.value) for one in Overlap]),
            help="While the last one has not ended.",
        ),
        click.option(
            "--misfire", type=click.Choice([str(one.value) for one in Misfire]), help="What no beat was there for."
        ),
        click.option("--at", callback=instant, metavar="ISO", help="Once."),
        click.option("--every", callback=duration, metavar="30s", help="An interval."),
        click.option("--timezone", metavar="NAME", help="Of --cron.  [default: UTC]"),
        click.option("--cron", metavar="EXPRESSION", help='Such as "0 3 * * MON-FRI".'),
    ):
        command = option(command)
    return command


def _timing(cron: str | None, timezone: str | None, every: timedelta | None, at: datetime | None) -> Timing | None:
    """What was said of when it fires."""
    if sum(given is not None for given in (cron, every, at)) > 1:
        raise ConfigError("give one of --cron, --every and --at")
    if timezone is not None and cron is None:
        raise ConfigError("--timezone is that of --cron")
    if cron is not None:
        return Cron(cron, "UTC" if timezone is None else timezone)
    if every is not None:
        return Every(seconds=every.total_seconds())
    return None if at is None else At(at)


# ------------------------------------------------------------ looking


@schedules.command("list", cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def list_schedules(app_path: str | None, url: str | None, as_json: bool, every: float | None) -> None:
    """List all schedules."""
    app = store_app(app_path, url)
    face = Face[Sequence[Schedule]](lambda found: [_plain(one) for one in found], lambda found: [_table(found)])
    present(app, lambda: management(app).schedules.list(), face, as_json, every)


def _table(found: Sequence[Schedule]) -> Table:
    rows = [(one.name, one.task, one.queue, _when(one), _made_by(one), _next(one), _last(one)) for one in found]
    head = ("name", "task", "queue", "when", "made by", "next", "last")
    return Table(head, rows, spare=("made by", "queue", "task"))


@schedules.command()
@_of_one
@_steers
def show(app_path: str | None, url: str | None, name: str, as_json: bool) -> None:
    """Show the schedule NAME: what holds, its next and last fires, and what did not fire as it should."""
    app = store_app(app_path, url)
    show_once(run(within(app, lambda: management(app).schedules.get(name))), _FACE, as_json)


def _when(schedule: Schedule) -> str:
    timing = schedule.rules.timing
    if isinstance(timing, Cron):
        return timing.expression if timing.timezone == "UTC" else f"{timing.expression} ({timing.timezone})"
    if isinstance(timing, Every):
        return f"every {timing.interval.total_seconds():g} s"
    return f"at {seconds_of(cast('At', timing).instant)}"


def _next(schedule: Schedule) -> datetime | str:
    if schedule.paused_reason is not None:
        return f"paused: {schedule.paused_reason}" if schedule.paused_reason else "paused"
    return schedule.next_at or "ended"


def _last(schedule: Schedule) -> datetime | None:
    return schedule.fired[-1].at if schedule.fired else None


def _made_by(schedule: Schedule) -> str:
    origin = "code" if schedule.is_declared else "hand"
    return f"{origin}, changed: {', '.join(schedule.changed)}" if schedule.changed else origin


def _plain(schedule: Schedule) -> dict[str, Any]:
    rules = schedule.rules
    told: dict[str, Any] = msgspec.to_builtins(
        {
            "name": schedule.name,
            "task": schedule.task,
            "queue": schedule.queue,
            "timing": plain_timing(rules.timing),
            "misfire": str(rules.misfire),
            "overlap": str(rules.overlap),
            "jitter": rules.jitter,
            "start": rules.start,
            "end": rules.end,
            "payload": schedule.payload,
            "options": schedule.options,
            "is_declared": schedule.is_declared,
            "changed": schedule.changed,
            "paused_reason": schedule.paused_reason,
            "next_at": schedule.next_at,
            "upcoming": schedule.upcoming(UPCOMING),
            "fired": [msgspec.structs.asdict(fired) for fired in schedule.fired],
            "notes": [note._asdict() for note in schedule.notes],
        }
    )
    return told


def _view(schedule: Schedule) -> View:
    rules = schedule.rules
    lines = {
        "name": schedule.name,
        "task": schedule.task,
        "queue": schedule.queue,
        "when": _when(schedule),
        "misfire": rules.misfire,
        "overlap": rules.overlap,
        "jitter": f"{rules.jitter:g} s",
        "start": seconds_of(rules.start),
        "end": seconds_of(rules.end),
        "payload": "encrypted" if schedule.payload is None else json.dumps(schedule.payload),
        "options": json.dumps(schedule.options),
        "made by": _made_by(schedule),
        "next": ", ".join(seconds_of(one) for one in schedule.upcoming(UPCOMING)) or str(_next(schedule)),
    }
    view: list[str | Table] = [f"{name:8} {value}" for name, value in lines.items()]
    if schedule.fired:
        rows = [(fired.instant, fired.at, fired.id) for fired in schedule.fired]
        view += ["", "fired", Table(("for", "at", "task"), rows)]
    if schedule.notes:
        notes = [(note.why, note.first, note.last, note.number) for note in schedule.notes]
        view += ["", "not as it should", Table(("why", "from", "to", "number"), notes)]
    return view


_FACE = Face(_plain, _view)


# ------------------------------------------------------------ steering


@schedules.command()
@_of_one
@click.argument("task", shell_complete=task_names)
@click.argument("payload", required=False, default="{}", metavar="[JSON]")
@_fields
@_steers
def put(
    app_path: str | None, url: str | None, name: str, task: str, payload: str, as_json: bool,
    cron: str | None, timezone: str | None, every: timedelta | None, at: datetime | None, **fields: Any,
) -> None:  # fmt: skip
    """Make the schedule NAME of TASK with a JSON object of its arguments ("-" reads it from standard input)."""
    timing = _timing(cron, timezone, every, at)
    if timing is None:
        raise ConfigError('when? Give --cron "0 3 * * *", --every 30s or --at 2030-01-02T03:04')
    arguments = read_arguments(sys.stdin.read() if payload == "-" else payload)
    given = _given(fields)
    app = store_app(app_path, url)
    made = run(within(app, lambda: management(app).schedules.put(name, timing, task, arguments, **given)))
    if app_path is not None:
        _note_stranger(app, task)
    show_once(made, _FACE, as_json)


def _note_stranger(app: App, task: str) -> None:
    """Tell of a task that is not known here: its name may be mistyped, or a worker of another application know it."""
    try:
        app.tasks.get(task)
    except TaskNotRegistered as error:
        click.echo(f"taskq: note: in this application {error}", err=True)


@schedules.command()
@_of_one
@_fields
@click.option("--payload", metavar="JSON", help="The arguments of each call.")
@_steers
def change(
    app_path: str | None, url: str | None, name: str, payload: str | None, as_json: bool,
    cron: str | None, timezone: str | None, every: timedelta | None, at: datetime | None, **fields: Any,
) -> None:  # fmt: skip
    """Change what is given of the schedule NAME; `taskq schedules reset` takes it back where code declares it."""
    given = _given(fields)
    timing = _timing(cron, timezone, every, at)
    if timing is not None:
        given["timing"] = timing
    if payload is not None:
        given["payload"] = read_arguments(payload)
    if not given:
        raise ConfigError("nothing is to be changed: see taskq schedules change --help")
    app = store_app(app_path, url)
    show_once(run(within(app, lambda: management(app).schedules.change(name, **given))), _FACE, as_json)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if value is not None}


@schedules.command()
@_of_one
@_steers
def reset(app_path: str | None, url: str | None, name: str, as_json: bool) -> None:
    """Take back what was changed of the schedule NAME, which code declares."""
    app = store_app(app_path, url)
    show_once(run(within(app, lambda: management(app).schedules.reset(name))), _FACE, as_json)


@schedules.command()
@_of_one
@click.option("--reason", default="", help="Why, for people.")
@_steers
def pause(app_path: str | None, url: str | None, name: str, reason: str, as_json: bool) -> None:
    """Have the schedule NAME not fire; what is due meanwhile does not fire later either."""
    app = store_app(app_path, url)
    show_once(run(within(app, lambda: management(app).schedules.pause(name, reason))), _FACE, as_json)


@schedules.command()
@_of_one
@_steers
def resume(app_path: str | None, url: str | None, name: str, as_json: bool) -> None:
    """End the pause of the schedule NAME."""
    app = store_app(app_path, url)
    show_once(run(within(app, lambda: management(app).schedules.resume(name))), _FACE, as_json)


@schedules.command("run")
@_of_one
@_steers
def run_now(app_path: str | None, url: str | None, name: str, as_json: bool) -> None:
    """Have the schedule NAME fire at once; prints the id of the task."""
    app = store_app(app_path, url)
    handle = run(within(app, lambda: management(app).schedules.run(name)))
    click.echo(json.dumps({"id": handle.id}) if as_json else handle.id)


@schedules.command()
@_of_one
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_steers
def remove(app_path: str | None, url: str | None, name: str, yes: bool, as_json: bool) -> None:
    """Forget the schedule NAME, unless code declares it."""
    app = store_app(app_path, url)
    found = run(within(app, lambda: management(app).schedules.get(name)))
    if not (yes or found.is_declared):
        click.confirm(f"forget the schedule {printable(name)} of {printable(found.task)}?", abort=True, err=True)
    run(within(app, lambda: management(app).schedules.remove(name)))
    click.echo(json.dumps({"removed": name}) if as_json else f"{printable(name)} is forgotten")
