"""What tasks of a memory store have to do with each other: who waits for whom, and who is counted in which flow.

The rules are those of taskq.domain.workflow and taskq.domain.flow, as they are.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from taskq.domain.flow import Callback, counted_as, due_callbacks, is_over
from taskq.domain.message import Message
from taskq.domain.message_text import unpack_message
from taskq.domain.record import DeadReason, Failure
from taskq.domain.state import Event, TaskState
from taskq.domain.workflow import PARENT_FAILED, OnParentFailure, Step, after_parent, parent_ended
from taskq_memory.rows import FlowRow, Task

if TYPE_CHECKING:
    from taskq_memory.store import Store


class Joins:
    """Edges and flows. Methods expect the lock of the store to be held."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.flows: dict[str, FlowRow] = {}
        self._children: dict[str, dict[str, OnParentFailure]] = {}
        """Parent → those that wait for it."""
        self._ended: deque[tuple[str, TaskState]] = deque()
        """Parents whose children have yet to be told."""
        self._is_telling = False
        self._looks: dict[str, None] = {}
        """Flows with a callback for which there was no room."""

    # ------------------------------------------------------------ edges

    def missing(self, message: Message) -> str | None:
        """The first of its parents that is not there, None where all are there; a flow holds its own alone."""
        tasks, own = self._store.tasks, message.flow if message.flow in self.flows else None
        return next((edge.parent for edge in message.parents if edge.parent not in tasks and edge.parent != own), None)

    def bind(self, task: Task) -> None:
        """Have a BLOCKED task wait for its parents, and be told of those that have ended."""
        task.waits = {edge.parent for edge in task.parents}
        for parent, on_failure in task.parents:
            state = self._state_of(parent)
            if state is None:
                self._children.setdefault(parent, {})[task.id] = on_failure
            else:
                self._tell(parent, state, task.id, on_failure)
        self._unblock_if_free(task)

    def place(self, task: Task, event: Event) -> None:
        """→ PENDING or SCHEDULED, as its time asks for."""
        now = self._store.clock.now()
        due_at = task.eta if task.eta is not None else now + (task.delay or 0)
        if due_at > now:
            self._store.delay(task, event, TaskState.SCHEDULED, due_at)
        else:
            self._store.ready(task, event)

    def start_anew(self, task: Task) -> None:
        """→ PENDING, or BLOCKED until `bind_again` where it has parents."""
        if task.parents:
            self._store.block(task, Event.REDRIVE)
        else:
            self._store.ready(task, Event.REDRIVE)

    def bind_again(self, task: Task) -> None:
        """Have a task that was redriven wait for those of its parents that have not ended."""
        if task.state is TaskState.BLOCKED:
            there = (
                edge.parent for edge in task.parents if edge.parent in self._store.tasks or edge.parent in self.flows
            )
            self._wait_for(task, {parent for parent in there if self._state_of(parent) is None})
            self._unblock_if_free(task)

    def _wait_for(self, task: Task, waits: set[str]) -> None:
        task.waits = waits
        for parent, on_failure in task.parents:
            if parent in waits:
                self._children.setdefault(parent, {})[task.id] = on_failure

    def is_heard(self, task: Task) -> bool:
        """Whether a BLOCKED task waits for something, all of which will tell it of its end."""
        return bool(task.waits) and all(
            (parent in self._store.tasks or parent in self.flows)
            and self._state_of(parent) is None
            and task.id in self._children.get(parent, {})
            for parent in task.waits
        )

    def rebind(self) -> None:
        """After a snapshot was read, find the children of each parent, and the callbacks that had found no room."""
        for task in self._store.tasks.values():
            if task.state is TaskState.BLOCKED:
                self._wait_for(task, task.waits)
        self._looks.update({row.id: None for row in self.flows.values() if self._due(row)})

    def ended(self, task: Task, state: TaskState) -> None:
        """A task has ended: its flow counts it, and those that wait for it are told."""
        task.waits = set()
        self._count_end(task, state)
        self._tell_all(task.id, state)

    def _tell_all(self, parent: str, state: TaskState) -> None:
        # In a row, not one within the other: a chain may be longer than the stack is deep.
        self._ended.append((parent, state))
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._ended:
                parent, state = self._ended.popleft()
                for child, on_failure in self._children.pop(parent, {}).items():
                    self._tell(parent, state, child, on_failure)
        finally:
            self._is_telling = False

    def _tell(self, parent: str, state: TaskState, child: str, on_failure: OnParentFailure) -> None:
        task = self._store.tasks.get(child)
        if task is None or task.state is not TaskState.BLOCKED or parent not in task.waits:
            return
        task.waits.discard(parent)
        self._store.note_change()
        why = parent_ended(parent, state)
        match after_parent(on_failure, state):
            case Step.CANCEL:
                self._store.end(task, Event.PARENT_FAILED, TaskState.CANCELLED, why)
            case Step.FAIL:
                failure = Failure(PARENT_FAILED, why).to_json()
                self._store.end(task, Event.PARENT_FAILED, TaskState.FAILED, DeadReason.PARENT_FAILED, failure)
            case Step.MET:
                self._unblock_if_free(task)

    def _unblock_if_free(self, task: Task) -> None:
        if task.state is TaskState.BLOCKED and not task.waits:
            self.place(task, Event.UNBLOCK)

    def _state_of(self, parent: str) -> TaskState | None:
        """In which state a parent has ended, None where it has not; the end of a flow is that it is closed."""
        task = self._store.tasks.get(parent)
        if task is not None:
            return task.state if task.state is not None and task.state.is_final else None
        row = self.flows[parent]
        if row.cancel_reason is not None:
            return TaskState.CANCELLED
        return TaskState.COMPLETED if row.closed_at is not None else None

    # ------------------------------------------------------------ flows

    def takes(self, flow: str) -> bool:
        """Whether a flow takes another member."""
        row = self.flows.get(flow)
        return row is not None and row.cancel_reason is None and not self._is_over(row)

    def count_in(self, task: Task) -> None:
        """A task was enqueued."""
        if task.flow:
            row = self.flows[task.flow]
            row.members.append(task.id)
            row.tally = row.tally.adding("total")
            row.changed_at = self._store.clock.now()

    def count_back(self, task: Task, state: TaskState) -> None:
        """A task that had ended so begins anew."""
        row = self.flows.get(task.flow)
        if row is not None:
            row.tally = row.tally.adding(counted_as(state), -1)
            row.failed.pop(task.id, None)
            row.ended_at = None

    def _count_end(self, task: Task, state: TaskState) -> None:
        row = self.flows.get(task.flow)
        if row is None:
            return
        row.tally = row.tally.adding(counted_as(state))
        row.changed_at = self._store.clock.now()
        if state is not TaskState.COMPLETED:
            row.failed[task.id] = None
        self.look(row)

    def close(self, row: FlowRow) -> None:
        """No more members come from outside."""
        if row.closed_at is None:
            row.closed_at = row.changed_at = self._store.clock.now()
            self._store.note_change()
            self._tell_all(row.id, TaskState.COMPLETED)
            self.look(row)

    def look(self, row: FlowRow) -> None:
        """Enqueue what is due of a flow; what finds no room is tried again by `look_again`."""
        now, over = self._store.clock.now(), self._is_over(row)
        if over and row.ended_at is None:
            row.ended_at = now
        self._looks.pop(row.id, None)
        for callback in self._due(row):
            message = unpack_message(row.callbacks[callback]) if callback in row.callbacks else None
            if message is not None and not self._has_room(message):
                self._looks[row.id] = None
                continue
            row.fired.add(callback)
            if message is not None and message.id not in self._store.tasks:
                self._store.add(message)

    def _due(self, row: FlowRow) -> list[Callback]:
        """The callbacks that are due and were not enqueued yet."""
        is_over, is_cancelled = self._is_over(row), row.cancel_reason is not None
        return due_callbacks(
            row.tally, row.fired, is_over=is_over, is_cancelled=is_cancelled, is_partial=row.is_partial
        )

    def look_again(self) -> int:
        """Try what found no room; returns how many flows were looked at."""
        rows = [row for id in self._looks if (row := self.flows.get(id))]
        for row in rows:
            self.look(row)
        return len(rows) - len(self._looks)

    def drop_old(self, now: float) -> None:
        """Forget flows of which nobody has heard for long."""
        for row in list(self.flows.values()):
            if row.tally.pending == 0 and max(row.changed_at, row.created_at) + row.retention <= now:
                del self.flows[row.id]

    def _has_room(self, message: Message) -> bool:
        row = self._store.queues[message.queue]
        is_over_quota = self._store.tenancy.is_over(message.group, 1, len(message.body))
        return row.waiting < row.settings.max_size and not is_over_quota

    @staticmethod
    def _is_over(row: FlowRow) -> bool:
        return is_over(row.tally, is_closed=row.closed_at is not None)
