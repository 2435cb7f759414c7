"""What each command does, on stores that processes can share."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.cli.support import Shell
from tests.servers import RedisServer, wait_until

MODELS = """
from decimal import Decimal
from pydantic import BaseModel
from taskq import App

app = App()


class Item(BaseModel):
    name: str
    price: Decimal


@app.task
def make() -> Item:
    return Item(name="anna", price=Decimal("1.50"))
"""


@pytest.fixture
def here(shell: Shell, shared_url: str) -> tuple[str, ...]:
    """The arguments that name the application and its store."""
    return ("-A", "tasks:app", "--backend", shared_url)


def test_a_task_from_its_enqueue_to_its_result(shell: Shell, here: tuple[str, ...]) -> None:
    worker = shell.start("worker", *here)
    worker.until_it_says("serves default")
    add = ("enqueue", *here, "tasks.add", '{"x": 1, "y": 2}')
    assert shell.output(*add, "--wait") == "3"
    assert shell.output(*add, "--wait", "30") == "3"
    answer = json.loads(shell.output(*add, "--wait", "--json"))
    assert answer["result"] == 3
    id = json.loads(shell.output(*add, "--json"))["id"]
    assert len(id) == 36
    assert shell.output("enqueue", *here, "tasks.add", "-", "--wait", stdin='{"x": 4, "y": 5}') == "9"
    assert worker.stop() == 0


def test_a_failure_is_told_in_one_line(shell: Shell, here: tuple[str, ...]) -> None:
    worker = shell.start("worker", *here)
    result = shell.run("enqueue", *here, "tasks.fail", '{"secret": "hunter-2"}', "--wait")
    assert (result.returncode, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert re.fullmatch(r"taskq: task [0-9a-f-]{36} failed: ValueError: no luck with hunter-2", line)
    assert worker.stop() == 0
    assert "hunter-2" not in worker.log


def test_a_result_is_printed_as_it_is_stored(shell: Shell, redis_url: str) -> None:
    (shell.folder / "models.py").write_text(MODELS)
    here = ("-A", "models:app", "--backend", redis_url)
    worker = shell.start("worker", *here)
    assert json.loads(shell.output("enqueue", *here, "models.make", "--wait")) == {"name": "anna", "price": "1.50"}
    answer = json.loads(shell.output("enqueue", *here, "models.make", "--wait", "--json"))
    assert answer["result"] == {"name": "anna", "price": "1.50"}
    assert worker.stop() == 0


def test_a_failure_that_would_steer_the_terminal_is_one_line_too(shell: Shell, redis_url: str) -> None:
    here = ("-A", "tasks:app", "--backend", redis_url)
    worker = shell.start("worker", *here)
    result = shell.run("enqueue", *here, "tasks.fail", '{"secret": "\\u001b[2J\\nsecond"}', "--wait")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.strip().endswith(r"\x1b[2J\nsecond")
    assert worker.stop() == 0


def test_waiting_ends_in_time(shell: Shell, here: tuple[str, ...]) -> None:
    result = shell.run("enqueue", *here, "tasks.add", '{"x": 1, "y": 2}', "--wait", "0.1")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "has not ended within" in result.stderr


def test_show(shell: Shell, here: tuple[str, ...]) -> None:
    add = ("enqueue", *here, "tasks.add", '{"x": 1, "y": 2}')
    id = shell.output(*add, "--delay", "3600", "--priority", "high", "--queue", "slow")
    record = json.loads(shell.output("tasks", "show", *here, id, "--json"))
    assert record["state"] == "scheduled"
    assert record["priority"] == "high"
    assert record["queue"] == "slow"
    assert record["payload"] == {"x": 1, "y": 2}
    lines = shell.output("tasks", "show", *here, id).splitlines()
    assert lines[0].split() == ["id", id]
    assert any(line.split() == ["state", "scheduled"] for line in lines)


def test_a_thread_of_a_task_that_does_not_end_holds_no_worker_up(shell: Shell, here: tuple[str, ...]) -> None:
    worker = shell.start("worker", *here, "-P", "0", "--shutdown-timeout", "0.5")
    id = shell.output("enqueue", *here, "tasks.blocks_a_thread", '{"path": "begun"}')
    wait_until((shell.folder / "begun").exists, "the task has begun")
    assert worker.stop() == 0
    assert "threads that tasks have started do not end (1)" in worker.log
    record = json.loads(shell.output("tasks", "show", *here, id, "--json"))
    assert (record["state"], record["attempt"]) == ("pending", 0)


@pytest.mark.parametrize("processes", ["0", "1"])
def test_the_end_of_its_terminal_drains_a_worker(shell: Shell, here: tuple[str, ...], processes: str) -> None:
    worker = shell.start("worker", *here, "-P", processes)
    worker.until_it_says("serves default")
    assert worker.stop(signal.SIGHUP) == 0
    assert "has stopped after 0 runs" in worker.log


def test_show_of_a_failure_has_its_traceback(shell: Shell, here: tuple[str, ...]) -> None:
    worker = shell.start("worker", *here)
    id = shell.output("enqueue", *here, "tasks.fail", '{"secret": "s\\u001b[2J"}')
    wait_until(lambda: id in worker.log, "the task has failed")
    text = shell.output("tasks", "show", *here, id)
    assert "dead" in text
    assert "ValueError" in text
    assert "tasks.py" in text
    assert "\x1b" not in text
    assert worker.stop() == 0


def test_show_of_what_is_not_there(shell: Shell, here: tuple[str, ...]) -> None:
    for id in ("01a2023d-cd31-76db-bb05-271426e0fb00", "no-id", "", "x" * 1000, "\x01"):
        result = shell.run("tasks", "show", *here, "--", id)
        assert (result.returncode, len(result.stderr.splitlines())) == (1, 1), (id, result.stderr)


def test_an_idempotency_key_makes_one_task(shell: Shell, here: tuple[str, ...]) -> None:
    add = ("enqueue", *here, "tasks.add", "--idempotency-key", "order-17")
    first = shell.output(*add, '{"x": 1, "y": 2}')
    assert shell.output(*add, '{"x": 1, "y": 2}') == first
    result = shell.run(*add, '{"x": 3, "y": 2}')
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)


def test_a_unique_key_makes_one_task_while_it_waits(shell: Shell, here: tuple[str, ...]) -> None:
    add = ("enqueue", *here, "tasks.add", "--unique-key", "k", "--retry", '{"strategy":"fixed","delay":7}')
    first = shell.output(*add, '{"x": 1, "y": 2}')
    assert shell.output(*add, '{"x": 3, "y": 4}') == first


def test_doctor(shell: Shell, here: tuple[str, ...]) -> None:
    alone = shell.output("doctor", *here)
    assert "none lives" in alone
    worker = shell.start("worker", *here, "--name", "anna")
    worker.until_it_says("serves default")

    def is_seen() -> bool:
        findings = json.loads(shell.output("doctor", *here, "--json"))
        return any(one["check"] == "workers" and "anna" in one["detail"] for one in findings)

    wait_until(is_seen, "the worker is seen")
    assert worker.stop() == 0
    assert "none lives" in shell.output("doctor", *here)


def test_environment_variables_stand_in_for_options(shell: Shell, redis_url: str) -> None:
    env = {"TASKQ_APP": "tasks:app", "TASKQ_BACKEND": redis_url}
    worker = shell.start("worker", env=env)
    assert shell.output("enqueue", "tasks.add", '{"x": 1, "y": 2}', "--wait", env=env) == "3"
    assert worker.stop(signal.SIGINT) == 0


def test_the_log_in_json(shell: Shell, redis_url: str) -> None:
    worker = shell.start(
        "worker", "-A", "tasks:app", "--backend", redis_url, "--log-format", "json", "--log-level", "debug"
    )
    id = shell.output("enqueue", "--backend", redis_url, "tasks.add", '{"x": 4711, "y": 2}')
    worker.until_it_says(f'"task_id": "{id}"')
    assert worker.stop() == 0
    lines = [json.loads(line) for line in worker.log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert "4711" not in worker.log


# ------------------------------------------------------------ what a store warns of


def test_a_damaged_snapshot_is_reported_once_and_set_aside(shell: Shell) -> None:
    for number, arguments in enumerate((["worker", "-P", "0"], ["worker"], ["dev", "--no-reload"])):
        (shell.folder / f"torn{number}").write_bytes(b"nonsense")
        command = shell.start(*arguments, "-A", "tasks:app", "--backend", f"memory://?snapshot=torn{number}")
        command.until_it_says("serves default")
        assert command.stop() == 0
        assert command.log.count("is damaged") == 1, command.log
        assert len(list(shell.folder.glob(f"torn{number}.torn-*"))) == 1


def test_what_a_store_warns_of_is_said_once_by_all_processes(shell: Shell) -> None:
    with RedisServer(config={"appendonly": "no"}) as server:
        for processes in (0, 2):
            worker = shell.start("worker", "-A", "tasks:app", "--backend", server.url, "-P", str(processes))
            worker.until_it_says("serves default", times=max(1, processes))
            assert worker.stop() == 0
            assert worker.log.count("keeps no append-only file") == 1, worker.log


def test_a_worker_in_memory_says_that_nothing_outside_can_reach_it(shell: Shell) -> None:
    for processes, place in (("0", "memory://"), ("1", "memory://"), ("0", "memory://?snapshot=kept")):
        worker = shell.start("worker", "-A", "tasks:app", "--backend", place, "-P", processes)
        worker.until_it_says("serves default")
        assert worker.stop() == 0
        assert worker.log.count("nothing outside of it can reach them") == (place == "memory://"), worker.log
