"""When a worker that is told to stop again hurries, and when it has only heard the same request twice."""

from __future__ import annotations

import asyncio
import os
from signal import SIGINT, SIGTERM, Signals

import pytest

from taskq.runtime.signals import StopRequests, install
from taskq.variables import LIFELINE
from tests.cli.support import TIMEOUT


class Told:
    """Counts how often it is told to stop."""

    def __init__(self) -> None:
        self.times = 0
        self.twice = asyncio.Event()
        self.drained = asyncio.Event()

    def stop(self) -> None:
        self.times += 1
        if self.times == 2:
            self.twice.set()

    def drain(self) -> None:
        self.drained.set()


@pytest.mark.parametrize(
    ("signals", "times"),
    [
        ([(0.0, SIGTERM)], 1),
        ([(0.0, SIGTERM), (0.0, SIGTERM)], 1),
        ([(0.0, SIGINT), (0.9, SIGTERM)], 1),
        ([(0.0, SIGTERM), (0.9, SIGTERM), (0.95, SIGTERM)], 1),
        ([(0.0, SIGTERM), (1.1, SIGTERM)], 2),
        ([(0.0, SIGTERM), (0.5, SIGTERM), (60.0, SIGTERM)], 2),
        ([(0.0, SIGINT), (0.0, SIGINT)], 2),
        ([(0.0, SIGTERM), (0.0, SIGINT)], 2),
        ([(0.0, SIGINT), (60.0, SIGINT)], 2),
    ],
)
def test_a_sigterm_soon_after_the_first_is_its_echo(signals: list[tuple[float, Signals]], times: int) -> None:
    told, clock = Told(), [100.0]
    requests = StopRequests(told, lambda: clock[0])
    for at, number in signals:
        clock[0] = 100.0 + at
        requests.on_signal(number)
    assert told.times == times


async def test_signals_and_the_end_of_the_supervisor_reach_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, kept_open = os.pipe()
    monkeypatch.setenv(LIFELINE, str(watched))
    told, loop = Told(), asyncio.get_running_loop()
    install(told)
    try:
        os.close(kept_open)
        await asyncio.wait_for(told.drained.wait(), TIMEOUT)
        assert told.times == 0
        os.kill(os.getpid(), SIGTERM)
        os.kill(os.getpid(), SIGINT)
        await asyncio.wait_for(told.twice.wait(), TIMEOUT)
    finally:
        for number in (SIGTERM, SIGINT):
            loop.remove_signal_handler(number)
        os.close(watched)
    assert told.times == 2
