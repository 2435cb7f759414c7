"""`taskq tasks list`, `cancel` and `retry`: tasks that a query means, and those that are named."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import click

from taskq.app import App
from taskq.cli.commands import FAILED, app_option, backend_option, opened_app, run, says_errors, store_app, within
from taskq.cli.completing import query_terms, to_queue_option
from taskq.cli.following import Face, Watched, present, watch_option
from taskq.cli.jobs import plain_job
from taskq.cli.manage import management
from taskq.cli.showing import show as print_view
from taskq.cli.table import Table
from taskq.cli.tasks import failure_line, tasks
from taskq.domain.record import TaskRecord
from taskq.errors import ConfigError
from taskq.management import Count, Management, TaskPage
from taskq.management.explain import Explanation
from taskq.management.jobs import Action, Job, Plan
from taskq.ports import CancelStatus, Redriven, RedriveStatus
from taskq.telemetry.logs import printable


def _queried(command: Callable[..., Any]) -> Callable[..., Any]:
    """The query of a command: its words, as the shell has parted them."""
    words = click.argument("words", nargs=-1, metavar="[QUERY]…", shell_complete=query_terms)
    return app_option(required=False)(backend_option(words(command)))


def _query(words: Sequence[str]) -> str:
    """The words as one query; one that the shell has kept together is put in quotes again."""
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    if '"' in word or " " not in word:
        return word
    field, colon, value = word.partition(":")
    return f'{field}:"{value}"' if colon and " " not in field else f'"{word}"'


@tasks.command("list", cls=Watched, context_settings={"ignore_unknown_options": True})  # -state:dead is a term
@_queried
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--cursor", help="Where to go on, of an earlier page.")
@click.option("--count", "is_counted", is_flag=True, help="Say only how many there are.")
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@says_errors()
def list_tasks(
    app_path: str | None,
    url: str | None,
    words: tuple[str, ...],
    limit: int,
    cursor: str | None,
    is_counted: bool,
    as_json: bool,
    every: float | None,
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

    async def look() -> _Found:
        desk = management(app).tasks
        page = None if is_counted else await desk.find(query, limit=limit, cursor=cursor)
        return _Found(await desk.count(query), page)

    present(app, look, Face(_plain, _view, notes=_notes), as_json, every)


class _Found(NamedTuple):
    """The tasks that a query means."""

    number: Count
    page: TaskPage | None
    """None: only their number was asked for."""


def _plain(found: _Found) -> dict[str, Any]:
    count, page = found
    if page is None:
        return count._asdict()
    return {
        "tasks": [_brief(record) for record in page.records],
        "looked_at": page.looked_at,
        "next_cursor": page.next_cursor,
        "notes": list(page.notes),
        "total": count._asdict(),
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


def _view(found: _Found) -> list[str | Table]:
    return [str(found.number)] if found.page is None else [_table(found.page.records)]


def _notes(found: _Found) -> Sequence[str]:
    count, page = found
    if page is None:
        return ()
    if page.next_cursor is not None:
        return (*page.notes, f"looked at {page.looked_at:,} of {count}; go on with --cursor {page.next_cursor}")
    return page.notes if page.records else (*page.notes, "no task is meant")


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


def _table(records: Sequence[TaskRecord]) -> Table:
    rows = [
        (r.id, r.name, r.queue, r.state, r.attempt, r.completed_at or r.created_at, failure_line(r)) for r in records
    ]
    head = ("id", "task", "queue", "state", "attempt", "ended or enqueued", "failure")
    return Table(head, rows, spare=("attempt", "queue", "failure"))


# ------------------------------------------------------------ acting


def _acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """What the commands take that act on tasks."""
    for option in reversed(
        [
            click.argument("ids", nargs=-1, metavar="[ID]…"),
            click.option("--query", "-q", help="Those that a query means (see `taskq tasks list --help`)."),
            click.option("--limit", type=click.IntRange(1), help="The most to act on, of a query."),
            click.option("--rate", type=float, metavar="N", help="Tasks a second at the most, of a query."),
            click.option("--detach", is_flag=True, help="Make the job for a query, and leave it to `taskq jobs run`."),
            click.option("--dry-run", is_flag=True, help="Say how many it would be, and show some of them."),
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

    _act(app_path, url, Action.CANCEL, act, {"reason": reason}, **said)


def _cancelled(status: CancelStatus) -> str:
    words = {CancelStatus.CANCELLED: "cancelled", CancelStatus.REQUESTED: "asked to end"}
    return words.get(status, "had ended" if status is CancelStatus.FINAL else "unknown")


@tasks.command()
@_acting
@to_queue_option
@says_errors()
def retry(app_path: str | None, url: str | None, to_queue: str | None, **said: Any) -> None:
    """Start tasks anew that failed, died, expired or were cancelled: those with an ID, or those that a query means."""

    async def act(asked: Management, ids: Sequence[str]) -> list[str]:
        return [_redriven(answer) for answer in await asked.tasks.retry(ids, queue=to_queue)]

    _act(app_path, url, Action.RETRY, act, {"queue": to_queue}, **said)


def _redriven(answer: Redriven) -> str:
    if answer.status is RedriveStatus.HELD:
        return f"held: task {answer.holder} has its unique key"
    return "started anew" if answer.status is RedriveStatus.MOVED else "had not failed"


_DONE = frozenset({"cancelled", "asked to end", "started anew"})
_VERBS = {Action.CANCEL: "cancel", Action.RETRY: "start anew"}


def _act(
    app_path: str | None,
    url: str | None,
    action: Action,
    act: Callable[[Management, Sequence[str]], Awaitable[list[str]]],
    more: Mapping[str, Any],
    *,
    ids: tuple[str, ...],
    query: str | None,
    **said: Any,
) -> None:
    if bool(ids) == (query is not None):
        raise ConfigError("give IDs, or --query, not both" if ids else "which tasks? Give IDs, or --query")
    app = store_app(app_path, url)
    if query is not None:
        _act_on_query(app, action, query, more, **said)
        return
    once = list(dict.fromkeys(ids))
    if said["dry_run"]:
        number = len(once)
        click.echo(json.dumps({"number": number}) if said["as_json"] else f"would {_VERBS[action]}: {number:,}")
        return
    answers: list[str] = run(within(app, lambda: act(management(app), once)))
    if said["as_json"]:
        told = [{"id": id, "answer": answer} for id, answer in zip(once, answers, strict=True)]
        click.echo(json.dumps(told, indent=2))
    else:
        _count_up(Counter(answers))
    if not _DONE.issuperset(answers):
        raise SystemExit(FAILED)


def _act_on_query(
    app: App,
    action: Action,
    query: str,
    more: Mapping[str, Any],
    *,
    limit: int | None,
    rate: float | None,
    detach: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make a job for what a query means, once it is agreed to, and do it."""
    plan: Plan = run(within(app, lambda: management(app).jobs.plan(action, query, limit=limit)))
    counted, verb = plan.counted, _VERBS[action]
    if dry_run:
        if as_json:
            sample = [_brief(record) for record in plan.sample]
            click.echo(json.dumps({"number": counted.number, "is_exact": counted.is_exact, "sample": sample}, indent=2))
        else:
            print_view([_table(plan.sample)])
            click.echo(f"would {verb}: {counted}")
        return
    if counted.number and not yes:
        click.confirm(f"{verb} {counted} tasks?", abort=True, err=True)

    async def do() -> Job:
        jobs = management(app).jobs
        job = await jobs.start(action, query, confirmed=counted.number, limit=limit, rate=rate, **more)
        return job if detach else await jobs.run(job.id, _say if sys.stderr.isatty() else None)

    job: Job = run(within(app, do))
    if as_json:
        click.echo(json.dumps(plain_job(job), indent=2))
    elif detach:
        click.echo(f"job {job.id}: taskq jobs run {job.id}")
    else:
        _count_up(job.answers)


def _say(job: Job) -> None:
    """How far a job is, over what was said of it before."""
    end = "\n" if job.ended_at is not None else "\r"
    click.echo(f"{job.done:,} of {job.counted:,}{end}", err=True, nl=False)


def _count_up(answers: Mapping[str, int]) -> None:
    for answer, number in sorted(answers.items(), key=lambda each: -each[1]):
        click.echo(printable(f"{number:,} {answer}"))
    if not answers:
        click.echo("taskq: no task is meant", err=True)
