"""A worker that fails at what others do well stops by itself: its host, its release or its credentials are at fault."""

from __future__ import annotations

import heapq
import json
import logging
import time
from collections.abc import Callable

from taskq.domain.message import Delivery
from taskq.domain.outcome import Settlement, counts_as_failure
from taskq.domain.outliers import Figures, Outlier, outlier, suspicious
from taskq.ports import EventBus, WorkerRegistry, WorkerState
from taskq.ports.events import ALERTS, Event

LOOK_EVERY = 30.0
HALF = 60.0
"""Seconds of each half of the window: what is counted is between one and two of them old."""
PAUSE = 60.0
MOST_REPORTED = 50
MOST_KEPT = 1000
"""Names in each half; more than these are not counted."""
FAILING_WORKER = "failing_worker"
"""The kind of the alert."""
_TAKE_TASKS = (WorkerState.IDLE, WorkerState.BUSY)
logger = logging.getLogger("taskq.worker")


class RunCounts:
    """Runs and failures by task name, in a window of two halves that takes the place of the older when it is over.

    >>> counts = RunCounts()
    >>> counts.add("mail.send", failed=True)
    >>> counts.turn()
    >>> counts.add("mail.send", failed=False)
    >>> counts.figures()
    {'mail.send': (2, 1)}
    >>> counts.turn()
    >>> counts.figures()
    {'mail.send': (1, 0)}
    """

    def __init__(self) -> None:
        self._halves: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
        """The older, and the one that is counted into."""

    def add(self, name: str, *, failed: bool) -> None:
        """A run has ended."""
        newer = self._halves[1]
        tally = newer.get(name)
        if tally is None:
            if len(newer) >= MOST_KEPT:
                return
            tally = newer[name] = [0, 0]
        tally[0] += 1
        tally[1] += failed

    def turn(self) -> None:
        """Half of the window is over: forget the older half."""
        self._halves = (self._halves[1], {})

    def clear(self) -> None:
        """Forget everything."""
        self._halves = ({}, {})

    def figures(self) -> dict[str, tuple[int, int]]:
        """Runs and failures of the MOST_REPORTED names most run; from any thread."""
        # Copied in one step of the interpreter: the loop's thread goes on counting.
        older, newer = (half.copy() for half in self._halves)
        tallies = [tuple(tally) for tally in (*older.values(), *newer.values())]
        found: dict[str, tuple[int, int]] = {}
        for name, (runs, failures) in zip((*older, *newer), tallies, strict=True):
            before = found.get(name, (0, 0))
            found[name] = (before[0] + runs, before[1] + failures)
        if len(found) <= MOST_REPORTED:
            return found
        return dict(heapq.nlargest(MOST_REPORTED, found.items(), key=lambda item: (item[1][0], item[0])))


class Comparison:
    """Counts the runs of this worker, compares them with those of the others, and pauses where it is the outlier.

    The others are asked only when this worker's own figures are suspicious: a fleet that is well asks nothing.

    Arguments:
        worker: the random id of this start.
        registry: knows what the others report.
        events: spreads the alert.
        now: the seconds of a clock that never goes back.
    """

    def __init__(
        self,
        worker: str,
        registry: WorkerRegistry,
        events: EventBus,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._registry = registry
        self._events = events
        self._now = now
        self._counts = RunCounts()
        self._turned_at = now()
        self._paused_until: float | None = None
        self.reason = ""
        """Why the worker pauses; "" where it does not."""

    def note(self, delivery: Delivery, settlement: Settlement) -> None:
        """A run has ended, and the store has accepted how."""
        failed = counts_as_failure(settlement)
        if failed is not None:
            self._counts.add(delivery.name, failed=failed)

    def figures(self) -> Figures:
        """What this worker reports of its runs; from any thread."""
        return self._counts.figures()

    def resume(self) -> None:
        """End the pause, if there is one: its time is over, or somebody says so."""
        if self._paused_until is None:
            return
        self._paused_until, self.reason = None, ""
        self._begin_anew()
        logger.info("the pause is over: this worker tries again")

    async def tick(self) -> float:
        """Turn the window, compare, pause or end the pause; returns the seconds to the next time."""
        now = self._now()
        if self._paused_until is not None:
            if now < self._paused_until:
                return min(LOOK_EVERY, self._paused_until - now)
            self.resume()
        elif now - self._turned_at >= HALF:
            self._turned_at = now
            self._counts.turn()
        own = self._counts.figures()
        if suspicious(own) and (found := outlier(own, await self._others())) is not None:
            await self._pause(found)
        return LOOK_EVERY

    async def _others(self) -> list[Figures]:
        """The figures of the other workers that take tasks: who pauses must leave somebody who goes on."""
        workers = await self._registry.workers()
        return [info.runs for info in workers if info.id != self._worker and info.state in _TAKE_TASKS]

    def _begin_anew(self) -> None:
        self._counts.clear()
        self._turned_at = self._now()

    async def _pause(self, found: Outlier) -> None:
        name, own, others = found
        here = f"{own.failures} of {own.runs} runs of {name} failed here"
        elsewhere = f"{others.failures} of {others.runs} on the other workers"
        self._paused_until = self._now() + PAUSE
        self.reason = f"{here}, and {elsewhere}"
        self._begin_anew()
        logger.error(
            "this worker (%s) fails where others do not, and takes no tasks for %g s: %s, and %s. Look at what sets it "
            "apart: its release, its settings and credentials, its disk, and whether it reaches what the task calls",
            *(self._worker, PAUSE, here, elsewhere),
            extra={"taskq": {"worker_id": self._worker, "task": name}},
        )
        await self._events.publish([Event(ALERTS, self._alert(found))])

    def _alert(self, found: Outlier) -> str:
        """The figures and whose they are; nothing of any task's arguments, nor what they failed with."""
        name, own, others = found
        said = {"kind": FAILING_WORKER, "worker": self._worker, "name": name, "paused_for": PAUSE}
        said |= {"runs": own.runs, "failures": own.failures}
        said |= {"other_runs": others.runs, "other_failures": others.failures}
        return json.dumps(said)
