"""`taskq alerts` and `taskq autoscale`, and the beat that looks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from taskq import App
from taskq.alert_rules import AlertOptions, bounds_of
from taskq.management.alert_telling import AlertTeller
from taskq.management.alert_watch import AlertWatch
from tests.cli.support import Shell, taskq
from tests.servers import wait_until

Here = tuple[str, ...]


@pytest.fixture
def here(shared_url: str) -> Here:
    """The arguments that name the application and its store."""
    return ("-A", "tasks:app", "--backend", shared_url)


def look(url: str, queue: str) -> None:
    """Have somebody look at a store in which nobody serves a queue."""
    options = AlertOptions(rules={"no_worker": bounds_of("no_worker", hold_for=0.0, clear_after=0.0)})

    async def once() -> None:
        async with App(url) as app:
            await app.aenqueue("mail.send", {}, queue=queue)
            watch = AlertWatch(app, options, AlertTeller(app, options), "h")
            await watch.tick()
            await watch.farewell()

    asyncio.run(once())


def said(*arguments: str) -> Any:
    """What a command prints as JSON."""
    result = taskq(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_alerts_are_listed_and_acknowledged(kept: str) -> None:
    result = taskq("alerts", "list", "--backend", kept)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.strip().endswith("taskq: no alert")
    look(kept, "mail")
    [alert] = said("alerts", "list", "--backend", kept)
    assert (alert["rule"], alert["subject"], alert["cleared_at"]) == ("no_worker", "mail", None)
    table = taskq("alerts", "list", "--backend", kept).stdout
    assert "1 tasks are ready in mail, which no live worker serves" in table
    result = taskq("alerts", "ack", "--backend", kept, alert["id"][:13], "--note", "I look")
    assert result.exit_code == 0
    assert result.stdout.startswith("no_worker mail: ")
    assert result.stdout.strip().endswith("sees to it: I look")
    [alert] = said("alerts", "list", "--backend", kept)
    assert alert["note"] == "I look"
    assert said("alerts", "history", "--backend", kept) == []


def test_what_is_not_there_cannot_be_acknowledged(kept: str) -> None:
    result = taskq("alerts", "ack", "--backend", kept, "nothing")
    assert result.exit_code == 1
    assert result.stderr.strip() == "taskq: no alert 'nothing' goes on; `taskq alerts list` shows those that do"


def test_the_rules_are_listed(kept: str) -> None:
    rules = said("alerts", "rules", "--backend", kept)
    assert rules["store_slow"]["above"] == 0.005
    assert "queue_behind" in taskq("alerts", "rules", "--backend", kept).stdout


def test_how_many_workers_are_needed(kept: str) -> None:
    look(kept, "mail")
    hint = said("autoscale", "--backend", kept, "--queue", "mail", "--queue", "web")
    assert (hint["queues"], hint["desired"], hint["waiting"]) == (["mail", "web"], 1, 1)
    [each] = said("autoscale", "--backend", kept)
    assert each["queues"] == ["mail"]
    assert "as many as there are, and one at least" in taskq("autoscale", "--backend", kept).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--min", "5", "--max", "2"), "max must be over 0, and min (5) not over max (2)"),
        (("--target", "0"), "target must be from 0.1 to 86,400 seconds, not 0"),
        (("--queue", "a b"), "queue 'a b': use 1 to 200"),
    ],
)
def test_a_mistake_is_one_line(kept: str, arguments: tuple[str, ...], words: str) -> None:
    result = taskq("autoscale", "--backend", kept, *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert words in result.stderr


def test_a_beat_notices_a_worker_that_is_killed(shell: Shell, here: Here) -> None:
    worker = shell.start("worker", *here, "-P", "0", "--lease", "3", "--name", "one")
    wait_until(lambda: json.loads(shell.output("workers", "list", *here, "--json")) != [], "the worker has reported")
    beat = shell.start("beat", *here)
    beat.until_it_says("this process looks for alerts from now on")
    os.kill(worker.process.pid, signal.SIGKILL)
    beat.until_it_says("alert raised worker_lost: worker one on ")

    [alert] = json.loads(shell.output("alerts", "list", *here, "--json"))
    assert (alert["rule"], alert["text"].endswith("has vanished")) == ("worker_lost", True)
    assert beat.stop() == 0


def test_a_beat_goes_on_with_jobs(shell: Shell, here: Here) -> None:
    for _ in range(3):
        shell.output("enqueue", *here, "tasks.add", '{"x": 1, "y": 2}')
    shell.output("tasks", "cancel", *here, "--query", "task:tasks.add", "--yes", "--detach")
    worker = shell.start("worker", *here, "-P", "0", "-Q", "other", "--beat")

    def is_done() -> bool:
        [job] = json.loads(shell.output("jobs", "list", *here, "--json"))
        return bool(job["state"] == "done" and job["answers"] == {"cancelled": 3})

    wait_until(is_done, "the job is done")
    assert worker.stop() == 0
