"""How a whole store stands at one moment: what its queues hold, and who works."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskq.domain.figures import FLEET, QUEUE, Figures, Frame, series
from taskq.domain.pace import Level, Pace, pace
from taskq.domain.state import TaskState
from taskq.ports import Backend, Standing, WorkerInfo

NOTHING = Standing()
OVER = 60.0
"""Seconds over which the pace of a queue is told."""


class Survey(NamedTuple):
    """What was found."""

    counts: Mapping[str, Mapping[TaskState, int]]
    """By queue and state; states without tasks are left out."""
    standings: Mapping[str, Standing]
    workers: Sequence[WorkerInfo]

    @property
    def queues(self) -> Sequence[str]:
        """The names of all queues that hold tasks, or held some."""
        return sorted({*self.counts, *self.standings})


async def survey(backend: Backend) -> Survey:
    """Look at a store, by three commands."""
    found = await asyncio.gather(backend.inspector.counts(), backend.queues.standings(), backend.registry.workers())
    return Survey(*found)


def frame_of(now: Survey, before: Survey | None = None) -> Frame:
    """A survey as figures, with what has come into each queue since the one before.

    >>> now, before = Survey({}, {"mail": Standing(arrived=9)}, []), Survey({}, {"mail": Standing(arrived=7)}, [])
    >>> frame_of(now, before)["queue mail"].counts
    {'arrived': 2}
    """
    frame: Frame = {}
    for queue in now.queues:
        standing = now.standings.get(queue, NOTHING)
        figures = frame[series(QUEUE, queue)] = Figures(levels=_levels(now.counts.get(queue, {}), standing))
        if before is not None:
            # A store that has forgotten what it counted begins at 0 again.
            came = standing.arrived - before.standings.get(queue, NOTHING).arrived
            figures.count("arrived", came if came >= 0 else standing.arrived)
    states = Counter(f"workers.{worker.state}" for worker in now.workers)
    levels: dict[str, float] = {"workers": len(now.workers), **states}
    levels["running"] = sum(worker.running for worker in now.workers)
    levels["slots"] = sum(worker.concurrency for worker in now.workers)
    frame[FLEET] = Figures(levels=levels)
    return frame


def level_of(found: Survey, queue: str) -> Level:
    """How a queue stood, for its pace."""
    states = found.counts.get(queue, {})
    unfinished = sum(number for state, number in states.items() if not state.is_final)
    return Level(found.standings.get(queue, NOTHING).arrived, unfinished)


class Lately:
    """The looks of the last minute, from which the pace of queues is told."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Survey]] = deque()

    def add(self, at: float, found: Survey) -> None:
        """Remember a look.

        Arguments:
            at: the seconds of a clock that never goes back.
        """
        while self._seen and at - self._seen[0][0] > OVER:
            self._seen.popleft()
        self._seen.append((at, found))

    def clear(self) -> None:
        """Forget all."""
        self._seen.clear()

    @property
    def began_at(self) -> float | None:
        """The second of the first look; None where there was none."""
        return self._seen[0][0] if self._seen else None

    @property
    def first(self) -> Survey:
        """The first look."""
        return self._seen[0][1]

    @property
    def last(self) -> Survey | None:
        """The last look; None where there was none."""
        return self._seen[-1][1] if self._seen else None

    @property
    def span(self) -> float:
        """Seconds between the first and the last."""
        return self._seen[-1][0] - self._seen[0][0] if self._seen else 0.0

    def pace(self, queue: str) -> Pace | None:
        """How quickly a queue fills and empties; None where there was but one look.

        >>> lately = Lately()
        >>> lately.add(10.0, Survey({}, {"mail": Standing(arrived=7)}, []))
        >>> lately.pace("mail")
        >>> lately.add(12.0, Survey({}, {"mail": Standing(arrived=11)}, []))
        >>> lately.pace("mail")
        Pace(arrival=2.0, drain=2.0)
        """
        if self.span <= 0:
            return None
        return pace(level_of(self._seen[0][1], queue), level_of(self._seen[-1][1], queue), self.span)


def _levels(states: Mapping[TaskState, int], standing: Standing) -> dict[str, float]:
    levels: dict[str, float] = {f"state.{state}": number for state, number in states.items()}
    levels |= {f"pending.{priority}": number for priority, number in enumerate(standing.pending)}
    levels["oldest"] = standing.oldest or 0.0
    return levels
