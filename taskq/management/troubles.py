"""What is wrong with queues and workers, and the one sentence that says how everything stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from taskq.domain.spans import spoken
from taskq.management.looks import QueueView, Totals, WorkerView
from taskq.ports import WorkerState

LATE = 10.0
"""Seconds that a task may be ready, where its queue keeps up."""
SILENT = 20.0
"""Seconds after which a worker has missed a report, at ten seconds from one to the next."""


class Order(IntEnum):
    """Kinds of trouble, the worst first."""

    UNSERVED = 0
    FULL = 1
    BEHIND = 2
    PAUSED = 3
    WORKER = 4
    BACKLOG = 5


class Trouble(NamedTuple):
    """Something that is wrong."""

    order: Order
    text: str
    """A sentence."""
    weight: float = 0.0
    """Of two of a kind the greater is the worse."""


def troubles_of(queues: Sequence[QueueView], workers: Sequence[WorkerView]) -> list[str]:
    """What is wrong, a sentence each, the worst first."""
    found = [*_crew(queues, workers), *(one for queue in queues for one in _of_queue(queue, bool(workers)))]
    found += [one for worker in workers for one in _of_worker(worker)]
    return [trouble.text for trouble in sorted(found, key=lambda one: (one.order, -one.weight))]


def sentence(troubles: Sequence[str], totals: Totals) -> str:
    """How everything stands: the worst of what is wrong, or that all is well.

    >>> sentence([], Totals(0, 0, 0, 0, 0, None, None))
    'All queues keep up; nothing waits.'
    """
    if troubles:
        more = len(troubles) - 1
        return troubles[0] if not more else f"{troubles[0]} And {more:,} more {'is' if more == 1 else 'are'} wrong."
    if totals.oldest is not None:
        return f"All queues keep up; the oldest task waits {spoken(totals.oldest)}."
    return "All queues keep up; " + ("what is ready waits for limits." if totals.ready else "nothing waits.")


def _crew(queues: Sequence[QueueView], workers: Sequence[WorkerView]) -> Iterator[Trouble]:
    ready = sum(queue.ready for queue in queues)
    if ready and not workers:
        where = f" in {', '.join(queue.name for queue in queues if queue.ready)}" if _few(queues) else ""
        yield Trouble(Order.UNSERVED, f"No worker lives; {_tasks(ready)} ready{where}.")


def _few(queues: Sequence[QueueView]) -> bool:
    return sum(bool(queue.ready) for queue in queues) <= 3


def _of_queue(queue: QueueView, is_manned: bool) -> Iterator[Trouble]:
    name, ready = queue.name, queue.ready
    if queue.warns and queue.fill is not None:
        yield Trouble(Order.FULL, f"{name} is {queue.fill:.0%} full.", queue.fill)
    if not ready:
        return
    if queue.paused is not None:
        why = f": {queue.paused}" if queue.paused else ""
        yield Trouble(Order.PAUSED, f"{name} is paused, with {_tasks(ready, '')} ready{why}.", ready)
    elif is_manned and not queue.workers:
        yield Trouble(Order.UNSERVED, f"No worker serves {name}; {_tasks(ready)} ready.", ready)
    elif is_manned and queue.oldest is not None and queue.oldest >= LATE:
        yield _late(queue, queue.oldest)


def _late(queue: QueueView, oldest: float) -> Trouble:
    """What to say of a queue in which a task is ready for long."""
    waits = f"the oldest task waits {spoken(oldest)}"
    rates = queue.rates
    if rates is None:
        return Trouble(Order.BACKLOG, f"{queue.name} has a backlog: {waits}.", oldest)
    if not rates.ended:
        return Trouble(Order.BEHIND, f"{queue.name} stands still: {_tasks(queue.ready)} ready, {waits}.", oldest)
    if queue.to_drain is None:
        pace = f"{rates.arrived:,.1f}/s arrive, {rates.ended:,.1f}/s end"
        return Trouble(Order.BEHIND, f"{queue.name} falls behind: {pace}, {waits}.", oldest)
    return Trouble(Order.BACKLOG, f"{queue.name} has a backlog, gone in {spoken(queue.to_drain)}: {waits}.", oldest)


def _of_worker(worker: WorkerView) -> Iterator[Trouble]:
    if worker.stuck:
        yield Trouble(Order.WORKER, f"Worker {worker.name} cannot end {_tasks(worker.stuck, '')}.", worker.stuck)
    if worker.age >= SILENT:
        yield Trouble(Order.WORKER, f"Worker {worker.name} has not reported for {spoken(worker.age)}.", worker.age)
    if worker.state is WorkerState.PRESSED:
        why = f": {worker.pressure}" if worker.pressure else ""
        yield Trouble(Order.WORKER, f"Worker {worker.name} is under pressure and takes no tasks{why}.")


def _tasks(number: int, verb: str = " are") -> str:
    if number == 1:
        return f"1 task{' is' if verb else ''}"
    return f"{number:,} tasks{verb}"
