"""What is wrong with queues, workers and schedules, so that tasks do not run though the store is sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from taskq.domain.state import WAITING, TaskState
from taskq.management.explain import few, knowing_workers, serving_workers, span
from taskq.ports import Backend, Finding, FindingStatus, TaskQuery, WorkerInfo, WorkerState
from taskq.ports.diagnosis import SAMPLE
from taskq.queues import Queues, QueueState

HEAD, NEWEST = 200, 100
"""Tasks of a queue whose names are looked at: those that are next, and the newest of each state in which they wait."""
OVERDUE = timedelta(minutes=1)
"""By how much a schedule is late when no beat runs."""
DUE_SCHEDULES = 100
"""Schedules that are due, of which an examination looks at so many."""


async def examine(backend: Backend) -> list[Finding]:
    """All findings about queues, workers and schedules.

    Arguments:
        backend: the store that keeps them.
    """
    workers = sorted(await backend.registry.workers(), key=lambda worker: (worker.name, worker.id))
    queues = await Queues(backend).alist()
    return [
        _summary(queues),
        *_paused(queues),
        *_full(queues),
        *_staff(workers),
        *(_unserved(queues, workers) if workers else ()),
        *(await _unknown(backend, queues, workers) if workers else ()),
        *await _overdue(backend),
    ]


# ---------------------------------------------------------------- queues


def _waiting(queue: QueueState) -> int:
    return sum(queue.counts.get(state, 0) for state in WAITING)


def _summary(queues: Sequence[QueueState]) -> Finding:
    shown = "; ".join(
        f"{queue.name}: " + ", ".join(f"{number:,} {state}" for state, number in queue.counts.items())
        for queue in queues
    )
    return Finding(check="queues", detail=shown or "none yet")


def _paused(queues: Sequence[QueueState]) -> list[Finding]:
    paused = [queue for queue in queues if queue.is_paused and _waiting(queue)]
    named = [
        f"{queue.name} ({queue.settings.paused_reason or 'no reason given'}, {_waiting(queue):,} wait)"
        for queue in paused
    ]
    detail = f"queues with waiting tasks are paused: {few(named)}"
    return _found("queues.paused", detail, "`taskq queues resume NAME` when that is over", [q.name for q in paused])


def _full(queues: Sequence[QueueState]) -> list[Finding]:
    full = [queue for queue in queues if _waiting(queue) >= queue.settings.max_size]
    warned = [
        queue
        for queue in queues
        if queue not in full and _waiting(queue) >= queue.settings.warn_at * queue.settings.max_size
    ]
    advice = "start workers, find out why they are slow, or `taskq queues set NAME max_size=…`"
    found = []
    for some, what, status in (
        (full, "are full, and take no new tasks", FindingStatus.FAULT),
        (warned, "are nearly full", FindingStatus.WARNING),
    ):
        named = [f"{queue.name} ({_waiting(queue):,} of {queue.settings.max_size:,})" for queue in some]
        found += _found("queues.full", f"queues {what}: {few(named)}", advice, [q.name for q in some], status)
    return found


def _unserved(queues: Sequence[QueueState], workers: Sequence[WorkerInfo]) -> list[Finding]:
    unserved = [queue for queue in queues if _waiting(queue) and not serving_workers(queue.name, workers)]
    named = [f"{queue.name} ({_waiting(queue):,} wait)" for queue in unserved]
    advice = f"start a worker for them: `taskq worker -Q {','.join(queue.name for queue in unserved[:3])}`"
    detail = f"no live worker serves {few(named)}"
    return _found("queues.unserved", detail, advice, [q.name for q in unserved], FindingStatus.FAULT)


async def _unknown(backend: Backend, queues: Sequence[QueueState], workers: Sequence[WorkerInfo]) -> list[Finding]:
    """Names of waiting tasks that no worker knows, as far as such a task is among those that are looked at."""
    unknown: dict[str, str] = {}
    for queue in queues:
        serving = serving_workers(queue.name, workers)
        if serving and _waiting(queue):
            names = await _names(backend, queue)
            unknown |= {name: queue.name for name in names if not knowing_workers(name, serving)}
    named = [f"{name} (in {queue})" for name, queue in sorted(unknown.items())]
    advice = "deploy the code that has them to their workers, or cancel them: `taskq tasks cancel --query task:NAME`"
    detail = f"tasks wait that no live worker of their queue knows: {few(named)}"
    return _found("tasks.unknown", detail, advice, sorted(unknown), FindingStatus.FAULT)


async def _names(backend: Backend, queue: QueueState) -> set[str]:
    names = {record.name for record in await backend.inspector.peek(queue.name, HEAD)}
    for state in (TaskState.PENDING, TaskState.SCHEDULED, TaskState.RETRYING):
        if queue.counts.get(state):
            page = await backend.inspector.list(TaskQuery(queue=queue.name, state=state, limit=NEWEST))
            names |= {record.name for record in page.records}
    return names


# ---------------------------------------------------------------- workers, schedules


def _staff(workers: Sequence[WorkerInfo]) -> list[Finding]:
    if not workers:
        advice = "start one with `taskq worker -A module:app`"
        return [Finding(check="workers", status=FindingStatus.WARNING, detail="none lives", advice=advice)]
    shown = "; ".join(f"{_who(worker)} is {worker.state}, serves {', '.join(worker.queues)}" for worker in workers)
    stuck = [worker for worker in workers if worker.unresponsive]
    pressed = [worker for worker in workers if worker.pressure]
    paused = [worker for worker in workers if worker.state is WorkerState.PAUSED]
    return [
        Finding(check="workers", detail=shown, number=len(workers)),
        *_found(
            "workers.stuck",
            "; ".join(f"{_who(worker)} cannot end {', '.join(worker.unresponsive)}" for worker in stuck),
            "their runs ignore timeouts or cancels: look at the code, restart the worker (docs/timeouts.md)",
            [worker.id for worker in stuck],
        ),
        *_found(
            "workers.pressed",
            "; ".join(f"{_who(worker)} takes no tasks: {worker.pressure}" for worker in pressed),
            "give it more, or start others (docs/pressure.md)",
            [worker.id for worker in pressed],
        ),
        *_found(
            "workers.paused",
            f"workers are paused: {few([_who(worker) for worker in paused])}",
            "`taskq workers resume NAME`",
            [worker.id for worker in paused],
        ),
    ]


def _who(worker: WorkerInfo) -> str:
    return f"{worker.name} ({worker.id})"


async def _overdue(backend: Backend) -> list[Finding]:
    if backend.scheduler is None:
        return []
    due = (await backend.scheduler.claim_due(DUE_SCHEDULES)).entries
    late: Mapping[str, timedelta] = {
        entry.name: now - entry.next_at for entry, now in due if entry.next_at and now - entry.next_at > OVERDUE
    }
    detail = f"schedules are overdue: {few([f'{name} by {span(by)}' for name, by in late.items()])}"
    advice = "no beat runs, or none can read them: start `taskq beat`, or `taskq worker --beat`, and look at its log"
    return _found("schedules", detail, advice, list(late), FindingStatus.FAULT)


def _found(
    check: str, detail: str, advice: str, names: Sequence[str], status: FindingStatus = FindingStatus.WARNING
) -> list[Finding]:
    """A finding about some, none where there are none."""
    if not names:
        return []
    return [
        Finding(
            check=check,
            status=status,
            detail=detail,
            advice=advice,
            number=len(names),
            sample=tuple(names[:SAMPLE]),
        )
    ]
