"""`taskq workflows show --watch`, and that of batches: how they go on, until they have ended."""

from __future__ import annotations

import json
import re

from taskq.domain.outcome import Settlement
from tests.cli.support import Shell
from tests.cli.terminal import CTRL_C, Terminal
from tests.cli.test_flows import DEAD, DONE, GHOST, batch, within, work, workflow

FLOWS = """
from taskq import App, chain

app = App()


@app.task(name="double")
def double(n: int) -> int:
    return 2 * n


@app.task(name="start")
async def start() -> list[str]:
    async with app.batch(name="rows") as batch:
        await batch.aenqueue_many(double, [(n,) for n in range(3)])
    return [(await chain(double.s(1), double.s()).aenqueue()).id, batch.id]
"""


def go_on(url: str, *ends: Settlement) -> None:
    """End the next tasks."""
    within(url, lambda app: work(app, *ends))


def test_a_line_for_each_change(shell: Shell, shared_url: str) -> None:
    id = batch(shared_url)
    watch = shell.start("batches", "show", "--backend", shared_url, id, "--watch")
    watch.until_it_says("running  0%  3 total, 3 pending, 0 completed, 0 failed, 0 cancelled")
    go_on(shared_url, DONE)
    watch.until_it_says("running  33%  3 total, 2 pending, 1 completed")
    go_on(shared_url, DEAD, DONE)
    assert watch.process.wait(60) == 0
    printed = watch.log.splitlines()
    assert printed[-1] == "failed  100%  3 total, 0 pending, 2 completed, 1 failed, 0 cancelled"
    assert len(printed) == len(set(printed))


def test_a_json_object_for_each_change(shell: Shell, shared_url: str) -> None:
    id = workflow(shared_url)
    watch = shell.start("workflows", "show", "--backend", shared_url, id, "--watch", "--json")
    watch.until_it_says('"name": "extract", "task": "take", "state": "pending"')
    go_on(shared_url, DONE)
    watch.until_it_says('"name": "load", "task": "take", "state": "pending"')
    go_on(shared_url, DONE, DONE)
    assert watch.process.wait(60) == 0
    first, *_, last = [json.loads(line) for line in watch.log.splitlines()]
    assert (first["state"], first["ended_at"]) == ("running", None)
    assert (last["id"], last["state"], last["progress"]["fraction"]) == (id, "completed", 1.0)
    assert [node["state"] for node in last["nodes"]] == ["completed"] * 3


def test_on_a_terminal_it_is_shown_in_place_and_can_be_left(shell: Shell, shared_url: str) -> None:
    id = workflow(shared_url)
    command = ("workflows", "show", "--backend", shared_url, id, "--watch")
    with Terminal(shell.folder, *command) as terminal:
        terminal.until_it_says("state +running")
        terminal.type(CTRL_C)
        assert terminal.until_it_ends() == 130
        assert not re.search("Traceback|Aborted", terminal.text)
    with Terminal(shell.folder, *command) as terminal:
        terminal.until_it_says(r"load +take +\S*blocked")
        go_on(shared_url, DONE, DEAD)
        assert terminal.until_it_ends() == 0
        assert "failed" in terminal.text


def test_a_pipe_that_is_closed_ends_it_quietly(shell: Shell, shared_url: str) -> None:
    id = workflow(shared_url)
    watch = shell.start("workflows", "show", "--backend", shared_url, id, "--watch", "--json", is_piped=True)
    assert json.loads(watch.head())["id"] == id
    go_on(shared_url, DONE)
    assert (watch.process.wait(60), watch.log) == (1, "")


def test_what_is_not_there_is_said_in_one_line(shell: Shell, shared_url: str) -> None:
    result = shell.run("batches", "show", "--backend", shared_url, GHOST, "--watch")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)


def test_what_workers_have_run(shell: Shell, shared_url: str) -> None:
    (shell.folder / "flows.py").write_text(FLOWS)
    here = ("-A", "flows:app", "--backend", shared_url)
    worker = shell.start("worker", *here)
    nightly, rows = json.loads(shell.output("enqueue", *here, "start", "--wait"))
    for group, id, number in (("workflows", nightly, 2), ("batches", rows, 3)):
        last = shell.output(group, "show", *here, id, "--watch").splitlines()[-1]
        assert last == f"completed  100%  {number} total, 0 pending, {number} completed, 0 failed, 0 cancelled"
        [listed] = json.loads(shell.output(group, "list", *here, "--json"))
        assert (listed["id"], listed["state"]) == (id, "completed")
    assert worker.stop() == 0
