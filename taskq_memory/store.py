"""The store: records in a dict, one index for each state, all under one lock.

    tasks      id → Task
    lanes      (queue, priority, group) → ids in the order of becoming ready            PENDING
    front      queue → ids that came back                                               PENDING
    rooms      who waits at a closed gate, or was let out again (rooms.py)              PENDING
    due        heap of (due_at, entry, id)                                              SCHEDULED, RETRYING
    running    id → when its lease runs out                                             RUNNING
    joins      who waits for whom, and who is counted in which flow (joins.py)          BLOCKED
    ended      (queue, is dead) → id → completed_at, in the order of ending             final

A heap keeps entries of tasks that have moved on: `Task.entry` says which one counts.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator

from taskq.domain import state as table
from taskq.domain.lease import ReaperWatch
from taskq.domain.limits import pack_limits
from taskq.domain.message import DIGEST_RETENTION, TOMBSTONE, Message
from taskq.domain.state import WAITING, Event, TaskState
from taskq.ports import Clock, FigureRow, Left, ScheduleEntry
from taskq_memory.gates import Gates
from taskq_memory.joins import Joins
from taskq_memory.listeners import Listeners
from taskq_memory.rooms import Rooms
from taskq_memory.rows import Claim, JournalRow, Lane, QueueRow, Task
from taskq_memory.tenancy import Tenancy
from taskq_memory.unique import UniqueKeys


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
        self.keys = UniqueKeys(self.tasks, clock)
        self.tenancy = Tenancy()
        self.joins = Joins(self)
        self.claims: dict[str, Claim] = {}
        self.watch = ReaperWatch()
        self.schedules: dict[str, ScheduleEntry] = {}
        self.results: dict[tuple[str, int], tuple[bytes, float]] = {}
        self.documents: dict[str, dict[str, tuple[bytes, int]]] = defaultdict(dict)
        """Kind → id → data and version."""
        self.journals: dict[str, JournalRow] = defaultdict(JournalRow)
        self.left: dict[str, Left] = {}
        self.figures: dict[tuple[int, int], FigureRow] = {}
        """By the length and the beginning of their stretch of time."""
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
            parents=message.parents,
            delay=message.delay,
            eta=message.eta,
            flow=message.flow,
            tags=message.tags,
        )
        self.tasks[task.id] = task
        self.queues[task.queue].arrived += 1
        self.keys.take(task)
        if message.digest:
            self.digests[task.id] = (message.digest, now + DIGEST_RETENTION)
        expires = message.expires if message.expires is not None else self.queues[task.queue].settings.expires
        if expires is not None:
            task.expires_at = now + expires
            heapq.heappush(self.expiring, (task.expires_at, task.id))
        self.joins.count_in(task)
        if task.parents:
            self.block(task, Event.ENQUEUE)
            self.joins.bind(task)
        else:
            self.joins.place(task, Event.ENQUEUE)

    def block(self, task: Task, event: Event) -> None:
        """→ BLOCKED."""
        self._leave(task)
        self._enter(task, event, TaskState.BLOCKED)

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
        self.rooms.cleared[task.queue].pop(task.id, None)
        self._leave(task)
        self._enter(task, Event.FETCH, TaskState.RUNNING)
        now = self.clock.now()
        self.gates.enter(task.id, task.limits, now)
        self.keys.give_back(task, has_begun=True)
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
        task.reason = str(reason)  # a DeadReason is plain text in a store that others read too
        task.failure = failure or task.failure
        task.cancel_requested = False
        self.keys.give_back(task, is_over=True)
        self.ended[task.queue, state is TaskState.DEAD][task.id] = task.completed_at
        self.listeners.tell("ended", task.id)
        self.joins.ended(task, state)

    def forget(self, task: Task) -> None:
        """A final state → gone, but for a tombstone."""
        table.check(Event.PRUNE, task.state, None)
        self._leave(task)
        del self.tasks[task.id]
        self.tombstones[task.id] = self.clock.now() + TOMBSTONE
        self.note_change()

    def _enter(self, task: Task, event: Event, state: TaskState) -> None:
        table.check(event, task.state, state)
        row = self.queues[task.queue]
        row.waiting += state in WAITING
        row.running += state is TaskState.RUNNING
        if task.group:
            if state is TaskState.RUNNING:
                row.share(task.group, 1)
            if task.is_unfinished is state.is_final:
                self.tenancy.load(task.group, -1 if state.is_final else 1, len(task.body))
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
        if task.group and task.state is TaskState.RUNNING:
            row.share(task.group, -1)
        self.leave_index(task)

    def leave_index(self, task: Task) -> None:
        """Take the task out of the index of its state."""
        if task.state is TaskState.PENDING:
            if self.rooms.remove(task.queue, task.waits_at, task.id):
                self.rooms.make_way(task.queue, task.limits, self.clock.now())
            elif task.waits_at and not self.rooms.parked(task.queue, task.waits_at):
                self.listeners.tell("ready", task.queue)  # others of its tenant may have waited for who came first
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

    # ------------------------------------------------------------ looking

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
            task = self.head_of_due()
            if task is None or (task.due_at or 0.0) > now:
                return
            heapq.heappop(self.due)
            yield task

    def head_of_due(self) -> Task | None:
        while self.due:
            _, entry, id = self.due[0]
            task = self.tasks.get(id)
            if task is not None and task.entry == entry:
                return task
            heapq.heappop(self.due)
        return None
