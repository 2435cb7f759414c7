"""`taskq tasks list`, `cancel`, `retry`; `taskq audit`; `taskq workers`: what they print, ask and refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskq import App
from taskq.testing.conformance.fleet import worker_info
from tests.cli.support import taskq
from tests.unit.support import buried


def act(kept: str, *arguments: str, input: str | None = None, status: int = 0) -> str:
    """Run a command; what it prints."""
    result = taskq(*arguments, "--backend", kept, input=input)
    assert result.exit_code == status, result.output
    return result.output


def told(kept: str, *arguments: str) -> Any:
    """What a command tells in JSON."""
    result = taskq(*arguments, "--backend", kept, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def inside(kept: str, do: Callable[[App], Awaitable[Any]]) -> Any:
    """Do something to the store."""

    async def open() -> Any:
        async with App(kept) as app:
            return await do(app)

    return asyncio.run(open())


@pytest.fixture
def ids(kept: str) -> list[str]:
    """A dead letter, and two tasks that wait."""

    async def put(app: App) -> list[str]:
        dead = await buried(app, queue="mail")
        waits = [(await app.aenqueue("draw", {}, tags=[tag, "a b"], tenant="acme")).id for tag in ("x", "y")]
        return [dead, *waits]

    return list(inside(kept, put))


def test_a_list(kept: str, ids: list[str]) -> None:
    head, *rows = act(kept, "tasks", "list").splitlines()
    assert head.split() == ["id", "task", "queue", "state", "attempt", "ended", "or", "enqueued", "failure"]
    assert {row.split()[0] for row in rows} == set(ids)
    assert "ConnectionError: no route to host" in rows[-1]


def test_a_list_in_json(kept: str, ids: list[str]) -> None:
    found = told(kept, "tasks", "list", "state:dead")
    assert found["total"] == {"number": 1, "is_exact": True}
    [task] = found["tasks"]
    assert (task["id"], task["state"], task["queue"]) == (ids[0], "dead", "mail")
    assert task["failure"] == {"type": "ConnectionError", "message": "no route to host"}
    assert "payload" not in task


def test_pages(kept: str, ids: list[str]) -> None:
    page = told(kept, "tasks", "list", "--limit", "2")
    rest = told(kept, "tasks", "list", "--limit", "2", "--cursor", page["next_cursor"])
    assert [task["id"] for task in page["tasks"] + rest["tasks"]] == [ids[2], ids[1], ids[0]]
    assert rest["next_cursor"] is None
    assert "looked at 2 of 3; go on with --cursor" in act(kept, "tasks", "list", "--limit", "2")


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (("tag:a b",), 2),
        (("tag:x", "tenant:acme"), 1),
        (('tag:"a b" tag:x',), 1),
        (("-tag:x",), 2),
        (("-state:dead", "-tag:x"), 1),
        (("no route",), 1),
        (("state:completed",), 0),
    ],
)
def test_words_of_the_shell_are_one_query(kept: str, ids: list[str], words: tuple[str, ...], number: int) -> None:
    result = taskq("tasks", "list", "--backend", kept, "--count", *words)
    assert result.output.strip() == str(number)
    assert len(ids) == 3


def test_nothing_that_is_meant_is_said(kept: str) -> None:
    assert act(kept, "tasks", "list", "state:dead") == "taskq: no task is meant\n"
    assert act(kept, "tasks", "retry", "--query", "state:dead") == "taskq: no task is meant\n"


def test_a_query_that_cannot_be_read_is_a_wrong_usage(kept: str) -> None:
    assert "did you mean state?" in act(kept, "tasks", "list", "stat:dead", status=2)


def test_tasks_are_cancelled_by_id(kept: str, ids: list[str]) -> None:
    dead, *waits = ids
    assert act(kept, "tasks", "cancel", *waits, waits[0], "--reason", "enough") == "2 cancelled\n"
    assert told(kept, "tasks", "show", waits[0])["reason"] == "enough"
    assert act(kept, "tasks", "cancel", dead, status=1) == "1 had ended\n"


def test_tasks_are_cancelled_by_a_query_once_it_is_agreed(kept: str, ids: list[str]) -> None:
    query = ("--query", "tenant:acme")
    out = act(kept, "tasks", "cancel", *query, "--dry-run")
    assert out.splitlines()[-1] == "would cancel: 2"
    assert {line.split()[0] for line in out.splitlines()[1:-1]} == set(ids[1:])
    plan = told(kept, "tasks", "cancel", *query, "--dry-run")
    assert (plan["number"], plan["is_exact"], len(plan["sample"])) == (2, True, 2)
    assert "cancel 2 tasks?" in act(kept, "tasks", "cancel", *query, input="n\n", status=1)
    assert told(kept, "tasks", "list", "state:pending", "--count")["number"] == 2
    job = told(kept, "tasks", "cancel", *query, "--yes")
    assert (job["state"], job["done"], job["answers"]) == ("done", 2, {"cancelled": 2})


def test_tasks_are_started_anew(kept: str, ids: list[str]) -> None:
    out = act(kept, "tasks", "retry", "-q", "error:ConnectionError", "--to", "again", input="y\n")
    assert out.endswith("1 started anew\n")
    shown = told(kept, "tasks", "show", ids[0])
    assert (shown["state"], shown["queue"]) == ("pending", "again")
    assert act(kept, "tasks", "retry", ids[0], status=1) == "1 had not failed\n"
    assert act(kept, "tasks", "retry", ids[0], "--dry-run") == "would start anew: 1\n"
    assert told(kept, "tasks", "retry", ids[0], "--dry-run") == {"number": 1}


def test_a_limit_is_kept(kept: str, ids: list[str]) -> None:
    assert act(kept, "tasks", "cancel", "-q", "tenant:acme", "--limit", "1", "--yes") == "1 cancelled\n"
    assert len(ids) == 3


def test_a_job_may_be_left_to_another(kept: str, ids: list[str]) -> None:
    out = act(kept, "tasks", "cancel", "-q", "tenant:acme", "--rate", "5", "--yes", "--detach")
    id = out.split()[-1]
    assert out == f"job {id}: taskq jobs run {id}\n"
    assert told(kept, "tasks", "list", "state:pending", "--count")["number"] == 2
    assert act(kept, "jobs", "show", id) == "cancel tenant:acme: running, nothing yet, of 2\n"
    head, row = act(kept, "jobs", "list").splitlines()
    assert head.split() == ["id", "action", "state", "done", "actor", "made", "query"]
    assert row.split()[:6] == [id, "cancel", "running", "0", "of", "2"]
    assert act(kept, "jobs", "run", id) == "cancel tenant:acme: done, 2 cancelled, of 2\n"
    assert told(kept, "jobs", "show", id)["answers"] == {"cancelled": 2}
    assert [job["id"] for job in told(kept, "jobs", "list")] == [id]
    assert "there is no job 5b" in act(kept, "jobs", "show", "5b", status=1)
    assert len(ids) == 3


def test_a_job_is_cancelled(kept: str, ids: list[str]) -> None:
    out = act(kept, "tasks", "cancel", "-q", "tenant:acme", "--yes", "--detach")
    id = out.split()[-1]
    assert act(kept, "jobs", "cancel", id) == "cancel tenant:acme: running, told to end, nothing yet, of 2\n"
    assert told(kept, "jobs", "run", id)["state"] == "cancelled"
    assert told(kept, "tasks", "list", "state:pending", "--count")["number"] == 2
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "which tasks? Give IDs, or --query"), (("5b", "--query", ""), "give IDs, or --query, not both")],
)
def test_what_is_to_be_cancelled_must_be_said(kept: str, arguments: tuple[str, ...], said: str) -> None:
    assert said in act(kept, "tasks", "cancel", *arguments, status=2)


def test_why_a_task_does_not_run(kept: str, ids: list[str]) -> None:
    act(kept, "queues", "pause", "default", "--reason", "a long night")
    lines = act(kept, "tasks", "explain", ids[1]).splitlines()
    assert [line.split()[:2] for line in lines] == [["paused", "holds"], ["workers", "holds"], ["place", "ok"]]
    assert lines[0].endswith("the queue default is paused: a long night")
    found = told(kept, "tasks", "explain", ids[1])
    assert (found["state"], found["sentence"]) == ("pending", "the queue default is paused: a long night")
    assert [check["name"] for check in found["checks"]] == ["paused", "workers", "place"]
    assert "no record of task" in act(kept, "tasks", "explain", "5b", status=1)


def test_what_was_done_is_in_the_audit_trail(kept: str, ids: list[str]) -> None:
    act(kept, "tasks", "cancel", ids[1])
    act(kept, "queues", "pause", "mail", "--reason", "the relay is away")
    newest, first = told(kept, "audit", "list")
    assert (newest["action"], newest["on"]) == ("queue.pause", {"queue": "mail"})
    assert (first["number"], first["action"], first["on"]) == (1, "tasks.cancel", {"ids": [ids[1]]})
    assert "@" in first["actor"]
    assert told(kept, "audit", "list", "--limit", "1", "--before", "2") == [first]
    lines = act(kept, "audit", "list").splitlines()
    assert lines[0].split() == ["number", "at", "actor", "action", "on", "after"]
    assert lines[1].split()[3] == "queue.pause"
    exported = [json.loads(line) for line in act(kept, "audit", "export").splitlines()]
    assert exported == [first, newest]


def test_a_whole_trail_is_verified(kept: str, ids: list[str]) -> None:
    act(kept, "tasks", "cancel", ids[1])
    head = act(kept, "audit", "head").strip()
    assert head.startswith("1:")
    assert told(kept, "audit", "head") == {"number": 1, "digest": head.partition(":")[2]}
    said, reach = act(kept, "audit", "verify", "--known", head).splitlines()
    assert said == f"1 entries, the newest {head}"
    assert reach.startswith("taskq: the trail reaches back to 20")
    assert reach.endswith(": 1 entries, from 1 on")
    assert told(kept, "audit", "verify")["faults"] == []


def test_a_trail_that_was_changed_fails(kept: str, ids: list[str]) -> None:
    for id in ids[1:]:
        act(kept, "tasks", "cancel", id)

    async def cut(app: App) -> None:
        backend = await app.backend()
        await backend.journal.trim("audit", 1)

    inside(kept, cut)
    out = act(kept, "audit", "verify", status=1)
    assert "fault the entries before 2 are missing, and were not trimmed: they were cut off" in out
    assert "is no head, such as 17:" in act(kept, "audit", "verify", "--known", "x", status=2)


def test_old_entries_are_trimmed(kept: str, ids: list[str]) -> None:
    act(kept, "tasks", "cancel", ids[1])
    assert "forget" in act(kept, "audit", "trim", "--older-than", "0s", input="n\n", status=1)
    assert act(kept, "audit", "trim", "--older-than", "1h", "--yes") == "0 were forgotten\n"
    assert act(kept, "audit", "trim", "--older-than", "0s", "--yes") == "1 were forgotten\n"
    [entry] = told(kept, "audit", "list")
    assert (entry["number"], entry["action"]) == (2, "audit.trim")


def test_workers_are_listed_and_told(redis_url: str) -> None:
    assert "no worker lives: start one with" in act(redis_url, "workers", "list")
    info = worker_info(id="w1", name="mailer")

    async def report(app: App) -> list[str]:
        return [order.written() for order in await (await app.backend()).registry.report(info, 900.0)]

    inside(redis_url, report)
    head, row = act(redis_url, "workers", "list").splitlines()
    assert head.split()[:5] == ["name", "id", "state", "running", "slots"]
    assert row.split()[:5] == ["mailer", "w1", "busy", "3", "8"]
    assert "memory 512 MiB of 400 MiB; cannot end 2" in row
    [worker] = told(redis_url, "workers", "list")
    assert (worker["id"], worker["queues"]) == ("w1", ["default", "mail"])
    said = "1 worker will heed it with the next heartbeat: w1\n"
    assert act(redis_url, "workers", "pause", "mailer") == said
    assert told(redis_url, "workers", "resume", "w1") == {"told": ["w1"]}
    assert "stop w1?" in act(redis_url, "workers", "shutdown", "w1", input="n\n", status=1)
    assert act(redis_url, "workers", "shutdown", "w1", "--yes") == said
    assert inside(redis_url, report) == ["pause", "resume", "shutdown"]
    assert "no worker w2 lives" in act(redis_url, "workers", "pause", "w2", status=1)
