"""What the tests of the command line share: a shell, and an application to run in it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from click.testing import CliRunner, Result

from taskq.cli import cli
from tests.servers import wait_until

TIMEOUT = 60.0
TASKS = """
import asyncio
import threading
from pathlib import Path
from taskq import App, NoRetry, Snooze

app = App()
VERSION = "old"


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def note(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text + "\\n")


@app.task(retry=NoRetry())
def fail(secret: str) -> None:
    raise ValueError("no luck with " + secret)


@app.task
async def blocks_a_thread(path: str) -> None:
    Path(path).touch()
    await asyncio.to_thread(threading.Event().wait)


@app.task
async def hold(path: str) -> None:
    Path(path).touch()
    await asyncio.Event().wait()


@app.task
def when_told(path: str) -> None:
    if not Path("go").exists():
        raise Snooze(0.05)
    Path(path).write_text(VERSION)
"""

LIMITED = """
from taskq import App, Breaker, Concurrency, RateLimit

app = App({url!r})


@app.task(name="free")
def free() -> None: ...


@app.task(
    name="mail.send",
    queue="mail",
    rate_limit=(RateLimit("60/h", burst=5), RateLimit("1/m", key="to")),
    concurrency=Concurrency(2),
    breaker=Breaker(least=2, cooldown=3600),
)
def send(to: str) -> None: ...
"""


@dataclass
class Shell:
    """Runs commands in a folder, and ends those that are left."""

    folder: Path
    _running: list[subprocess.Popen[str]] = field(default_factory=list)
    _files: ExitStack = field(default_factory=ExitStack)

    def run(
        self, *arguments: str, stdin: str | None = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of taskq to its end; `stdin` None leaves it closed."""
        result = subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env=environment(env),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            input=stdin,
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def output(self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> str:
        """Run a command that succeeds, and return what it prints."""
        result = self.run(*arguments, stdin=stdin, env=env)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def start(self, *arguments: str, env: dict[str, str] | None = None, is_piped: bool = False) -> Program:
        """Start a command of taskq that goes on; of one that is piped what it prints is no part of its log."""
        log = self.folder / f"log{len(self._running)}"
        errors = self._files.enter_context(log.open("w"))
        process = subprocess.Popen(
            command(*arguments),
            cwd=self.folder,
            env=environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if is_piped else errors,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        self._running.append(process)
        return Program(process, log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            if process.poll() is None:
                process.terminate()
        for process in self._running:
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._files.close()


@dataclass
class Program:
    """A command that goes on, and what it has logged."""

    process: subprocess.Popen[str]
    log_file: Path

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self.log_file.read_text()

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def head(self) -> str:
        """Be `head -1` at the other end of its pipe: the first line, after which nobody reads."""
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            return pipe.readline()

    def until_it_says(self, pattern: str, times: int = 1) -> None:
        """Wait until it has printed something."""
        try:
            wait_until(lambda: len(re.findall(pattern, self.log)) >= times or self.process.poll() is not None, pattern)
        finally:
            assert len(re.findall(pattern, self.log)) >= times, self.log

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)


def taskq(*arguments: str, input: str | None = None) -> Result:
    """Run a command in this process, without the cost of a new interpreter."""
    result = CliRunner().invoke(cli, arguments, input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def command(*arguments: str) -> list[str]:
    """The command line of taskq."""
    return [sys.executable, "-m", "taskq", *arguments]


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("TASKQ_", "PYTEST_"))}
    return {**bare, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}
