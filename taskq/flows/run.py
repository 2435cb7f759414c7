"""One run of a workflow: its result, its tasks, adding to it, running it again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Generic, TypeVar, cast, overload

import msgspec

from taskq import blocking
from taskq.backends import Stores
from taskq.depends import DependsOn
from taskq.domain.flow import FlowKind
from taskq.domain.record import Failure, TaskRecord
from taskq.domain.state import TaskState
from taskq.domain.workflow import OnParentFailure
from taskq.errors import (
    InvalidOption,
    ResultTimeout,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskNotFound,
    WorkflowFailed,
)
from taskq.flows.adding import Graph, add_tasks
from taskq.flows.again import run_again
from taskq.flows.members import PAGE, failed_itself, headers_in, pages, records_of
from taskq.flows.results import Ends, plain_template
from taskq.flows.view import FlowView
from taskq.following import check_timeout
from taskq.handle import TaskHandle
from taskq.inputs import fill
from taskq.ports import Backend
from taskq.signatures import Signature

R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A task of a workflow, as it is now."""

    name: str
    record: TaskRecord


class WorkflowRun(FlowView, Generic[R]):
    """One run of a workflow.

    >>> from taskq import App, chain
    >>> @App("memory://").task(name="add")
    ... def add(x: int, y: int) -> int:
    ...     return x + y
    >>> run = chain(add.s(1, 2), add.s(3)).enqueue()
    >>> run.status().value, run.progress().total, run.cancel("not today"), run.status().value
    ('running', 2, True, 'cancelled')
    """

    def __init__(self, id: str, stores: Stores, ends: Ends | None = None) -> None:
        super().__init__(id, stores)
        self._ends = ends

    async def aresult(self, timeout: float | None = None) -> R:
        """The result, waiting for it.

        Arguments:
            timeout: seconds; None waits for ever.

        Returns:
            That of the task for which nobody waits; of a group the list of all, and of several others a dict by their
            names.

        Raises:
            WorkflowFailed: a task has failed, so that there is no result; with the first failure.
            TaskCancelled: it was cancelled.
            InvalidOption: the timeout is no number of seconds.
            ResultTimeout: it has not ended by then; it goes on.
            TaskNotFound: no record of it (any more).
        """
        check_timeout(timeout)
        ends = self._ends or await self._find_ends()
        deadline = None if timeout is None else time.monotonic() + timeout
        values = []
        for _, id in ends.tasks:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            handle = TaskHandle[Any](id, self._stores, ends.codecs.get(id))
            try:
                values.append(await handle.aresult(left))
            except (TaskFailed, TaskCancelled, TaskExpired) as error:
                raise await self._why(error) from None
            except TaskNotFound:
                record = await self.ainfo()
                if not record.is_partial:
                    raise
                why = f": {record.cancel_reason}" * bool(record.cancel_reason)
                raise TaskCancelled(f"workflow {self.id} was cancelled before all of it was stored{why}") from None
            except ResultTimeout:
                raise ResultTimeout(f"workflow {self.id} has not ended within {timeout} s; it goes on") from None
        return cast("R", fill("return", ends.template, values))

    def result(self, timeout: float | None = None) -> R:
        """The result, waiting for it; see `aresult`."""
        return blocking.run(self.aresult(timeout), "run.result()", "run.aresult()")

    async def anodes(self) -> list[NodeRecord]:
        """All tasks, in the order in which they were enqueued, and behind them those that were added.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        placed, others = await self._nodes()
        return [*placed, *others]

    async def _nodes(self) -> tuple[list[NodeRecord], list[NodeRecord]]:
        """The tasks with which it was enqueued, and the others: of several shards a store knows no order."""
        await self.ainfo()
        backend = await self._stores.backend()
        placed: list[tuple[int, NodeRecord]] = []
        others: list[NodeRecord] = []
        async for ids in pages(backend, self.id):
            for record in await records_of(backend, ids):
                place = headers_in(record).place
                if place is None:
                    others.append(NodeRecord(_name_of(record), record))
                else:
                    placed.append((place, NodeRecord(_name_of(record), record)))
        placed.sort(key=itemgetter(0))
        return [node for _, node in placed], others

    def nodes(self) -> list[NodeRecord]:
        """All tasks; see `anodes`."""
        return blocking.run(self.anodes(), "run.nodes()", "run.anodes()")

    @overload
    async def aadd(
        self,
        what: Signature[S],
        /,
        *,
        after: DependsOn = (),
        on_parent_failure: OnParentFailure | str | None = None,
        name: str | None = None,
    ) -> TaskHandle[S]: ...
    @overload
    async def aadd(
        self,
        what: Graph,
        /,
        *,
        after: DependsOn = (),
        on_parent_failure: OnParentFailure | str | None = None,
        name: str | None = None,
    ) -> list[TaskHandle[Any]]: ...
    async def aadd(
        self,
        what: Signature[Any] | Graph,
        /,
        *,
        after: DependsOn = (),
        on_parent_failure: OnParentFailure | str | None = None,
        name: str | None = None,
    ) -> Any:
        """Add tasks, from a task of the workflow that runs: `app.find_workflow(ctx.flow).aadd(…)`.

        The run has ended when they have too. A later attempt of the task that adds them adds the same once more, and
        not twice. What waits for that task does not wait for them.

        Arguments:
            what: `task.s(…)`, or another workflow with all its tasks.
            after: handles or ids of tasks for which they wait, such as what this has returned, or `ctx.id`.
            on_parent_failure: what becomes of them where one of these ends otherwise than COMPLETED; None: what each of
                them says itself; see Workflow.add.
            name: of the task, or what the names of several begin with; None: that of each, with a number from the
                second on. It stands behind the name of the task that adds them, "split/load".

        Returns:
            The handle of the task; of a workflow, those of the tasks for which none of it waits.

        Raises:
            ConfigError: no task of this workflow runs here; or see Workflow.aenqueue.
            InvalidOption: this run has added one of that name already.
            IdempotencyConflict: an earlier attempt has added one of that name with other arguments.
            FlowOver: the workflow was cancelled.
            TaskqError: for the rest see Task.aenqueue; those before the one that was refused are stored.
        """
        handles = await add_tasks(self.id, what, after, on_parent_failure, name)
        return handles[0] if isinstance(what, Signature) else handles

    @overload
    def add(
        self,
        what: Signature[S],
        /,
        *,
        after: DependsOn = (),
        on_parent_failure: OnParentFailure | str | None = None,
        name: str | None = None,
    ) -> TaskHandle[S]: ...
    @overload
    def add(
        self,
        what: Graph,
        /,
        *,
        after: DependsOn = (),
        on_parent_failure: OnParentFailure | str | None = None,
        name: str | None = None,
    ) -> list[TaskHandle[Any]]: ...
    def add(self, what: Any, /, **options: Any) -> Any:
        """Add tasks, from a task of the workflow that runs; see `aadd`."""
        return blocking.run(self.aadd(what, **options), "run.add()", "run.aadd(…)")

    async def arun_again(self) -> WorkflowRun[R]:
        """Enqueue all of it anew, as another run; this one stays as it is.

        Its tasks are as their records are: arguments, options and order as they were enqueued, and after a `retry()` or
        a redrive without their expiry, and in the queue into which that has put them. Those that were added while it
        ran are left out: the tasks that have added them do it again.

        Returns:
            The new run.

        Raises:
            TaskNotFound: one of its tasks is no longer kept.
            InvalidOption: it was never stored whole.
            KeyMissing: its tasks are encrypted, and the key is not here.
            TaskqError: for the rest see Task.aenqueue; nothing was stored.
        """
        return WorkflowRun(await run_again(self._stores, await self.ainfo()), self._stores)

    def run_again(self) -> WorkflowRun[R]:
        """Enqueue all of it anew, as another run; see `arun_again`."""
        return blocking.run(self.arun_again(), "run.run_again()", "run.arun_again()")

    async def _why(self, error: Exception) -> Exception:
        """What a task that came to nothing means: the failure of another, perhaps."""
        backend = await self._stores.backend()
        failed = [each for each in await _failures(backend, self.id) if each.record.state is not TaskState.CANCELLED]
        if not failed:
            return error
        failed.sort(key=lambda node: _rank(node.record))
        first = failed[0].record
        failure = first.failure or Failure("Expired" if first.state is TaskState.EXPIRED else "Unknown", first.reason)
        return WorkflowFailed([each.name for each in failed], failure.type, failure.message, failure.traceback)

    async def _find_ends(self) -> Ends:
        """The tasks whose results are the workflow's, by what the store knows."""
        record = await self.ainfo()
        if record.kind is not FlowKind.WORKFLOW:
            raise InvalidOption(f"{self.id} is a batch, which has no result: ask its tasks for theirs")
        said = msgspec.json.decode(record.spec)
        if said["ends"] is not None:
            return Ends([(name, id) for name, id in said["ends"]], said["result"])
        placed, others = await self._nodes()
        nodes = placed if "size" in said else others  # an earlier release notes neither
        waited_for = {edge.parent for node in nodes for edge in node.record.parents}
        tasks = [(node.name, node.record.id) for node in nodes if node.record.id not in waited_for]
        return Ends(tasks, plain_template(said["result"], [name for name, _ in tasks]))


async def _failures(backend: Backend, flow: str) -> list[NodeRecord]:
    page = await backend.flows.members(flow, PAGE, failed=True)
    return [NodeRecord(_name_of(record), record) for record in await records_of(backend, page.ids)]


def _rank(record: TaskRecord) -> tuple[bool, datetime]:
    """Those that failed themselves, the first before the others; a parent and its children may end in one instant."""
    return not failed_itself(record), record.completed_at or record.created_at


def _name_of(record: TaskRecord) -> str:
    """The name of a task in its workflow."""
    return headers_in(record).node or record.name
