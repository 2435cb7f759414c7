"""`taskq dlq …`: the tasks that were given up."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import fields
from typing import Any

import click
import msgspec

from taskq.app import App
from taskq.cli.commands import FAILED, app_option, backend_option, opened_app, run, says_errors, store_app
from taskq.cli.completing import dead_reasons, queue_names, task_names, to_queue_option
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.manage import management
from taskq.cli.showing import show as print_view
from taskq.cli.table import Table
from taskq.cli.tasks import attempt_line, failure_line, plain
from taskq.cli.values import few, moment, shortened
from taskq.dead_letters import SCAN, DeadFilter, DeadGroups, DeadPage, Purge, Redrive, Which
from taskq.domain.record import Attempt, TaskRecord
from taskq.errors import ConfigError
from taskq.telemetry.logs import printable

FORGET = "forget"
_FILTERS = tuple(field.name for field in fields(DeadFilter))
_UNTOLD = ("payload", "checkpoint", "headers")
"""What holds the user's own data, and is shown only where it is asked for."""
_SHOWN = (
    *("id", "name", "queue", "state", "reason", "priority", "tenant", "created_at", "completed_at"),
    *("attempt", "lost_leases", "payload"),
)


def _filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which dead letters are meant."""
    for option in reversed(
        [
            click.option("--queue", "-q", metavar="NAME", shell_complete=queue_names, help="That died in this queue."),
            click.option(
                "--name",
                "-n",
                metavar="PATTERN",
                shell_complete=task_names,
                help="Of this task, or of those like mail.*",
            ),
            click.option(
                "--reason",
                metavar="REASON",
                shell_complete=dead_reasons,
                help="exhausted, poison, rejected, undecodable, …",
            ),
            click.option("--error", metavar="CLASS", help="Whose failure is of this class."),
            click.option("--fingerprint", metavar="HEX", help="Whose failure is this one (see `taskq dlq groups`)."),
            click.option("--since", callback=moment, metavar="2h|ISO", help="That died so long ago at the most."),
            click.option("--until", callback=moment, metavar="2h|ISO", help="That died before."),
        ]
    ):
        command = option(command)
    return command


def _split(said: Mapping[str, Any]) -> tuple[DeadFilter, dict[str, Any]]:
    """The filter that was typed, and the other options."""
    chosen = {name: said[name] for name in _FILTERS}
    return DeadFilter(**chosen), {name: value for name, value in said.items() if name not in _FILTERS}


def _ask(app: App, question: Coroutine[Any, Any, Any]) -> Any:
    async def asked() -> Any:
        async with opened_app(app):
            return await question

    return run(asked())


@click.group()
def dlq() -> None:
    """Look at the tasks that were given up, start them anew, forget them."""


# ------------------------------------------------------------ looking


@dlq.command("list", cls=Watched)
@app_option(required=False)
@backend_option
@_filtered
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--cursor", help="Where the list before ended.")
@click.option("--scan", type=click.IntRange(1), default=SCAN, show_default=True, help="The most to look at.")
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def list_letters(app_path: str | None, url: str | None, as_json: bool, every: float | None, **said: Any) -> None:
    """List dead letters, the newest first."""
    chosen, options = _split(said)
    app = store_app(app_path, url)
    face = Face(_plain_page, lambda page: [_table(page)], notes=_go_on)
    present(app, lambda: management(app).dead_letters.list(chosen, **options), face, as_json, every)


def _plain_page(page: DeadPage) -> dict[str, Any]:
    letters = [_told(record) for record in page.letters]
    more = {"looked_at": page.looked_at, "is_complete": page.is_complete, "next_cursor": page.next_cursor}
    return {"letters": letters, **more}


def _table(page: DeadPage) -> Table:
    rows = [(r.id, r.completed_at, r.queue, r.name, r.reason, failure_line(r)) for r in page.letters]
    return Table(("id", "died", "queue", "name", "reason", "failure"), rows, spare=("reason", "queue"))


def _go_on(page: DeadPage) -> Sequence[str]:
    return () if page.is_complete else (f"{page.looked_at:,} were looked at; to go on: --cursor {page.next_cursor}",)


@dlq.command()
@app_option(required=False)
@backend_option
@_filtered
@click.option("--scan", type=click.IntRange(1), default=SCAN, show_default=True, help="The most to look at.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def groups(app_path: str | None, url: str | None, scan: int, as_json: bool, **said: Any) -> None:
    """Count dead letters by what went wrong."""
    chosen, _ = _split(said)
    app = store_app(app_path, url)
    found: DeadGroups = _ask(app, management(app).dead_letters.groups(chosen, scan=scan))
    if as_json:
        click.echo(json.dumps(_plain_groups(found), indent=2))
        return
    print_view([_groups(found)])
    if not found.is_complete:
        click.echo(f"taskq: only the newest {found.looked_at:,} were looked at; more: --scan N", err=True)


def _plain_groups(found: DeadGroups) -> dict[str, Any]:
    groups = [msgspec.to_builtins(group, order="deterministic") for group in found.groups]
    return {"groups": groups, "looked_at": found.looked_at, "is_complete": found.is_complete}


def _groups(found: DeadGroups) -> Table:
    rows = [
        (
            *(group.count, group.fingerprint or None, group.first_seen, group.last_seen),
            *(few(sorted(group.queues)), few(sorted(group.names)), group.reason, group.example, shortened(group.error)),
        )
        for group in found.groups
    ]
    head = ("count", "fingerprint", "first", "last", "queues", "names", "reason", "example", "failure")
    return Table(head, rows, spare=("example", "first", "queues", "reason", "names"))


@dlq.command()
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--payload", "with_payload", is_flag=True, help="Show its arguments, checkpoint and metadata too.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def show(app_path: str | None, url: str | None, id: str, with_payload: bool, as_json: bool) -> None:
    """Show the dead letter ID: why it was given up, and each of its runs with its traceback."""
    app = store_app(app_path, url)
    record: TaskRecord = _ask(app, management(app).dead_letters.show(id))
    fields = plain(record) if with_payload else _told(record)
    if as_json:
        click.echo(json.dumps(fields, indent=2))
    else:
        print_view(_lines(record, fields))


def _lines(record: TaskRecord, fields: Mapping[str, Any]) -> list[str]:
    shown = [(key, fields[key]) for key in _SHOWN if fields.get(key) not in (None, "")]
    lines = [f"{key.replace('_', ' '):13} {v if isinstance(v, str) else json.dumps(v)}" for key, v in shown]
    for attempt in record.attempts:
        lines += ["", attempt_line(attempt), *_trace(attempt)]
    newest = record.attempts[-1].failure if record.attempts else None
    if record.failure is not None and record.failure != newest:  # a lost lease, or nobody who knew the task
        lines += ["", failure_line(record, None)]
    return lines


def _trace(attempt: Attempt) -> list[str]:
    failure = attempt.failure
    if failure is None:
        return []
    text = failure.traceback.rstrip() or f"{failure.type}: {failure.message}"
    return [f"    {line}" for line in text.splitlines()]


def _told(record: TaskRecord) -> dict[str, Any]:
    """A record without the user's own data."""
    return {key: value for key, value in plain(record).items() if key not in _UNTOLD}


