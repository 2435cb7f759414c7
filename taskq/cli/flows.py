"""`taskq workflows …` and `taskq batches …`: which there are, and how far they are."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import click
import msgspec

from taskq.app import App
from taskq.cli.commands import app_option, backend_option, run, says_errors, store_app, within
from taskq.cli.following import Face, Watched, follow, present, show_once, watch_option
from taskq.cli.table import Table, View
from taskq.cli.tasks import failure_line
from taskq.cli.values import few, seconds_of
from taskq.dead_letters import SCAN
from taskq.domain.flow import FlowKind, FlowRecord
from taskq.domain.record import TaskRecord
from taskq.errors import TaskNotFound
from taskq.flows.run import WorkflowRun
from taskq.flows.view import FlowProgress, FlowView
from taskq.following import LOOK_EVERY

Command = Callable[..., Any]
PAGE = 100
"""Workflows and batches that are asked for in one call."""
REST = 4.0
"""How often as long as it took is waited before one is looked at again: that of 10,000 tasks takes seconds."""
_GROUPS = {FlowKind.WORKFLOW: "workflows", FlowKind.BATCH: "batches"}
_COUNTS = ("total", "pending", "completed", "failed", "cancelled")
_COLUMNS = {
    FlowKind.WORKFLOW: ("name", "task", "state", "attempt", "waits for", "reason", "failure", "id"),
    FlowKind.BATCH: ("id", "task", "state", "attempt", "ended", "reason", "failure"),
}


class _Seen(NamedTuple):
    """A workflow or a batch as it is shown."""

    flow: FlowRecord
    tasks: Sequence[tuple[str, TaskRecord]]
    """With their names: all of a workflow; of a batch some of those that have ended otherwise than COMPLETED."""


@click.group(context_settings={"obj": FlowKind.WORKFLOW})
def workflows() -> None:
    """Look at workflows, end them, start anew what has failed."""


@click.group(context_settings={"obj": FlowKind.BATCH})
def batches() -> None:
    """Look at batches, end them, start anew what has failed."""


def in_both(command: click.Command) -> click.Command:
    """Have a command in both groups; its first argument is the kind."""
    for group in (workflows, batches):
        group.add_command(command)
    return command


def of_one(command: Command) -> Command:
    """The arguments of a command on one workflow or batch."""
    return app_option(required=False)(backend_option(click.argument("id")(command)))


async def known(app: App, kind: FlowKind, id: str) -> FlowRecord:
    """The record of a workflow or a batch.

    Raises:
        InvalidOption: that is no id.
        TaskNotFound: there is none, or it is something else.
    """
    flows = view(app, kind, id)
    backend = await app.backend()
    flow = await backend.flows.get(id)
    if flow is None and await backend.inspector.get(id) is not None:
        raise TaskNotFound(f"{id} is a task: taskq tasks show {id}")
    if flow is not None and flow.kind is not kind:
        raise TaskNotFound(f"{id} is a {flow.kind}: taskq {_GROUPS[flow.kind]} show {id}")
    return flow or await flows.ainfo()  # which says what is wrong


def view(app: App, kind: FlowKind, id: str) -> FlowView:
    return app.find_workflow(id) if kind is FlowKind.WORKFLOW else app.find_batch(id)


# ------------------------------------------------------------ looking


@in_both
@click.command("list", cls=Watched)
@app_option(required=False)
@backend_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--scan", type=click.IntRange(1), default=SCAN, show_default=True,
              help="The most to look at, workflows and batches together.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True)
@watch_option()
@click.pass_obj
@says_errors()
def list_flows(
    kind: FlowKind,
    app_path: str | None,
    url: str | None,
    limit: int,
    scan: int,
    as_json: bool,
    every: float | None,
) -> None:
    """List them, the newest first."""
    app = store_app(app_path, url)

    def notes(found: _Newest) -> Sequence[str]:
        partly = f"only the newest {scan:,} workflows and batches were looked at; more: --scan N"
        return () if found.is_complete else (partly,)

    face = Face(_plain_flows, lambda found: [_table(found)], notes=notes, has_silent_json=True)
    present(app, lambda: _newest(app, kind, limit, scan), face, as_json, every)


class _Newest(NamedTuple):
    """The newest of a kind."""

    flows: Sequence[FlowRecord]
    is_complete: bool
    """Whether they are as many as were asked for, or all that there are."""


def _plain_flows(found: _Newest) -> list[dict[str, Any]]:
    return [plain_flow(flow) for flow in found.flows]


def _table(found: _Newest) -> Table:
    rows = [
        (flow.id, flow.name, flow.state, *_counts(flow).values(), flow.created_at, flow.ended_at)
        for flow in found.flows
    ]
    head = ("id", "name", "state", *_COUNTS, "created", "ended")
    return Table(head, rows, spare=("ended", "cancelled", "created", "completed", "total"))


def _counts(flow: FlowRecord) -> dict[str, int]:
    progress = FlowProgress.of(flow.tally)
    return {name: getattr(progress, name) for name in _COUNTS}


async def _newest(app: App, kind: FlowKind, limit: int, scan: int) -> _Newest:
    flows = (await app.backend()).flows
    found: list[FlowRecord] = []
    cursor, looked_at = None, 0
    while len(found) < limit:
        if looked_at >= scan:
            return _Newest(found, False)
        page = await flows.list(min(PAGE, scan - looked_at), cursor)
        found += [flow for flow in page.records if flow.kind is kind]
        cursor, looked_at = page.next_cursor, looked_at + len(page.records)
        if cursor is None:
            break
    return _Newest(found[:limit], True)


def _shows(command: Command) -> Command:
    """How one is shown."""
    watch = watch_option(
        "Go on until it has ended; it is looked at every DURATION, 1 s unless told otherwise.", LOOK_EVERY
    )
    plain = click.option("--json", "as_json", is_flag=True, help="With --watch, a line for each change.")
    return plain(watch(says_errors()(command)))


@workflows.command("show", cls=Watched)
@of_one
@_shows
def show_workflow(app_path: str | None, url: str | None, id: str, as_json: bool, every: float | None) -> None:
    """Show how far the workflow ID is, and each of its tasks."""
    _show(store_app(app_path, url), FlowKind.WORKFLOW, id, as_json, every)


@batches.command("show", cls=Watched)
@of_one
@click.option("--failed", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N",
              help="Tasks that have ended otherwise than completed to show at most.")  # fmt: skip
@_shows
def show_batch(app_path: str | None, url: str | None, id: str, failed: int, as_json: bool, every: float | None) -> None:
    """Show how far the batch ID is, and the tasks of it that have failed or were cancelled."""
    _show(store_app(app_path, url), FlowKind.BATCH, id, as_json, every, failed)


def _show(app: App, kind: FlowKind, id: str, as_json: bool, every: float | None, failed: int = 0) -> None:
    if every is not None:
        follow(app, _changes(app, kind, id, failed, every), _FACE, as_json)
    else:
        show_once(run(within(app, lambda: _look(app, kind, id, failed))), _FACE, as_json)


async def _changes(app: App, kind: FlowKind, id: str, failed: int, every: float) -> AsyncGenerator[_Seen]:
    """How it is, again and again until it has ended."""
    while True:
        began = time.monotonic()
        seen = await _look(app, kind, id, failed)
        pause = max(every, REST * (time.monotonic() - began))
        yield seen
        if seen.flow.ended_at is not None:
            return
        await asyncio.sleep(pause)


async def _look(app: App, kind: FlowKind, id: str, failed: int) -> _Seen:
    flow = await known(app, kind, id)  # before its tasks: once it has ended they are as they stay
    found = view(app, kind, id)
    if isinstance(found, WorkflowRun):
        return _Seen(flow, [(node.name, node.record) for node in await found.anodes()])
    return _Seen(flow, [(record.name, record) for record in await found.afailed(failed)])


# ------------------------------------------------------------ printing


def plain_flow(flow: FlowRecord) -> dict[str, Any]:
    """A record as JSON data."""
    told: dict[str, Any] = msgspec.to_builtins(
        {
            "id": flow.id,
            "name": flow.name,
            "state": flow.state,
            "progress": {**_counts(flow), "fraction": FlowProgress.of(flow.tally).fraction},
            "metadata": flow.metadata,
            "created_at": flow.created_at,
            "closed_at": flow.closed_at,
            "ended_at": flow.ended_at,
            "cancel_reason": flow.cancel_reason,
            "is_partial": flow.is_partial,
        }
    )
    return told


def _plain(seen: _Seen) -> dict[str, Any]:
    """All that is shown, as JSON data."""
    parents = _parents(seen)
    tasks = [
        {
            "id": record.id,
            "name": name,
            "task": record.name,
            "state": record.state,
            "attempt": record.attempt,
            "waits_for": list(parents[record.id].values()),
            "ended_at": record.completed_at,
            "reason": record.reason,
            "failure": record.failure,
        }
        for name, record in seen.tasks
    ]
    key = "nodes" if seen.flow.kind is FlowKind.WORKFLOW else "failed"
    return {**plain_flow(seen.flow), key: msgspec.to_builtins(tasks)}


def _view(seen: _Seen) -> View:
    """All that is shown, for people."""
    flow = seen.flow
    fields = {
        "id": flow.id,
        "name": flow.name,
        "state": flow.state,
        "progress": _progress(flow),
        "metadata": json.dumps(flow.metadata),
        "created": seconds_of(flow.created_at),
        "closed": seconds_of(flow.closed_at),
        "ended": seconds_of(flow.ended_at),
        "cancelled": "-" if flow.cancel_reason is None else flow.cancel_reason or "yes",
    }
    if flow.is_partial:
        fields["whole"] = "no: it was cancelled before all of it was there"
    tasks = Table(_COLUMNS[flow.kind], _rows(seen), spare=("reason", "attempt", "waits for", "ended"))
    lines = [f"{name:10} {value}" for name, value in fields.items()]
    return [*lines, *((("", tasks)) if tasks.rows else ()), *_missing(seen)]


def _rows(seen: _Seen) -> list[list[object]]:
    """What a table says of each task."""
    parents = _parents(seen)
    cells = [
        {
            "id": record.id,
            "name": name,
            "task": record.name,
            "state": record.state,
            "attempt": record.attempt,
            "waits for": few(list(parents[record.id].values())) or None,
            "ended": record.completed_at,
            "reason": _with_names(record.reason, parents[record.id]) or None,
            "failure": failure_line(record),
        }
        for name, record in seen.tasks
    ]
    return [[row[column] for column in _COLUMNS[seen.flow.kind]] for row in cells]


def _parents(seen: _Seen) -> dict[str, dict[str, str]]:
    """By the id of each task the names of those for which it was to wait, by theirs; of a stranger its id."""
    names = {record.id: name for name, record in seen.tasks}
    places = {id: place for place, id in enumerate(names)}

    def parents(record: TaskRecord) -> dict[str, str]:
        ids = {edge.parent for edge in record.parents} - {seen.flow.id}
        return {id: names.get(id, id) for id in sorted(ids, key=lambda id: (places.get(id, len(places)), id))}

    return {record.id: parents(record) for _, record in seen.tasks}


def _with_names(reason: str, parents: Mapping[str, str]) -> str:
    """Why a task has ended, which names the parent that it is because of by its id."""
    for id, name in parents.items():
        reason = reason.replace(id, name)
    return reason


def _missing(seen: _Seen) -> list[str]:
    """What is to be said of the tasks that are not shown."""
    tally = seen.flow.tally
    if seen.flow.kind is FlowKind.WORKFLOW:
        number, how = tally.total - len(seen.tasks), "of which no record is left"
    else:
        number, how = tally.failed + tally.cancelled - len(seen.tasks), "see --failed N"
    return [f"and {number:,} more, {how}"] if number > 0 else []


def _line(seen: _Seen) -> str:
    return summary(seen.flow)


_FACE = Face(_plain, _view, _line)


def summary(flow: FlowRecord) -> str:
    """Where it is and how far."""
    return f"{flow.state}  {_progress(flow)}"


def _progress(flow: FlowRecord) -> str:
    """How far it is; 100 % only of what is through."""
    total, pending = flow.tally.total, flow.tally.pending
    per_cent = 100 * (total - pending) // total if total else 100
    return f"{per_cent}%  " + ", ".join(f"{number:,} {name}" for name, number in _counts(flow).items())
