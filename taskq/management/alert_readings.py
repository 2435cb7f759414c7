"""What is read of a store for the rules of alerts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from taskq.app import App
from taskq.domain.alerts import Bounds, Reading, Rule, growth, seconds_behind
from taskq.domain.figures import PROCESS, QUEUE, chosen, total
from taskq.domain.limits import Circuit, pack_limits, unpack_limits
from taskq.domain.sketch import quantile
from taskq.domain.state import TaskState
from taskq.errors import ConfigError, SchemaMismatch, UnsafeStore
from taskq.gauges import Gauge, gauges, unkeyed_limits
from taskq.management.alerts import Alert
from taskq.ports import Backend, WorkerInfo, WorkerState
from taskq.rollups import points
from taskq.runtime.recorder import LATENCY
from taskq.runtime.survey import OVER, Lately, Survey, survey

STORE = "store"
"""The subject of what is about the store."""
LEAST_OVER = 20.0
"""Seconds below which it is not known."""
DEAD_OVER = 600.0
"""Seconds within which dead letters grow."""
DEAD_EVERY = 15.0
REMEMBERED = 600.0
"""Seconds for which a lost worker is told of."""
SLOW_EVERY = 15.0
"""Seconds between two looks at what is dearer to ask, or changes slowly."""
LEAST_ANSWERS = 20
"""Round trips below which their quantile says nothing."""
HEARTBEAT = 10.0
"""Seconds between two reports of a worker that does not say how often it reports."""
Found = dict[str, Reading]


class _Lost(NamedTuple):
    """A worker that has vanished."""

    name: str
    host: str
    seen_at: float
    since: float
    """When it was missed; by the store's clock, as the one before."""
    text: str


