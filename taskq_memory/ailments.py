"""What can be wrong in a memory store, and how each is mended."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from typing import Any, NamedTuple

from taskq.domain.limits import Slots
from taskq.domain.state import WAITING, TaskState
from taskq.domain.unique import UniqueKey, Until
from taskq.ports.diagnosis import Damage
from taskq_memory.rows import FlowRow, QueueRow, Task
from taskq_memory.store import Store

_Place = MutableMapping[str, Any]
"""By the ids of those that are there."""
_DELAYED = (TaskState.SCHEDULED, TaskState.RETRYING)


class Ailment(NamedTuple):
    """Something that is wrong."""

    damage: Damage
    id: str
    mend: Callable[[], object]


class Ailments:
    """One look at a store, whose lock is held meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due = {(entry, id) for _, entry, id in store.due}
        self._expiring = set(store.expiring)

    def all(self) -> Iterator[Ailment]:
        """All that is wrong, places first: a task that is in a wrong one may be in no other."""
        for id, place, drop in self._wrong_places():
            yield Ailment(Damage.MISPLACED, id, partial(_take_out, place, id, drop))
        for task in self._store.tasks.values():
            yield from self._of(task)
        yield from self._left_over()
        yield from self._miscounted()

    def _of(self, task: Task) -> Iterator[Ailment]:
        store = self._store
        if task.state is TaskState.PENDING and self._home(task) is None:
            yield Ailment(Damage.UNPLACED, task.id, partial(_make_ready, store, task))
        elif task.state in _DELAYED and (task.entry, task.id) not in self._due:
            yield Ailment(Damage.UNPLACED, task.id, partial(_make_wait, store, task))
        elif task.state is TaskState.RUNNING and task.id not in store.running:
            yield Ailment(Damage.UNLEASED, task.id, partial(store.running.setdefault, task.id, store.clock.now()))
        elif task.state is TaskState.BLOCKED and not store.joins.is_heard(task):
            yield Ailment(Damage.UNTOLD, task.id, partial(store.joins.bind_again, task))
        elif _is_over(task) and task.id not in store.ended[_end_of(task)]:
            ended, at = store.ended[_end_of(task)], task.completed_at or store.clock.now()
            yield Ailment(Damage.UNFORGOTTEN, task.id, partial(ended.setdefault, task.id, at))
        if task.state is TaskState.RUNNING:
            yield from self._slots_of(task)
        if _keeps_key(task) and store.keys.owner_of(task.unique) is None:
            yield Ailment(Damage.KEYLESS, task.id, partial(store.keys.take, task))
        if task.state in WAITING and task.expires_at and (task.expires_at, task.id) not in self._expiring:
            expiry = (task.expires_at, task.id)
            yield Ailment(Damage.UNEXPIRED, task.id, partial(heapq.heappush, store.expiring, expiry))

    def _slots_of(self, task: Task) -> Iterator[Ailment]:
        for limit in task.limits:
            if isinstance(limit, Slots):
                holders = self._store.gates.holders.get(limit.gate, {})
                if task.id not in holders:
                    enter = partial(self._store.gates.enter, task.id, [limit], self._store.clock.now())
                    yield Ailment(Damage.UNLIMITED, task.id, enter)

    # ------------------------------------------------------------ places

    def _home(self, task: Task) -> _Place | None:
        """The one place in which a PENDING task is; None: it is in none where it could be."""
        store = self._store
        if task.waits_at:
            room = store.rooms.of.get(task.queue, {}).get(task.waits_at)
            return room.ids if room is not None and task.id in room.ids else None
        could: list[_Place] = [
            store.rooms.cleared.get(task.queue, {}),
            store.front.get(task.queue, {}),
            store.lanes.get(task.lane, OrderedDict()),
        ]
        return next((place for place in could if task.id in place), None)

    def _wrong_places(self) -> Iterator[tuple[str, _Place, Callable[[], object]]]:
        """Ids in places where their tasks are not, and how a place is dropped that is empty then."""
        store = self._store
        for place, drop in self._places():
            for id in place:
                task = store.tasks.get(id)
                if task is None or task.state is not TaskState.PENDING or self._home(task) is not place:
                    yield id, place, drop
        for end, ended in store.ended.items():
            for id in ended:
                task = store.tasks.get(id)
                if task is None or not _is_over(task) or _end_of(task) != end:
                    yield id, ended, _keep

    def _places(self) -> Iterator[tuple[_Place, Callable[[], object]]]:
        store = self._store
        for lane, ids in store.lanes.items():
            yield ids, partial(store.lanes.pop, lane, None)
        for rooms in store.rooms.of.values():
            for gate, room in rooms.items():
                yield room.ids, partial(rooms.pop, gate, None)
        lasting: list[_Place] = [*store.front.values(), *store.rooms.cleared.values()]
        yield from ((place, _keep) for place in lasting)

    # ------------------------------------------------------------ what is left over

    def _left_over(self) -> Iterator[Ailment]:
        store = self._store
        for id in store.running:
            if _state(store, id) is not TaskState.RUNNING:
                yield Ailment(Damage.OVERLEASED, id, partial(store.running.pop, id, None))
        for gate, holders in store.gates.holders.items():
            for id in holders:
                task = store.tasks.get(id)
                if task is None or task.state is not TaskState.RUNNING or gate not in _gates(task):
                    yield Ailment(Damage.OVERLIMITED, id, partial(_free_slot, store, gate, id))
        for key, holding in store.keys.holdings.items():
            state = _state(store, holding.owner)
            if holding.until is not Until.TTL and (state is None or state.is_final):
                yield Ailment(Damage.OVERKEYED, key, partial(store.keys.holdings.pop, key, None))

    # ------------------------------------------------------------ numbers

    def _miscounted(self) -> Iterator[Ailment]:
        store = self._store
        waiting = Counter(task.queue for task in store.tasks.values() if task.state in WAITING)
        running = Counter(task.queue for task in store.tasks.values() if task.state is TaskState.RUNNING)
        for name in {*store.queues, *waiting, *running}:
            row = store.queues[name]
            if (row.waiting, row.running) != (waiting[name], running[name]):
                yield Ailment(Damage.MISCOUNTED, name, partial(_count, row, waiting[name], running[name]))
        pending = Counter(task.flow for task in store.tasks.values() if not _is_over(task))
        for flow in store.joins.flows.values():
            if flow.tally.pending != pending[flow.id]:
                yield Ailment(Damage.MISTALLIED, flow.id, partial(_tally, store, flow, pending[flow.id]))