# ------------------------------------------------------------ acting


def _acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """What the commands take that act on dead letters."""
    for option in reversed(
        [
            click.argument("ids", nargs=-1, metavar="[ID]…"),
            click.option("--all", "is_all", is_flag=True, help="All dead letters, where no filter is given."),
            click.option("--limit", type=click.IntRange(1), help="The most to act on."),
            click.option("--dry-run", is_flag=True, help="Say what would happen."),
            click.option("--yes", "-y", is_flag=True, help="Do not ask."),
            click.option("--json", "as_json", is_flag=True),
        ]
    ):
        command = option(command)
    return app_option(required=False)(backend_option(_filtered(command)))


@dlq.command()
@_acting
@to_queue_option
@says_errors()
def retry(app_path: str | None, url: str | None, to_queue: str | None, **said: Any) -> None:
    """Start dead letters anew: those with an ID, those that filters mean, or --all.

    Attempts count from the first again; the history stays. By its ID a task can be started anew too that failed without
    a place in the dead-letter queue, was cancelled, or is expired.
    """
    app = store_app(app_path, url)

    def act(which: Which, limit: int | None) -> Coroutine[Any, Any, Redrive]:
        return management(app).dead_letters.redrive(which, queue=to_queue, limit=limit)

    done: Redrive | None = _act(app, "start anew", act, **said)
    if done is None:
        return
    _report(done, said["as_json"], f"{done.moved:,} were started anew")
    for id, holder in done.holders.items():
        click.echo(f"taskq: task {printable(id)} stays dead: task {holder} holds its unique key", err=True)
    _say_gone(done.gone)
    if said["ids"] and (done.gone or done.held):
        raise SystemExit(FAILED)


