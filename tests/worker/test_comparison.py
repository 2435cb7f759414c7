"""A worker whose runs fail where those of others do not pauses by itself, raises an alert, and tries again."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from taskq import App, NoRetry, TaskState
from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.record import Failure
from taskq.ports import Event, WorkerCommand, WorkerInfo, WorkerState
from taskq.ports.events import ALERTS
from taskq.runtime import comparison
from taskq.runtime.comparison import HALF, LOOK_EVERY, MOST_KEPT, MOST_REPORTED, PAUSE, Comparison, RunCounts
from taskq.runtime.worker import Worker
from tests.worker.support import ended, parts, twin, until, until_held_back, work

FAILURE = Failure("ValueError", "secret")
OTHER = WorkerInfo(id="w2", name="n", host="h", pid=1, queues=("default",), state=WorkerState.BUSY)

# ------------------------------------------------------------ counting


def test_the_window_moves_on_by_halves() -> None:
    counts = RunCounts()
    for failed in (True, False, False):
        counts.add("mail", failed=failed)
    counts.turn()
    counts.add("mail", failed=True)
    assert counts.figures() == {"mail": (4, 2)}
    counts.turn()
    assert counts.figures() == {"mail": (1, 1)}
    counts.turn()
    assert counts.figures() == {}


def test_what_is_kept_and_reported_is_bounded() -> None:
    counts = RunCounts()
    for number in range(2 * MOST_KEPT):
        for _ in range(1 + number % 3):
            counts.add(f"task.{number}", failed=False)
    assert len(counts._halves[1]) == MOST_KEPT
    figures = counts.figures()
    assert len(figures) == MOST_REPORTED
    assert set(figures.values()) == {(3, 0)}, "those most run"


# ------------------------------------------------------------ comparing


@dataclass
class Fleet:
    """A registry and an event bus, and a clock that is turned by hand."""

    workers_known: list[WorkerInfo] = field(default_factory=list)
    heard: list[Event] = field(default_factory=list)
    asked: int = 0
    seconds: float = 1000.0

    async def workers(self) -> Sequence[WorkerInfo]:
        self.asked += 1
        return self.workers_known

    async def publish(self, events: Sequence[Event]) -> None:
        self.heard += events

    def comparison(self) -> Comparison:
        port: Any = self
        return Comparison("w1", port, port, lambda: self.seconds)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def settle(compared: Comparison, *settlements: Settlement, name: str = "mail.send") -> None:
    for settlement in settlements:
        compared.note(Delivery("5b", name, b"", "default", 1, 1, 1, 0, "w1"), settlement)


def failing(fleet: Fleet, runs: Mapping[str, tuple[int, int]], **said: Any) -> Comparison:
    """A worker of which 20 runs failed, beside one with these figures."""
    compared = fleet.comparison()
    settle(compared, *[Retry(1.0, FAILURE)] * 20)
    fleet.workers_known = [replace(OTHER, id="w1", runs=compared.figures()), replace(OTHER, runs=runs, **said)]
    return compared


def test_what_counts_is_what_counts_for_breakers(fleet: Fleet) -> None:
    compared = fleet.comparison()
    settle(compared, Complete(), Snooze(1.0), Release(), Cancel())
    assert compared.figures() == {"mail.send": (1, 0)}
    settle(compared, Retry(1.0, FAILURE), Bury("r", FAILURE), Fail("r", FAILURE), Crash(FAILURE))
    assert compared.figures() == {"mail.send": (5, 4)}


async def test_nobody_is_asked_while_runs_succeed(fleet: Fleet) -> None:
    compared = fleet.comparison()
    settle(compared, *[Complete()] * 11, *[Retry(1.0, FAILURE)] * 10)
    settle(compared, *[Retry(1.0, FAILURE)] * 19, name="rare")
    assert await compared.tick() == LOOK_EVERY
    assert (fleet.asked, compared.reason) == (0, "")


async def test_the_only_worker_never_pauses(fleet: Fleet) -> None:
    compared = failing(fleet, {})
    del fleet.workers_known[1]
    await compared.tick()
    assert (fleet.asked, compared.reason, fleet.heard) == (1, "", [])


async def test_where_all_fail_nobody_pauses(fleet: Fleet) -> None:
    compared = failing(fleet, {"mail.send": (100, 21)})
    await compared.tick()
    assert (fleet.asked, compared.reason, fleet.heard) == (1, "", [])


@pytest.mark.parametrize("state", [WorkerState.PAUSED, WorkerState.PRESSED, WorkerState.SHUTTING_DOWN])
async def test_who_takes_no_tasks_is_no_measure(fleet: Fleet, state: WorkerState) -> None:
    compared = failing(fleet, {"mail.send": (100, 0)}, state=state)
    await compared.tick()
    assert compared.reason == "", "or all might pause, each for another name"


async def test_an_outlier_pauses_says_so_and_tries_again(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq.worker")
    compared = failing(fleet, {"mail.send": (100, 3)})
    await compared.tick()
    assert compared.reason == "20 of 20 runs of mail.send failed here, and 3 of 100 on the other workers"
    assert compared.figures() == {}, "what it counted says nothing of what comes after the pause"
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert compared.reason in record.message
    assert "Look at what sets it apart" in record.message
    [alert] = fleet.heard
    assert alert.topic == ALERTS == "alerts"
    assert json.loads(alert.data) == {
        "kind": "failing_worker",
        "worker": "w1",
        "name": "mail.send",
        "paused_for": PAUSE,
        "runs": 20,
        "failures": 20,
        "other_runs": 100,
        "other_failures": 3,
    }
    settle(compared, *[Retry(1.0, FAILURE)] * 20)  # those that ran on
    fleet.seconds += PAUSE - 1
    assert await compared.tick() == 1
    assert compared.reason != ""
    fleet.seconds += 1
    assert await compared.tick() == LOOK_EVERY
    assert (compared.reason, compared.figures(), fleet.asked) == ("", {}, 1)
    assert caplog.records[-1].message == "the pause is over: this worker tries again"
    settle(compared, *[Retry(1.0, FAILURE)] * 20)
    await compared.tick()
    assert len(fleet.heard) == 2


async def test_what_is_old_is_forgotten(fleet: Fleet) -> None:
    compared = failing(fleet, {"mail.send": (10, 0)})
    for figures in ({"mail.send": (20, 20)}, {"mail.send": (20, 20)}, {}):
        await compared.tick()
        assert compared.figures() == figures
        fleet.seconds += HALF


async def test_somebody_may_end_the_pause(fleet: Fleet) -> None:
    compared = failing(fleet, {"mail.send": (100, 3)})
    compared.resume()
    assert compared.figures() != {}, "there was none to end"
    await compared.tick()
    compared.resume()
    assert compared.reason == ""


# ------------------------------------------------------------ the worker


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that compare themselves often."""
    monkeypatch.setattr(comparison, "LOOK_EVERY", 0.02)


