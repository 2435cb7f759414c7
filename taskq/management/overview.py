"""How everything stands, from two looks at a store: what is behind and since when, and one sentence about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from taskq.management.looks import (
    Look,
    QueueView,
    RunView,
    Totals,
    WorkerView,
    queue_view,
    run_views,
    totals_of,
    worker_view,
)
from taskq.management.troubles import sentence, troubles_of


@dataclass(frozen=True, slots=True)
class Overview:
    """How everything stands.

    >>> from taskq.domain.state import TaskState
    >>> from taskq.ports import Standing
    >>> def look(at: float, arrived: int, **states: int) -> Look:
    ...     counts = {TaskState(state): number for state, number in states.items()}
    ...     standings = {"mail": Standing(arrived, (0, counts[TaskState.PENDING], 0, 0), 1.2)}
    ...     return Look(at=at, seen_at=at, standings=standings, counts={"mail": counts})
    >>> overview = Overview.of(look(0.0, 100, pending=50), look(10.0, 120, pending=20))
    >>> [queue] = overview.queues
    >>> queue.rates.arrived, queue.rates.ended, round(queue.to_drain, 1)
    (2.0, 5.0, 6.7)
    >>> overview.sentence
    'No worker lives; 20 tasks are ready in mail.'
    """

    at: datetime
    totals: Totals
    queues: Sequence[QueueView]
    """By name."""
    workers: Sequence[WorkerView]
    """By name and id."""
    runs: Sequence[RunView]
    """The longest first."""
    has_all_runs: bool
    """Whether those are all; else some run for longer, perhaps."""
    troubles: Sequence[str]
    """What is wrong, a sentence each, the worst first."""
    sentence: str
    """The worst of it; that all is well, where nothing is wrong."""

    @classmethod
    def of(cls, before: Look | None, now: Look) -> Self:
        """What two looks tell.

        Arguments:
            before: the earlier; None: there is none, and so there are no rates.
            now: the later.
        """
        names = sorted({*now.standings, *now.counts, *now.settings})
        queues = [queue_view(name, before, now) for name in names]
        workers = [worker_view(info, now.seen_at) for info in now.workers]
        workers.sort(key=lambda worker: (worker.name, worker.id))
        totals, troubles = totals_of(queues), troubles_of(queues, workers)
        return cls(
            at=datetime.fromtimestamp(now.seen_at, UTC),
            totals=totals,
            queues=queues,
            workers=workers,
            runs=sorted(run_views(now), key=lambda run: (-run.seconds, run.id)),
            has_all_runs=now.has_all_running,
            troubles=troubles,
            sentence=sentence(troubles, totals),
        )
