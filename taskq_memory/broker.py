"""The broker on the memory store: the rules of taskq.domain, run as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Sequence

from taskq.domain.limits import pack_limits
from taskq.domain.message import Delivery, Message
from taskq.domain.outcome import (
    ATTEMPT_OUTCOMES,
    EVENTS,
    Bury,
    Cancel,
    Complete,
    Crash,
    Fail,
    Release,
    Retry,
    Settlement,
    Snooze,
    counts_as_failure,
    gives_attempt_back,
    state_after,
)
from taskq.domain.record import DeadReason
from taskq.domain.routing import AGING, advance, aged_quota, is_noisy
from taskq.domain.state import FINAL, WAITING, Event, TaskState
from taskq.domain.tenants import has_own_limits
from taskq.ports import (
    BackendOptions,
    CancelStatus,
    Enqueued,
    EnqueueStatus,
    Extension,
    Fetched,
    Parent,
    Settled,
    SettleStatus,
)
from taskq_memory.intake import Intake
from taskq_memory.passage import Passage
from taskq_memory.rows import Claim, Task
from taskq_memory.store import Store

PROMOTE_PER_FETCH = 200
EXPIRE_PER_STEP = 200
"""Expired tasks that a claim ends before it lets others at the store."""


class MemoryBroker:
    """See taskq.ports.Broker."""

    def __init__(self, store: Store, options: BackendOptions) -> None:
        self._store = store
        self._passage = Passage(store)
        self._intake = Intake(store)
        self._batch = options.batch

    # ------------------------------------------------------------ enqueue

    async def enqueue(
        self, messages: Sequence[Message], *, parent: Parent | None = None, atomic: bool = False
    ) -> list[Enqueued]:
        """Store messages."""
        answers: list[Enqueued] = []
        for start in range(0, len(messages), self._batch):
            with self._store.lock:
                answers += self._enqueue_batch(messages[start : start + self._batch], parent, atomic)
        return answers

    def _enqueue_batch(self, batch: Sequence[Message], parent: Parent | None, atomic: bool) -> list[Enqueued]:
        store = self._store
        if parent is not None and store.holder(*parent) is None:
            return [Enqueued(message.id, EnqueueStatus.STALE_PARENT) for message in batch]
        refusal = self._intake.refusal_of(batch) if atomic else None
        if refusal is not None:
            names_another = refusal.status is EnqueueStatus.NO_PARENT
            return [refusal if names_another else refusal._replace(id=message.id) for message in batch]
        return [self._intake.take(message) for message in batch]

    # ------------------------------------------------------------ fetch

    async def fetch(
        self, queues: Sequence[str], limit: int, *, worker: str, lease: float, request_id: str, aging: float = AGING
    ) -> Fetched:
        """Claim up to `limit` tasks."""
        while True:
            fetched = self._fetch_step(queues, limit, worker, lease, request_id, aging)
            if fetched is not None:
                return fetched
            await asyncio.sleep(0)

    def _fetch_step(
        self, queues: Sequence[str], limit: int, worker: str, lease: float, request_id: str, aging: float
    ) -> Fetched | None:
        """Claim; None where nothing was met but expired tasks, as many as one step ends, and there may be more."""
        store = self._store
        with store.lock:
            last = store.claims.get(worker)
            if last is not None and last.request_id == request_id:
                return Fetched(self._hand_out_again(last, worker, lease), self._passage.next_due(queues))
            for task in store.pop_due(PROMOTE_PER_FETCH):
                store.ready(task, Event.DUE)
            claimed: list[Task] = []
            may_end = EXPIRE_PER_STEP
            for queue in queues:
                if not store.is_paused(queue):
                    taken, passed = self._claim(queue, limit - len(claimed), worker, lease, aging, may_end)
                    claimed += taken
                    may_end -= passed
            if may_end <= 0 and not claimed:
                return None
            store.claims[worker] = Claim(request_id, [(task.id, task.fence) for task in claimed])
            return Fetched([self._delivery(task) for task in claimed], self._passage.next_due(queues))

    def _hand_out_again(self, last: Claim, worker: str, lease: float) -> list[Delivery]:
        deliveries = []
        for id, fence in last.held:
            task = self._store.holder(id, fence, worker)
            if task is not None and task.state is TaskState.RUNNING:
                self._extend(task, lease)
                deliveries.append(self._delivery(task))
        return deliveries

    def _claim(
        self, queue: str, limit: int, worker: str, lease: float, aging: float, may_pass: int
    ) -> tuple[list[Task], int]:
        """The tasks that were claimed, and how many were passed over: their time to live was over, or a gate closed."""
        store, now = self._store, self._store.clock.now()
        row = store.queues[queue]
        limit = min(limit, self._passage.free_of(queue))
        quota = aged_quota(row.aging_counter, limit)
        claimed: list[Task] = []
        passed = 0
        self._passage.let_out(queue, aging)
        order = self._in_order(queue, quota, aging, self._noisy(queue))
        # Asking for the next one takes a group's turn, so it is asked only while there is room for it.
        while len(claimed) < limit and passed < may_pass and (task := next(order, None)) is not None:
            if task.expires_at is not None and task.expires_at <= now:
                store.end(task, Event.EXPIRE, TaskState.EXPIRED)
                passed += 1
                continue
            if task.group:
                store.tenancy.stamp(task)
            if (closed := store.gates.closed(task.limits, now)) is not None:
                self._passage.park(task, closed)
                passed += 1
            else:
                store.run(task, worker, lease)
                claimed.append(task)
        row.aging_counter = advance(row.aging_counter, len(claimed))
        if row.settings.rate is not None:
            store.gates.enter_many(row.settings.rate, len(claimed), now)
        return claimed, passed

    def _noisy(self, queue: str) -> set[str]:
        """The tenants of a queue that go last."""
        shares = self._store.queues[queue].shares
        total = sum(shares.values())
        of = self._store.tenancy.quota_of
        return {tenant for tenant, running in shares.items() if is_noisy(running, total, of(tenant).weight)}

    def _in_order(self, queue: str, quota: int, aging: float, noisy: Container[str]) -> Iterator[Task]:
        """The waiting tasks of a queue in the order of their claim; each is moved before the next is asked for."""
        tasks = self._store.tasks
        for id in self._store.front_of(queue):
            yield tasks[id]
        for _ in range(quota):
            oldest = self._oldest_head(queue, aging)
            if oldest is None:
                break
            yield tasks[oldest]
        while (head := self._next_head(queue, noisy)) is not None or self._passage.let_out(queue, aging):
            if head is not None:
                yield tasks[head]

    def _oldest_head(self, queue: str, aging: float) -> str | None:
        """The head that has waited longest, and longer than `aging`."""
        heads = [next(iter(self._store.lanes[lane].items())) for lane in self._passage.open_lanes(queue)]
        heads += [(id, ready_at) for id, (_, ready_at, _) in self._store.rooms.cleared[queue].items()]
        id, ready_at = min(heads, key=lambda head: head[1], default=("", 0.0))
        return id if id and self._store.clock.now() - ready_at > aging else None

    def _next_head(self, queue: str, noisy: Container[str]) -> str | None:
        """The head of the most urgent lane, behind what was let out of a room; groups of one priority take turns."""
        lanes, cleared = self._passage.open_lanes(queue), self._store.rooms.cleared_of(queue)
        if cleared and (not lanes or self._store.tasks[cleared[0]].priority >= lanes[0][1]):
            return cleared[0]
        if not lanes:
            return None
        priority = lanes[0][1]
        served = self._store.queues[queue].last_group
        peers = [lane[2] for lane in lanes if lane[1] == priority]
        groups = [group for group in peers if group not in noisy] or peers
        after = [group for group in groups if group > served.get(priority, "")]
        group = (after or groups)[0]
        served[priority] = group
        return next(iter(self._store.lanes[queue, priority, group]))

    def _delivery(self, task: Task) -> Delivery:
        return Delivery(
            task.id,
            task.name,
            task.body,
            task.queue,
            task.priority,
            task.fence,
            task.attempt,
            task.lost_leases,
            task.worker,
            task.max_lost_leases,
            task.dead_letter,
            task.tenant,
            (task.started_at or task.created_at) - task.created_at,
            has_own_limits(task.gates),
            max(0.0, (task.started_at or task.created_at) - (task.ready_at or task.created_at)),
        )

    # ------------------------------------------------------------ wait

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Wait until there may be work."""
        loop = asyncio.get_running_loop()
        hint = asyncio.Event()

        def heard(*_: str) -> None:
            loop.call_soon_threadsafe(hint.set)

        with self._store.lock:
            if any(self._has_work(queue) for queue in queues):
                return True
            stop = self._store.listeners.listen(["ready", "due"], queues, heard)
        try:
            await asyncio.wait_for(hint.wait(), timeout)
        except TimeoutError:
            return False
        finally:
            with self._store.lock:
                stop()
        return True

    def _has_work(self, queue: str) -> bool:
        store = self._store
        return not store.is_paused(queue) and self._passage.has_ready(queue) and self._passage.free_of(queue) > 0

    # ------------------------------------------------------------ settle

    async def settle(self, settled: Sequence[Settled]) -> list[SettleStatus]:
        """Apply settlements."""
        with self._store.lock:
            return [self._settle_one(delivery, settlement) for delivery, settlement in settled]

    def _settle_one(self, delivery: Delivery, settlement: Settlement) -> SettleStatus:
        task = self._store.tasks.get(delivery.id)
        if task is None:
            return SettleStatus.GONE
        if task.settled_fence == delivery.fence and task.worker == delivery.worker:
            return SettleStatus.REPEATED
        if self._store.holder(delivery.id, delivery.fence, delivery.worker) is None:
            return SettleStatus.STALE
        is_late = task.state is TaskState.PENDING
        if is_late and isinstance(settlement, Crash):
            return SettleStatus.STALE
        if is_late:
            task.attempt += 1  # the lost lease had given it back
        self._apply(task, settlement, is_late)
        return SettleStatus.APPLIED

    def _leave_gates(self, task: Task, settlement: Settlement) -> None:
        if isinstance(settlement, Snooze) and settlement.throttled:
            self._store.gates.throttle(task.limits, self._store.clock.now())
        self._passage.leave(task, counts_as_failure(settlement))
        if isinstance(settlement, Release) and settlement.limits:
            task.gates = pack_limits(settlement.limits)

    def _apply(self, task: Task, settlement: Settlement, is_late: bool) -> None:
        store = self._store
        if isinstance(settlement, Crash):
            task.lost_leases += 1
        failure = getattr(settlement, "failure", None)
        text = failure.to_json() if failure is not None else b""
        state = state_after(
            settlement,
            cancel_requested=task.cancel_requested,
            dead_letter=task.dead_letter,
            lost_leases=task.lost_leases,
            max_lost_leases=task.max_lost_leases,
        )
        task.note_attempt(store.clock.now(), ATTEMPT_OUTCOMES[type(settlement)], text)
        if gives_attempt_back(settlement):
            task.attempt -= 1
        task.settled_fence = task.fence
        if text:
            task.failure = text
        if not is_late:
            self._leave_gates(task, settlement)
        if state in FINAL:
            self._end(task, settlement, state, text)
        elif isinstance(settlement, Retry | Snooze):
            store.delay(task, EVENTS[type(settlement)], state, store.clock.now() + settlement.delay)
        elif not is_late:
            store.ready(task, EVENTS[type(settlement)], front=True)

    def _end(self, task: Task, settlement: Settlement, state: TaskState, failure: bytes) -> None:
        event = EVENTS[type(settlement)]
        match settlement:
            case Complete(result):
                task.result = result
                self._store.end(task, event, state)
            case Bury(reason) | Fail(reason):
                self._store.end(task, event, state, reason, failure)
            case Cancel(reason):
                self._store.end(task, event, state, reason or task.cancel_reason, failure)
            case Crash() if state is not TaskState.CANCELLED:
                self._store.end(task, event, state, DeadReason.POISON, failure)
            case Retry() | Snooze() | Release() | Crash():
                self._store.end(task, Event.CANCEL, state, task.cancel_reason, failure)

    # ------------------------------------------------------------ extend, cancel

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> Extension:
        """Extend leases."""
        lost, cancel_wanted = set(), set()
        with self._store.lock:
            for held in deliveries:
                task = self._store.holder(held.id, held.fence, held.worker)
                if task is None or task.state is not TaskState.RUNNING:
                    lost.add(held.id)
                    continue
                self._extend(task, lease)
                if task.cancel_requested:
                    cancel_wanted.add(held.id)
        return Extension(frozenset(lost), frozenset(cancel_wanted))

    def _extend(self, task: Task, lease: float) -> None:
        self._store.running[task.id] = self._store.clock.now() + lease
        self._store.note_change()

    async def cancel(self, ids: Sequence[str], reason: str = "") -> list[CancelStatus]:
        """Cancel tasks."""
        with self._store.lock:
            return [self._cancel_one(id, reason) for id in ids]

    def _cancel_one(self, id: str, reason: str) -> CancelStatus:
        task = self._store.tasks.get(id)
        if task is None:
            return CancelStatus.UNKNOWN
        if task.state in WAITING:
            self._store.end(task, Event.CANCEL, TaskState.CANCELLED, reason)
            return CancelStatus.CANCELLED
        if task.state is TaskState.RUNNING:
            if not task.cancel_requested:
                task.cancel_requested, task.cancel_reason = True, reason
                self._store.note_change()
            return CancelStatus.REQUESTED
        return CancelStatus.FINAL
