"""What the model knows of its tasks, and how it moves one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from taskq.domain.limits import Slots
from taskq.domain.message import Message
from taskq.domain.record import HISTORY_LIMIT, AttemptOutcome, Failure, Progress
from taskq.domain.state import WAITING, Event, TaskState, check
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.domain.unique import Until

LEASE_LOST = Failure("LeaseLost", "")
"""What the store says of itself is its own."""


class Entry(NamedTuple):
    """One delivery in a task's history; None is a failure that the contract does not fix."""

    fence: int
    attempt: int
    worker: str
    outcome: AttemptOutcome
    failure: Failure | None


class Place(NamedTuple):
    """Where a task stands in its lane; equal places may be taken in any order."""

    step: int
    within: float = 0.0


@dataclass
class Task:
    """All that the model knows of one task."""

    message: Message
    created_at: float
    state: TaskState = TaskState.PENDING
    due_at: float | None = None
    expires_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    fence: int = 0
    attempt: int = 0
    run: int = 0
    """The attempt number of the newest delivery."""
    lost_leases: int = 0
    worker: str = ""
    lease_until: float = 0.0
    is_settled: bool = True
    """Whether the newest fence was settled, or there is none."""
    is_late: bool = False
    """Whether it is PENDING because its lease was lost."""
    settled: set[int] = field(default_factory=set)
    closed: int = 0
    """The fence up to which no run counts any more: settled, or overtaken by a redrive."""
    cancel_reason: str | None = None
    reason: str = ""
    failure: Failure | None = None
    is_failure_fixed: bool = True
    """Whether the contract says what `failure` is."""
    result: bytes | None = None
    attempts: list[Entry] = field(default_factory=list)
    progress: Progress | None = None
    checkpoint: bytes | None = None
    logs: list[str] = field(default_factory=list)
    place: Place = field(default_factory=lambda: Place(0))
    first_ready: int | None = None
    """When it was first ready; several may be so at the same instant."""
    last_ready: int = 0
    in_front: bool = False
    waits: set[str] = field(default_factory=set)
    """Its parents that have not ended, while it is BLOCKED."""
    is_reason_fixed: bool = True
    """Whether the contract says what `reason` is."""
    is_limited: bool = False
    """Whether it has limits, or its tenant had at some time."""
    is_counted: bool = False
    """Whether it takes one of the places that its tenant has, while it is RUNNING."""

    @property
    def is_unsettled(self) -> bool:
        """Whether the newest run may still write."""
        return not self.is_settled and (self.state == TaskState.RUNNING or self.is_late)


