"""Keeps worker processes running: starts them, replaces those that die, with growing pauses; passes signals on."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

RESTART = 75
"""The exit status of a worker that wants to be replaced by a fresh process (EX_TEMPFAIL of sysexits.h)."""
REFUSED = 2
"""The exit status of a worker that will not start however often it is tried."""
LIFELINE = "TASKQ_LIFELINE"
"""Names the file descriptor that a worker reads to learn of its supervisor's death."""
STEADY_AFTER = 10.0
"""Seconds of life after which a process counts as having started well."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
logger = logging.getLogger("taskq.supervisor")


@dataclass(slots=True)
class _Child:
    index: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0


@dataclass(slots=True)
class Supervisor:
    """Runs `count` worker processes.

    Arguments:
        command: the command line of one worker.
        count: how many.
        shutdown_timeout: seconds that they have for a graceful stop.
    """

    command: Sequence[str]
    count: int
    shutdown_timeout: float = 30.0
    _children: list[_Child] = field(default_factory=list)
    _stops: int = 0
    _lifeline: tuple[int, int] = (-1, -1)

    def run(self) -> int:
        """Supervise until a signal says to stop; returns the exit status."""
        self._lifeline = os.pipe()
        os.set_inheritable(self._lifeline[0], True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_signal)
        self._children = [_Child(index) for index in range(self.count)]
        status = 0
        while not self._stops and status == 0:
            status = self._tend()
            time.sleep(0.1)
        return self._stop(status)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._stops += 1
        # Both Ctrl-C and an init system may have told the children already; a worker counts what it is told, so
        # the supervisor passes on what only it has got.
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(number)

    def _tend(self) -> int:
        """Start what should run; a status other than 0 ends the supervisor."""
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.start_at:
                    self._start(child, now)
                continue
            status = child.process.poll()
            if status is None:
                if child.failures and now - child.started_at > STEADY_AFTER:
                    child.failures = 0
                continue
            child.process = None
            if status == REFUSED:
                return REFUSED
            self._plan_restart(child, status, now)
        return 0

    def _start(self, child: _Child, now: float) -> None:
        child.started_at = now
        read_end = self._lifeline[0]
        environment = {**os.environ, LIFELINE: str(read_end)}
        # In a session of its own, so that Ctrl-C reaches it through its supervisor, once.
        child.process = subprocess.Popen(self.command, env=environment, pass_fds=(read_end,), start_new_session=True)
        logger.debug("worker process %d started as %d", child.index, child.process.pid)

    def _plan_restart(self, child: _Child, status: int, now: float) -> None:
        if status == RESTART or (status == 0 and not self._stops):
            child.start_at = now
            return
        if now - child.started_at > STEADY_AFTER:
            child.failures = 0
        child.failures += 1
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (child.failures - 1))
        pause = random.uniform(ceiling / 2, ceiling)
        child.start_at = now + pause
        logger.error("worker process %d ended with %s; a new one starts in %.1f s", child.index, _said(status), pause)

    def _stop(self, status: int) -> int:
        if not self._stops:  # a signal has told them already, and a worker counts
            self._signal_all(signal.SIGTERM)
        end = time.monotonic() + self.shutdown_timeout + 2.0
        alive = [child.process for child in self._children if child.process is not None]
        while any(process.poll() is None for process in alive) and time.monotonic() < end:
            time.sleep(0.05)
        for process in alive:
            if process.poll() is None:
                logger.error(
                    "worker process %d does not stop and is killed; its tasks run again elsewhere", process.pid
                )
                process.kill()
            process.wait()
        for end_of_pipe in self._lifeline:
            os.close(end_of_pipe)
        return status or int(any(process.returncode not in (0, RESTART) for process in alive))


def _said(status: int) -> str:
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"exit status {status}"
