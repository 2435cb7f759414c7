"""Tasks for child processes, which find them by importing this module."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from taskq import (
    App,
    Cancel,
    CapabilityMissing,
    Fixed,
    Reject,
    Retry,
    Snooze,
    SoftTimeout,
    TaskContext,
    Throttled,
    current,
)
from taskq.errors import TaskSignal

app = App("memory://")
NEVER = 3600.0
SIGNALS: dict[str, Callable[[], TaskSignal]] = {
    "retry": lambda: Retry(),
    "retry later": lambda: Retry(delay=3600.0),
    "snooze": lambda: Snooze(3600.0),
    "reject": lambda: Reject("not wanted"),
    "cancel": lambda: Cancel("no longer wanted"),
    "throttled": lambda: Throttled(retry_after=3600.0),
}


class Hostile(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def recurse(depth: int = 0) -> int:
    """Recurse until Python gives up."""
    return recurse(depth + 1) + 1


def fail(kind: str) -> None:
    """Raise one of the exceptions that are awkward to handle."""
    match kind:
        case "SystemExit":
            raise SystemExit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "MemoryError":
            raise MemoryError
        case "RecursionError":
            recurse()
        case "Hostile":
            raise Hostile
        case "StopIteration":
            raise StopIteration("out of the blue")
        case "GeneratorExit":
            raise GeneratorExit
        case "BaseExceptionGroup":
            raise BaseExceptionGroup("several", [KeyboardInterrupt(), ValueError("one")])
        case "chain":
            error = ValueError("first")
            error.__cause__ = error
            raise error
        case _:
            raise ValueError(f"no {kind} here")


@app.task(executor="process")
def add(x: int, y: int) -> int:
    return x + y


@app.task(executor="process")
def raises(kind: str) -> None:
    fail(kind)


@app.task(executor="process")
def signals(kind: str) -> None:
    raise SIGNALS[kind]()


@app.task(executor="process")
async def coroutine(x: int) -> int:
    return x * 2


@app.task(executor="process")
def returns_object() -> object:
    return object()


@app.task(executor="process")
def returns_much(size: int) -> str:
    return "x" * size


@app.task(executor="process")
def hangs(pid_file: str) -> None:
    """Say which process this is, and never return."""
    _note(pid_file)
    threading.Event().wait()


@app.task(executor="process")
def stubborn(pid_file: str) -> None:
    """Never return, and ignore every signal that can be ignored."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _note(pid_file)
    while True:
        threading.Event().wait()


@app.task(executor="process")
def exits(code: int) -> None:
    """End the process without a word."""
    os._exit(code)


@app.task(executor="process")
def is_killed() -> None:
    """As the kernel does it when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(executor="process")
def starts_a_program(path: str) -> None:
    """Start a program, write its process id to `path`, and wait for it."""
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    Path(path).with_suffix(".new").write_text(str(program.pid))
    Path(path).with_suffix(".new").rename(path)
    program.wait()


@app.task(executor="process")
def leaves_a_program(path: str, status: int | None) -> None:
    """Start a program that keeps the line to the worker open, write its process id to `path`, and leave it behind.

    Arguments:
        status: with which the process ends; None: the task returns.
    """
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], pass_fds=[_line()])
    Path(path).write_text(str(program.pid))
    if status is not None:
        os._exit(status)


@app.task(executor="process")
def talks_nonsense(body: bytes) -> None:
    """Tell the worker a word that is none, and never return."""
    os.write(_line(), len(body).to_bytes(4, "big") + body)
    threading.Event().wait()


@app.task(executor="process")
def hangs_up() -> None:
    """Say that nothing more will be said to the worker, and never return."""
    socket.socket(fileno=os.dup(_line())).shutdown(socket.SHUT_WR)
    threading.Event().wait()


@app.task(executor="process")
def logs() -> None:
    """Log in each way that there is."""
    current().logger.info("it is %s", "noted")
    logging.getLogger("somebody.else").info("not worth a line")
    logging.getLogger("somebody.else").warning("worth a line")
    try:
        raise ValueError("seen")
    except ValueError:
        logging.getLogger("somebody.else").exception("caught")


@app.task(executor="process")
def logs_something(what: str) -> None:
    """Log a line by a logger of the user's."""
    logger = logging.getLogger("shop")
    logger.setLevel(logging.INFO)
    logger.info(what)