def mailer(app: App, *, fails: bool) -> Any:
    """The task that all workers have, and one of them cannot run."""

    @app.task(name="mail.send", retry=NoRetry())
    async def send() -> None:
        if fails:
            raise ValueError("secret")

    return send


@pytest.mark.usefixtures("often")
async def test_the_worker_that_fails_alone_takes_no_tasks(any_app: App) -> None:
    good, bad_app = any_app, twin(any_app)
    send = mailer(good, fails=False)
    mailer(bad_app, fails=True)
    said: dict[str, Any] = {"heartbeat": 0.05, "lease": 30.0}
    backend = await good.backend()
    async with work(good, queues={"here": 1}, **said) as sound:
        for handle in await send.options(queue="here").aenqueue_many([()] * 20):
            await ended(handle)

        async def is_reported() -> bool:
            infos = await backend.registry.workers()
            return any(info.runs == {"mail.send": (20, 0)} for info in infos)

        await until(is_reported, "the others know")
        async with work(bad_app, queues={"there": 1}, **said) as failing:
            for handle in await send.options(queue="there").aenqueue_many([()] * 20):
                assert (await ended(handle)).state is TaskState.DEAD
            await until(lambda: failing.info.state is WorkerState.PRESSED, "it pauses")
            assert failing.info.pressure.startswith("20 of 20 runs of mail.send failed here, and 0 of 20 on")
            assert sound.info.pressure == ""
            await until_held_back(failing)
            held = await send.options(queue="there").aenqueue()
            assert (await held.ainfo()).state is TaskState.PENDING
            assert await backend.registry.command(failing.id, WorkerCommand.RESUME)
            assert (await ended(held)).state is TaskState.DEAD
    await bad_app.aclose()


@pytest.mark.usefixtures("often")
async def test_an_alert_is_heard(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    send, heard = mailer(app, fails=True), (await app.backend()).events.subscribe([ALERTS])
    alert = asyncio.ensure_future(anext(heard))
    await (await app.backend()).registry.report(replace(OTHER, runs={"mail.send": (50, 1)}), ttl=60.0)
    async with work(app) as worker:
        await send.aenqueue_many([()] * 20)
        event = await asyncio.wait_for(alert, 30)
    said = json.loads(event.data)
    assert (said["kind"], said["worker"], said["failures"]) == ("failing_worker", worker.id, 20)
    assert "secret" not in event.data


@pytest.mark.usefixtures("often")
async def test_a_worker_that_is_not_to_compare_counts_nothing(app: App) -> None:
    send = mailer(app, fails=True)
    await (await app.backend()).registry.report(replace(OTHER, runs={"mail.send": (50, 1)}), ttl=60.0)
    async with work(app, compare=False) as worker:
        for handle in await send.aenqueue_many([()] * 25):
            await ended(handle)
        assert (worker.info.runs, worker.info.pressure) == ({}, "")
        parts(worker).restraint.resume()


def test_a_worker_that_has_not_started_has_nothing_to_say(app: App) -> None:
    assert (Worker(app).info.runs, Worker(app).info.pressure) == ({}, "")
