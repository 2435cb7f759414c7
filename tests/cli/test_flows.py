"""`taskq workflows` and `taskq batches`: what is listed and shown, what is cancelled and started anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from taskq import App, Workflow
from taskq.cli import flows
from taskq.domain.flow import FlowKind
from taskq.domain.outcome import Bury, Complete, Settlement
from taskq.ids import new_id
from taskq.ports import NewFlow
from tests.cli.support import taskq
from tests.unit.flows import tasks_of
from tests.unit.support import BROKEN, claim, settle

T = TypeVar("T")
GHOST = "01980000-0000-7000-8000-000000000000"
DONE, DEAD = Complete(b"1"), Bury("exhausted", BROKEN)
GROUPS = ("workflows", "batches")


@pytest.fixture(params=["kept", "redis_url", "postgres_url"])
def store(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of each kind."""
    url: str = request.getfixturevalue(request.param)
    return url


def within(url: str, act: Callable[[App], Awaitable[T]]) -> T:
    """Do something with an application on a store, between two commands."""

    async def acted() -> T:
        async with App(url) as app:
            return await act(app)

    return asyncio.run(acted())


async def work(app: App, *ends: Settlement) -> None:
    """Be a worker: end the next tasks, and note what that means for others."""
    maintenance = (await app.backend()).maintenance
    for end in ends:
        await settle(app, await claim(app), end)
        while await maintenance.relay():
            pass


def workflow(url: str, *ends: Settlement, name: str = "nightly") -> str:
    """Store a workflow of three tasks, each behind the one before, and end the first ones; returns its id."""

    async def put(app: App) -> str:
        take = tasks_of(app).take
        flow = Workflow(name, metadata={"by": "night"})
        first = flow.add(take.s(), name="extract")
        second = flow.add(take.s(first.output), name="load")
        flow.add(take.s(second.output), after=first, name="tell")
        id = (await flow.aenqueue()).id
        await work(app, *ends)
        return id

    return within(url, put)


def batch(url: str, *ends: Settlement, size: int = 3) -> str:
    """Store a batch, and end the first of its tasks; returns its id."""

    async def put(app: App) -> str:
        take = tasks_of(app).take
        async with app.batch(name="import", metadata={"file": "rows.csv"}) as made:
            await made.aenqueue_many(take, [(row,) for row in range(size)])
        await work(app, *ends)
        return made.id

    return within(url, put)


def left_open(url: str) -> str:
    """Store a batch of one task so far, whose process has died in its block; returns its id."""

    async def leave(app: App) -> str:
        made = await app.batch().__aenter__()
        await made.aenqueue_many(tasks_of(app).take, [(1,)])
        await made._send()
        return made.id

    return within(url, leave)


