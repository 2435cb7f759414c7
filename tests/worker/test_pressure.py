"""Under pressure a worker takes no tasks and says so; what runs goes on, and it takes tasks again by itself."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from taskq import App, TaskState
from taskq.config import WorkerOptions
from taskq.errors import BackendUnavailable
from taskq.management.fleet import examine
from taskq.ports import WorkerInfo, WorkerState
from taskq.runtime import pressure, restraint
from taskq.runtime.latency import Latency
from taskq.runtime.pressure import TICK, WARN_EVERY, Pressure, Reading, pressing
from tests.worker.support import ended, gated, parts, registered, until, until_held_back, work, wrap

PAUSE = 0.01

# ------------------------------------------------------------ the decision


def reading(value: float) -> Reading:
    return Reading("memory", value, 100, "MiB")


@pytest.mark.parametrize(
    ("value", "opens", "stays"), [(101, True, True), (100, False, True), (80.1, False, True), (80, False, False)]
)
def test_it_opens_over_the_limit_and_closes_well_below_it(value: float, opens: bool, stays: bool) -> None:
    assert bool(pressing([reading(value)], before=())) is opens
    assert bool(pressing([reading(value)], before=["memory"])) is stays
    assert bool(pressing([reading(value)], before=["store latency"])) is opens


# ------------------------------------------------------------ the tick


@dataclass
class Machine:
    """What is measured, set by hand."""

    seconds: float = 1000.0
    memory: float = 100.0
    is_away: bool = False
    answers_in: float = 0.0
    asked: int = 0
    latency: Latency = field(init=False)

    def __post_init__(self) -> None:
        self.latency = Latency(lambda: self.seconds)

    async def ask(self) -> None:
        self.asked += 1
        self.seconds += self.answers_in
        if self.is_away:
            raise BackendUnavailable("away")

    def pressure(self, **said: Any) -> Pressure:
        said = {"max_rss": 400, **said}
        return Pressure(WorkerOptions(**said), self.latency, self.ask, lambda: self.memory, lambda: self.seconds)


@pytest.fixture
def machine() -> Machine:
    return Machine()


async def test_memory(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq.worker")
    watch = machine.pressure()
    for memory, sentence in (
        (400, ""),
        (512, "memory 512 MiB of 400 MiB"),
        (321, "memory 321 MiB of 400 MiB"),
        (320, ""),
        (390, ""),
    ):
        machine.memory = memory
        machine.seconds += await watch.tick()
        assert watch.sentence == sentence
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "under pressure, no tasks are taken until it is less: memory 512 MiB of 400 MiB"),
        ("INFO", "the pressure is over (memory): tasks are taken again"),
    ]


async def test_what_comes_and_goes_is_said_once_a_minute(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq.worker")
    watch = machine.pressure()

    async def come_and_go() -> list[str]:
        caplog.clear()
        for machine.memory in (512, 0):
            machine.seconds += await watch.tick()
        return [record.levelname for record in caplog.records]

    assert await come_and_go() == ["WARNING", "INFO"]
    assert await come_and_go() == []
    machine.seconds += WARN_EVERY - TICK  # it is late, too
    assert await come_and_go() == ["WARNING", "WARNING", "INFO"]


async def test_a_late_loop(machine: Machine) -> None:
    watch = machine.pressure(max_loop_lag=1.0)
    machine.seconds += 100  # before the first tick nothing was due
    assert watch.sentence == ""
    machine.seconds += await watch.tick() + 0.9
    machine.seconds += await watch.tick()
    assert watch.sentence == ""
    machine.seconds += 1.5
    assert watch.sentence == "event-loop lag 1.5 s of 1 s", "seen from another thread, before the loop can say so"
    machine.seconds += await watch.tick()
    assert watch.sentence == "event-loop lag 1.5 s of 1 s"
    await watch.tick()
    assert watch.sentence == ""


async def test_one_slow_answer_is_no_pressure_and_several_are(machine: Machine) -> None:
    watch = machine.pressure(max_backend_latency=5.0)
    for seconds, is_slow in ((9.0, False), (9.0, False), (0.01, True), (0.01, False), (0.01, False), (9.0, False)):
        machine.latency.note(seconds)
        assert (machine.latency.seconds > 5.0) is is_slow
    assert machine.asked == 0
    for _ in range(2):
        machine.latency.note(6.25)
    machine.seconds += await watch.tick()
    assert watch.sentence == "store latency 6.25 s of 5 s"


async def test_while_the_store_is_slow_it_is_asked_until_it_is_quick_again(machine: Machine) -> None:
    watch = machine.pressure()
    for _ in range(5):
        machine.latency.note(8.0)
    machine.seconds += await watch.tick()
    assert (watch.sentence, machine.asked) == ("store latency 8 s of 5 s", 0)
    machine.answers_in = 4.5
    for _ in range(5):
        machine.seconds += await watch.tick()
    assert watch.sentence == "store latency 4.5 s of 5 s", "less than the limit, but not well below it"
    machine.answers_in = 0.1
    while watch.sentence:
        machine.seconds += await watch.tick()
    assert machine.asked == 8
    machine.seconds += await watch.tick()
    assert machine.asked == 8


async def test_a_store_that_refuses_at_once_is_not_quick(machine: Machine) -> None:
    watch = machine.pressure()
    for _ in range(5):
        machine.latency.note(8.0)
    machine.seconds += await watch.tick()
    machine.is_away = True
    for _ in range(10):
        machine.seconds += await watch.tick()
    assert watch.sentence == "store latency 8 s of 5 s"


def test_a_reply_that_never_came_took_as_long_as_it_was_waited_for(machine: Machine) -> None:
    for seconds in (0.1, 10.0, 10.0, 10.0):
        with pytest.raises(BackendUnavailable), machine.latency.timed():
            machine.seconds += seconds
            raise BackendUnavailable("no reply")
    assert machine.latency.seconds == 10.0


async def test_limits_can_be_left_out(machine: Machine) -> None:
    watch = machine.pressure(max_rss=None, max_loop_lag=None, max_backend_latency=None)
    for _ in range(5):
        machine.latency.note(8.0)
    machine.memory = 1e6
    machine.seconds += await watch.tick() + 100
    assert watch.sentence == ""
    await watch.tick()
    assert watch.sentence == ""


async def test_all_that_presses_is_named(machine: Machine) -> None:
    watch = machine.pressure()
    machine.memory = 512
    for _ in range(5):
        machine.latency.note(8.0)
    await watch.tick()
    assert watch.sentence == "memory 512 MiB of 400 MiB, store latency 8 s of 5 s"


# ------------------------------------------------------------ the worker


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that measures often."""
    monkeypatch.setattr(pressure, "TICK", 0.01)


