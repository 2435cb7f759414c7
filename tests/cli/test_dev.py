"""`taskq dev` and `--reload`: what is typed runs, a change starts anew, and Ctrl-C in a terminal ends it gracefully."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from tests.cli.support import Shell
from tests.cli.terminal import CTRL_C, CTRL_D, Terminal
from tests.servers import wait_until

APP_WITH_A_STORE_THAT_IS_AWAY = """
from taskq import App
app = App("redis://127.0.0.1:1/0")

@app.task
def note(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)
"""


def test_what_is_typed_into_dev_runs(shell: Shell, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    dev = shell.start("dev", "-A", "tasks:app", "--no-reload")
    dev.until_it_says("tasks: ")
    dev.type("")
    dev.type("nonsense {")
    dev.until_it_says("not enqueued")
    dev.type('tasks.add {"x": "one"}')
    dev.until_it_says("not enqueued: .*parameter")
    dev.type(f'tasks.note {{"path": "{noted}", "text": "hello"}}')
    wait_until(noted.exists, "the task has run")
    assert dev.stop() == 0


def test_dev_starts_anew_when_a_file_changes_and_keeps_what_waits(shell: Shell, tmp_path: Path) -> None:
    said = tmp_path / "said"
    dev = shell.start("dev", "-A", "tasks:app")
    dev.until_it_says("tasks: ")
    dev.type(f'tasks.when_told {{"path": "{said}"}}')
    dev.until_it_says("enqueued ")
    source = shell.folder / "tasks.py"
    source.write_text(source.read_text().replace('VERSION = "old"', 'VERSION = "new"'))
    dev.until_it_says("tasks.py changed")
    dev.until_it_says("tasks: ", times=2)
    (shell.folder / "go").touch()
    wait_until(said.exists, "the task that waited has run")
    wait_until(lambda: said.read_text() == "new", "it ran anew")
    assert dev.stop() == 0


def test_dev_survives_a_mistake_in_the_source(shell: Shell, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    dev = shell.start("dev", "-A", "tasks:app")
    dev.until_it_says("tasks: ")
    source = shell.folder / "tasks.py"
    right = source.read_text()
    source.write_text("def (:\n")
    dev.until_it_says("SyntaxError")
    source.write_text(right)
    dev.until_it_says("tasks: ", times=2)
    dev.type(f'tasks.note {{"path": "{noted}", "text": "hello"}}')
    wait_until(noted.exists, "the task has run")
    assert dev.stop() == 0


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_what_is_typed_into_a_terminal_runs_and_ctrl_c_ends_it(shell: Shell, tmp_path: Path, reload: str) -> None:
    noted = tmp_path / "noted"
    with Terminal(shell.folder, "dev", "-A", "tasks:app", reload) as terminal:
        terminal.until_it_says("Ctrl-C to end")
        terminal.type(f'tasks.note {{"path": "{noted}", "text": "hello"}}\n')
        terminal.until_it_says("enqueued [0-9a-f]")
        wait_until(noted.exists, "the task has run")
        terminal.type(CTRL_C)
        assert terminal.until_it_ends() == 0, terminal.text
    assert "Traceback" not in terminal.text
    assert "a second time" not in terminal.text


def test_a_terminal_is_read_anew_after_a_change(shell: Shell, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    with Terminal(shell.folder, "dev", "-A", "tasks:app") as terminal:
        terminal.until_it_says("Ctrl-C to end")
        (shell.folder / "tasks.py").touch()
        terminal.until_it_says("Ctrl-C to end", times=2)
        terminal.type(f'tasks.note {{"path": "{noted}", "text": "hello"}}\n')
        wait_until(noted.exists, "the task has run")
        terminal.type(CTRL_D + CTRL_C)
        assert terminal.until_it_ends() == 0, terminal.text


def test_a_second_ctrl_c_in_a_terminal_ends_at_once(shell: Shell) -> None:
    with Terminal(shell.folder, "dev", "-A", "tasks:app") as terminal:
        terminal.until_it_says("Ctrl-C to end")
        terminal.type('tasks.hold {"path": "begun"}\n')
        wait_until((shell.folder / "begun").exists, "the task has begun")
        terminal.type(CTRL_C)
        terminal.until_it_says("told to stop by SIGINT")
        terminal.type(CTRL_C)
        terminal.until_it_says("told to stop a second time")
        assert terminal.until_it_ends() == 0, terminal.text


def test_ctrl_c_while_the_application_is_imported_ends_without_a_traceback(shell: Shell) -> None:
    lines = "import threading, pathlib", "pathlib.Path('importing').touch()", "threading.Event().wait()"
    (shell.folder / "endless.py").write_text("\n".join(lines))
    with Terminal(shell.folder, "dev", "-A", "endless:app") as terminal:
        wait_until((shell.folder / "importing").exists, "it is being imported")
        terminal.type(CTRL_C)
        assert terminal.until_it_ends() == 0, terminal.text
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_dev_works_in_memory_whatever_store_the_application_names(shell: Shell, tmp_path: Path, reload: str) -> None:
    (shell.folder / "away.py").write_text(APP_WITH_A_STORE_THAT_IS_AWAY)
    noted = tmp_path / "noted"
    dev = shell.start("dev", "-A", "away:app", reload)
    dev.until_it_says("in memory")
    dev.type(f'away.note {{"path": "{noted}", "text": "hello"}}')
    wait_until(noted.exists, "the task has run")
    assert dev.stop() == 0


def test_dev_works_on_the_store_that_it_is_told(shell: Shell, redis_url: str) -> None:
    for arguments, env in ((["--backend", redis_url], {}), ([], {"TASKQ_BACKEND": redis_url})):
        dev = shell.start("dev", "-A", "tasks:app", *arguments, env=env)
        dev.until_it_says("on redis://")
        assert shell.output("enqueue", "--backend", redis_url, "tasks.add", '{"x": 1, "y": 2}', "--wait") == "3"
        assert dev.stop() == 0


def test_a_worker_without_a_supervisor_starts_anew_when_a_file_changes(shell: Shell, redis_url: str) -> None:
    worker = shell.start("worker", "-A", "tasks:app", "--backend", redis_url, "-P", "0", "--reload")
    worker.until_it_says("serves default")
    (shell.folder / "tasks.py").touch()
    worker.until_it_says("serves default", times=2)
    assert worker.stop() == 0


@pytest.mark.parametrize("command", [("dev",), ("worker", "--reload", "-P", "0"), ("worker", "--reload", "-P", "2")])
def test_nothing_outlives_a_reloader_that_is_killed(shell: Shell, shared_url: str, command: tuple[str, ...]) -> None:
    program = shell.start(*command, "-A", "tasks:app", "--backend", shared_url)
    program.until_it_says("serves default")
    children = psutil.Process(program.pid).children(recursive=True)
    assert children
    program.process.kill()
    wait_until(lambda: not any(child.is_running() for child in children), "all have ended")


def test_dev_ends_with_its_terminal(shell: Shell) -> None:
    program = shell.start("dev", "-A", "tasks:app")
    program.until_it_says("serves default")
    children = psutil.Process(program.pid).children(recursive=True)
    assert program.stop(signal.SIGHUP) == 0
    wait_until(lambda: not any(child.is_running() for child in children), "all have ended")