class Tasks:
    """All tasks, at an instant that is set by whoever drives the model."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0
        """Counts commands."""
        self.instant = 0
        """Counts instants; commands that are sent at once share one."""
        self.tasks: dict[str, Task] = {}
        self.paused: set[str] = set()
        self.workers: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.quotas: dict[str, Quota] = {}
        self.keys: dict[str, tuple[str, Until]] = {}
        """Unique key → its owner, and until when."""

    def claimable(self, queues: Sequence[str]) -> list[str]:
        """The tasks that wait for a claim of these queues, in no order."""
        return [
            id
            for id, task in self.tasks.items()
            if task.state == TaskState.PENDING
            and task.message.queue in queues
            and task.message.queue not in self.paused
        ]

    def next_ids(self, queues: Sequence[str]) -> list[str]:
        """The tasks of which a claim may take any one next; aging apart."""
        for queue in queues:
            of_queue = [task for task in self.tasks.values() if task.message.queue == queue]
            running = sum(task.state == TaskState.RUNNING for task in of_queue)
            if queue in self.paused or running >= self.workers.get(queue, running + 1):
                continue
            ready = [task for task in of_queue if task.state == TaskState.PENDING and self._may_pass(task)]
            if ready:
                return [task.message.id for task in _next(ready)]
        return []

    def _may_pass(self, task: Task) -> bool:
        """Whether no limit holds the task back."""
        group = task.message.group
        most = self.quota_of(group).running
        if most is not None and most <= sum(each.is_counted for each in self.of_tenant(group)):
            return False
        return all(isinstance(one, Slots) and self._holders(one) < one.limit for one in task.message.limits)

    def quota_of(self, tenant: str) -> Quota:
        """What is set for a tenant."""
        return self.quotas.get(tenant, NO_QUOTA)

    def of_tenant(self, tenant: str) -> list[Task]:
        """Those of its tasks that are not over."""
        return [task for task in self.tasks.values() if task.message.group == tenant and not task.state.is_final]

    def has_room_for(self, tenant: str) -> bool:
        """Whether a tenant may have one task more."""
        most = self.quota_of(tenant).unfinished
        return most is None or len(self.of_tenant(tenant)) < most

    def restrict(self, tenant: str, quota: Quota) -> None:
        """Set what a tenant may have."""
        self.quotas[tenant] = quota
        for task in self.of_tenant(tenant):
            task.is_limited = True

    def _holders(self, limit: Slots) -> int:
        running = (task.message.limits for task in self.tasks.values() if task.state == TaskState.RUNNING)
        return sum(limit.key in [one.key for one in limits] for limits in running)

    def is_limited(self) -> bool:
        """Whether a limit may hold a task back now."""
        return any(task.state == TaskState.PENDING and task.is_limited for task in self.tasks.values())

    def owner_of(self, key: str, but: str = "") -> str | None:
        """The task that holds a unique key, None where it is free."""
        owner, _ = self.keys.get(key, ("", Until.DONE))
        task = self.tasks.get(owner)
        return owner if task is not None and not task.state.is_final and owner != but else None

    def waiting(self, queue: str) -> int:
        """How many tasks of a queue wait."""
        return sum(task.message.queue == queue and task.state in WAITING for task in self.tasks.values())

    def next_due(self, queues: Sequence[str]) -> float | None:
        """Seconds until the earliest task of these queues becomes due."""
        due = [task.due_at for task in self.tasks.values() if task.due_at is not None and task.message.queue in queues]
        return min(due) - self.now if due else None

    def counts(self) -> dict[str, dict[TaskState, int]]:
        """How many tasks each queue has in each state."""
        counts: dict[str, dict[TaskState, int]] = {}
        for task in self.tasks.values():
            states = counts.setdefault(task.message.queue, {})
            states[task.state] = states.get(task.state, 0) + 1
        return counts

    def queues(self) -> set[str]:
        """All queues that have tasks."""
        return {task.message.queue for task in self.tasks.values()}

    def due_queues(self) -> set[str]:
        """The queues in which a task is due and nobody has made it ready yet."""
        due = [task for task in self.tasks.values() if task.due_at is not None and task.due_at <= self.now]
        return {task.message.queue for task in due}

    def has_work(self) -> bool:
        """Whether a claim would find a task."""
        return bool(self.next_ids(sorted(self.queues()))) or bool(self.due_queues() - self.paused)

    def has_expired(self) -> bool:
        """Whether a task is past its time to live and nobody has ended it yet."""
        return any(task.state in WAITING and self._is_expired(task) for task in self.tasks.values())

    def _is_held(self, id: str, fence: int, worker: str) -> bool:
        task = self.tasks.get(id)
        return task is not None and task.state == TaskState.RUNNING and (task.fence, task.worker) == (fence, worker)

    def _writes(self, task: Task, fence: int, worker: str) -> bool:
        return task.is_unsettled and (task.fence, task.worker) == (fence, worker)

    def _is_expired(self, task: Task) -> bool:
        return task.expires_at is not None and task.expires_at <= self.now

    def _move(self, task: Task, event: Event, after: TaskState) -> None:
        check(event, None if event == Event.ENQUEUE else task.state, after)
        task.state = after
        task.due_at = None
        task.is_late = task.in_front = task.is_counted = False
        if after.is_final:
            task.completed_at = self.now

    def _make_ready(self, task: Task, within: float = 0.0) -> None:
        task.place = Place(self.step, within)
        task.last_ready = self.instant
        if task.first_ready is None:
            task.first_ready = self.instant

    def _note(self, task: Task, outcome: AttemptOutcome, failure: Failure | None) -> None:
        task.attempts.append(Entry(task.fence, task.run, task.worker, outcome, failure))
        del task.attempts[:-HISTORY_LIMIT]


def _next(ready: Sequence[Task]) -> list[Task]:
    """Any one of them may come next.

    Whether a task with limits was passed over meanwhile, because a gate was closed, and so has left the front or stands
    ahead of its lane, is not followed: it may or may not.
    """
    front = [task for task in ready if task.in_front and not task.is_limited]
    perhaps = [task for task in ready if task.in_front and task.is_limited]
    if front:
        return [*_next_in_front(front), *(task for task in perhaps if task in _next_in_front([*front, task]))]
    lanes = [task for task in ready if not task.in_front]
    return [*perhaps, *_next_with_limits(lanes, perhaps)] if lanes else perhaps


def _next_with_limits(lanes: Sequence[Task], perhaps: Sequence[Task]) -> list[Task]:
    urgent = max(task.message.priority for task in lanes)
    # One that came back may be ahead of all, or stand among those of its priority; then it is one of `perhaps`.
    free = [task for task in lanes if not task.is_limited and task.message.priority == urgent]
    limited = [task for task in lanes if task.is_limited and task.message.priority == urgent]
    return [*_next_in_lanes([*free, *limited]), *(_next_in_lanes(free) if free else []), *_earliest(limited)]


def _earliest(tasks: Sequence[Task]) -> list[Task]:
    """Of each group those that have waited longest."""
    lanes: dict[str, list[Task]] = {}
    for task in tasks:
        lanes.setdefault(task.message.group, []).append(task)
    return [task for lane in lanes.values() for task in lane if task.place == min(other.place for other in lane)]


def _next_in_front(front: Sequence[Task]) -> list[Task]:
    urgent = max(task.message.priority for task in front)
    lane = [task for task in front if task.message.priority == urgent]
    # A task that was ready more than once may stand where it first was, or where it last was.
    latest = min(task.last_ready for task in lane)
    return [task for task in lane if (task.first_ready or 0) <= latest]


def _next_in_lanes(ready: Sequence[Task]) -> list[Task]:
    urgent = max(task.message.priority for task in ready)
    lanes: dict[str, list[Task]] = {}
    for task in ready:
        if task.message.priority == urgent:
            lanes.setdefault(task.message.group, []).append(task)
    heads = {group: min(task.place for task in lane) for group, lane in lanes.items()}
    return [task for group, lane in lanes.items() for task in lane if task.place == heads[group]]
