"""What becomes of one message: a new task, a duplicate, a replacement or a refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from taskq.domain.message import Message
from taskq.domain.state import WAITING, Event, TaskState
from taskq.ports import Enqueued, EnqueueStatus, Fill, TenantLoad
from taskq_memory.rows import Task
from taskq_memory.store import Store


class Intake:
    """Takes messages into a store. Methods expect its lock to be held."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def refusal_of(self, batch: Sequence[Message]) -> Enqueued | None:
        """The first refusal that this batch would meet, None where there is none."""
        digests: dict[str, str] = {}
        fresh: Counter[str] = Counter()
        loads: dict[str, TenantLoad] = {}
        coming, keys = set[str](), set[str]()
        for message in batch:
            if message.digest:
                before = digests.setdefault(message.id, self._digest_of(message.id) or message.digest)
                if before != message.digest:
                    return Enqueued(message.id, EnqueueStatus.CONFLICT)
            is_twin = message.id in coming or (message.unique is not None and message.unique.key in keys)
            if is_twin or self._known(message) or self._store.keys.owner_of(message.unique) is not None:
                continue
            refusal = self._unfit(message, coming)
            if refusal is not None:
                return refusal
            fresh[message.queue] += 1
            fill = self._fill_of(message.queue)
            if fill.depth + fresh[message.queue] > fill.limit:
                return Enqueued(message.id, EnqueueStatus.FULL, fill)
            held = loads.get(message.group, TenantLoad())
            load = TenantLoad(held.unfinished + 1, held.payload_bytes + len(message.body))
            if self._store.tenancy.is_over(message.group, load.unfinished, load.payload_bytes):
                return Enqueued(message.id, EnqueueStatus.OVER_QUOTA)
            loads[message.group] = load
            coming.add(message.id)
            if message.unique is not None:
                keys.add(message.unique.key)
        return None

    def take(self, message: Message) -> Enqueued:
        """Store a message, if it is to be stored."""
        store = self._store
        if message.replaces:
            return self._replace(message)
        if message.digest and self._digest_of(message.id) not in ("", message.digest):
            return Enqueued(message.id, EnqueueStatus.CONFLICT)
        if self._known(message):
            return Enqueued(message.id, EnqueueStatus.DUPLICATE)
        owner = store.keys.owner_of(message.unique)
        if owner is not None:
            return Enqueued(owner, EnqueueStatus.DUPLICATE)
        refusal = self._unfit(message)
        if refusal is not None:
            return refusal
        fill = self._fill_of(message.queue)
        if fill.depth >= fill.limit:
            return Enqueued(message.id, EnqueueStatus.FULL, fill)
        if store.tenancy.is_over(message.group, 1, len(message.body)):
            return Enqueued(message.id, EnqueueStatus.OVER_QUOTA)
        store.add(message)
        fill = self._fill_of(message.queue)
        is_high = fill.depth >= store.queues[message.queue].settings.warn_at * fill.limit
        return Enqueued(message.id, EnqueueStatus.CREATED, fill if is_high else None)

    def _unfit(self, message: Message, coming: Container[str] = ()) -> Enqueued | None:
        """The refusal of a message that has not to do with other tasks what it says, None where it has.

        Arguments:
            coming: ids that are stored before it.
        """
        missing = self._store.joins.missing(message)
        if missing is not None and missing not in coming:
            return Enqueued(missing, EnqueueStatus.NO_PARENT)
        if message.flow and not self._store.joins.takes(message.flow):
            return Enqueued(message.id, EnqueueStatus.FLOW_OVER)
        return None

    def _known(self, message: Message) -> bool:
        """Whether the id has a record, a tombstone that is still young, or a digest that is still remembered."""
        is_kept = (
            message.id in self._store.tasks or self._store.tombstones.get(message.id, 0.0) > self._store.clock.now()
        )
        return is_kept or bool(message.digest and self._digest_of(message.id))

    def _digest_of(self, id: str) -> str:
        """The digest that is remembered for an id, "" where there is none."""
        digest, until = self._store.digests.get(id, ("", 0.0))
        return digest if until > self._store.clock.now() else ""

    def _fill_of(self, queue: str) -> Fill:
        row = self._store.queues[queue]
        return Fill(row.waiting, row.settings.max_size)

    def _replace(self, message: Message) -> Enqueued:
        """Give the waiting holder of a key the arguments of a newer call."""
        task = self._store.tasks.get(message.id)
        holds = message.unique is not None and self._store.keys.owner_of(message.unique) == message.id
        if task is None or not holds or task.state not in WAITING:
            return Enqueued(message.id, EnqueueStatus.DUPLICATE)
        if task.group:
            self._store.tenancy.load(task.group, 1, len(message.body) - len(task.body))
            self._store.tenancy.load(task.group, -1, 0)
        task.body = message.body
        if message.delay is not None and task.state is TaskState.BLOCKED:
            task.delay, task.eta = message.delay, None
        elif message.delay is not None:
            self._put_off(task, message.delay)
        self._store.note_change()
        return Enqueued(message.id, EnqueueStatus.REPLACED)

    def _put_off(self, task: Task, delay: float) -> None:
        store = self._store
        latest = float("inf") if task.longest_wait is None else task.created_at + task.longest_wait
        due_at = min(store.clock.now() + delay, latest)
        store.delay(task, Event.REPLACE, TaskState.SCHEDULED, due_at)
