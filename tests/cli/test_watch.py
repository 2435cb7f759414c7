"""`taskq tasks show --watch`: a line for each change, or in place on a terminal, until the task has ended."""

from __future__ import annotations

import json
import re
import signal

import pytest

from tests.cli.support import Shell
from tests.cli.terminal import CTRL_C, HIDDEN, SEEN, Terminal

STEPS = """
import asyncio
from pathlib import Path
from taskq import App, TaskContext

app = App()


@app.task
async def copy(ctx: TaskContext) -> int:
    ctx.checkpoint({"row": 4})
    ctx.progress(0.4, "rows", done=4, total=10)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return 10
"""


@pytest.fixture
def here(shell: Shell, shared_url: str) -> tuple[str, ...]:
    """The arguments that name the application and its store; a worker serves it."""
    (shell.folder / "steps.py").write_text(STEPS)
    here = ("-A", "steps:app", "--backend", shared_url)
    shell.start("worker", *here)
    return here


def end(shell: Shell, here: tuple[str, ...], id: str) -> None:
    """Have a task end, for which its worker would wait."""
    (shell.folder / "go").touch()
    shell.output("tasks", "show", *here, id, "--watch")


def test_a_line_for_each_change(shell: Shell, here: tuple[str, ...]) -> None:
    id = shell.output("enqueue", *here, "steps.copy")
    watch = shell.start("tasks", "show", *here, id, "--watch")
    watch.until_it_says("running  attempt 1  40%  rows  done=4  total=10")
    (shell.folder / "go").touch()
    assert watch.process.wait(60) == 0
    assert watch.log.splitlines()[-1] == "completed  attempt 1  40%  rows  done=4  total=10"


def test_a_json_object_for_each_change(shell: Shell, here: tuple[str, ...]) -> None:
    id = shell.output("enqueue", *here, "steps.copy")
    watch = shell.start("tasks", "show", *here, id, "--watch", "--json")
    watch.until_it_says('"fraction": 0.4')
    (shell.folder / "go").touch()
    assert watch.process.wait(60) == 0
    last = json.loads(watch.log.splitlines()[-1])
    assert (last["id"], last["state"], last["result"]) == (id, "completed", 10)
    assert last["progress"] == {"fraction": 0.4, "message": "rows", "data": {"done": 4, "total": 10}}
    assert last["checkpoint"] == {"row": 4}


def test_on_a_terminal_it_is_shown_in_place_and_can_be_left(shell: Shell, here: tuple[str, ...]) -> None:
    id = shell.output("enqueue", *here, "steps.copy")
    with Terminal(shell.folder, "tasks", "show", *here, id, "--watch") as terminal:
        terminal.until_it_says("state +running")
        terminal.type(CTRL_C)
        assert terminal.until_it_ends() == 130
        assert not re.search("Traceback|Aborted", terminal.text)
    (shell.folder / "go").touch()
    with Terminal(shell.folder, "tasks", "show", *here, id, "--watch") as terminal:
        assert terminal.until_it_ends() == 0
        assert "completed" in terminal.text


def test_sigterm_gives_the_terminal_back(shell: Shell, here: tuple[str, ...]) -> None:
    id = shell.output("enqueue", *here, "steps.copy")
    with Terminal(shell.folder, "tasks", "show", *here, id, "--watch") as terminal:
        terminal.until_it_says("state +running")
        terminal.process.terminate()
        assert terminal.until_it_ends() == -signal.SIGTERM
        assert terminal.text.count(HIDDEN) == terminal.text.count(SEEN) == 1
    end(shell, here, id)


def test_what_is_not_there_is_said_in_one_line(shell: Shell, here: tuple[str, ...]) -> None:
    result = shell.run("tasks", "show", *here, "0190a5c1-0000-7000-8000-000000000000", "--watch")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)


def test_it_can_be_left_where_there_is_no_terminal(shell: Shell, here: tuple[str, ...]) -> None:
    id = shell.output("enqueue", *here, "steps.copy")
    watch = shell.start("tasks", "show", *here, id, "--watch")
    watch.until_it_says("40%")
    assert watch.stop(signal.SIGINT) == 130
    assert {line.split()[0] for line in watch.log.splitlines()} <= {"pending", "running"}
    end(shell, here, id)


def test_a_pipe_that_is_closed_ends_it_quietly(shell: Shell, here: tuple[str, ...]) -> None:
    id = shell.output("enqueue", *here, "steps.copy")
    watch = shell.start("tasks", "show", *here, id, "--watch", "--json", is_piped=True)
    assert json.loads(watch.head())["id"] == id
    (shell.folder / "go").touch()
    assert (watch.process.wait(60), watch.log) == (1, "")
