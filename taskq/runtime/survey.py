"""How a whole store stands at one moment: what its queues hold, and who works."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskq.domain.figures import FLEET, QUEUE, Figures, Frame, series
from taskq.domain.pace import Level
from taskq.domain.state import TaskState
from taskq.ports import Backend, Standing, WorkerInfo

NOTHING = Standing()


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


def _levels(states: Mapping[TaskState, int], standing: Standing) -> dict[str, float]:
    levels: dict[str, float] = {f"state.{state}": number for state, number in states.items()}
    levels |= {f"pending.{priority}": number for priority, number in enumerate(standing.pending)}
    levels["oldest"] = standing.oldest or 0.0
    return levels
