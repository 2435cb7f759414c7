"""Profiles of a real worker, as an operator asks for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.support import Program, Shell, command, environment
from tests.servers import wait_until

BAKERY = """
import time
from pathlib import Path
from taskq import App

app = App()


@app.task
def bake(secret: str) -> None:
    Path("begun").touch()
    knead(secret)


def knead(secret: str) -> None:
    while not Path("enough").exists():
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            sum(range(1000))
"""


class Bakery:
    """A folder with an application, a store, and a worker whose only task burns."""

    def __init__(self, shell: Shell, url: str) -> None:
        self.shell = shell
        self.env = {"TASKQ_BACKEND": url}
        (shell.folder / "bakery.py").write_text(BAKERY)

    def open(self, *options: str) -> Program:
        worker = self.shell.start(
            *("worker", "-A", "bakery", "-P", "0", "--lease", "1.5", "--name", "anna", *options), env=self.env
        )
        worker.until_it_says("serves default")
        wait_until(lambda: len(self.workers()) == 1, "the worker has reported")
        return worker

    def workers(self) -> list[dict[str, object]]:
        return json.loads(self.shell.output("workers", "list", "--json", env=self.env))  # type: ignore[no-any-return]

    def bake(self) -> None:
        self.shell.output("enqueue", "-A", "bakery", "bakery.bake", '{"secret": "s3cret"}', env=self.env)
        wait_until((self.shell.folder / "begun").exists, "it has begun")

    def profile(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.shell.run("workers", "profile", *options, env=self.env)

    def close(self) -> None:
        (self.shell.folder / "enough").touch()


@pytest.fixture
def bakery(shell: Shell, shared_url: str) -> Bakery:
    return Bakery(shell, shared_url)


def test_what_burns_is_the_hottest(bakery: Bakery, tmp_path: Path) -> None:
    bakery.open("--enable-profiling")
    bakery.bake()
    taken = bakery.profile("anna", "--seconds", "1")
    assert taken.returncode == 0, taken.stderr
    assert "knead (bakery.py:" in taken.stdout.splitlines()[0]
    assert "s3cret" not in taken.stdout + taken.stderr
    assert str(tmp_path) not in taken.stdout
    assert "looks in 1." in taken.stderr
    [kept] = json.loads(bakery.shell.output("workers", "profiles", "--json", env=bakery.env))
    assert (kept["state"], kept["name"]) == ("done", "anna")
    assert kept["id"] in bakery.shell.output("workers", "profiles", env=bakery.env)
    again = ("workers", "profiles", kept["id"], "--format", "speedscope", "-o", "out.json")
    assert bakery.shell.output(*again, env=bakery.env) == ""
    shown = json.loads((bakery.shell.folder / "out.json").read_text())
    assert any(frame["name"].startswith("knead (bakery.py:") for frame in shown["shared"]["frames"])
    bakery.close()


def test_a_worker_that_has_it_off_says_so_at_once(bakery: Bakery) -> None:
    bakery.open()
    refused = bakery.profile("anna")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "takes no profiles: start it with `taskq worker --enable-profiling`" in refused.stderr


def test_a_worker_that_is_stopped_meanwhile_leaves_what_it_has_seen(bakery: Bakery) -> None:
    worker = bakery.open("--enable-profiling")
    with _asked_for(bakery) as asking:
        worker.until_it_says("told to profile")
        assert worker.stop() == 0
        text, told = asking.communicate(timeout=60)
    assert asking.returncode == 0, told
    assert "the worker stopped after" in told
    assert all(line.rpartition(" ")[2].isdigit() for line in text.splitlines())


def test_a_worker_that_is_killed_meanwhile_is_not_waited_for(bakery: Bakery) -> None:
    worker = bakery.open("--enable-profiling")
    with _asked_for(bakery) as asking:
        worker.until_it_says("told to profile")
        os.kill(worker.pid, signal.SIGKILL)
        text, told = asking.communicate(timeout=60)
    assert (asking.returncode, text) == (1, "")
    assert told.splitlines()[-1].endswith("has brought no profile: it has gone")
    assert "Traceback" not in told


def _asked_for(bakery: Bakery) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("workers", "profile", "anna", "--seconds", "60"),
        cwd=bakery.shell.folder, env=environment(bakery.env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_mistakes_are_told_in_a_line(bakery: Bakery) -> None:
    for options, status, text in (
        (("anna",), 1, "no worker anna lives; `taskq workers list` shows those that do"),
        (("anna", "--seconds", "61"), 2, "seconds must be from 0.1 to 60, not 61.0"),
        (("anna", "-o", "no/where/out.txt"), 2, "--output no/where/out.txt: there is no folder no/where"),
    ):
        refused = bakery.profile(*options)
        assert (refused.returncode, refused.stdout) == (status, "")
        assert refused.stderr == f"taskq: {text}\n"
    gone = bakery.shell.run("workers", "profiles", "nope", env=bakery.env)
    assert (gone.returncode, gone.stderr) == (1, "taskq: there is no profile nope: the newest 20 are kept, for a day\n")
