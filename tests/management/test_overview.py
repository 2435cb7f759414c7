"""How everything stands: what two looks tell of rates, backlogs and workers, and the sentence that sums it up."""

from __future__ import annotations

import doctest
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import App, TaskRecord, TaskState
from taskq.domain.outcome import Bury, Complete
from taskq.management import (
    Actor,
    Forbidden,
    Look,
    Management,
    Overview,
    Role,
    looks,
    overview,
    overview_desk,
    troubles,
)
from taskq.management.looks import QueueView
from taskq.ports import QueueSettings, Standing, WorkerInfo, WorkerState
from taskq.testing.conformance.fleet import worker_info
from tests.unit.support import BROKEN, claim, settle

NOW = 1_700_000_000.0
READY = TaskState.PENDING


def worker(**fields: Any) -> WorkerInfo:
    """A worker of the queue mail that is well."""
    well = {"id": "w1", "name": "ann", "queues": ("mail",), "pressure": "", "unresponsive": (), "seen_at": NOW}
    return worker_info(**{**well, **fields})


def look(
    at: float = 0.0,
    arrived: int = 0,
    *,
    oldest: float | None = None,
    settings: QueueSettings | None = None,
    workers: Sequence[WorkerInfo] = (worker(),),
    runs: Sequence[TaskRecord] = (),
    **states: int,
) -> Look:
    """A look at one queue, mail."""
    counts = {TaskState(state): number for state, number in states.items()}
    return Look(
        at=at,
        seen_at=NOW,
        standings={"mail": Standing(arrived, (0, counts.get(READY, 0), 0, 0), oldest)},
        counts={"mail": counts},
        settings={"mail": settings or QueueSettings()},
        workers=workers,
        running=runs,
    )


def rates(before: Look, now: Look) -> tuple[float, ...] | None:
    """The rates of the queue mail: arrived, ended, failed, done, grown."""
    [queue] = Overview.of(before, now).queues
    return None if queue.rates is None else tuple(round(rate, 2) for rate in astuple(queue.rates))


def said(now: Look, before: Look | None = None) -> str:
    """The sentence."""
    return Overview.of(before, now).sentence


@pytest.mark.parametrize("module", [looks, overview, overview_desk, troubles], ids=lambda module: module.__name__)
def test_examples(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


# ------------------------------------------------------------ rates


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (look(), look(10.0), (0, 0, 0, 0, 0)),
        (look(0.0, 100, pending=50), look(10.0, 130, pending=40), (3, 4, 0, 4, -1)),
        # What ends leaves the living, whether or not its record stays.
        (look(0.0, 9, pending=5, completed=90), look(10.0, 9, running=1, completed=4), (0, 0.4, 0, 0.4, -0.5)),
        (look(0.0, 9, pending=9), look(10.0, 9, dead=2, failed=1, completed=6), (0, 0.9, 0.3, 0.6, -0.9)),
        (look(0.0, 9, pending=9), look(10.0, 9, cancelled=4, expired=1, completed=4), (0, 0.9, 0, 0.4, -0.9)),
        # Dead letters that were purged, and those that were started anew, are no failures that were not.
        (look(0.0, 9, dead=9, pending=0), look(10.0, 14, pending=5, dead=4), (0.5, 0, 0, 0, 0.5)),
        # Waiting for others or for its time is living.
        (look(0.0, 0), look(10.0, 6, scheduled=2, blocked=3, retrying=1), (0.6, 0, 0, 0, 0)),
        # The two counts of a look are not of one instant.
        (look(0.0, 5, pending=5), look(10.0, 5, pending=6), (0, 0, 0, 0, 0.1)),
        (look(0.0, 5, running=5), look(10.0, 5, running=4, dead=3), (0, 0.1, 0.1, 0, 0)),
    ],
)
def test_rates(before: Look, now: Look, expected: tuple[float, ...]) -> None:
    assert rates(before, now) == expected


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (look(0.0, 100), look(10.0, 3)),  # it has begun anew
        (look(5.0, 100), look(5.0, 100)),  # no time has passed
    ],
)
def test_where_there_are_no_rates(before: Look, now: Look) -> None:
    assert rates(before, now) is None
    assert Overview.of(before, now).totals.rates is None


def test_a_queue_that_is_new_has_rates_from_nothing() -> None:
    before = Look(at=0.0, seen_at=NOW)
    assert rates(before, look(10.0, 20, pending=5)) == (2, 1.5, 0, 1.5, 0.5)


def test_one_look_has_no_rates() -> None:
    found = Overview.of(None, look(arrived=7, pending=5))
    assert (found.queues[0].rates, found.queues[0].to_drain, found.totals.rates) == (None, None, None)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (look(0.0, 0, pending=60), look(10.0, 0, pending=40), 20.0),
        (look(0.0, 0, pending=60), look(10.0, 9, pending=60), None),
        (look(0.0, 0, pending=60), look(10.0, 90, pending=90), None),
        (look(0.0, 0, pending=60), look(10.0, 0), 0.0),
    ],
)
def test_the_time_to_drain(before: Look, now: Look, expected: float | None) -> None:
    [queue] = Overview.of(before, now).queues
    assert queue.to_drain == expected


