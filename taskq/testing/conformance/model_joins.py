"""How the model has tasks wait for others: taskq.domain.workflow, in its own words."""

from __future__ import annotations

from taskq.domain.message import Message
from taskq.domain.record import DeadReason, Failure
from taskq.domain.state import Event, TaskState
from taskq.domain.workflow import PARENT_FAILED, OnParentFailure
from taskq.testing.conformance.model_task import Task, Tasks

_S = TaskState


class Joined(Tasks):
    """Tasks of which some wait for others."""

    def missing(self, message: Message) -> str | None:
        """The first of its parents of which there is no record."""
        return next((edge.parent for edge in message.parents if edge.parent not in self.tasks), None)

    def wait(self, task: Task, parents: set[str]) -> None:
        """Have a new task wait for parents, and tell it of those that have ended."""
        self._move(task, Event.ENQUEUE, _S.BLOCKED)
        task.waits = set(parents)
        for parent in sorted(parents):
            if self.tasks[parent].state.is_final:
                self._tell(task, parent)

    def wait_again(self, task: Task) -> None:
        """Have a task that was redriven wait for those of its parents that have not ended."""
        if task.state is _S.BLOCKED:
            there = {edge.parent for edge in task.message.parents} & self.tasks.keys()
            task.waits = {parent for parent in there if not self.tasks[parent].state.is_final}
            if not task.waits:
                self._place(task, Event.UNBLOCK)

    def _move(self, task: Task, event: Event, after: TaskState) -> None:
        super()._move(task, event, after)
        if after.is_final:
            task.waits = set()
            task.is_reason_fixed = True
            for child in list(self.tasks.values()):
                if task.message.id in child.waits:
                    self._tell(child, task.message.id)

    def _tell(self, child: Task, parent: str) -> None:
        if child.state is not _S.BLOCKED or parent not in child.waits:
            return
        child.waits.discard(parent)
        policy = dict(child.message.parents)[parent]
        if self.tasks[parent].state is _S.COMPLETED or policy is OnParentFailure.RUN:
            if not child.waits:
                self._place(child, Event.UNBLOCK)
        elif policy is OnParentFailure.FAIL:
            self._move(child, Event.PARENT_FAILED, _S.FAILED)
            child.reason, child.failure, child.is_failure_fixed = (
                DeadReason.PARENT_FAILED,
                Failure(PARENT_FAILED, ""),
                False,
            )
        else:
            self._move(child, Event.PARENT_FAILED, _S.CANCELLED)
            child.is_reason_fixed = False  # of several parents that end in one call any may be the first

    def _place(self, task: Task, event: Event) -> None:
        if task.message.delay:
            self._move(task, event, _S.SCHEDULED)
            task.due_at = self.now + task.message.delay
        else:
            self._move(task, event, _S.PENDING)
            self._make_ready(task)
