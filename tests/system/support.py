"""An application whose tasks leave a trace outside of any store, and the processes that run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from taskq import App, TaskHandle, TaskRecord, TaskState
from tests.servers import wait_until

PATIENCE = 60.0
JOBS = '''
import asyncio
import os
import signal
import sys
import threading
import time
from taskq import App, Concurrency, NoRetry, TaskContext, current

app = App(os.environ["SITE_URL"])


def witness(word, id):
    """One line, written in one step: what a process that is killed has written stays written."""
    file = os.open("witness", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, f"{word} {id} {os.getpid()}\\n".encode())
    os.close(file)


@app.task
async def hold(ctx: TaskContext, number: int) -> int:
    """Begin, and end when the file `go` is there."""
    witness("begin", number)
    pause = 0.01
    while not os.path.exists("go"):
        await asyncio.sleep(pause)
        pause = min(0.1, pause * 1.5)
    witness("end", number)
    return number


@app.task
async def quick(number: int) -> int:
    witness("quick", number)
    return number


@app.task(concurrency=Concurrency(5))
async def share(number: int) -> None:
    """Hold one of five places for a while."""
    witness("in", number)
    await asyncio.sleep(0.1)
    witness("out", number)


@app.task
async def kill_worker(number: int) -> None:
    witness("poison", number)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(executor="process")
def in_a_child(number: int) -> str:
    witness("child", number)
    return quick.enqueue(number).id


@app.task(executor="process")
def hang_in_a_child(number: int) -> None:
    witness("hangs", number)
    threading.Event().wait()


@app.task
async def exit_in_a_subtask(number: int) -> None:
    async def leave() -> None:
        sys.exit(3)

    await asyncio.gather(leave())


def produce():
    """Enqueue for as long as the file `enough` is not there, and write down what was acknowledged."""
    number = int(sys.argv[1])
    while not os.path.exists("enough"):
        number += 1
        try:
            quick.enqueue(number)
        except Exception as error:
            witness("refused", type(error).__name__)
        else:
            witness("acknowledged", number)


if __name__ == "__main__":
    produce()
'''


@dataclass
class Site:
    """A folder with the application `jobs:app`, its store, and the processes started there.

    Attributes:
        folder: where they run, and where the file `witness` is.
        url: of the store.
    """

    folder: Path
    url: str
    app: App = field(init=False)
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _workers: set[psutil.Process] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.app = App(self.url)

    def worker(self, *arguments: str, processes: int = 2, lease: float = 30.0) -> subprocess.Popen[bytes]:
        """Start `taskq worker`."""
        command = ["-m", "taskq", "worker", "-A", "jobs:app", "-P", str(processes), "--lease", str(lease), *arguments]
        return self.start(*command)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Python with these arguments in the folder."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TASKQ_")}
        with (self.folder / f"log{len(self._started)}").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env={**kept, "SITE_URL": self.url, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def children(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """The worker processes of a supervisor."""
        found = [child for child in psutil.Process(process.pid).children() if "taskq" in " ".join(child.cmdline())]
        self._workers |= set(found)
        return found

    def until_serving(self, process: subprocess.Popen[bytes], number: int = 2) -> list[psutil.Process]:
        """Wait until so many worker processes have reported to the store; returns them."""
        wait_until(lambda: len(self.workers() & self._pids_of(process)) >= number, "the workers serve", PATIENCE)
        return self.children(process)

    def workers(self) -> set[int]:
        """The process ids of the workers that the store knows."""

        async def ask() -> set[int]:
            return {info.pid for info in await (await self.app.backend()).registry.workers()}

        pids: set[int] = self.ask(ask())
        return pids

    def ask(self, coroutine: Any) -> Any:
        """Ask the store something from this process."""
        from taskq import blocking

        return blocking.run(coroutine, "site.ask()", "…")

    def enqueue(self, name: str, numbers: range) -> list[TaskHandle[Any]]:
        """Enqueue one task for each number."""

        async def enqueue() -> list[TaskHandle[Any]]:
            # By name: the application of this process does not know the tasks.
            return [await self.app.aenqueue(f"jobs.{name}", {"number": number}) for number in numbers]

        handles: list[TaskHandle[Any]] = self.ask(enqueue())
        return handles

    def records(self, handles: list[TaskHandle[Any]]) -> list[TaskRecord]:
        """What the store knows of these tasks."""

        async def get() -> list[TaskRecord]:
            return [await handle.ainfo() for handle in handles]

        found: list[TaskRecord] = self.ask(get())
        return found

    def until_all(self, handles: list[TaskHandle[Any]], *states: TaskState) -> list[TaskRecord]:
        """Wait until all have ended, each in one of these states."""
        for handle in handles:
            assert handle.wait(PATIENCE) in states
        return self.records(handles)

    def reap(self) -> bool:
        """Do what every worker does for the store every few seconds."""

        async def reap() -> bool:
            return not (await (await self.app.backend()).maintenance.reap(renewal=1.0)).is_holding

        is_awake: bool = self.ask(reap())
        return is_awake

    def witnessed(self, word: str) -> Counter[str]:
        """How often each id was written down after this word."""
        path = self.folder / "witness"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return Counter(line[1] for line in lines if line[0] == word)

    def until_witnessed(self, word: str, number: int) -> None:
        """Wait until so many lines begin with this word."""
        wait_until(lambda: self.witnessed(word).total() >= number, f"{number} × {word}", PATIENCE)

    def touch(self, name: str) -> None:
        """Make a file that the tasks look for."""
        (self.folder / name).touch()

    @property
    def log(self) -> str:
        """All that the processes have printed."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log*")))

    def end(self, process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the exit status."""
        process.send_signal(number)
        return process.wait(PATIENCE)

    def _pids_of(self, process: subprocess.Popen[bytes]) -> set[int]:
        return {child.pid for child in self.children(process)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    _quietly(child.kill)
                process.kill()
            process.wait()
        for child in self._workers:
            _quietly(child.kill)
        self.app.close()


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of these have ended."""
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def _quietly(act: Callable[[], object]) -> None:
    try:
        act()
    except psutil.NoSuchProcess:
        pass