class Readings:
    """Looks at a store again and again, and remembers what it takes to see a change.

    Arguments:
        app: whose store it is, and whose breakers are looked at.
        bounds: those of each rule, by which it is known of what more must be asked.
        now: the seconds of a clock that never goes back.
    """

    def __init__(self, app: App, bounds: Callable[[Rule], Bounds], now: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._bounds = bounds
        self._now = now
        self._lately = Lately()
        self._dead: dict[str, deque[tuple[float, float]]] = {}
        self._lost: dict[str, _Lost] = {}
        self._slow: dict[Rule, Found] = {}
        self._slow_at = 0.0

    def forget(self) -> None:
        """Somebody else looks now: what was seen is no longer what was seen last."""
        self._lately.clear()
        self._dead.clear()
        self._lost.clear()
        self._slow.clear()
        self._slow_at = 0.0

    async def take(self, backend: Backend, now: datetime, active: Sequence[Alert] = ()) -> dict[Rule, Found]:
        """Look once; a rule about which nothing is known is left out.

        Arguments:
            now: by the store's clock.
            active: the alerts that go on, whoever has raised them: of what another has seen they tell.

        Raises:
            TaskqError: the store does not answer.
        """
        at, found = self._now(), await survey(backend)
        if self._lately.last is None:
            await self._remember_dead(backend, now)
        self._note_lost(found, now, active)
        self._lately.add(at, found)
        readings: dict[Rule, Found] = {
            Rule.OLDEST_AGE: dict(_oldest(found)),
            Rule.NO_WORKER: dict(_unserved(found)),
            Rule.DEAD_LETTERS: dict(self._grown(found, at)),
            Rule.WORKER_LOST: dict(self._vanished(found)),
            Rule.STORE_AWAY: {STORE: Reading(0.0, "the store answers")},
        }
        if self._lately.span >= LEAST_OVER:
            readings[Rule.QUEUE_BEHIND] = dict(self._behind(found))
        if at >= self._slow_at:
            self._slow_at = at + SLOW_EVERY
            self._slow = await self._look_slowly(backend, now, active)
        await self._pass_over_paused(backend, readings)
        return {**readings, **self._slow}

    # ------------------------------------------------------------ queues

    def _behind(self, found: Survey) -> Iterator[tuple[str, Reading]]:
        for queue in found.queues:
            if (over := self._lately.pace(queue)) is None:
                continue
            waiting = _ready(found, queue)
            seconds = seconds_behind(over, waiting, waiting - _ready(self._lately.first, queue))
            text = f"{waiting:,} wait in {queue}, {over.arrival:.3g}/s come and {over.drain:.3g}/s leave"
            yield queue, Reading(seconds, text)

    def _grown(self, found: Survey, at: float) -> Iterator[tuple[str, Reading]]:
        first = self._lately.began_at or at
        self._dead = {queue: noted for queue, noted in self._dead.items() if queue in found.counts}
        for queue in found.queues:
            # A queue that was not there at an earlier look had none then.
            noted = self._dead.setdefault(queue, deque([(first, 0.0)] if first < at else []))
            while noted and at - noted[0][0] > DEAD_OVER:
                noted.popleft()
            dead = found.counts.get(queue, {}).get(TaskState.DEAD, 0)
            more = growth([*(number for _, number in noted), dead])
            if not noted or at - noted[-1][0] >= DEAD_EVERY:
                noted.append((at, dead))
            text = f"{more:,.0f} tasks of {queue} have become dead letters within {DEAD_OVER / 60:.0f} min"
            yield queue, Reading(more, text)

    async def _pass_over_paused(self, backend: Backend, readings: dict[Rule, Found]) -> None:
        """That nothing leaves a queue that somebody has paused is as it was meant."""
        rules = [rule for rule in (Rule.QUEUE_BEHIND, Rule.OLDEST_AGE, Rule.NO_WORKER) if rule in readings]
        ailing = set[str]()
        for rule in rules:
            bounds = self._bounds(rule)
            ailing |= {queue for queue, one in readings[rule].items() if not bounds.is_well(one.value)}
        for queue in sorted(ailing):
            if (await backend.queues.settings(queue)).paused_reason is not None:
                for rule in rules:
                    readings[rule][queue] = Reading(0.0, f"{queue} is paused")

    async def _remember_dead(self, backend: Backend, now: datetime) -> None:
        """What was so before this process began to look, as far as the store's figures tell."""
        until, at = now.timestamp(), self._now()
        for point in await points(backend.metrics, 60, until - DEAD_OVER, until):
            ago = until - point.at
            for name, figures in point.frame.items():
                kind, _, queue = name.partition(" ")
                if kind == QUEUE and ago <= DEAD_OVER:
                    dead = figures.levels.get(f"state.{TaskState.DEAD}", 0.0)
                    self._dead.setdefault(queue, deque()).append((at - ago, dead))

    # ------------------------------------------------------------ workers

    def _note_lost(self, found: Survey, now: datetime, active: Sequence[Alert]) -> None:
        """Of those that were there at the last look and are gone, tell who was silent from who has said farewell.

        Who says farewell has reported within its heartbeat; who is lost is forgotten only after three of them.
        """
        at, living = now.timestamp(), {worker.id for worker in found.workers}
        before = () if self._lately.last is None else self._lately.last.workers
        for worker in before:
            silent = at - worker.seen_at
            is_gone = worker.id not in living and worker.state is not WorkerState.SHUTTING_DOWN
            if is_gone and silent >= 3 * (worker.heartbeat or HEARTBEAT):
                queues = ", ".join(worker.queues[:5])
                text = f"worker {worker.name} on {worker.host} (pid {worker.pid}, {queues}) has vanished"
                self._lost[worker.id] = _Lost(worker.name, worker.host, worker.seen_at, at, text)
        for alert in active:
            if alert.rule == Rule.WORKER_LOST:
                self._lost.setdefault(alert.subject, _lost_of(alert))
        for id, lost in list(self._lost.items()):
            if at - lost.since > REMEMBERED or id in living or any(_follows(one, lost) for one in found.workers):
                del self._lost[id]

    def _vanished(self, found: Survey) -> Iterator[tuple[str, Reading]]:
        for id, lost in self._lost.items():
            yield id, Reading(1.0, lost.text, {"name": lost.name, "host": lost.host, "seen_at": lost.seen_at})
        for worker in found.workers:
            yield worker.id, Reading(0.0, f"worker {worker.name} lives")

    # ------------------------------------------------------------ what is dearer to ask

    async def _look_slowly(self, backend: Backend, now: datetime, active: Sequence[Alert]) -> dict[Rule, Found]:
        found = {
            Rule.SCHEDULE_LATE: await _late(backend, now),
            Rule.BREAKER_OPEN: {**await _breakers_of_others(backend, now, active), **await self._breakers(backend)},
        }
        of_store = {Rule.STORE_REGRESSED: await _regressed(backend), Rule.STORE_SLOW: await _slow(backend, now)}
        return found | {rule: {STORE: reading} for rule, reading in of_store.items() if reading is not None}

    async def _breakers(self, backend: Backend) -> Found:
        """The breakers of the application's tasks."""
        found: Found = {}
        for queue, limits in unkeyed_limits(self._app.tasks).items():
            circuits = [limit for limit in limits if isinstance(limit, Circuit)]
            for gauge in await gauges(backend, queue, circuits) if circuits else ():
                found[gauge.limit.key] = _reading_of(gauge, queue)
        return found


async def _breakers_of_others(backend: Backend, now: datetime, active: Sequence[Alert]) -> Found:
    """Those that another process has found open, of tasks that its application has and this one perhaps has not.

    One whose task is in nobody's code any more lets no probe through and stays as it is: it counts for a while.
    """
    found: Found = {}
    for alert in active:
        queue, text = alert.about.get("queue"), alert.about.get("limit")
        if alert.rule != Rule.BREAKER_OPEN or not isinstance(queue, str) or not isinstance(text, str):
            continue
        for gauge in await gauges(backend, queue, _circuits_in(text)):
            cooldown = gauge.limit.cooldown if isinstance(gauge.limit, Circuit) else 0.0
            is_left = gauge.since is not None and (now - gauge.since).total_seconds() > cooldown + REMEMBERED
            found[alert.subject] = _reading_of(gauge._replace(status=None) if is_left else gauge, queue)
    return found


def _circuits_in(text: str) -> list[Circuit]:
    try:
        return [limit for limit in unpack_limits(text) if isinstance(limit, Circuit)]
    except (ValueError, TypeError, KeyError, IndexError):  # edited by hand, or of a later release
        return []


def _reading_of(gauge: Gauge, queue: str) -> Reading:
    about = {"queue": queue, "limit": pack_limits((gauge.limit,))}
    return Reading(gauge.openness, f"the breaker of {gauge.limit.key} is {gauge.status or 'left'}", about)


def _lost_of(alert: Alert) -> _Lost:
    """The worker of an alert."""
    name, host, seen_at = (alert.about.get(key) for key in ("name", "host", "seen_at"))
    since = alert.since.timestamp()
    return _Lost(str(name), str(host), seen_at if isinstance(seen_at, float) else since, since, alert.text)


def _follows(worker: WorkerInfo, lost: _Lost) -> bool:
    """Whether a worker has begun in place of one that is lost."""
    return (worker.name, worker.host) == (lost.name, lost.host) and worker.started_at > lost.seen_at


def _ready(found: Survey, queue: str) -> int:
    return found.counts.get(queue, {}).get(TaskState.PENDING, 0)


def _oldest(found: Survey) -> Iterator[tuple[str, Reading]]:
    for queue, standing in found.standings.items():
        seconds = standing.oldest or 0.0
        yield queue, Reading(seconds, f"the first task of {queue} is ready for {seconds:,.0f} s")


def _unserved(found: Survey) -> Iterator[tuple[str, Reading]]:
    served = {queue for worker in found.workers for queue in worker.queues}
    for queue in found.queues:
        ready = _ready(found, queue) if queue not in served else 0
        yield queue, Reading(ready, f"{ready:,} tasks are ready in {queue}, which no live worker serves")


async def _late(backend: Backend, now: datetime) -> Found:
    found: Found = {}
    for entry in () if backend.scheduler is None else await backend.scheduler.entries():
        seconds = 0.0 if entry.next_at is None else max(0.0, (now - entry.next_at).total_seconds())
        found[entry.name] = Reading(seconds, f"schedule {entry.name} should have fired {seconds:,.0f} s ago")
    return found


async def _regressed(backend: Backend) -> Reading | None:
    try:
        await backend.check()
    except UnsafeStore as error:
        return Reading(1.0, str(error))
    except (ConfigError, SchemaMismatch):  # it answers, and what it says is for whoever starts something
        return None
    return Reading(0.0, "the store is the one that it was")


async def _slow(backend: Backend, now: datetime) -> Reading | None:
    """The slowest twentieth of the round trips of this minute and the last, as the workers have timed them."""
    until = now.timestamp()
    found = await points(backend.metrics, 60, until - OVER, until)
    sketch = total(figures for point in found for figures in chosen(point.frame, PROCESS)).sketches.get(LATENCY, {})
    seconds = quantile(sketch, 0.95)
    if seconds is None or sum(sketch.values()) < LEAST_ANSWERS:
        return None
    return Reading(seconds, f"of a hundred round trips to the store, five take over {1000 * seconds:.3g} ms")
