"""The configuration on the command line: shown, checked, heard by each command, read again by those that go on."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import psutil
import pytest

from taskq.assumed import Assumed, assumed
from taskq.cli import cli
from tests.cli.conftest import Write
from tests.cli.support import Program, Shell, taskq
from tests.cli.terminal import Terminal
from tests.servers import wait_until

SECRET = "hunter2-pQ7w9sX2mK4vT8yB1nR5cJ3hL6gF0dZA"
WORKER = "worker: {processes: %d, concurrency: 7, rate: 50/s, queues: 'default,mail'}\nqueues: {mail: {workers: 3}}\n"
APP = """
from taskq import App

app = App()
explicit = App("memory://?snapshot=explicit", durability="process")


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with an application `configured_app`, and without variables of ours."""
    for name in [name for name in os.environ if name.startswith("TASKQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "configured_app.py").write_text(APP)
    yield tmp_path
    sys.modules.pop("configured_app", None)


def test_show(folder: Path) -> None:
    (folder / "taskq.yaml").write_text(f"worker: {{lease: 1m}}\nauth:\n  jwt_secret: {SECRET}\n")
    shown = taskq("config", "show", "worker")
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0] == ["key", "value", "source", "change"]
    assert ["worker.lease", "60", "taskq.yaml:1", "restart"] in lines
    assert ["worker.rate", "-", "default", "live"] in lines
    everything = taskq("config", "show")
    assert "auth.jwt_secret" in everything.stdout
    assert SECRET not in everything.output


def test_show_as_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "taskq.toml").write_text(f'[auth]\njwt_secret = "{SECRET}"\n')
    monkeypatch.setenv("TASKQ_WORKER__RATE", "50/s")
    shown = taskq("config", "show", "--json", "--backend", "redis://u:hunter2@h")
    assert SECRET not in shown.output
    rows = {row.pop("key"): row for row in json.loads(shown.stdout)}
    assert rows["worker.rate"] == {
        "value": 50.0, "source": "environment", "where": "TASKQ_WORKER__RATE", "live": True
    }  # fmt: skip
    assert rows["backend.url"] == {
        "value": "redis://u:***@h", "source": "argument", "where": "--backend", "live": False
    }  # fmt: skip
    assert (rows["auth.jwt_secret"]["value"], rows["auth.jwt_secret"]["where"]) == ("***", "taskq.toml")
    assert rows["server.port"]["where"] == ""


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("wrker", "taskq: there is no section 'wrker', did you mean worker?\n"),
        (
            "xyz",
            "taskq: there is no section 'xyz', there are app, server, backend, queues, worker, scheduler, ",
        ),
    ],
)
def test_a_section_that_is_unknown(folder: Path, section: str, complaint: str) -> None:
    refused = taskq("config", "show", section)
    assert (refused.exit_code, refused.stderr.startswith(complaint)) == (2, True), refused.stderr
    assert taskq("config", "show", "queues").exit_code == 0


def test_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert taskq("config", "check").stdout == "no file, and the variables, can be used\n"
    (folder / "good.yaml").write_text("worker: {lease: 60}")
    (folder / "bad.yaml").write_text("worker:\n  laese: 60\n  poll: never\n")
    assert taskq("config", "check", "good.yaml").stdout == f"{folder}/good.yaml can be used\n"
    monkeypatch.setenv("TASKQ_WORKR__LEASE", "5")
    monkeypatch.setenv("TASKQ_BACKEND", "redis://one")
    monkeypatch.setenv("TASKQ_BACKEND__URL", "redis://two")
    both = taskq("config", "check", "good.yaml").stderr.splitlines()[-1]
    assert both == "taskq: TASKQ_BACKEND__URL goes before TASKQ_BACKEND: set one of them"
    monkeypatch.delenv("TASKQ_BACKEND__URL")
    good, bad = taskq("config", "check", "good.yaml"), taskq("config", "check", "--config", "bad.yaml")
    warning = "taskq: the variable TASKQ_WORKR__LEASE is not one of taskq's, did you mean TASKQ_WORKER__LEASE?\n"
    assert (good.exit_code, good.stderr) == (0, warning)
    assert (bad.exit_code, bad.stdout) == (2, "")
    assert (
        bad.stderr
        == (
            "taskq: bad.yaml:2: worker.laese: there is no such key, did you mean worker.lease?\n"
            "taskq: bad.yaml:3: worker.poll: must be seconds, or text such as 30s, 5m, 7d, not 'never'\n"
        )
        + warning
    )


@pytest.mark.parametrize(
    "command",
    [("worker", "-A", "a:b"), ("beat",), ("dev",), ("queues", "list"), ("config", "show"), ("enqueue", "add")],
)
@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("gone.yaml", "taskq: the configuration file gone.yaml cannot be read: No such file or directory\n"),
        (".", "taskq: . is a directory: give a file, such as ./taskq.yaml\n"),
        ("bad.yaml", "taskq: bad.yaml:1: worker.laese: there is no such key, did you mean worker.lease?\n"),
    ],
)
def test_each_command_refuses_a_file_that_is_wrong(
    folder: Path, command: tuple[str, ...], file: str, complaint: str
) -> None:
    (folder / "bad.yaml").write_text("worker: {laese: 60}")
    refused = taskq(*command, "--config", file)
    assert (refused.exit_code, refused.stderr.replace(f"{folder}/", "")) == (2, complaint)


def test_the_application_and_its_store(folder: Path) -> None:
    (folder / "taskq.yaml").write_text("app: configured_app:app\nbackend: {url: 'memory://?snapshot=kept'}\n")
    made = taskq("enqueue", "add", '{"x": 1, "y": 2}')
    assert made.exit_code == 0, made.output
    assert taskq("tasks", "show", made.stdout.strip()).exit_code == 0
    assert (folder / "kept").exists()
    assert assumed() == Assumed(), "nothing of it is left for who comes next"


def test_what_the_code_says_goes_before_and_what_the_command_says_before_that(folder: Path) -> None:
    (folder / "taskq.yaml").write_text("app: configured_app:explicit\nbackend: {url: 'memory://?snapshot=kept'}\n")
    taskq("enqueue", "add", '{"x": 1, "y": 2}')
    assert (folder / "explicit").exists()
    taskq("enqueue", "add", '{"x": 1, "y": 2}', "--backend", "memory://?snapshot=given")
    assert (folder / "given").exists()
    assert not (folder / "kept").exists()


def test_the_store_alone(folder: Path) -> None:
    (folder / "taskq.yaml").write_text("backend: {url: 'memory://?snapshot=kept'}\n")
    made = taskq("enqueue", "add", '{"x": 1, "y": 2}')
    assert (made.exit_code, (folder / "kept").exists()) == (0, True)
    (folder / "taskq.yaml").write_text("worker: {lease: 60}")
    refused = taskq("queues", "list")
    assert (refused.exit_code, refused.stderr.startswith("taskq: which store?")) == (2, True)


def commands(group: click.Group, name: str = "taskq") -> Iterator[tuple[str, click.Command]]:
    """All commands, those of groups too."""
    ctx = click.Context(group)
    for known in group.list_commands(ctx):
        command = group.get_command(ctx, known)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {known}")
        else:
            yield f"{name} {known}", command


def test_each_command_takes_a_file() -> None:
    without = [name for name, command in commands(cli) if "config" not in {param.name for param in command.params}]
    assert without == ["taskq completion"]  # which prints the same wherever it is run


def test_a_shell_that_completes_what_is_typed_is_told_of_no_mistake(folder: Path) -> None:
    (folder / "taskq.yaml").write_text("worker: {laese: 60}")
    assert cli.make_context("taskq", ["worker"], resilient_parsing=True) is not None
    for name, command in commands(cli):
        command.make_context(name, [], resilient_parsing=True)


def test_a_folder_that_is_gone(folder: Path) -> None:
    (folder / "gone").mkdir()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()
    assert taskq("queues", "list", "--backend", f"memory://?snapshot={folder}/kept").exit_code == 0


def test_a_command_that_needs_an_application(folder: Path) -> None:
    refused = taskq("worker")
    assert (refused.exit_code, "Missing option '-A' / '--app'" in refused.stderr) == (2, True)


@pytest.fixture
def serving(shell: Shell, write: Write, redis_url: str) -> Iterator[Program]:
    """A worker in one process with a file, on Redis."""
    write("taskq.yaml", f"app: tasks:app\nbackend: {redis_url}\n" + WORKER % 0)
    worker = shell.start("worker", "-c", "9")
    worker.until_it_says("queue mail is set as the configuration says: workers=3")
    yield worker
    assert worker.stop() == 0


def changed(shell: Shell, *pairs: tuple[str, str]) -> None:
    file = shell.folder / "taskq.yaml"
    text = file.read_text()
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    other = shell.folder / "taskq.new"
    other.write_text(text)
    other.replace(file)


def test_a_worker_reads_its_file_again(shell: Shell, serving: Program) -> None:
    assert serving.process.poll() is None
    changed(shell, ("50/s", "80/s"), ("concurrency: 7", "concurrency: 8"), ("workers: 3", "workers: 4"))
    serving.until_it_says("queue mail is set as the configuration says: workers=4")
    assert "worker.rate: 50/s → 80/s" in serving.log
    assert "worker.concurrency" not in serving.log, "what was given as an argument goes before the file"
    shown = json.loads(shell.output("queues", "show", "mail", "--json"))
    assert shown["settings"]["workers"] == 4
    changed(shell, ("rate:", "raet:"), ("workers: 4", "workers: 5"))
    serving.until_it_says(r"ERROR.*stays as it was: taskq.yaml:3: worker.raet: there is no such key")
    changed(shell, ("raet:", "rate:"), ("default,mail", "default"))
    serving.until_it_says(r"WARNING worker.queues: default,mail → default needs a restart")
    serving.until_it_says("set as the configuration says: workers=5")


def test_a_worker_reads_it_again_when_it_is_told(shell: Shell, serving: Program) -> None:
    serving.process.send_signal(signal.SIGHUP)
    serving.until_it_says("the configuration was read again: nothing has changed")
    assert serving.process.poll() is None
    id = shell.output("enqueue", "tasks.add", '{"x": 1, "y": 2}')
    wait_until(lambda: "completed" in shell.output("tasks", "show", id), "it goes on working")


@pytest.mark.parametrize("processes", [0, 1])
def test_in_a_terminal_its_end_is_the_end(shell: Shell, write: Write, redis_url: str, processes: int) -> None:
    write("taskq.yaml", f"app: tasks:app\nbackend: {redis_url}\n" + WORKER % processes)
    with Terminal(shell.folder, "worker") as terminal:
        terminal.until_it_says("serves default, mail")
        terminal.process.send_signal(signal.SIGHUP)
        assert terminal.until_it_ends() == 0
        assert "has stopped after 0 runs" in terminal.text


def test_the_processes_of_a_supervisor_read_it_again(shell: Shell, write: Write, redis_url: str) -> None:
    write("taskq.yaml", f"app: tasks:app\nbackend: {redis_url}\n" + WORKER % 2)
    supervisor = shell.start("worker")
    supervisor.until_it_says("serves default, mail", times=2)
    children = {child.pid for child in psutil.Process(supervisor.pid).children()}
    supervisor.process.send_signal(signal.SIGHUP)
    supervisor.until_it_says("the configuration was read again: nothing has changed", times=2)
    assert {child.pid for child in psutil.Process(supervisor.pid).children()} == children
    changed(shell, ("50/s", "80/s"))
    supervisor.until_it_says(r"worker.rate: 50/s → 80/s", times=2)
    assert supervisor.stop() == 0


def test_a_beat_reads_it_again(shell: Shell, write: Write, redis_url: str) -> None:
    write("taskq.yaml", f"app: tasks:app\nbackend: {redis_url}\nqueues: {{mail: {{workers: 3}}}}\n")
    beat = shell.start("beat")
    beat.until_it_says("queue mail is set as the configuration says: workers=3")
    changed(shell, ("workers: 3", "workers: 4"))
    beat.until_it_says("queue mail is set as the configuration says: workers=4")
    write("taskq.yaml", f"app: tasks:app\nbackend: {redis_url}\nmonitoring: {{log_level: DEBUG}}\n")
    beat.until_it_says("monitoring.log_level: INFO → DEBUG")
    beat.until_it_says("queue mail is set as the configuration says: workers=default")
    assert beat.stop() == 0


def test_a_dev_takes_what_is_said_of_workers_but_not_the_store_of_the_file(shell: Shell, write: Write) -> None:
    write("taskq.yaml", "app: tasks:app\nbackend: redis://nowhere.invalid\nworker: {name: desk}\n")
    dev = shell.start("dev", "--no-reload")
    dev.until_it_says(r"worker \w+ \(desk\) serves default")
    assert "in memory, tasks:" in dev.log
    assert dev.stop(signal.SIGINT) == 0


KEYED = """
from taskq import App

