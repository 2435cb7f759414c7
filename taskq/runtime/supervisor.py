"""Keeps worker processes running: starts them, replaces those that die, with growing pauses; passes signals on."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from subprocess import Popen

from taskq.runtime.reports import Reports
from taskq.variables import LIFELINE, REPORTS

RESTART = 75
"""The exit status of a worker that wants to be replaced by a fresh process (EX_TEMPFAIL of sysexits.h)."""
DISMISSED = 76
"""The exit status of a worker that was told, through its store, to shut down: it is not replaced."""
REFUSED = 78
"""The exit status of a worker that will not start as it is configured (EX_CONFIG). None of these three is one that a
task ends its process with by chance."""
WRONG_USAGE = 2
STEADY_AFTER = 10.0
"""Seconds of life after which a process counts as having started well."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
logger = logging.getLogger("taskq.supervisor")


@dataclass(slots=True)
class _Child:
    index: int
    process: Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0
    is_told: bool = False
    """Whether the process that runs now has been told to stop."""
    is_done: bool = False
    """Whether it was dismissed."""


@dataclass(slots=True)
class Supervisor:
    """Runs `count` worker processes.

    Arguments:
        command: the command line of one worker.
        count: how many.
        shutdown_timeout: seconds that they have for a graceful stop.
        passes_hangup: whether SIGHUP is the workers' affair, who read their configuration again, and no reason to stop.
        expects_short_lives: whether a worker may soon want to be replaced, as --max-tasks has it.
        now: the seconds of a clock that never goes back.
        sleep: pauses for some seconds.
        reports: hears what the processes say of themselves; None: nobody wants to know.
    """

    command: Sequence[str]
    count: int
    shutdown_timeout: float = 30.0
    expects_short_lives: bool = False
    passes_hangup: bool = False
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    reports: Reports | None = None
    _children: list[_Child] = field(default_factory=list)
    _stops: int = 0
    _has_run_steadily: bool = False
    _lifeline: tuple[int, int] = (-1, -1)

    def run(self) -> int:
        """Supervise until a signal says to stop, or every worker is dismissed; returns the exit status."""
        self._lifeline = os.pipe()
        os.set_inheritable(self._lifeline[0], True)
        self._listen()
        self._children = [_Child(index) for index in range(self.count)]
        owner, status = _Lifeline.inherited(), 0
        while status == 0 and self._has_work() and not owner.is_cut():
            status = self._tend()
            self.sleep(0.1)
        return self._stop(status)

    def _listen(self) -> None:
        """Hear signals from here on."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` and `&` leave it
                signal.signal(number, self._on_signal)
        # `--reload` keeps Ctrl-C from a process that is not ready for it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def _has_work(self) -> bool:
        return not self._stops and not all(child.is_done for child in self._children)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP and self.passes_hangup:
            for child in self._children:
                if child.process is not None and child.process.poll() is None:
                    child.process.send_signal(number)
            return
        self._stops += 1
        # An init system tells the workers too: a worker takes a SIGTERM that soon follows the first for its echo.
        # A second Ctrl-C is no echo, and stays what it is; the first would end a worker that is still starting with
        # a traceback.
        passed_on = signal.SIGINT if number == signal.SIGINT and self._stops > 1 else signal.SIGTERM
        for child in self._children:
            self._tell(child, passed_on)

    def _tell(self, child: _Child, number: signal.Signals) -> None:
        if child.process is not None and child.process.poll() is None:
            child.is_told = True
            child.process.send_signal(number)

    def _tend(self) -> int:
        """Start what should run; a status other than 0 ends the supervisor."""
        now = self.now()
        for child in self._children:
            if self._stops:
                break
            if child.process is None:
                if now >= child.start_at and not child.is_done:
                    self._start(child, now)
                continue
            status, lived = child.process.poll(), now - child.started_at
            if status is None:
                if lived > STEADY_AFTER:
                    child.failures, self._has_run_steadily = 0, True
                continue
            child.process = None
            if self.reports is not None:
                self.reports.retire(child.index)
            # Where workers have run, a refusal is a mistake of today, such as half of a deployment: it may be mended.
            if status == REFUSED and not self._has_run_steadily:
                logger.error("worker process %d refuses to start, and so would every other", child.index)
                return WRONG_USAGE
            self._follow(child, status, lived)
        return 0

    def _start(self, child: _Child, now: float) -> None:
        child.started_at, child.is_told = now, False
        passed = {LIFELINE: self._lifeline[0]}
        if self.reports is not None:
            hears, passed[REPORTS] = os.pipe()
            self.reports.listen(child.index, hears)
        environment = {**os.environ, **{name: str(descriptor) for name, descriptor in passed.items()}}
        handed = tuple(passed.values())
        # What is passed on waits until the process listens (see taskq.runtime.signals).
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP} if self.passes_hangup else ())
        try:
            # In a session of its own, so that Ctrl-C reaches it through its supervisor, once.
            child.process = Popen(self.command, env=environment, pass_fds=handed, start_new_session=True)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if REPORTS in passed:
                os.close(passed[REPORTS])
        logger.debug("worker process %d started as %d", child.index, child.process.pid)

    def _follow(self, child: _Child, status: int, lived: float) -> None:
        """Decide what comes after a process: nothing, a fresh one, or a fresh one after a pause."""
        was_steady = lived > STEADY_AFTER
        if status == DISMISSED:
            child.is_done = True
            logger.info("worker process %d was told to shut down and is not replaced", child.index)
        elif status == RESTART and (was_steady or self.expects_short_lives):
            # A start costs most of a second of a processor: never two in one.
            child.start_at = child.started_at + FIRST_PAUSE
        else:
            child.failures = 1 if was_steady else child.failures + 1
            self._put_off(child, status, lived)

    def _put_off(self, child: _Child, status: int, lived: float) -> None:
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (child.failures - 1))
        pause = random.uniform(ceiling / 2, ceiling)
        child.start_at = child.started_at + lived + pause
        if status == RESTART:
            logger.warning(
                "worker process %d wanted to be replaced %.1f s after its start (is --max-memory below what it takes "
                "to start, or do its threads hang?); a new one starts in %.1f s",
                *(child.index, lived, pause),
            )
        else:
            said = _said(status)
            logger.error("worker process %d ended with %s; a new one starts in %.1f s", child.index, said, pause)

    def _stop(self, status: int) -> int:
        for child in self._children:
            if not child.is_told:  # a signal that came while it was being started has not reached it
                self._tell(child, signal.SIGTERM)
        end = self.now() + self.shutdown_timeout + 2.0
        alive = [child.process for child in self._children if child.process is not None]
        while any(process.poll() is None for process in alive) and self.now() < end:
            self.sleep(0.05)
        for process in alive:
            if process.poll() is None:
                logger.error(
                    "worker process %d does not stop and is killed; its tasks run again elsewhere", process.pid
                )
                process.kill()
            process.wait()
        for end_of_pipe in self._lifeline:
            os.close(end_of_pipe)
        # One that was told before it could listen held no task.
        ended_well = (0, RESTART, DISMISSED, -signal.SIGTERM)
        return status or int(any(process.returncode not in ended_well for process in alive))


class _Lifeline:
    """The end of a pipe that is open for as long as whoever started this process lives; one that is none never ends."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_blocking(descriptor, False)

    @classmethod
    def inherited(cls) -> _Lifeline:
        """The one that `--reload` has given this process."""
        descriptor = os.environ.pop(LIFELINE, None)
        return cls(None if descriptor is None else int(descriptor))

    def is_cut(self) -> bool:
        """Whether the process at the other end is gone."""
        if self._descriptor is None:
            return False
        try:
            return os.read(self._descriptor, 1) == b""
        except BlockingIOError:
            return False


def _said(status: int) -> str:
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"exit status {status}"