def _keep() -> None:
    """Some places stay when they are empty."""


def _take_out(place: _Place, id: str, drop: Callable[[], object]) -> None:
    place.pop(id)
    if not place:
        drop()


def _make_ready(store: Store, task: Task) -> None:
    """To the tail of its lane; where it waited at a gate, it meets it at its next claim."""
    task.waits_at = ""
    task.ready_at = task.ready_at or store.clock.now()
    store.lanes.setdefault(task.lane, OrderedDict())[task.id] = task.ready_at
    store.listeners.tell("ready", task.queue)


def _make_wait(store: Store, task: Task) -> None:
    task.due_at = store.clock.now() if task.due_at is None else task.due_at
    heapq.heappush(store.due, (task.due_at, task.entry, task.id))
    store.listeners.tell("due", task.queue)


def _free_slot(store: Store, gate: str, id: str) -> None:
    del store.gates.holders[gate][id]
    if not store.gates.holders[gate]:
        del store.gates.holders[gate]
    for queue in store.rooms.open(gate, store.clock.now()):
        store.listeners.tell("ready", queue)


def _count(row: QueueRow, waiting: int, running: int) -> None:
    row.waiting, row.running = waiting, running


def _tally(store: Store, flow: FlowRow, pending: int) -> None:
    """Members that are gone have not completed; those that were not counted have come."""
    missing = flow.tally.pending - pending
    flow.tally = flow.tally.adding("failed", missing) if missing > 0 else flow.tally.adding("total", -missing)
    store.joins.look(flow)


def _state(store: Store, id: str) -> TaskState | None:
    task = store.tasks.get(id)
    return None if task is None else task.state


def _is_over(task: Task) -> bool:
    return task.state is not None and task.state.is_final


def _end_of(task: Task) -> tuple[str, bool]:
    return task.queue, task.state is TaskState.DEAD


def _gates(task: Task) -> set[str]:
    return {limit.gate for limit in task.limits}


def _keeps_key(task: Task) -> bool:
    """Whether a task must hold its unique key: one that is kept for a time may be free already."""
    unique: UniqueKey | None = task.unique
    if unique is None or unique.ttl is not None or _is_over(task):
        return False
    return unique.until is Until.DONE or (unique.until is Until.START and task.fence == 0)