@dlq.command()
@_acting
@says_errors()
def purge(app_path: str | None, url: str | None, **said: Any) -> None:
    """Forget dead letters for good: those with an ID, those that filters mean, or --all."""
    app = store_app(app_path, url)

    def act(which: Which, limit: int | None) -> Coroutine[Any, Any, Purge]:
        return management(app).dead_letters.purge(which, limit=limit)

    done: Purge | None = _act(app, FORGET, act, **said)
    if done is None:
        return
    _report(done, said["as_json"], f"{done.purged:,} were forgotten")
    _say_gone(done.gone)
    if said["ids"] and done.gone:
        raise SystemExit(FAILED)


def _act(
    app: App,
    verb: str,
    act: Callable[[Which, int | None], Coroutine[Any, Any, Any]],
    *,
    ids: tuple[str, ...],
    is_all: bool,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: Any,
) -> Any:
    """Act on what was meant, once that is certain; None where it was only a rehearsal."""
    which = _meant(ids, is_all, filters)
    if dry_run:
        _rehearse(app, verb, which, limit, as_json)
        return None
    if not yes:
        _confirm(app, verb, which, limit)
    return _ask(app, act(which, limit))


def _confirm(app: App, verb: str, which: tuple[str, ...] | DeadFilter, limit: int | None) -> None:
    """Ask before much is done, or what cannot be undone."""
    if isinstance(which, DeadFilter):
        number = _number(_ask(app, management(app).dead_letters.groups(which)), limit)
    elif verb == FORGET:
        number = f"{_at_most(len(set(which)), limit):,}"
    else:
        return
    if number != "0":
        click.confirm(f"{verb} {number} dead letter{'' if number == '1' else 's'}?", abort=True, err=True)


def _rehearse(app: App, verb: str, which: tuple[str, ...] | DeadFilter, limit: int | None, as_json: bool) -> None:
    """Say what would be acted on."""
    if isinstance(which, tuple):
        number = _at_most(len(set(which)), limit)
        click.echo(json.dumps({"number": number}) if as_json else f"would {verb}: {number:,}")
        return
    found: DeadGroups = _ask(app, management(app).dead_letters.groups(which))
    if as_json:
        click.echo(json.dumps({"number": _at_most(found.total, limit), **_plain_groups(found)}, indent=2))
        return
    print_view([_groups(found)])
    click.echo(f"would {verb}: {_number(found, limit)}")


def _meant(ids: tuple[str, ...], is_all: bool, filters: Mapping[str, Any]) -> tuple[str, ...] | DeadFilter:
    """The ids, or the filter.

    Raises:
        ConfigError: both are given, or neither.
    """
    is_filtered = any(value is not None for value in filters.values())
    if ids and (is_filtered or is_all):
        raise ConfigError("give IDs, or filters, not both")
    if ids:
        return ids
    if not (is_filtered or is_all):
        raise ConfigError("which dead letters? Give IDs, filters such as --name mail.* or --since 2h, or --all")
    return DeadFilter(**filters)


def _number(found: DeadGroups, limit: int | None) -> str:
    number = _at_most(found.total, limit)
    is_certain = found.is_complete or number == limit
    return f"{number:,}" if is_certain else f"at least {number:,}"


def _at_most(number: int, limit: int | None) -> int:
    return number if limit is None else min(number, limit)


def _report(done: Redrive | Purge, as_json: bool, text: str) -> None:
    click.echo(json.dumps(done._asdict()) if as_json else text)


def _say_gone(gone: int) -> None:
    if gone:
        click.echo(f"taskq: {gone:,} are no dead letters: moved or forgotten already, or never there", err=True)
