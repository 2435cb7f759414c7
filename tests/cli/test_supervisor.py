"""The supervisor, with stand-ins for its workers: what it replaces, after how long, and whom it tells to stop."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq.runtime import supervisor
from taskq.runtime.supervisor import DISMISSED, REFUSED, RESTART, STEADY_AFTER, Supervisor
from taskq.variables import LIFELINE

BEGIN = """
import os, signal, sys
from pathlib import Path

def starts():
    "Which start this is, from 1: where its own letter ends, also when another one writes at the same moment."
    with open("starts", "ab", buffering=0) as file:
        file.write(b"x")
        return file.tell()

def until_told():
    # No handler and a pause: a signal that comes just before the pause would be slept through.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})
    sys.exit(0)

def end_the_supervisor():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.kill(os.getppid(), signal.SIGTERM)
    until_told()
"""


class FastClock:
    """A clock by which a second passes in a hundredth of one."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.jump = 0.0
        self.look: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 100)
        self.time += seconds + self.jump
        self.look()


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder; leave the signal handlers as they were."""
    monkeypatch.chdir(tmp_path)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


def supervise(clock: FastClock, code: str, count: int = 1, **more: Any) -> int:
    """Run a supervisor over workers that run this code; returns its exit status."""
    command = [sys.executable, "-c", BEGIN + code]
    more = {"shutdown_timeout": 1e6, "now": clock.now, "sleep": clock.sleep, **more}
    return Supervisor(command, count, **more).run()


def starts() -> int:
    """How many workers have started."""
    return Path("starts").stat().st_size


def test_a_worker_that_will_not_start_ends_its_supervisor(clock: FastClock) -> None:
    assert supervise(clock, f"sys.exit({REFUSED})", 2) == 2


def test_a_worker_that_dies_is_replaced_after_a_pause(clock: FastClock, caplog: pytest.LogCaptureFixture) -> None:
    assert supervise(clock, "os.kill(os.getpid(), signal.SIGKILL) if starts() == 1 else end_the_supervisor()") == 0
    assert starts() == 2
    assert "ended with SIGKILL; a new one starts in" in caplog.text


def test_a_worker_that_always_wants_to_be_replaced_at_once_is_held_back(
    clock: FastClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "taskq")
    began = clock.now()
    assert supervise(clock, f"sys.exit({RESTART}) if starts() < 4 else end_the_supervisor()") == 0
    said = [record for record in caplog.records if "--max-memory" in record.message]
    assert [record.levelname for record in said] == ["WARNING"] * 3
    # Half of the ceilings of the three pauses: 1, 2 and 4 s.
    assert clock.now() - began >= 3.5


def test_a_worker_that_has_run_steadily_is_replaced_without_a_word(
    clock: FastClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.jump = STEADY_AFTER
    assert supervise(clock, f"sys.exit({RESTART}) if starts() < 3 else end_the_supervisor()") == 0
    assert starts() == 3
    assert not caplog.records


def test_short_lives_that_were_asked_for_are_no_failure(clock: FastClock, caplog: pytest.LogCaptureFixture) -> None:
    code = f"sys.exit({RESTART}) if starts() < 9 else end_the_supervisor()"
    assert supervise(clock, code, expects_short_lives=True) == 0
    assert not caplog.records


def test_workers_that_are_dismissed_are_not_replaced(clock: FastClock) -> None:
    assert supervise(clock, f"starts(); sys.exit({DISMISSED})", 3) == 0
    assert starts() == 3


def test_a_worker_that_is_dismissed_leaves_the_others_alone(clock: FastClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq")
    rounds_since: list[None] = []

    def look() -> None:
        if "is not replaced" in caplog.text:
            rounds_since.append(None)
        if len(rounds_since) == 50:
            os.kill(os.getpid(), signal.SIGTERM)

    clock.look = look
    assert supervise(clock, f"sys.exit({DISMISSED}) if starts() == 2 else until_told()", 2) == 0
    assert starts() == 2
    assert len(rounds_since) >= 50


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_task_that_ends_its_process_by_any_ordinary_status_ends_no_more(clock: FastClock, status: int) -> None:
    assert supervise(clock, f"os._exit({status}) if starts() < 3 else end_the_supervisor()") == 0
    assert starts() == 3


def test_the_end_of_its_owner_is_a_reason_to_stop(clock: FastClock, monkeypatch: pytest.MonkeyPatch) -> None:
    lifeline, held = os.pipe()
    monkeypatch.setenv(LIFELINE, str(lifeline))

    def look() -> None:
        if Path("starts").exists() and not closed:
            closed.append(held)
            os.close(held)

    closed: list[int] = []
    clock.look = look
    assert supervise(clock, "starts(); until_told()") == 0
    os.close(lifeline)
    assert LIFELINE not in os.environ


def test_the_end_of_a_terminal_is_nothing_to_one_that_was_told_so(clock: FastClock) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    code = """
if starts() == 1:
    os.kill(os.getppid(), signal.SIGHUP)
    sys.exit(1)
end_the_supervisor()
"""
    assert supervise(clock, code) == 0
    assert starts() == 2


def test_a_refusal_in_mid_life_does_not_stop_the_others(clock: FastClock, caplog: pytest.LogCaptureFixture) -> None:
    """A configuration that is broken while workers run, such as half of a deployment, may be mended again."""
    clock.jump = STEADY_AFTER
    code = f"""
number = starts()
if number == 1:
    sys.exit({RESTART})
if number < 4:
    sys.exit({REFUSED})
end_the_supervisor()
"""
    assert supervise(clock, code) == 0
    assert caplog.text.count(f"ended with exit status {REFUSED}; a new one starts in") == 2


def test_a_signal_between_two_starts_is_the_last_word(clock: FastClock, monkeypatch: pytest.MonkeyPatch) -> None:
    started = told_to_stop_while_starting(monkeypatch)
    assert supervise(clock, "until_told()", 3) == 0
    assert [process.poll() is not None for process in started] == [True]


def test_a_worker_that_is_told_before_it_can_listen_has_ended_well(
    clock: FastClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = told_to_stop_while_starting(monkeypatch)
    assert supervise(clock, "signal.signal(signal.SIGTERM, signal.SIG_DFL); signal.pause()", 1) == 0
    assert [process.returncode for process in started] == [-signal.SIGTERM]


def told_to_stop_while_starting(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Let SIGTERM come while the first worker is being started; returns those that are started."""
    started = []

    def start(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(*arguments, **more)
        started.append(process)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(supervisor, "Popen", start)
    return started


def test_each_signal_is_passed_on_and_the_first_as_one_that_every_process_obeys(clock: FastClock) -> None:
    code = """
signals = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
for _ in range(2):
    os.kill(os.getppid(), signal.SIGINT)
    number = signal.sigwait(signals)
    with open("told", "a") as file:
        print(signal.Signals(number).name, file=file)
"""
    assert supervise(clock, code) == 0
    assert Path("told").read_text().split() == ["SIGTERM", "SIGINT"]


def test_a_worker_that_does_not_stop_is_killed(clock: FastClock, caplog: pytest.LogCaptureFixture) -> None:
    code = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.kill(os.getppid(), signal.SIGTERM)
while True:
    signal.pause()
"""
    assert supervise(clock, code, shutdown_timeout=1.0) == 1
    assert "does not stop and is killed" in caplog.text
