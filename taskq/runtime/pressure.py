"""Pressure: too much memory, a late event loop or a slow store, under which a worker takes no more tasks."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

from taskq.config import WorkerOptions, resident_mib
from taskq.runtime.latency import MOST_NOTED, Latency
from taskq.runtime.service import said

TICK = 0.5
RELIEF = 0.8
"""The share of its limit to which a reading must fall before it presses no longer: else it would come and go."""
WARN_EVERY = 60.0
"""Seconds between two warnings of the same kind: a task that blocks the loop does so again and again."""
MEMORY, LAG, LATENCY = "memory", "event-loop lag", "store latency"
logger = logging.getLogger("taskq.worker")


class Reading(NamedTuple):
    """Something that was measured, and its limit.

    >>> str(Reading("memory", 511.9, 400, "MiB"))
    'memory 512 MiB of 400 MiB'
    >>> str(Reading("store latency", 6.25, 5.0, "s"))
    'store latency 6.25 s of 5 s'
    """

    what: str
    value: float
    limit: float
    unit: str

    def __str__(self) -> str:
        value = f"{round(self.value, 2):g}" if self.unit == "s" else f"{self.value:.0f}"
        return f"{self.what} {value} {self.unit} of {self.limit:g} {self.unit}"


def pressing(readings: Sequence[Reading], before: Collection[str]) -> tuple[Reading, ...]:
    """The readings that press: over their limit or, if they pressed before, not yet well below it.

    Arguments:
        readings: what was measured now.
        before: the names of those that pressed until now.

    >>> reading = Reading("memory", 350, 400, "MiB")
    >>> pressing([reading], before=()), pressing([reading], before=["memory"]) == (reading,)
    ((), True)
    """
    return tuple(each for each in readings if each.value > each.limit * (RELIEF if each.what in before else 1.0))


class Pressure:
    """Measures, and says whether the worker may take tasks.

    Arguments:
        options: the limits.
        latency: how long the store takes.
        ask: asks the store something that costs it little; only while its latency presses, since no claim tells then
            that it is well again.
        memory: resident memory in MiB.
        now: the seconds of a clock that never goes back.
    """

    def __init__(
        self,
        options: WorkerOptions,
        latency: Latency,
        ask: Callable[[], Awaitable[object]],
        memory: Callable[[], float] = resident_mib,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._latency = latency
        self._ask = ask
        self._memory = memory
        self._now = now
        self._due = math.inf
        """When the next tick should be called."""
        self.lags: deque[float] = deque(maxlen=MOST_NOTED)
        """How late the event loop was each time, for who records it."""
        self._pressing: tuple[Reading, ...] = ()
        self._warned_at: dict[str, float] = {}
        self._has_warned = False
        """Whether a warning was logged of the pressure that lasts: then its end is worth a word too."""

    @property
    def sentence(self) -> str:
        """Why no tasks should be taken now; "" where they may be.

        The heartbeat's thread asks too: a loop that is blocked at this moment cannot say so itself.
        """
        readings, limit, lag = self._pressing, self._options.max_loop_lag, self._now() - self._due
        if not readings and limit is not None and lag > limit:
            readings = (Reading(LAG, lag, limit, "s"),)
        return ", ".join(str(each) for each in readings)

    def retune(self, options: WorkerOptions) -> None:
        """Other limits from the next tick on."""
        self._options = options

    async def tick(self) -> float:
        """Measure and decide once; returns the seconds to the next time."""
        lag = max(0.0, self._now() - self._due)
        self._due = math.inf
        self.lags.append(lag)
        if any(each.what == LATENCY for each in self._pressing):
            await self._ask_store()
        self._decide(self._readings(lag))
        self._due = self._now() + TICK
        return TICK

    def _readings(self, lag: float) -> list[Reading]:
        options, readings = self._options, []
        if options.max_rss is not None:
            readings.append(Reading(MEMORY, self._memory(), options.max_rss, "MiB"))
        if options.max_loop_lag is not None:
            readings.append(Reading(LAG, lag, options.max_loop_lag, "s"))
        if options.max_backend_latency is not None:
            readings.append(Reading(LATENCY, self._latency.seconds, options.max_backend_latency, "s"))
        return readings

    async def _ask_store(self) -> None:
        try:
            with self._latency.timed():
                await self._ask()
        except Exception as error:  # noqa: BLE001 - a store that does not answer is under pressure still
            logger.debug("the store was asked whether it is quick again: %s", said(error))

    def _decide(self, readings: Sequence[Reading]) -> None:
        before = {each.what for each in self._pressing}
        self._pressing = pressing(readings, before)
        for each in self._pressing:
            if each.what not in before:
                self._warn(each)
        if before and not self._pressing:
            level = logging.INFO if self._has_warned else logging.DEBUG
            logger.log(level, "the pressure is over (%s): tasks are taken again", ", ".join(sorted(before)))
            self._has_warned = False

    def _warn(self, reading: Reading) -> None:
        now, level = self._now(), logging.DEBUG
        if now - self._warned_at.get(reading.what, -math.inf) >= WARN_EVERY:
            self._warned_at[reading.what] = now
            self._has_warned, level = True, logging.WARNING
        logger.log(level, "under pressure, no tasks are taken until it is less: %s", reading)
