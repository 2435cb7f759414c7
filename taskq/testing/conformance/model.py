"""The pure model of a store, written from docs/backend-contract.md: what each command must answer and leave behind.

Where the contract leaves a choice (which of two tasks with the same instant comes first, whether an old settled
fence is REPEATED or STALE) the model takes a backend's answer, checks that it is one of the allowed ones, and follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from taskq.domain.lease import ReaperWatch
from taskq.domain.lease import tick as tick_of_reaper
from taskq.domain.message import DEAD_RETENTION, DIGEST_RETENTION, TOMBSTONE, Delivery, Message
from taskq.domain.outcome import (
    ATTEMPT_OUTCOMES,
    EVENTS,
    Bury,
    Cancel,
    Complete,
    Crash,
    Fail,
    Retry,
    Settlement,
    Snooze,
    after_lost_lease,
    gives_attempt_back,
    state_after,
)
from taskq.domain.record import AttemptOutcome, DeadReason, Failure
from taskq.domain.state import REDRIVABLE, WAITING, Event, TaskState
from taskq.domain.unique import Until
from taskq.ports import (
    CancelStatus,
    EnqueueStatus,
    Extension,
    Parent,
    Reaped,
    Redriven,
    RedriveStatus,
    SettleStatus,
)
from taskq.testing.conformance.model_joins import Joined
from taskq.testing.conformance.model_task import LEASE_LOST, Task

_S = TaskState


class Claim(NamedTuple):
    """The newest request of a worker."""

    request_id: str
    held: tuple[tuple[str, int], ...]


class QueueModel(Joined):
    """A store without I/O: `now` is set by whoever drives it."""

    def __init__(self) -> None:
        super().__init__()
        self.tombstones: dict[str, float] = {}
        self.digests: dict[str, tuple[str, float]] = {}
        self.claims: dict[str, Claim] = {}
        self.watch = ReaperWatch()

    def enqueue(self, messages: Sequence[Message], parent: Parent | None = None) -> list[tuple[str, EnqueueStatus]]:
        """The answers to one call: ids and statuses."""
        if parent is not None:
            task = self.tasks.get(parent.id)
            if task is None or not self._writes(task, parent.fence, parent.worker):
                return [(message.id, EnqueueStatus.STALE_PARENT) for message in messages]
        return [self._answer(message, position) for position, message in enumerate(messages)]

    def _answer(self, message: Message, position: int) -> tuple[str, EnqueueStatus]:
        owner = None if message.unique is None else self.owner_of(message.unique.key, but=message.id)
        known = self._refused(message)
        if known is None and owner is not None:
            return owner, EnqueueStatus.DUPLICATE
        missing = self.missing(message) if known is None else None
        if missing is not None:
            return missing, EnqueueStatus.NO_PARENT
        is_full = self.waiting(message.queue) >= self.sizes.get(message.queue, len(self.tasks) + 1)
        if known is None and is_full:
            return message.id, EnqueueStatus.FULL
        if known is None and not self.has_room_for(message.group):
            return message.id, EnqueueStatus.OVER_QUOTA
        return message.id, known or self._enqueue(message, position)

    def _refused(self, message: Message) -> EnqueueStatus | None:
        digest, until = self.digests.get(message.id, ("", 0.0))
        # A message without a digest asks for no comparison.
        is_remembered = message.digest != "" and until > self.now
        if is_remembered and digest != message.digest:
            return EnqueueStatus.CONFLICT
        if message.id in self.tasks or self.tombstones.get(message.id, 0.0) > self.now or is_remembered:
            return EnqueueStatus.DUPLICATE
        return None

    def _enqueue(self, message: Message, position: int) -> EnqueueStatus:
        task = Task(message, created_at=self.now, is_limited=bool(message.limits) or message.group in self.quotas)
        if message.unique is not None:
            self.keys[message.unique.key] = message.id, message.unique.until
        self.tasks[message.id] = task
        if message.digest:
            self.digests[message.id] = message.digest, self.now + DIGEST_RETENTION
        if message.expires is not None:
            task.expires_at = self.now + message.expires
        if message.parents:
            self.wait(task, {edge.parent for edge in message.parents})
        elif message.delay is not None and message.delay > 0:
            self._move(task, Event.ENQUEUE, _S.SCHEDULED)
            task.due_at = self.now + message.delay
        else:
            self._move(task, Event.ENQUEUE, _S.PENDING)
            self._make_ready(task, position)
        return EnqueueStatus.CREATED

    def claim(
        self,
        answered: Sequence[str],
        queues: Sequence[str],
        limit: int,
        *,
        worker: str,
        lease: float,
        request_id: str,
        is_contended: bool = False,
    ) -> None:
        """Follow a claim, if what was handed out is what the contract allows.

        A contended claim may pass over a task that another command holds at that moment.
        """
        newest = self.claims.get(worker)
        if newest is not None and newest.request_id == request_id:
            held = [id for id, fence in newest.held if self._is_held(id, fence, worker)]
            assert sorted(answered) == sorted(held), "a repeated request is handed the same tasks again"
            for id in held:
                self.tasks[id].lease_until = self.now + lease
            return
        self.promote()
        for id in answered:
            allowed = self.claimable(queues) if is_contended else self.next_ids(queues)
            assert id in allowed, f"{id} was handed out before one of {allowed}"
            self._run(self.tasks[id], worker, lease)
        assert len(answered) <= limit, "more was handed out than asked for"
        if len(answered) < limit and not is_contended:
            assert not self.next_ids(queues), "less was handed out than there was"
        self.claims[worker] = Claim(request_id, tuple((id, self.tasks[id].fence) for id in answered))

    def _run(self, task: Task, worker: str, lease: float) -> None:
        self._move(task, Event.FETCH, _S.RUNNING)
        task.is_counted = self.quota_of(task.message.group).running is not None
        unique = task.message.unique
        begins = unique is not None and unique.until is Until.START
        if unique is not None and begins and self.keys.get(unique.key, ("",))[0] == task.message.id:
            del self.keys[unique.key]
        task.fence += 1
        task.attempt += 1
        task.run = task.attempt
        task.worker, task.started_at, task.lease_until = worker, self.now, self.now + lease
        task.is_settled = task.in_front = False

    def settle(self, delivery: Delivery, settlement: Settlement) -> frozenset[SettleStatus]:
        """Apply a settlement; returns the statuses that may be answered."""
        task = self.tasks.get(delivery.id)
        if task is None:
            return frozenset({SettleStatus.GONE})
        if (delivery.fence, delivery.worker) != (task.fence, task.worker):
            # A store that remembers one settled fence cannot tell an older one that was settled from one that was lost.
            may_be_known = delivery.fence <= task.closed
            return frozenset({SettleStatus.STALE, *([SettleStatus.REPEATED] if may_be_known else [])})
        if delivery.fence in task.settled:
            return frozenset({SettleStatus.REPEATED})
        if not task.is_unsettled:
            # Its lease was lost and the task has ended, or was redriven: what the store remembers of it may differ.
            return frozenset({SettleStatus.STALE, *([SettleStatus.REPEATED] if task.fence else [])})
        if task.is_late and isinstance(settlement, Crash):
            return frozenset({SettleStatus.STALE})
        self._settle(task, settlement)
        return frozenset({SettleStatus.APPLIED})

    def _settle(self, task: Task, settlement: Settlement) -> None:
        task.lost_leases += isinstance(settlement, Crash)
        after = state_after(
            settlement,
            cancel_requested=task.cancel_reason is not None,
            dead_letter=task.message.dead_letter,
            lost_leases=task.lost_leases,
            max_lost_leases=task.message.max_lost_leases,
        )
        was_late = task.is_late
        failure: Failure | None = getattr(settlement, "failure", None)
        event = EVENTS[type(settlement)]
        if after == _S.CANCELLED and event != Event.LEASE_LOST:
            event = Event.CANCEL
        self._move(task, event, after)
        if gives_attempt_back(settlement):
            task.attempt -= not was_late
        else:
            task.attempt += was_late
        task.is_settled = True
        task.settled.add(task.fence)
        task.closed = task.fence
        self._note(task, ATTEMPT_OUTCOMES[type(settlement)], failure)
        if failure is not None:
            is_poison = isinstance(settlement, Crash) and after in {_S.DEAD, _S.FAILED}
            task.failure, task.is_failure_fixed = failure, not is_poison
        self._take_effect(task, settlement)

    def _take_effect(self, task: Task, settlement: Settlement) -> None:
        requested = task.cancel_reason or ""
        match task.state, settlement:
            case _S.PENDING, _:
                task.in_front = True
            case ((_S.RETRYING | _S.SCHEDULED), (Retry(delay=delay) | Snooze(delay=delay))):
                task.due_at = self.now + delay
            case _, Complete(result):
                task.result = result
            case _, Bury(reason=reason) | Fail(reason=reason):
                task.reason = reason
            case _, Cancel(reason):
                task.reason = reason or requested
            case _S.CANCELLED, _:
                task.reason = requested
            case _:
                task.reason = DeadReason.POISON

    def extend(self, deliveries: Sequence[Delivery], lease: float) -> Extension:
        """The answer to an extension."""
        held = [each for each in deliveries if self._is_held(each.id, each.fence, each.worker)]
        for delivery in held:
            self.tasks[delivery.id].lease_until = self.now + lease
        wanted = frozenset(each.id for each in held if self.tasks[each.id].cancel_reason is not None)
        return Extension(frozenset(each.id for each in deliveries) - {each.id for each in held}, wanted)

    def cancel(self, id: str, reason: str) -> CancelStatus:
        """The answer to a request to cancel."""
        task = self.tasks.get(id)
        if task is None:
            return CancelStatus.UNKNOWN
        if task.state == _S.RUNNING:
            task.cancel_reason = reason if task.cancel_reason is None else task.cancel_reason
            return CancelStatus.REQUESTED
        if task.state not in WAITING:
            return CancelStatus.FINAL
        self._move(task, Event.CANCEL, _S.CANCELLED)
        task.reason = reason
        return CancelStatus.CANCELLED

    def reap(self, renewal: float) -> Reaped:
        """One tick of the reaper, without a limit."""
        self.watch, may_reap = tick_of_reaper(self.watch, self.now, renewal)
        if not may_reap:
            return Reaped(is_holding=True)
        lapsed = [task for task in self.tasks.values() if task.state == _S.RUNNING and task.lease_until <= self.now]
        ends = [self._lose(task) for task in lapsed]
        return Reaped(ends.count(_S.PENDING), ends.count(_S.DEAD) + ends.count(_S.FAILED), ends.count(_S.CANCELLED))

    def _lose(self, task: Task) -> TaskState:
        task.lost_leases += 1
        task.attempt -= 1
        after = after_lost_lease(
            cancel_requested=task.cancel_reason is not None,
            dead_letter=task.message.dead_letter,
            lost_leases=task.lost_leases,
            max_lost_leases=task.message.max_lost_leases,
        )
        self._move(task, Event.LEASE_LOST, after)
        task.is_late = task.in_front = after == _S.PENDING
        self._note(task, AttemptOutcome.LEASE_LOST, None)
        if after in {_S.DEAD, _S.FAILED}:
            task.failure, task.is_failure_fixed = LEASE_LOST, True
            task.reason = DeadReason.POISON
        else:
            task.is_failure_fixed = False
            task.reason = task.cancel_reason or ""
        return after

    def promote(self) -> int:
        """Make due tasks ready."""
        due = [task for task in self.tasks.values() if task.due_at is not None and task.due_at <= self.now]
        for task in due:
            instant = task.due_at or 0.0
            self._move(task, Event.DUE, _S.PENDING)
            self._make_ready(task, instant)
        return len(due)

    def expire(self) -> int:
        """End waiting tasks whose time to live is over."""
        over = [task for task in self.tasks.values() if task.state in WAITING and self._is_expired(task)]
        for task in over:
            self._move(task, Event.EXPIRE, _S.EXPIRED)
        return len(over)

    def prune(self) -> int:
        """Forget finished tasks by age."""
        over = [id for id, task in self.tasks.items() if self._is_over(task)]
        for id in over:
            del self.tasks[id]
            self.tombstones[id] = self.now + TOMBSTONE
        return len(over)

    def _is_over(self, task: Task) -> bool:
        retention = task.message.retention
        kept = max(retention, DEAD_RETENTION) if task.state == _S.DEAD else retention
        return task.completed_at is not None and task.completed_at + kept <= self.now

    def redrive(self, ids: Sequence[str]) -> list[Redriven]:
        """Start tasks anew in one call: each heeds what becomes of the others, in whatever order they are named."""
        answers = [self._redrive(id) for id in ids]
        for id, answer in zip(ids, answers, strict=True):
            if answer.status is RedriveStatus.MOVED:
                self.wait_again(self.tasks[id])
        return answers

    def _redrive(self, id: str) -> Redriven:
        task = self.tasks.get(id)
        if task is None or task.state not in REDRIVABLE:
            return Redriven(RedriveStatus.NOT_FINAL)
        if task.message.unique is not None:
            holder = self.owner_of(task.message.unique.key, but=id)
            if holder is not None:
                return Redriven(RedriveStatus.HELD, holder)
            self.keys[task.message.unique.key] = id, task.message.unique.until
        if task.message.parents:
            self._move(task, Event.REDRIVE, _S.BLOCKED)
        else:
            self._move(task, Event.REDRIVE, _S.PENDING)
            self._make_ready(task)
        task.attempt = task.lost_leases = 0
        task.closed = task.fence
        task.reason, task.failure, task.is_failure_fixed = "", None, True
        task.result = task.progress = task.completed_at = task.expires_at = task.cancel_reason = None
        task.message = task.message._replace(delay=None)
        return Redriven(RedriveStatus.MOVED)

    def configure(self, queue: str, workers: int | None, size: int | None) -> None:
        """Set, or take back, what is set for a queue."""
        for settings, value in ((self.workers, workers), (self.sizes, size)):
            if value is None:
                settings.pop(queue, None)
            else:
                settings[queue] = value

    def pause(self, queue: str) -> None:
        """Hand out nothing of a queue."""
        self.paused.add(queue)

    def resume(self, queue: str) -> None:
        """Undo `pause`."""
        self.paused.discard(queue)

    def purge(self, queue: str) -> int:
        """Cancel what waits."""
        purged = WAITING - {_S.BLOCKED}
        waiting = [id for id, task in self.tasks.items() if task.message.queue == queue and task.state in purged]
        for id in waiting:
            self.cancel(id, "purged")
        return len(waiting)

    def annotated(self, delivery: Delivery) -> Task | None:
        """The task that takes an annotation of this run, None where it is refused."""
        task = self.tasks.get(delivery.id)
        return task if task is not None and self._writes(task, delivery.fence, delivery.worker) else None
