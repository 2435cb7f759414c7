"""What a worker counts and times, kept for whoever looks at this process, and left in the store for everybody."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from uuid import uuid4

from taskq.domain.figures import PROCESS, RUN, TENANT, Figures, Frame, add, series, summed
from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.ports import MetricsStore
from taskq.rollups import Moment, write_moments
from taskq.runtime.run import Run
from taskq.runtime.service import said

EVERY = 1.0
LEAVE_EVERY = 2.0
"""Seconds for which figures are collected before the store is told of them."""
QUIET = 60.0
"""Seconds after which a process that runs nothing tells all the same how late its loop and its store are."""
MOST_WAITING = 60
"""Seconds of figures that are kept while the store does not take them; then the oldest go."""
LAG, LATENCY = "loop_lag", "store_latency"
DURATION, WAIT = "duration", "wait"
COUNTED: Mapping[type[Settlement], str] = {
    Complete: "completed",
    Retry: "retried",
    Bury: "dead",
    Fail: "failed",
    Cancel: "cancelled",
    Snooze: "snoozed",
    Release: "released",
    Crash: "crashed",
}
"""As what each settlement is counted."""
logger = logging.getLogger("taskq.metrics")

Measured = deque[float]
"""Durations that were noted, perhaps by another thread, and not taken up yet."""


class _Batch(NamedTuple):
    """What is left together."""

    id: str = ""
    moments: Sequence[tuple[float, Frame]] = ()


class Recorder:
    """Counts what becomes of runs, and how long they took and waited.

    Arguments:
        store: where the figures are left.
        measured: by name, what others measure.
        levels: how much of what there is now; asked once a second.
        submitted: by task and queue, how many tasks this process has enqueued since its start.
        now: the seconds of a clock that never goes back.
    """

    def __init__(
        self,
        store: MetricsStore,
        measured: Mapping[str, Measured],
        levels: Callable[[], Mapping[str, float]],
        submitted: Mapping[tuple[str, str], int],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._measured = measured
        self._levels = levels
        self._submitted = submitted
        self._now = now
        self._runs: dict[tuple[str, str], Figures] = {}
        self._tenants: dict[str, Figures] = {}
        self._told: dict[tuple[str, str], int] = {}
        """Of `submitted`, what was counted."""
        self._totals: Frame = {}
        """Never changed, nor is what is in it: another one takes its place, so that any thread may look at it."""
        self._waiting: list[tuple[float, Frame]] = []
        self._batch = _Batch()
        """What is on its way."""
        self._quiet = Figures()
        """Of a process that runs nothing, what was measured since it was left last."""
        self._left_at = now()
        self.ticked_at = time.monotonic()
        """The monotonic second in which the event loop was seen to turn last."""

    # ------------------------------------------------------------ on the way of each run

    def settled(self, delivery: Delivery, settlement: Settlement) -> None:
        """The store has accepted what became of a run."""
        self._of(delivery).count(COUNTED[type(settlement)])
        if delivery.tenant:
            self._tenants.setdefault(delivery.tenant, Figures()).count(COUNTED[type(settlement)])

    def ended(self, run: Run, now: float) -> None:
        """A run that had a slot is over.

        Arguments:
            now: monotonic seconds.
        """
        began = run.started_at
        if began is not None:
            figures = self._of(run.delivery)
            figures.time(DURATION, now - began)
            figures.time(WAIT, run.delivery.waited + began - run.claimed_at)

    def _of(self, delivery: Delivery) -> Figures:
        key = (delivery.name, delivery.queue)
        figures = self._runs.get(key)
        if figures is None:
            figures = self._runs[key] = Figures()
        return figures

    # ------------------------------------------------------------ once a second

    async def tick(self) -> float:
        """Add up the last second, and tell the store now and then; returns the seconds to the next time."""
        self.ticked_at = time.monotonic()
        self._collect()
        if (self._waiting or self._batch.moments) and self._now() - self._left_at >= LEAVE_EVERY:
            await self.leave()
        return EVERY

    async def leave(self) -> None:
        """Tell the store what it has not been told."""
        self._left_at = now = self._now()
        if not self._batch.moments:
            waiting, self._waiting = self._waiting, []
            self._batch = _Batch(uuid4().hex, waiting)
        moments = [Moment(now - at, frame) for at, frame in self._batch.moments]
        try:
            if moments:
                await self._store.leave(self._batch.id, write_moments(moments))
        except Exception as error:  # noqa: BLE001 - they are left again, under the same id: the reply alone may be lost
            logger.debug("figures could not be left: %s", said(error))
        else:
            self._batch = _Batch()

    async def farewell(self) -> None:
        """Tell the store of the last second."""
        self._collect()
        await self.leave()

    def totals(self) -> Frame:
        """All since the start, with the levels of the last second; from any thread.

        It is not to be changed. A series that stands as it stood before is the same object.
        """
        return self._totals

    def _collect(self) -> None:
        frame: Frame = {series(RUN, *names): figures for names, figures in self._runs.items()}
        frame |= {series(TENANT, tenant): figures for tenant, figures in self._tenants.items()}
        self._runs, self._tenants = {}, {}
        self._count_submitted(frame)
        process = Figures()
        for name, durations in self._measured.items():
            for _ in range(len(durations)):
                process.time(name, durations.popleft())
        totals = summed(self._totals, {**frame, PROCESS: process})
        totals[PROCESS].levels = dict(self._levels())
        self._totals = totals
        self._quiet.add(process)
        if frame or self._now() - self._left_at >= QUIET:
            frame[PROCESS], self._quiet = self._quiet, Figures()
            bounded: Frame = {}
            add(bounded, frame)
            self._waiting = [*self._waiting, (self._now(), bounded)][-MOST_WAITING:]

    def _count_submitted(self, frame: Frame) -> None:
        for key, number in tuple(self._submitted.items()):
            if more := number - self._told.get(key, 0):
                self._told[key] = number
                frame.setdefault(series(RUN, *key), Figures()).count("submitted", more)