def of_two(at: float, mail: int, sms: int) -> Look:
    """A look at two queues, from which so many have ended."""
    living = {"mail": 10 - mail, "sms": 50 - sms}
    standings = {"mail": Standing(10, (1, 0, 0, 2), 4.0), "sms": Standing(50, (0, 7, 0, 0), 9.5)}
    counts = {name: {TaskState.RUNNING: number} for name, number in living.items()}
    return Look(at=at, seen_at=NOW, standings=standings, counts=counts)


def test_totals() -> None:
    totals = Overview.of(of_two(0.0, 0, 0), of_two(10.0, 5, 20)).totals
    assert (totals.running, totals.ready, totals.oldest) == (35, 10, 9.5)
    assert totals.rates is not None
    assert (totals.rates.ended, totals.rates.done) == (2.5, 2.5)
    assert Overview.of(None, Look(at=0.0, seen_at=NOW)).totals.oldest is None


# ------------------------------------------------------------ queues, workers, runs


def view(now: Look) -> QueueView:
    """The queue mail."""
    [queue] = Overview.of(None, now).queues
    return queue


def test_a_queue() -> None:
    settings = QueueSettings(max_size=20, warn_at=0.5, paused_reason="")
    states: dict[str, Any] = {"pending": 4, "scheduled": 3, "retrying": 2, "blocked": 1, "running": 5, "dead": 6}
    queue = view(look(settings=settings, **states))
    assert (queue.ready, queue.later, queue.blocked, queue.running, queue.dead) == (4, 5, 1, 5, 6)
    assert (queue.fill, queue.warns, queue.paused, queue.workers) == (0.5, True, "", 1)
    assert not view(look(settings=replace(settings, warn_at=0.6), **states)).warns


def test_a_queue_whose_settings_were_not_asked_for() -> None:
    queue = view(replace(look(pending=4), settings={}))
    assert (queue.fill, queue.warns, queue.paused) == (None, False, None)


def test_workers_that_stop_serve_nothing() -> None:
    stopping = worker(id="w2", state=WorkerState.SHUTTING_DOWN)
    assert view(look(workers=[worker(), stopping, worker(id="w3", queues=("sms",))])).workers == 1


def test_workers() -> None:
    infos = [worker(name="bob", seen_at=NOW + 5), worker(id="w2", unresponsive=("a", "b"), seen_at=NOW - 3)]
    ann, bob = Overview.of(None, look(workers=infos)).workers
    assert (ann.name, ann.stuck, ann.age, ann.running, ann.slots) == ("ann", 2, 3.0, 3, 8)
    assert (bob.name, bob.age) == ("bob", 0.0)  # its store's clock is before ours


def record(id: str, started: float | None) -> TaskRecord:
    """A task that runs."""
    at = None if started is None else datetime.fromtimestamp(started, UTC)
    made = datetime.fromtimestamp(NOW, UTC)
    return TaskRecord(id=id, name="send", queue="mail", state=TaskState.RUNNING, created_at=made, started_at=at)


def test_what_runs_longest_comes_first() -> None:
    running = [record("a", NOW - 5), record("b", NOW - 90), record("c", NOW + 9), record("d", None)]
    found = Overview.of(None, replace(look(runs=running), has_all_running=False))
    assert [(run.id, run.seconds) for run in found.runs] == [("b", 90.0), ("a", 5.0), ("c", 0.0), ("d", 0.0)]
    assert not found.has_all_runs


# ------------------------------------------------------------ the sentence


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (look(workers=[]), "All queues keep up; nothing waits."),
        (look(pending=3, oldest=1.2), "All queues keep up; the oldest task waits 1.2 s."),
        (look(pending=3), "All queues keep up; what is ready waits for limits."),
        (look(pending=3, oldest=1.2, workers=[]), "No worker lives; 3 tasks are ready in mail."),
        (look(pending=1, workers=[worker(queues=("sms",))]), "No worker serves mail; 1 task is ready."),
        (
            look(pending=9, settings=QueueSettings(max_size=10)),
            "mail is 90% full.",
        ),
        (look(pending=9, settings=QueueSettings(paused_reason="")), "mail is paused, with 9 tasks ready."),
        (
            look(pending=1, settings=QueueSettings(paused_reason="no\nroute")),
            "mail is paused, with 1 task ready: no\nroute.",
        ),
        (look(settings=QueueSettings(paused_reason="why")), "All queues keep up; nothing waits."),
        (look(workers=[worker(unresponsive=("a",))]), "Worker ann cannot end 1 task."),
        (look(workers=[worker(unresponsive=("a", "b"))]), "Worker ann cannot end 2 tasks."),
        (look(workers=[worker(seen_at=NOW - 25)]), "Worker ann has not reported for 25 s."),
        (
            look(workers=[worker(state=WorkerState.PRESSED, pressure="memory 5 of 4 MiB")]),
            "Worker ann is under pressure and takes no tasks: memory 5 of 4 MiB.",
        ),
        (look(workers=[worker(state=WorkerState.PRESSED)]), "Worker ann is under pressure and takes no tasks."),
        (look(pending=3, oldest=300.0), "mail has a backlog: the oldest task waits 5 min."),
    ],
)
def test_the_sentence(now: Look, expected: str) -> None:
    assert said(now) == expected


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (
            look(0.0, 100, pending=100),
            look(10.0, 300, pending=200, oldest=90.0),
            "mail falls behind: 20.0/s arrive, 10.0/s end, the oldest task waits 90 s.",
        ),
        (
            look(0.0, 100, pending=100),
            look(10.0, 100, pending=100, oldest=90.0),
            "mail stands still: 100 tasks are ready, the oldest task waits 90 s.",
        ),
        (
            look(0.0, 100, pending=200),
            look(10.0, 100, pending=100, oldest=90.0),
            "mail has a backlog, gone in 10 s: the oldest task waits 90 s.",
        ),
    ],
)
def test_what_is_said_of_a_backlog(before: Look, now: Look, expected: str) -> None:
    assert said(now, before) == expected