@pytest.mark.usefixtures("often")
async def test_a_worker_under_pressure_takes_no_tasks_and_says_so(
    any_app: App, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restraint, "Pressure", partial(Pressure, memory=lambda: machine.memory))
    wrapped = wrap(any_app)
    gate, waits = gated(any_app)
    async with work(any_app, max_rss=400, heartbeat=0.05, lease=30.0, max_loop_lag=None) as worker:
        running = await waits.aenqueue()
        await gate.until_arrived(1)
        machine.memory = 512
        await until(lambda: worker.info.state is WorkerState.PRESSED, "it is under pressure")
        await until_held_back(worker)
        claims, held = wrapped.calls["fetch"], await waits.aenqueue()

        async def reported() -> WorkerInfo | None:
            infos = await (await any_app.backend()).registry.workers()
            return next((info for info in infos if info.state is WorkerState.PRESSED), None)

        await registered(any_app, worker)
        assert (await until(reported, "the store knows")).pressure == "memory 512 MiB of 400 MiB"
        [finding] = [one for one in await examine(await any_app.backend()) if one.check == "workers.pressed"]
        assert "takes no tasks: memory 512 MiB of 400 MiB" in finding.detail
        gate.open()
        assert (await ended(running)).state is TaskState.COMPLETED
        assert (wrapped.calls["fetch"], (await held.ainfo()).state) == (claims, TaskState.PENDING)
        machine.memory = 100
        assert (await ended(held)).state is TaskState.COMPLETED
        assert worker.info.pressure == ""


@pytest.mark.usefixtures("often")
async def test_a_loop_that_is_blocked_is_reported_from_outside(app: App) -> None:
    seen: list[str] = []

    @app.task
    async def blocks() -> None:
        while not (said := worker.info.pressure):
            time.sleep(PAUSE)  # noqa: ASYNC251 - that is the fault under test
        seen.append(said)

    async with work(app, max_loop_lag=0.05) as worker:
        await ended(await blocks.aenqueue())
        assert seen[0].startswith("event-loop lag ")
        await until(lambda: not worker.info.pressure, "it is over")


@pytest.mark.usefixtures("often")
async def test_a_slow_store_is_asked_until_it_is_well(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq.worker")

    @app.task
    async def quick() -> str:
        return "done"

    async with work(app, poll=60, max_loop_lag=None) as worker:
        for _ in range(5):
            parts(worker).restraint.latency.note(9.0)
        await until(lambda: "the pressure is over (store latency)" in caplog.text, "it is over")
        assert caplog.text.count("store latency 9 s of 5 s") == 1
        assert await (await quick.aenqueue()).aresult(30) == "done"