def told(url: str, *arguments: str) -> Any:
    """What a command tells in JSON."""
    result = taskq(*arguments, "--backend", url, "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    return json.loads(result.stdout)


def lines(url: str, *arguments: str) -> list[str]:
    """What a command prints for people."""
    result = taskq(*arguments, "--backend", url)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


def refused(url: str, *arguments: str, status: int = 1) -> str:
    """The one line that a command says which is refused."""
    result = taskq(*arguments, "--backend", url)
    assert (result.exit_code, result.stdout) == (status, ""), result.output
    [line] = result.stderr.splitlines()
    return line


def states(shown: Any) -> dict[str, int]:
    """How many tasks there are of a workflow or a batch, and how they have ended."""
    return {name: number for name, number in shown["progress"].items() if number and name != "fraction"}


# ------------------------------------------------------------ looking


def test_each_group_lists_its_own(store: str) -> None:
    nightly, rows = workflow(store), batch(store, DONE)
    [flow] = told(store, "workflows", "list")
    assert (flow["id"], flow["name"], flow["state"], flow["metadata"]) == (
        nightly,
        "nightly",
        "running",
        {"by": "night"},
    )
    [flow] = told(store, "batches", "list")
    assert (flow["id"], flow["name"], flow["ended_at"], flow["metadata"]) == (
        rows,
        "import",
        None,
        {"file": "rows.csv"},
    )
    head, line = (line.split() for line in lines(store, "batches", "list"))
    counts = ["total", "pending", "completed", "failed", "cancelled"]
    assert head == ["id", "name", "state", *counts, "created", "ended"]
    assert line[:3] == [rows, "import", "running"]


def test_an_empty_list_prints_nothing(store: str) -> None:
    for group in GROUPS:
        assert lines(store, group, "list") == []
        assert told(store, group, "list") == []


def test_a_list_looks_for_its_kind_among_the_others(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "PAGE", 2)
    ids = [workflow(kept), *(batch(kept, size=0) for _ in range(4)), workflow(kept)]
    assert [flow["id"] for flow in told(kept, "workflows", "list")] == [ids[5], ids[0]]
    assert [flow["id"] for flow in told(kept, "batches", "list", "--limit", "3")] == ids[4:1:-1]
    assert [flow["id"] for flow in told(kept, "workflows", "list", "--limit", "1", "--scan", "1")] == [ids[5]]
    assert [flow["id"] for flow in told(kept, "workflows", "list", "--scan", "6")] == [ids[5], ids[0]]
    partly = taskq("workflows", "list", "--backend", kept, "--scan", "5")
    assert (partly.exit_code, len(partly.stdout.splitlines())) == (0, 2)
    assert partly.stderr == "taskq: only the newest 5 workflows and batches were looked at; more: --scan N\n"


def test_a_workflow_is_shown_with_its_tasks(store: str) -> None:
    id = workflow(store, DONE, DEAD)
    shown = told(store, "workflows", "show", id)
    assert (shown["id"], shown["name"], shown["state"]) == (id, "nightly", "failed")
    assert (shown["metadata"], shown["cancel_reason"]) == ({"by": "night"}, None)
    assert shown["progress"] == {
        "total": 3, "pending": 0, "completed": 1, "failed": 1, "cancelled": 1, "fraction": 1.0
    }  # fmt: skip
    assert shown["created_at"] <= shown["closed_at"] <= shown["ended_at"]
    nodes = {node["name"]: node for node in shown["nodes"]}
    assert [(node["task"], node["state"], node["attempt"]) for node in nodes.values()] == [
        ("take", "completed", 1),
        ("take", "dead", 1),
        ("take", "cancelled", 0),
    ]
    assert list(nodes) == ["extract", "load", "tell"]
    assert [nodes[name]["waits_for"] for name in nodes] == [[], ["extract"], ["extract", "load"]]
    assert nodes["load"]["failure"]["type"] == "ConnectionError"
    assert told(store, "tasks", "show", nodes["load"]["id"])["state"] == "dead"


def test_a_workflow_is_shown_to_people(store: str) -> None:
    id = workflow(store, DONE, DEAD)
    text = lines(store, "workflows", "show", id)
    assert text[:5] == [
        f"id         {id}",
        "name       nightly",
        "state      failed",
        "progress   100%  3 total, 0 pending, 1 completed, 1 failed, 1 cancelled",
        'metadata   {"by": "night"}',
    ]
    assert [line.split()[0] for line in text[5:9]] == ["created", "closed", "ended", "cancelled"]
    assert text[9] == ""
    head, extract, load, tell = (line.split("  ") for line in text[10:])
    cells = [[cell.strip() for cell in line if cell] for line in (head, extract, load, tell)]
    assert cells[0] == ["name", "task", "state", "attempt", "waits for", "reason", "failure", "id"]
    assert cells[1][:-1] == ["extract", "take", "completed", "1", "-", "-", "-"]
    assert cells[2][:-1] == ["load", "take", "dead", "1", "extract", "exhausted", "ConnectionError: no route to host"]
    assert cells[3][3:-1] == ["0", "extract,load", "task load, for which it waited, ended as dead", "-"]


def test_a_batch_is_shown_with_what_has_failed(store: str) -> None:
    id = batch(store, DEAD, DONE, DEAD, size=4)
    shown = told(store, "batches", "show", id)
    assert (shown["state"], shown["metadata"]) == ("running", {"file": "rows.csv"})
    assert [(task["state"], task["failure"]["type"]) for task in shown["failed"]] == [("dead", "ConnectionError")] * 2
    assert len(told(store, "batches", "show", id, "--failed", "1")["failed"]) == 1
    text = lines(store, "batches", "show", id, "--failed", "1")
    assert text[3] == "progress   75%  4 total, 1 pending, 1 completed, 2 failed, 0 cancelled"
    head, task, more = text[10:]
    assert head.split() == ["id", "task", "state", "attempt", "ended", "reason", "failure"]
    assert task.split()[:4] == [shown["failed"][0]["id"], "take", "dead", "1"]
    assert more == "and 1 more, see --failed N"


def test_what_is_no_longer_kept_is_told_of(store: str) -> None:
    id = workflow(store, DONE, DONE, DONE)

    async def discard(app: App) -> None:
        backend = await app.backend()
        await backend.inspector.discard((await backend.flows.members(id, 1)).ids)

    within(store, discard)
    *_, load, tell, more = lines(store, "workflows", "show", id)
    assert (load.split()[0], tell.split()[0]) == ("load", "tell")
    assert more == "and 1 more, of which no record is left"
    assert all("extract" not in node["waits_for"] for node in told(store, "workflows", "show", id)["nodes"])


def test_why_a_batch_of_which_all_completed_has_failed(store: str) -> None:
    id, why = left_open(store), "whole      no: it was cancelled before all of it was there"
    assert not told(store, "batches", "show", id)["is_partial"]
    assert why not in lines(store, "batches", "show", id)
    told(store, "batches", "cancel", id, "--yes")
    assert why in lines(store, "batches", "show", id)
    told(store, "batches", "retry", id)
    within(store, lambda app: work(app, DONE))
    shown = told(store, "batches", "show", id)
    assert (shown["state"], shown["is_partial"], states(shown)) == ("failed", True, {"total": 1, "completed": 1})
    assert why in lines(store, "batches", "show", id)


def test_a_workflow_that_was_never_stored_whole(store: str) -> None:
    id = new_id(0)

    async def leave(app: App) -> None:
        await (await app.backend()).flows.create(NewFlow(id, FlowKind.WORKFLOW, "nightly", b"{}"))

    within(store, leave)
    told(store, "workflows", "cancel", id, "--yes")
    assert told(store, "workflows", "show", id)["is_partial"]
    assert "whole      no: it was cancelled before all of it was there" in lines(store, "workflows", "show", id)


def test_per_cent_are_rounded_down(kept: str) -> None:
    id = batch(kept, *[DONE] * 199, size=200)
    assert lines(kept, "batches", "show", id)[3].startswith("progress   99%  200 total, 1 pending")
    empty = batch(kept, size=0)
    assert lines(kept, "batches", "show", empty)[3].startswith("progress   100%  0 total")


def test_what_nobody_can_read_is_shown_all_the_same(store: str) -> None:
    id = new_id(0)

    async def create(app: App) -> None:
        flow = NewFlow(id, FlowKind.BATCH, "odd \x1b[2J", b"nonsense")
        await (await app.backend()).flows.create(flow)

    within(store, create)
    shown = told(store, "batches", "show", id)
    assert (shown["state"], shown["metadata"], shown["closed_at"]) == ("open", {}, None)
    assert lines(store, "batches", "show", id)[1:3] == ["name       odd \\x1b[2J", "state      open"]


# ------------------------------------------------------------ acting


@pytest.mark.parametrize("group", GROUPS)
def test_cancel_asks_first(store: str, group: str) -> None:
    id = workflow(store, DONE) if group == "workflows" else batch(store, DONE)
    what = "workflow nightly" if group == "workflows" else "batch import"
    for answer in ("n\n", ""):
        result = taskq(group, "cancel", "--backend", store, id, input=answer)
        assert (result.exit_code, f"cancel 2 tasks of the {what}? [y/N]" in result.stderr) == (1, True), result.output
    assert told(store, group, "show", id)["state"] == "running"
    result = taskq(group, "cancel", "--backend", store, id, "--reason", "not today", input="y\n")
    assert (result.exit_code, result.stdout) == (
        0,
        "cancelled  100%  3 total, 0 pending, 1 completed, 0 failed, 2 cancelled\n",
    )
    shown = told(store, group, "show", id)
    assert (shown["state"], shown["cancel_reason"]) == ("cancelled", "not today")
    assert "cancelled  not today" in lines(store, group, "show", id)


def test_cancel_of_what_runs_tells_its_workers(store: str) -> None:
    id = batch(store)
    delivery = within(store, claim)
    shown = told(store, "batches", "cancel", id, "--yes")
    assert (shown["state"], states(shown)) == ("running", {"total": 3, "pending": 1, "cancelled": 2})
    assert "cancelled  yes" in lines(store, "batches", "show", id)
    assert told(store, "tasks", "show", delivery.id)["cancel_requested"]
    assert told(store, "batches", "cancel", id, "-y")["state"] == "running"  # it may be said again


@pytest.mark.parametrize("group", GROUPS)
def test_what_has_ended_cannot_be_cancelled(store: str, group: str) -> None:
    id = workflow(store, DONE, DEAD) if group == "workflows" else batch(store, DONE, DEAD, DONE)
    said = refused(store, group, "cancel", id)
    assert (
        said == f"taskq: nothing was cancelled: the {group.removesuffix('es').removesuffix('s')} has ended, as failed"
    )


def test_retry_of_a_workflow(store: str) -> None:
    id = workflow(store, DONE, DEAD)
    assert lines(store, "workflows", "retry", id, "--only-failed") == ["1 were started anew"]
    assert states(told(store, "workflows", "show", id)) == {"total": 3, "pending": 1, "completed": 1, "cancelled": 1}
    assert told(store, "workflows", "retry", id) == {"started": 1}
    assert states(told(store, "workflows", "show", id)) == {"total": 3, "pending": 2, "completed": 1}
    assert lines(store, "workflows", "retry", id) == ["0 were started anew"]


def test_retry_of_a_batch(store: str) -> None:
    id = batch(store, DEAD, DONE)
    told(store, "batches", "cancel", id, "--yes")
    assert told(store, "batches", "retry", id, "--only-failed") == {"started": 1}
    assert lines(store, "batches", "retry", id) == ["1 were started anew"]
    shown = told(store, "batches", "show", id)
    assert (shown["state"], states(shown)) == ("running", {"total": 3, "pending": 2, "completed": 1})


def test_a_workflow_is_run_again(store: str) -> None:
    id = workflow(store, DONE, DONE, DONE)
    other = told(store, "workflows", "again", id)["id"]
    [again] = lines(store, "workflows", "again", id)
    assert len({id, other, again}) == 3
    for run, state in ((id, "completed"), (other, "running"), (again, "running")):
        shown = told(store, "workflows", "show", run)
        assert (shown["name"], shown["state"]) == ("nightly", state)
        assert [node["name"] for node in shown["nodes"]] == ["extract", "load", "tell"]


def test_a_batch_that_was_left_open_is_closed(store: str) -> None:
    id = left_open(store)
    assert told(store, "batches", "show", id)["state"] == "open"
    for _ in range(2):
        assert lines(store, "batches", "close", id) == [
            "running  0%  1 total, 1 pending, 0 completed, 0 failed, 0 cancelled"
        ]


# ------------------------------------------------------------ mistakes


@pytest.mark.parametrize("verb", [["show"], ["show", "--watch"], ["cancel", "--yes"], ["retry"]], ids=" ".join)
def test_an_id_of_something_else(store: str, verb: list[str]) -> None:
    nightly, rows = workflow(store, DEAD), batch(store, DEAD)
    task = told(store, "batches", "show", rows)["failed"][0]["id"]
    for group, id, said in (
        ("workflows", rows, f"{rows} is a batch: taskq batches show {rows}"),
        ("batches", nightly, f"{nightly} is a workflow: taskq workflows show {nightly}"),
        ("batches", task, f"{task} is a task: taskq tasks show {task}"),
        ("batches", GHOST, f"no record of workflow or batch {GHOST}: it never existed, or its retention is over"),
    ):
        assert refused(store, group, *verb, id) == f"taskq: {said}"
    assert "the id of a workflow must be a UUID in text form" in refused(store, "workflows", *verb, "nope", status=2)
    for group, id in (("workflows", nightly), ("batches", rows)):
        assert told(store, group, "show", id)["cancel_reason"] is None
        assert states(told(store, group, "show", id))["failed"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["workflows", "list", "--limit", "0"], "--limit"),
        (["batches", "list", "--scan", "0"], "--scan"),
        (["batches", "show", GHOST, "--failed", "0"], "--failed"),
        (["workflows", "show", GHOST, "--failed", "1"], "--failed"),
        (["workflows", "show"], "'ID'"),
    ],
)
def test_wrong_usage(kept: str, arguments: list[str], said: str) -> None:
    result = taskq(*arguments, "--backend", kept)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("group", GROUPS)
def test_memory_is_gone_when_a_command_ends(group: str) -> None:
    assert "is gone when this command ends" in refused("memory://", group, "list", status=2)
