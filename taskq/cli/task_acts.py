"""`taskq tasks list`, `cancel` and `retry`: tasks that a query means, and those that are named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click

from taskq.cli.commands import FAILED, app_option, backend_option, opened_app, run, says_errors, store_app
from taskq.cli.manage import management
from taskq.cli.tasks import failure_line, tasks
from taskq.cli.values import print_table, seconds_of
from taskq.domain.record import TaskRecord
from taskq.errors import ConfigError
from taskq.management import Count, Management, TaskPage
from taskq.management.explain import Explanation
from taskq.ports import CancelStatus, Redriven, RedriveStatus
from taskq.telemetry.logs import printable

STEP = 1000
"""Tasks that one call acts on."""


def _queried(command: Callable[..., Any]) -> Callable[..., Any]:
    """The query of a command: its words, as the shell has parted them."""
    words = click.argument("words", nargs=-1, metavar="[QUERY]…")
    return app_option(required=False)(backend_option(words(command)))


def _query(words: Sequence[str]) -> str:
    """The words as one query; one that the shell has kept together is put in quotes again."""
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    if '"' in word or " " not in word:
        return word
    field, colon, value = word.partition(":")
    return f'{field}:"{value}"' if colon and " " not in field else f'"{word}"'


@tasks.command("list", context_settings={"ignore_unknown_options": True})  # -state:dead is a term
@_queried
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--cursor", help="Where to go on, of an earlier page.")
@click.option("--count", "is_counted", is_flag=True, help="Say only how many there are.")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def list_tasks(
    app_path: str | None,
    url: str | None,
    words: tuple[str, ...],
    limit: int,
    cursor: str | None,
    is_counted: bool,
    as_json: bool,
) -> None:
    """List the tasks that a QUERY means, those that have not ended first.

    \b
    task:mail.*  state:dead,failed  queue:mail  tenant:acme  tag:vip  priority:>=high
    worker:ID  workflow:ID  error:TimeoutError  fingerprint:ab12  reason:exhausted
    created:>2h  ended:<10m  due:<1h  wait:>30s  run:>5m  attempt:>=3  meta.plan:pro

    A "-" before a term means the opposite. `state:live` and `state:ended` stand for several states.
    """
    app = store_app(app_path, url)
    query = _query(words)

    async def look() -> tuple[TaskPage | None, Count]:
        async with opened_app(app):
            desk = management(app).tasks
            page = None if is_counted else await desk.find(query, limit=limit, cursor=cursor)
            return page, await desk.count(query)

    page, count = run(look())
    if page is None:
        click.echo(json.dumps(count._asdict()) if as_json else str(count))
    elif as_json:
        click.echo(json.dumps({**_plain(page), "total": count._asdict()}, indent=2))
    else:
        _print(page, count)


def _plain(page: TaskPage) -> dict[str, Any]:
    return {
        "tasks": [_brief(record) for record in page.records],
        "looked_at": page.looked_at,
        "next_cursor": page.next_cursor,
        "notes": list(page.notes),
    }


def _brief(record: TaskRecord) -> dict[str, Any]:
    """What a list tells of a task."""
    texts = {key: getattr(record, key) for key in ("id", "name", "queue", "tenant", "attempt", "worker", "reason")}
    times = {key: getattr(record, key) for key in ("created_at", "started_at", "completed_at", "due_at")}
    return {
        **texts,
        "state": record.state.value,
        "priority": record.priority.name.lower(),
        "tags": list(record.tags),
        **{key: None if at is None else at.isoformat() for key, at in times.items()},
        "failure": None if record.failure is None else {"type": record.failure.type, "message": record.failure.message},
    }


def _print(page: TaskPage, count: Count) -> None:
    rows = [
        (r.id, r.name, r.queue, r.state, r.attempt, seconds_of(r.completed_at or r.created_at), failure_line(r))
        for r in page.records
    ]
    print_table(("id", "task", "queue", "state", "attempt", "ended or enqueued", "failure"), rows)
    for note in page.notes:
        click.echo(f"taskq: {note}", err=True)
    if page.next_cursor is not None:
        looked_at = f"looked at {page.looked_at:,}"
        click.echo(f"taskq: {looked_at} of {count}; go on with --cursor {page.next_cursor}", err=True)
    elif not page.records:
        click.echo("taskq: no task is meant", err=True)


@tasks.command()
@app_option(required=False)
@backend_option
@click.argument("id")
@click.option("--json", "as_json", is_flag=True)
@says_errors()
def explain(app_path: str | None, url: str | None, id: str, as_json: bool) -> None:
    """Say why the task ID does not run: each thing that could hold it back, and what was found."""
    app = store_app(app_path, url)

    async def look() -> Explanation:
        async with opened_app(app):
            return await management(app).tasks.explain(id)

    found = run(look())
    if as_json:
        checks = [{**check._asdict(), "until": _text(check.until), "ids": list(check.ids)} for check in found.checks]
        head = {"id": found.id, "state": found.state.value, "sentence": found.sentence}
        click.echo(json.dumps({**head, "not_before": _text(found.not_before), "checks": checks}, indent=2))
        return
    for check in found.checks:
        mark = click.style("holds", fg="yellow") if check.holds_back else click.style("ok   ", fg="green")
        click.echo(f"{check.name:9} {mark} {printable(check.text)}")


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


# ------------------------------------------------------------ acting


def _acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """What the commands take that act on tasks."""
    for option in reversed(
        [
            click.argument("ids", nargs=-1, metavar="[ID]…"),
            click.option("--query", "-q", "query", help="Those that a query means (see `taskq tasks list --help`)."),
            click.option("--limit", type=click.IntRange(1), default=10_000, show_default=True),
            click.option("--dry-run", is_flag=True, help="Say how many it would be."),
            click.option("--yes", "-y", is_flag=True, help="Do not ask."),
            click.option("--json", "as_json", is_flag=True),
        ]
    ):
        command = option(command)
    return app_option(required=False)(backend_option(command))


@tasks.command()
@_acting
@click.option("--reason", default="", help="Why, for people.")
@says_errors()
def cancel(app_path: str | None, url: str | None, reason: str, **said: Any) -> None:
    """Cancel tasks: those with an ID, or those that a query means.

    What waits ends at once; of what runs the workers are told.
    """

    async def act(asked: Management, ids: Sequence[str]) -> list[str]:
        return [_cancelled(status) for status in await asked.tasks.cancel(ids, reason)]

    _act(app_path, url, "cancel", act, **said)


def _cancelled(status: CancelStatus) -> str:
    words = {CancelStatus.CANCELLED: "cancelled", CancelStatus.REQUESTED: "asked to end"}
    return words.get(status, "had ended" if status is CancelStatus.FINAL else "unknown")


@tasks.command()
@_acting
@click.option("--to", "to_queue", metavar="QUEUE", help="The queue that they go to, instead of their own.")
@says_errors()
def retry(app_path: str | None, url: str | None, to_queue: str | None, **said: Any) -> None:
    """Start tasks anew that failed, died, expired or were cancelled: those with an ID, or those that a query means."""

    async def act(asked: Management, ids: Sequence[str]) -> list[str]:
        return [_redriven(answer) for answer in await asked.tasks.retry(ids, queue=to_queue)]

    _act(app_path, url, "start anew", act, **said)


def _redriven(answer: Redriven) -> str:
    if answer.status is RedriveStatus.HELD:
        return f"held: task {answer.holder} has its unique key"
    return "started anew" if answer.status is RedriveStatus.MOVED else "had not failed"


_DONE = frozenset({"cancelled", "asked to end", "started anew"})


def _act(
    app_path: str | None,
    url: str | None,
    verb: str,
    act: Callable[..., Any],
    *,
    ids: tuple[str, ...],
    query: str | None,
    limit: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    if bool(ids) == (query is not None):
        raise ConfigError("give IDs, or --query, not both" if ids else "which tasks? Give IDs, or --query")
    app = store_app(app_path, url)

    async def meant() -> list[str]:
        async with opened_app(app):
            return list(dict.fromkeys(ids)) or await _found(management(app), query or "", limit)

    found = run(meant())
    if dry_run:
        click.echo(json.dumps({"number": len(found)}) if as_json else f"would {verb}: {len(found):,}")
        return
    if found and not (ids or yes):
        click.confirm(f"{verb} {len(found):,} tasks?", abort=True, err=True)

    async def do() -> list[str]:
        async with opened_app(app):
            asked = management(app)
            parts = [found[at : at + STEP] for at in range(0, len(found), STEP)]
            return [answer for part in parts for answer in await act(asked, part)]

    answers = run(do())
    _tell(found, answers, as_json)
    if ids and not _DONE.issuperset(answers):
        raise SystemExit(FAILED)


async def _found(asked: Management, query: str, limit: int) -> list[str]:
    """The ids of those that a query means, before any of them is touched."""
    ids: list[str] = []
    cursor: str | None = None
    while len(ids) < limit:
        page = await asked.tasks.find(query, limit=min(STEP, limit - len(ids)), cursor=cursor)
        ids += [record.id for record in page.records]
        cursor = page.next_cursor
        if cursor is None:
            break
    return list(dict.fromkeys(ids))


def _tell(ids: Sequence[str], answers: Sequence[str], as_json: bool) -> None:
    if as_json:
        told = [{"id": id, "answer": answer} for id, answer in zip(ids, answers, strict=True)]
        click.echo(json.dumps(told, indent=2))
        return
    for answer, number in Counter(answers).most_common():
        click.echo(printable(f"{number:,} {answer}"))
    if not answers:
        click.echo("taskq: no task is meant", err=True)