app = App()


@app.task(name="outer", executor="process")
def outer() -> str:
    return inner.enqueue("hush").id


@app.task(name="inner", encrypt=True)
def inner(text: str) -> int:
    return len(text)
"""


def test_the_process_of_a_task_has_the_keys_of_the_file(shell: Shell, write: Write, redis_url: str) -> None:
    write("keyed.py", KEYED)
    keys = "crypto: {keys: {k1: jgJrxI3kq0ZVw1mS5uYd8bQnTf2hLcXo7eGaPpRzM4E=}}"
    write("taskq.yaml", f"app: keyed:app\nbackend: {redis_url}\n{keys}\nretention: {{age: 2h}}\n")
    worker = shell.start("worker", "-P", "0")
    worker.until_it_says("serves default")
    outer = shell.output("enqueue", "outer")
    wait_until(lambda: '"completed"' in shell.output("tasks", "show", outer, "--json"), "the outer task has run")
    inner = json.loads(shell.output("tasks", "show", outer, "--json"))["result"]
    wait_until(lambda: '"completed"' in shell.output("tasks", "show", inner, "--json"), "the inner task has run")
    shown = json.loads(shell.output("tasks", "show", inner, "--json"))
    assert shown["payload"] == "(encrypted with the key k1)"
    assert worker.stop() == 0


SEEN = """
import sys
from taskq import App

app = App()


@app.task(name="seen")
def seen() -> list[str]:
    return sorted(sys.modules)
"""


@pytest.mark.parametrize(("text", "is_loaded"), [(None, False), ("worker: {lease: 60}\n", True)])
def test_only_a_worker_with_a_configuration_loads_what_reads_it(
    shell: Shell, write: Write, redis_url: str, text: str | None, is_loaded: bool
) -> None:
    write("seen.py", SEEN)
    if text is not None:
        write("taskq.yaml", text)
    where = ("-A", "seen:app", "--backend", redis_url)
    worker = shell.start("worker", *where, "-P", "0")
    worker.until_it_says("serves default")
    loaded = set(json.loads(shell.output("enqueue", *where, "seen", "--wait")))
    assert ("pydantic_settings" in loaded) is is_loaded
    assert loaded.isdisjoint({"psycopg", "starlette", "grpc"})
    # What only a beat, or a worker with --beat, does.
    assert loaded.isdisjoint({"taskq.runtime.store_watch", "taskq.scaling", "taskq.management", "smtplib"})
    assert psutil.Process(worker.pid).memory_info().rss < (60 if is_loaded else 50) * 1024 * 1024
    assert worker.stop() == 0