@app.task(executor="process")
def says_who_it_is(path: str, gate: str) -> str:
    """Write the process id to `path`, then wait for the file `gate`."""
    Path(path).with_suffix(".new").write_text(str(os.getpid()))
    Path(path).with_suffix(".new").rename(path)
    _await_file(gate)
    return "done"


@app.task(executor="process")
def tells_its_process() -> int:
    """The id of the process that it runs in."""
    return os.getpid()


@app.task(executor="process")
def tells_its_name(number: int) -> str:
    """Something that no other run tells."""
    return f"{number} {token_hex(8)}"


@app.task(executor="process")
def dies_in_the_middle_of_a_word() -> None:
    """Begin to log a line that is longer than its worker takes in at once, and be killed meanwhile."""
    threading.Thread(target=logging.getLogger("taskq").error, args=("x" * 50_000_000,), daemon=True).start()
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(executor="process")
def chatters() -> None:
    """Report progress without end."""
    context = current()
    while True:
        context.progress(0.5, "x" * 900)


@app.task(executor="process")
def counts_to_the_end() -> None:
    """Report progress, and return at once."""
    for step in range(1, 21):
        current().progress(step / 20)


@app.task(executor="process")
def reports(gate: str) -> str:
    """Report progress, then wait until the file `gate` is there."""
    context = current()
    context.progress(0.25, "a quarter", done=1)
    _await_file(gate)
    return context.id


@app.task(executor="process")
def describes(ctx: TaskContext) -> dict[str, Any]:
    """What the context says."""
    return {
        "id": ctx.id,
        "name": ctx.name,
        "queue": ctx.queue,
        "attempt": ctx.attempt,
        "fence": ctx.fence,
        "worker_id": ctx.worker_id,
        "metadata": dict(ctx.metadata),
        "tenant": ctx.tenant,
        "cancelled": ctx.cancelled,
        "has_deadline": ctx.deadline is not None,
        "is_current": current() is ctx,
        "pid": os.getpid(),
    }


@app.task(executor="process")
def hides(text: str) -> str:
    """A task whose arguments and result are a secret."""
    return text.upper()


def rename(old: dict[str, Any]) -> dict[str, Any]:
    """From `a` and `b` to `x` and `y`."""
    return {"x": old["a"], "y": old["b"]}


@app.task(executor="process", version=2, upcast={1: rename})
def adds_renamed(x: int, y: int) -> int:
    return x + y


@app.task(executor="process")
def enqueues() -> str:
    """Enqueue from a child, where the memory backend cannot be reached."""
    return add.enqueue(1, 2).id


def _line() -> int:
    """The descriptor of the line to the worker."""
    return int(sys.argv[1])


@app.task(executor="process")
def sleeps(is_caught: bool) -> str:
    """Sleep in the system, and tell what ended it."""
    try:
        time.sleep(NEVER)
    except SoftTimeout:
        if not is_caught:
            raise
    return "half of it"


@app.task(executor="process")
async def sleeps_on_a_loop(is_caught: bool) -> str:
    """Wait on the loop of a child."""
    try:
        await asyncio.sleep(NEVER)
    except SoftTimeout:
        if not is_caught:
            raise
    return "half of it"


@app.task(executor="process")
def tells_all_the_time(ctx: TaskContext, is_caught: bool) -> str:
    """Log and report progress, and nothing else."""
    try:
        while True:
            ctx.logger.debug("on its way")
            ctx.progress(0.5)
    except SoftTimeout:
        if not is_caught:
            raise
    return "half of it"


@app.task(executor="process", retry=Fixed(0.01, max_retries=3))
def resumes(ctx: TaskContext) -> Any:
    """Fail once, after it has kept something; tell what it finds."""
    if ctx.attempt == 1:
        ctx.checkpoint({"row": 0})
        ctx.checkpoint({"row": 1})
        raise OSError("the line broke")
    return ctx.last_checkpoint


@dataclass
class Account:
    """An argument with code of its own, which fails at "gone"."""

    name: str

    def __post_init__(self) -> None:
        if self.name == "gone":
            raise LookupError(f"no account {self.name}")


@app.task(executor="process")
def greets(account: Account) -> str:
    """Say the name of an account."""
    return account.name


def _note(pid_file: str) -> None:
    path = Path(pid_file)
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)


def _await_file(path: str) -> None:
    pause = threading.Event()
    while not Path(path).exists():
        pause.wait(timeout=0.01)


@app.task(executor="process")
def transacts() -> str:
    """Ask for what a child cannot have."""
    try:
        current().transaction()
    except CapabilityMissing as error:
        return str(error)
    return ""