def queues(states: Mapping[str, int], workers: Sequence[WorkerInfo] = ()) -> Look:
    """A look at queues with so many tasks ready."""
    standings = {name: Standing(number, (number, 0, 0, 0), 0.0) for name, number in states.items()}
    return Look(at=0.0, seen_at=NOW, standings=standings, workers=workers)


def test_of_many_queues_without_a_worker_only_the_number_is_told() -> None:
    assert said(queues({"a": 1, "b": 2, "c": 3, "d": 0})) == "No worker lives; 6 tasks are ready in a, b, c."
    assert said(queues({"a": 1, "b": 2, "c": 3, "d": 4})) == "No worker lives; 10 tasks are ready."


def test_the_worst_is_said_first_and_the_rest_is_counted() -> None:
    ailing = worker(queues=("c",), unresponsive=("x",))
    found = Overview.of(None, queues({"a": 1, "b": 20}, [ailing]))
    assert list(found.troubles) == [
        "No worker serves b; 20 tasks are ready.",
        "No worker serves a; 1 task is ready.",
        "Worker ann cannot end 1 task.",
    ]
    assert found.sentence == "No worker serves b; 20 tasks are ready. And 2 more are wrong."
    assert said(queues({"a": 1}, [ailing])) == "No worker serves a; 1 task is ready. And 1 more is wrong."


# ------------------------------------------------------------ looks at a store


async def test_two_looks_at_a_store(app: App, management: Management) -> None:
    app.task(name="sms.send", queue="sms")(lambda: None)
    for number in range(5):
        await app.aenqueue("mail.send", {"n": number}, queue="mail")
    before = await management.overview.glance()
    await app.aenqueue("mail.send", {"n": 5}, queue="mail", delay=3600)
    await settle(app, await claim(app, "mail"), Complete(b"1"))
    await settle(app, await claim(app, "mail"), Bury("exhausted", BROKEN))
    runs = await claim(app, "mail")
    now = await management.overview.glance()
    found = Overview.of(replace(before, at=now.at - 10), now)
    mail, sms = found.queues
    assert (mail.name, mail.ready, mail.later, mail.running, mail.dead) == ("mail", 2, 1, 1, 1)
    assert mail.rates is not None
    assert tuple(round(rate, 1) for rate in astuple(mail.rates)) == (0.1, 0.2, 0.1, 0.1, -0.3)
    assert (sms.name, sms.ready, sms.fill) == ("sms", 0, 0.0)
    [run] = found.runs
    assert (run.id, run.name, run.queue, run.worker, run.attempt) == (runs.id, "mail.send", "mail", "w", 1)
    assert found.has_all_runs
    assert found.sentence == "No worker lives; 2 tasks are ready in mail."


async def test_a_look_tells_no_arguments(app: App, management: Management) -> None:
    await app.aenqueue("mail.send", {"secret": "hunter-2"})
    await claim(app)
    [running] = (await management.overview.glance()).running
    assert running.body == b""


async def test_a_look_is_bound(app: App, management: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_desk, "RUNS", 2)
    monkeypatch.setattr(overview_desk, "QUEUES", 1)
    for queue, number in (("a", 1), ("b", 3)):
        for _ in range(number):
            await app.aenqueue("mail.send", {}, queue=queue)
    for _ in range(3):
        await claim(app, "b")
    await app.aenqueue("mail.send", {}, queue="b")
    await app.aenqueue("mail.send", {}, queue="b")
    now = await management.overview.glance()
    assert (len(now.running), now.has_all_running, list(now.settings)) == (2, False, ["b"])


async def test_who_is_bound_to_a_tenant_does_not_see_it(app: App) -> None:
    with pytest.raises(Forbidden):
        await Management(app, Actor("bob", [Role.ADMIN], tenant="acme")).overview.glance()
