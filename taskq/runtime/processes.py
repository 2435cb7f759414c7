"""Process tasks: children of the worker that run one task at a time, and can be killed without harm to the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from taskq.assumed import Assumed
from taskq.domain.outcome import Crashed, Interrupted, Outcome
from taskq.domain.record import Failure
from taskq.registry import importable_module
from taskq.runtime import wire
from taskq.runtime.run import Run
from taskq.runtime.wire import Assignment, Begun, Ended, Frames, Kept, Logged, Progressed, Setup
from taskq.task import Task

PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from taskq.runtime.child import main
main(int(sys.argv[1]))
"""
BLOCKED = (signal.SIGINT, signal.SIGTERM)
"""Signals that a child is not to die of before it can ignore them."""
SPAWN_AGAIN = 1.0
"""Seconds for which a task is held that found no process to run in: at once it would find none again."""
LAST_WORDS = 1.0
"""Seconds for which a child that has died is still listened to: what it had said may be on its way."""

logger = logging.getLogger("taskq.worker")

Report = Callable[[Begun | Progressed | Kept], None]


class Children:
    """Runs process tasks, each in a child that has nothing else to do; as many as there are runs at once.

    Arguments:
        tasks: their modules are imported by each child as it starts.
        url: of the worker's store.
        assumed: what the application was made under.
        report: told of each run that it begins, and how far it is.
    """

    def __init__(self, tasks: Iterable[Task[..., Any]], url: str, assumed: Assumed, report: Report) -> None:
        functions = (task.function for task in tasks if task.executor == "process")
        preload = tuple(sorted({importable_module(function.__module__) for function in functions}))
        levels = (logging.root.getEffectiveLevel(), logging.getLogger("taskq").getEffectiveLevel())
        self._setup = Setup(preload, levels, url, assumed)
        self._report = report
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()

    async def run(self, run: Run) -> Outcome:
        """Run a task in a child; whoever cancels this kills it. Interrupted where the system starts no process."""
        function = run.task.function
        module = importable_module(function.__module__)
        found = module, function.__qualname__, run.delivery, run.payload, run.sealed_headers
        assignment = Assignment(*found, run.timeout, run.soft_timeout, run.parent_results, run.last_checkpoint)
        while True:
            try:
                child, is_fresh = self._take()
            except OSError as error:  # no more files, processes or memory, which is not the task's fault
                logger.error("no child process can be started: %s", error)
                await asyncio.sleep(SPAWN_AGAIN)
                return Interrupted()
            outcome = await self._run_in(child, assignment)
            # One that died before it had begun was hit while it was idle. A fresh one died of the task's own module.
            if child.has_begun or is_fresh or not isinstance(outcome, Crashed):
                return outcome

    async def _run_in(self, child: _Child, assignment: Assignment) -> Outcome:
        try:
            outcome = await child.work(assignment)
        except BaseException:
            child.kill()
            self._children.discard(child)
            raise
        if child.exited.done():
            child.kill()
            self._children.discard(child)
        else:
            self._idle.append(child)
        return outcome

    def close(self) -> None:
        """Kill the children, with what their tasks have left behind."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.watch.join(LAST_WORDS)
        self._children.clear()
        self._idle.clear()

    def _take(self) -> tuple[_Child, bool]:
        """An idle child that lives, or a fresh one; and whether it is fresh."""
        while self._idle:
            child = self._idle.pop()
            if not child.exited.done():
                return child, False
            child.kill()
            self._children.discard(child)
        child = _Child(self._setup, self._report)
        self._children.add(child)
        return child, True


class _Child:
    """One process, the leader of a process group of its own."""

    def __init__(self, setup: Setup, report: Report) -> None:
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._unsent = wire.frame(setup)
        self._line, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _spawn(theirs)
        except BaseException:
            self._line.close()
            raise
        self._line.setblocking(False)
        self.exited: asyncio.Future[int] = self._loop.create_future()
        """Its exit status."""
        self._ended: asyncio.Future[Outcome] = self._loop.create_future()
        self.has_begun = False
        """Whether its newest run has begun."""
        self._lock = threading.Lock()
        self._is_reaped = False
        self.watch = threading.Thread(target=self._watch, name="taskq-child", daemon=True)
        self.watch.start()
        self._reading = self._loop.create_task(self._read())

    async def work(self, assignment: Assignment) -> Outcome:
        """Have it run a task; a Crashed where it dies of it."""
        self._ended, self.has_begun = self._loop.create_future(), False
        unsent, self._unsent = self._unsent + wire.frame(assignment), b""
        with contextlib.suppress(OSError):  # it has died, which is noticed by itself
            await self._loop.sock_sendall(self._line, unsent)
        await _first(self._ended, self.exited)
        if not self._ended.done():
            await _first(self._ended, self._reading, timeout=LAST_WORDS)
        if self._ended.done():
            return self._ended.result()
        return Crashed(Failure("ProcessCrashed", f"the process of the task died: {_said(self.exited.result())}"))

    def kill(self) -> None:
        """End it, with all that its tasks have started; safe to say twice."""
        self._end_group()
        self._reading.cancel()
        self._line.close()

    def _end_group(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if not self._is_reaped:  # afterwards the number may be another's
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self) -> None:
        """Hear it until its line ends; one that nobody hears, or that talks nonsense, is of no use any more."""
        frames = Frames()
        try:
            while data := await self._loop.sock_recv(self._line, wire.CHUNK):
                for word in map(wire.to_worker.decode, frames.feed(data)):
                    self._take_in(word)
        except OSError:
            pass
        except (msgspec.MsgspecError, ValueError, KeyError) as error:
            logger.error("a child process says what nobody understands, and is ended: %s", type(error).__name__)
        finally:
            self._end_group()

    def _take_in(self, word: Begun | Progressed | Kept | Logged | Ended) -> None:
        match word:
            case Logged():
                with contextlib.suppress(Exception):  # a handler of the user's must not cost a child its life
                    wire.log(word)
            case Ended():
                if not self._ended.done():
                    self._ended.set_result(word.outcome)
            case Begun():
                self.has_begun = True
                self._report(word)
            case Progressed() | Kept():
                self._report(word)

    def _watch(self) -> None:
        """Wait for its end, and end what its tasks have left behind while nobody else can have its number."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:  # macOS before Python 3.13, where the number is free a few instructions early
            self._process.wait()
        self._end_group()
        with self._lock:
            status = self._process.wait()
            self._is_reaped = True
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._note_exit, status)

    def _note_exit(self, status: int) -> None:
        if not self.exited.done():
            self.exited.set_result(status)


async def _first(*awaited: asyncio.Future[Any], timeout: float | None = None) -> None:
    """Wait for whichever is done first."""
    await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def _spawn(line: socket.socket) -> subprocess.Popen[bytes]:
    """Start a child that talks over `line`: a fresh interpreter, never a fork of a process with threads."""
    command = [sys.executable, "-c", PROGRAM, str(line.fileno()), json.dumps(sys.path)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        return subprocess.Popen(command, pass_fds=(line.fileno(),), stdin=subprocess.DEVNULL, process_group=0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _said(status: int) -> str:
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exit status {status}"
