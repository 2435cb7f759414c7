"""What stands in the store, for those who scrape it: queues and their pace, limits, breakers, schedules, workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from taskq.app import App
from taskq.domain.figures import BREAKER, GROUP, LIMIT, MOST_SERIES, QUEUE, SCHEDULE, Figures, Frame, add, series
from taskq.domain.limits import Circuit, Rate
from taskq.domain.pace import Pace
from taskq.domain.state import TaskState
from taskq.errors import TaskqError
from taskq.gauges import Gauge, gauges, unkeyed_limits
from taskq.ports import Backend, QueueSettings
from taskq.queues import WAITING
from taskq.runtime.service import said
from taskq.runtime.survey import Lately, Survey, frame_of, level_of, survey
from taskq.scaling import Hinted, hints

EVERY = 5.0
SLOW_EVERY = 30.0
"""Seconds between two looks at what takes a command for each queue."""
logger = logging.getLogger("taskq.metrics")


class StoreWatch:
    """Looks at a store again and again.

    Arguments:
        app: whose store it is, and whose limits are told.
        now: the seconds of a clock that never goes back.
    """

    def __init__(self, app: App, now: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._now = now
        self._lately = Lately()
        self._slow_at = 0.0
        self._settings: dict[str, QueueSettings] = {}
        self._limits: Frame = {}
        self._hints: Frame = {}
        self._frame: Frame = {}

    def frame(self) -> Frame:
        """What was seen last; from any thread."""
        return self._frame

    async def tick(self) -> float:
        """Look once; returns the seconds to the next time. What was seen before a store went away is told no more."""
        try:
            backend = await self._app.backend()
            found, now = await survey(backend), self._now()
            self._lately.add(now, found)
            if now >= self._slow_at:
                self._slow_at = now + SLOW_EVERY
                self._settings = {queue: await backend.queues.settings(queue) for queue in found.queues[:MOST_SERIES]}
                self._limits = dict(await self._look_at_limits(backend))
                self._hints = _of_hints(await hints(backend, self._app.assumed.autoscale))
            whole: Frame = {}
            for frame in (self._queues(found), self._hints, self._limits, await _schedules(backend)):
                add(whole, frame)
            self._frame = whole
        except TaskqError as error:
            self._frame = {}
            logger.debug("the store could not be looked at: %s", said(error))
        return EVERY

    def _queues(self, found: Survey) -> Frame:
        frame = frame_of(found)
        for queue in found.queues:
            states, figures = found.counts.get(queue, {}), frame[series(QUEUE, queue)]
            figures.counts["came"] = level_of(found, queue).arrived
            figures.levels["dead"] = states.get(TaskState.DEAD, 0)
            if (over := self._lately.pace(queue)) is not None:
                figures.levels |= _of_pace(over, sum(states.get(state, 0) for state in WAITING))
            if (settings := self._settings.get(queue)) is not None:
                figures.levels["paused"] = int(settings.paused_reason is not None)
                figures.levels["max_size"] = settings.max_size
        return frame

    async def _look_at_limits(self, backend: Backend) -> list[tuple[str, Figures]]:
        """The limits of the application's tasks that are not counted by arguments: of others there may be millions."""
        found = []
        for queue, limits in unkeyed_limits(self._app.tasks).items():
            found += list(_of_gauges(await gauges(backend, queue, limits[:MOST_SERIES])))
        return found


def _of_pace(over: Pace, waiting: int) -> dict[str, float]:
    return {"arrival": over.arrival, "drain": over.drain, "to_drain": over.seconds_to_drain(waiting)}


def _of_gauges(found: Iterable[Gauge]) -> Iterator[tuple[str, Figures]]:
    for gauge in found:
        limit = gauge.limit
        if isinstance(limit, Circuit):
            yield series(BREAKER, limit.key), Figures(levels={"open": gauge.openness})
            continue
        if isinstance(limit, Rate):
            used = 1.0 - min(1.0, (gauge.tokens or 0.0) / limit.burst)
        else:
            used = len(gauge.holders) / limit.limit
        yield series(LIMIT, limit.key, gauge.kind), Figures(levels={"saturation": used})


def _of_hints(found: Iterable[Hinted]) -> Frame:
    """How many workers groups and queues need, as all are told who ask (taskq.scaling)."""
    named = {series(GROUP, hint.group) if hint.group else series(QUEUE, *hint.queues): hint for hint in found}
    return {name: Figures(levels={"desired": hint.desired}) for name, hint in named.items()}


async def _schedules(backend: Backend) -> Frame:
    """For how long schedules are due; one that is fires soon, where there is a beat."""
    if backend.scheduler is None:
        return {}
    entries = await backend.scheduler.entries()
    now: dict[str, datetime] = {}
    for queue in {entry.queue for entry in entries}:
        now[queue] = await backend.scheduler.now(queue)
    return {
        series(SCHEDULE, entry.name): Figures(
            levels={"late": max(0.0, (now[entry.queue] - entry.next_at).total_seconds())}
        )
        for entry in entries
        if entry.next_at is not None
    }
