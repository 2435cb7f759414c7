"""The store: records in a dict, one index for each state, all under one lock.

    tasks      id → Task
    lanes      (queue, priority, group) → ids in the order of becoming ready            PENDING
    front      queue → ids that came back                                               PENDING
    rooms      who waits at a closed gate, or was let out again (rooms.py)              PENDING
    due        heap of (due_at, entry, id)                                              SCHEDULED, RETRYING
    running    id → when its lease runs out                                             RUNNING
    ended      (queue, is dead) → id → completed_at, in the order of ending             final

A heap keeps entries of tasks that have moved on: `Task.entry` says which one counts.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator

from taskq.domain import state as table
from taskq.domain.lease import ReaperWatch
from taskq.domain.limits import Rate, pack_limits
from taskq.domain.message import DIGEST_RETENTION, TOMBSTONE, Message
from taskq.domain.state import WAITING, Event, TaskState
from taskq.domain.unique import Holding, UniqueKey, is_held, released_by
from taskq.ports import Clock, Fill
from taskq_memory.gates import Closed, Gates
from taskq_memory.listeners import Listeners
from taskq_memory.rooms import Rooms
from taskq_memory.rows import Claim, Lane, QueueRow, Task


class Store:
    """Everything, under `lock`. Methods expect the lock to be held."""

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.tasks: dict[str, Task] = {}
        self.lanes: dict[Lane, OrderedDict[str, float]] = {}
        self.front: dict[str, dict[str, float]] = defaultdict(dict)
        self.due: list[tuple[float, int, str]] = []
        self.expiring: list[tuple[float, str]] = []
        self.running: dict[str, float] = {}
        self.ended: dict[tuple[str, bool], OrderedDict[str, float]] = defaultdict(OrderedDict)
        self.tombstones: OrderedDict[str, float] = OrderedDict()
        self.digests: dict[str, tuple[str, float]] = {}
        self.queues: dict[str, QueueRow] = defaultdict(QueueRow)
        self.gates = Gates()
        self.rooms = Rooms()
        self.keys: dict[str, Holding] = {}
        self.claims: dict[str, Claim] = {}
        self.watch = ReaperWatch()
        self.results: dict[tuple[str, int], tuple[bytes, float]] = {}
        self.version = 0
        """Grows with each change (`note_change`); tells a snapshot whether there is something to write."""
        self.entry = 0
        """Counts entries into a state."""
        self.listeners = Listeners()

    def note_change(self) -> None:
        """Something is other than it was: the next snapshot has something to write."""
        self.version += 1

    # ------------------------------------------------------------ moving a task

    def add(self, message: Message) -> None:
        """Store a new message in the state that its time asks for."""
        now = self.clock.now()
        task = Task(
            message.id,
            message.name,
            message.body,
            message.queue,
            int(message.priority),
            message.group,
            message.tenant,
            message.max_lost_leases,
            message.dead_letter,
            message.retention,
            now,
            unique=message.unique,
            gates=pack_limits(message.limits),
            longest_wait=message.longest_wait,
        )
        self.tasks[task.id] = task
        self.take_key(task)
        if message.digest:
            self.digests[task.id] = (message.digest, now + DIGEST_RETENTION)
        if message.expires is not None:
            task.expires_at = now + message.expires
            heapq.heappush(self.expiring, (task.expires_at, task.id))
        due_at = message.eta if message.eta is not None else now + (message.delay or 0)
        if due_at > now:
            self.delay(task, Event.ENQUEUE, TaskState.SCHEDULED, due_at)
        else:
            self.ready(task, Event.ENQUEUE)

    def ready(self, task: Task, event: Event, *, front: bool = False) -> None:
        """→ PENDING, at the tail of its lane or in front."""
        self._leave(task)
        self._enter(task, event, TaskState.PENDING)
        now = self.clock.now()
        if front:
            self.front[task.queue][task.id] = task.ready_at or now
        else:
            task.ready_at = now
            self.lanes.setdefault(task.lane, OrderedDict())[task.id] = now
        self.listeners.tell("ready", task.queue)

    def delay(self, task: Task, event: Event, state: TaskState, due_at: float) -> None:
        """→ SCHEDULED or RETRYING, until `due_at`."""
        self._leave(task)
        self._enter(task, event, state)
        task.due_at = due_at
        heapq.heappush(self.due, (due_at, task.entry, task.id))
        self.listeners.tell("due", task.queue)

    def run(self, task: Task, worker: str, lease: float) -> None:
        """→ RUNNING: a new fence and a lease, in one step."""
        self._leave(task)
        self._enter(task, Event.FETCH, TaskState.RUNNING)
        now = self.clock.now()
        self.gates.enter(task.id, task.limits, now)
        self.give_key_back(task, has_begun=True)
        task.fence += 1
        task.attempt += 1
        task.worker = worker
        task.started_at = now
        self.running[task.id] = now + lease

    def end(self, task: Task, event: Event, state: TaskState, reason: str = "", failure: bytes = b"") -> None:
        """→ a final state."""
        self._leave(task)
        self._enter(task, event, state)
        task.completed_at = self.clock.now()
        task.reason = reason
        task.failure = failure or task.failure
        task.cancel_requested = False
        self.give_key_back(task, is_over=True)
        self.ended[task.queue, state is TaskState.DEAD][task.id] = task.completed_at
        self.listeners.tell("ended", task.id)

    def move(self, task: Task, queue: str) -> None:
        """A task that has ended goes on in another queue."""
        if queue != task.queue:
            self._leave_index(task)
            task.queue = queue

    def forget(self, task: Task) -> None:
        """A final state → gone, but for a tombstone."""
        table.check(Event.PRUNE, task.state, None)
        self._leave(task)
        del self.tasks[task.id]
        self.tombstones[task.id] = self.clock.now() + TOMBSTONE
        self.note_change()

    def park(self, task: Task, closed: Closed) -> None:
        """Have a PENDING task wait at a closed gate."""
        [limit] = [limit for limit in task.limits if limit.gate == closed.gate][:1]
        self._leave_index(task)
        order = (-task.priority, task.ready_at or task.created_at)
        self.rooms.park(task.queue, task.id, order, limit, closed.opens_at)
        task.waits_at = closed.gate
        self.note_change()

    def let_out(self, queue: str) -> None:
        """Let out of the rooms of a queue as many as the gates that have opened let pass."""
        now = self.clock.now()
        for gate, room in self.rooms.due(queue, now):
            passing = room.heads(self.gates.room(room.limit, now))
            room.opens_at = self.gates.opens_at(room.limit, now, len(passing))
            for id in passing:
                self.rooms.clear(queue, gate, id)
                self.tasks[id].waits_at = ""

    def leave_gates(self, task: Task, failed: bool | None) -> None:
        """A run of the task has ended: others may pass."""
        now = self.clock.now()
        for gate in self.gates.leave(task.id, task.limits, now, failed=failed, started_at=task.started_at or now):
            self.open_gate(gate)
        if self.queues[task.queue].settings.workers is not None:
            self.listeners.tell("ready", task.queue)

    def open_gate(self, gate: str) -> None:
        """A gate may have opened: the next claims look."""
        for queue in self.rooms.open(gate, self.clock.now()):
            self.listeners.tell("ready", queue)

    def _enter(self, task: Task, event: Event, state: TaskState) -> None:
        table.check(event, task.state, state)
        row = self.queues[task.queue]
        row.waiting += state in WAITING
        row.running += state is TaskState.RUNNING
        task.state = state
        self.entry += 1
        task.entry = self.entry
        task.due_at = None
        self.note_change()

    def _leave(self, task: Task) -> None:
        """Take the task out of its state."""
        row = self.queues[task.queue]
        row.waiting -= task.state in WAITING
        row.running -= task.state is TaskState.RUNNING
        self._leave_index(task)

    def _leave_index(self, task: Task) -> None:
        """Take the task out of the index of its state."""
        if task.state is TaskState.PENDING:
            self.rooms.remove(task.queue, task.waits_at, task.id)
            task.waits_at = ""
            self.front[task.queue].pop(task.id, None)
            lane = self.lanes.get(task.lane, OrderedDict())
            lane.pop(task.id, None)
            if not lane:
                self.lanes.pop(task.lane, None)
        elif task.state is TaskState.RUNNING:
            self.running.pop(task.id, None)
        elif task.state is not None and task.state.is_final:
            self.ended[task.queue, task.state is TaskState.DEAD].pop(task.id, None)

    # ------------------------------------------------------------ unique keys

    def owner_of(self, unique: UniqueKey | None, but: str = "") -> str | None:
        """The task, other than `but`, that holds a key, None where it is free."""
        holding = None if unique is None else self.keys.get(unique.key)
        if holding is None or holding.owner == but:
            return None
        owner = self.tasks.get(holding.owner)
        return holding.owner if is_held(holding, None if owner is None else owner.state, self.clock.now()) else None

    def take_key(self, task: Task) -> None:
        """Have the task hold its key, which is free."""
        if task.unique is not None:
            key, until, ttl = task.unique
            self.keys[key] = Holding(task.id, until, None if ttl is None else self.clock.now() + ttl)

    def give_key_back(self, task: Task, *, has_begun: bool = False, is_over: bool = False) -> None:
        """Let go of the key, where this is the moment for it and the task holds it."""
        if task.unique is None or not released_by(task.unique.until, has_begun=has_begun, is_over=is_over):
            return
        holding = self.keys.get(task.unique.key)
        if holding is not None and holding.owner == task.id:
            del self.keys[task.unique.key]

    def drop_free_keys(self) -> None:
        """Forget keys that nobody holds any more."""
        for key in [key for key in self.keys if self.owner_of(UniqueKey(key)) is None]:
            del self.keys[key]

    # ------------------------------------------------------------ looking

    def fill_of(self, queue: str) -> Fill:
        """How full a queue is."""
        row = self.queues[queue]
        return Fill(row.waiting, row.settings.max_size)

    def free_of(self, queue: str) -> int:
        """How many more tasks of a queue may start now, for all that is set for the queue itself."""
        row, free = self.queues[queue], 1 << 30
        if row.settings.workers is not None:
            free = max(0, row.settings.workers - row.running)
        if row.settings.rate is not None:
            free = min(free, self.gates.room(row.settings.rate, self.clock.now()))
        return free

    def rate_of(self, queue: str) -> Rate | None:
        """The rate that is set for a queue."""
        return self.queues[queue].settings.rate

    def known(self, message: Message) -> bool:
        """Whether the id has a record, a tombstone that is still young, or a digest that is still remembered."""
        is_kept = message.id in self.tasks or self.tombstones.get(message.id, 0.0) > self.clock.now()
        return is_kept or bool(message.digest and self.digest_of(message.id))

    def digest_of(self, id: str) -> str:
        """The digest that is remembered for an id, "" where there is none."""
        digest, until = self.digests.get(id, ("", 0.0))
        return digest if until > self.clock.now() else ""

    def holder(self, id: str, fence: int, worker: str) -> Task | None:
        """The task, if (fence, worker) is its newest run and not settled yet."""
        task = self.tasks.get(id)
        if task is None or (task.fence, task.worker) != (fence, worker) or task.settled_fence >= fence:
            return None
        return task if task.state in (TaskState.RUNNING, TaskState.PENDING) else None

    def is_paused(self, queue: str) -> bool:
        """Whether nothing of this queue is handed out now."""
        row = self.queues.get(queue)
        if row is None or row.paused_reason is None:
            return False
        return row.paused_until is None or row.paused_until > self.clock.now()

    def lanes_of(self, queue: str) -> list[Lane]:
        """The non-empty lanes of a queue, most urgent first."""
        return sorted((lane for lane in self.lanes if lane[0] == queue), key=lambda lane: (-lane[1], lane[2]))

    def front_of(self, queue: str) -> list[str]:
        """What came back to a queue: by priority, then by the time of first becoming ready."""
        ids = self.front.get(queue, {})
        return sorted(ids, key=lambda id: (-self.tasks[id].priority, ids[id]))

    def pop_due(self, limit: int) -> Iterator[Task]:
        """The due tasks, earliest first; each must be moved on before the next is asked for."""
        now = self.clock.now()
        for _ in range(limit):
            task = self._head_of_due()
            if task is None or (task.due_at or 0.0) > now:
                return
            heapq.heappop(self.due)
            yield task

    def next_due(self, queues: Iterable[str]) -> float | None:
        """Seconds until the next task becomes due, or a limit of these queues may let one pass."""
        now, task = self.clock.now(), self._head_of_due()
        instants = [None if task is None else task.due_at, *(self._opens_at(queue, now) for queue in queues)]
        return min((max(0.0, instant - now) for instant in instants if instant is not None), default=None)

    def _opens_at(self, queue: str, now: float) -> float | None:
        """When the limits of a queue may let something pass that they hold back now."""
        rate = self.rate_of(queue)
        if rate is not None and self.has_ready(queue) and self.gates.room(rate, now) == 0:
            return self.gates.opens_at(rate, now)
        return self.rooms.next_due(queue)

    def has_ready(self, queue: str) -> bool:
        """Whether a task of the queue waits for nothing but a claim, limits of the queue itself apart."""
        has_some = self.front.get(queue) or self.rooms.cleared.get(queue) or self.lanes_of(queue)
        return bool(has_some or self.rooms.due(queue, self.clock.now()))

    def _head_of_due(self) -> Task | None:
        while self.due:
            _, entry, id = self.due[0]
            task = self.tasks.get(id)
            if task is not None and task.entry == entry:
                return task
            heapq.heappop(self.due)
        return None
