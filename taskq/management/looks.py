"""What was found in a store at one time, and what two such looks tell of queues, workers and runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field

from taskq.domain.record import TaskRecord
from taskq.domain.state import FINAL, WAITING, TaskState
from taskq.ports import QueueSettings, Standing, WorkerInfo, WorkerState

_FAILED = (TaskState.DEAD, TaskState.FAILED)
_LEFT = (TaskState.CANCELLED, TaskState.EXPIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was found in a store at one time."""

    at: float
    """Seconds of a clock that never goes back."""
    seen_at: float
    """Seconds since the epoch."""
    standings: Mapping[str, Standing] = field(default_factory=dict)
    counts: Mapping[str, Mapping[TaskState, int]] = field(default_factory=dict)
    settings: Mapping[str, QueueSettings] = field(default_factory=dict)
    """Those that were asked for; of other queues nothing is known but how they stand."""
    workers: Sequence[WorkerInfo] = ()
    running: Sequence[TaskRecord] = ()
    """Tasks that run."""
    has_all_running: bool = True
    """Whether those are all."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Tasks a second between two looks."""

    arrived: float
    """Came in: new ones, and those that were started anew."""
    ended: float
    """Ended, in whatever way."""
    failed: float
    """Of those: died, or failed for good."""
    done: float
    """Of those: completed."""
    grown: float
    """By how many there are more that are ready; below 0: fewer."""


@dataclass(frozen=True, slots=True)
class QueueView:
    """How a queue stands."""

    name: str
    ready: int
    """Tasks that wait for nothing but their turn, a worker or a limit."""
    pending: tuple[int, ...]
    """Those by priority: low, normal, high, critical."""
    later: int
    """Waiting for their time, or their next attempt."""
    blocked: int
    """Waiting for other tasks."""
    running: int
    dead: int
    oldest: float | None
    """For how many seconds the first is ready that only a worker is missing for; None: there is none."""
    rates: Rates | None
    """None: it was looked at once only, or has begun anew since."""
    to_drain: float | None
    """In how many seconds nothing is ready any more, at these rates; None: never, or nobody knows."""
    workers: int
    """That serve it."""
    fill: float | None
    """The share of its size that is taken; None: that was not asked for."""
    paused: str | None
    """Why it is paused, "" without a reason; None: it is not."""
    warns: bool
    """Whether it is as full as gives warning."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """How a worker stands."""

    id: str
    name: str
    state: WorkerState
    running: int
    slots: int
    queues: tuple[str, ...]
    pressure: str
    """Why it takes no tasks for now, "" where it does."""
    stuck: int
    """Tasks that it was told to end and cannot."""
    age: float
    """How many seconds ago it reported."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A task that runs."""

    id: str
    name: str
    queue: str
    worker: str
    attempt: int
    seconds: float
    """For how long."""


@dataclass(frozen=True, slots=True)
class Totals:
    """All queues together."""

    running: int
    ready: int
    later: int
    blocked: int
    dead: int
    oldest: float | None
    rates: Rates | None
    """None: there was one look only."""


def queue_view(name: str, before: Look | None, now: Look) -> QueueView:
    """How a queue stands.

    Arguments:
        name: of the queue.
        before: the earlier look; None: there is none, and so there are no rates.
        now: the later one.
    """
    counts, settings = now.counts.get(name, {}), now.settings.get(name)
    standing = now.standings.get(name, Standing())
    ready, rates = sum(standing.pending), None if before is None else _rates(name, before, now)
    waiting = sum(counts.get(state, 0) for state in WAITING)
    return QueueView(
        name=name,
        ready=ready,
        pending=standing.pending,
        later=counts.get(TaskState.SCHEDULED, 0) + counts.get(TaskState.RETRYING, 0),
        blocked=counts.get(TaskState.BLOCKED, 0),
        running=counts.get(TaskState.RUNNING, 0),
        dead=counts.get(TaskState.DEAD, 0),
        oldest=standing.oldest,
        rates=rates,
        to_drain=_to_drain(ready, rates),
        workers=sum(name in info.queues and info.state is not WorkerState.SHUTTING_DOWN for info in now.workers),
        fill=None if settings is None else waiting / settings.max_size,
        paused=None if settings is None else settings.paused_reason,
        warns=settings is not None and waiting >= settings.warn_at * settings.max_size,
    )


def _to_drain(ready: int, rates: Rates | None) -> float | None:
    if not ready:
        return 0.0
    return None if rates is None or rates.grown >= 0 else ready / -rates.grown


def _rates(name: str, before: Look, now: Look) -> Rates | None:
    """What came into a queue and what has ended in it, a second.

    How many have ended cannot be read off the counts of those that have: they are forgotten again. But what came in
    has ended unless it still lives, so that the counter of arrivals and the number of those that live tell it.
    """
    seconds = now.at - before.at
    then, here = before.standings.get(name, Standing()), now.standings.get(name, Standing())
    arrived = here.arrived - then.arrived
    if seconds <= 0 or arrived < 0:  # the store has forgotten the queue, or itself
        return None
    old, new = before.counts.get(name, {}), now.counts.get(name, {})
    # The counters and the counts of a look are not of one instant, so that a difference may fall short of nothing.
    ended = max(0, arrived - (_living(new) - _living(old)))
    failed = min(ended, _more(old, new, _FAILED))
    left = min(ended - failed, _more(old, new, _LEFT))
    numbers = (arrived, ended, failed, ended - failed - left, sum(here.pending) - sum(then.pending))
    return Rates(*(number / seconds for number in numbers))


def _living(counts: Mapping[TaskState, int]) -> int:
    return sum(number for state, number in counts.items() if state not in FINAL)


def _more(old: Mapping[TaskState, int], new: Mapping[TaskState, int], states: Sequence[TaskState]) -> int:
    """How many more there are of some states; fewer where they were forgotten or started anew, which tells nothing."""
    return sum(max(0, new.get(state, 0) - old.get(state, 0)) for state in states)


def worker_view(info: WorkerInfo, now: float) -> WorkerView:
    """How a worker stands at an instant, in seconds since the epoch."""
    return WorkerView(
        id=info.id,
        name=info.name,
        state=info.state,
        running=info.running,
        slots=info.concurrency,
        queues=info.queues,
        pressure=info.pressure,
        stuck=len(info.unresponsive),
        age=max(0.0, now - info.seen_at),
    )


def run_views(now: Look) -> Iterator[RunView]:
    """The tasks that run."""
    for record in now.running:
        begun = None if record.started_at is None else record.started_at.timestamp()
        seconds = 0.0 if begun is None else max(0.0, now.seen_at - begun)
        yield RunView(record.id, record.name, record.queue, record.worker, record.attempt, seconds)


def totals_of(queues: Sequence[QueueView]) -> Totals:
    """All queues together."""
    rates = [queue.rates for queue in queues if queue.rates is not None]
    ages = [queue.oldest for queue in queues if queue.oldest is not None]
    return Totals(
        running=sum(queue.running for queue in queues),
        ready=sum(queue.ready for queue in queues),
        later=sum(queue.later for queue in queues),
        blocked=sum(queue.blocked for queue in queues),
        dead=sum(queue.dead for queue in queues),
        oldest=max(ages, default=None),
        rates=Rates(*map(sum, zip(*map(astuple, rates), strict=True))) if rates else None,
    )
