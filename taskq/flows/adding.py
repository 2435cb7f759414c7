"""Adding tasks to a workflow while one of its tasks runs, which does it alike each time that it is tried."""

from __future__ import annotations

from typing import Any, Protocol

from taskq.config import is_label, shown
from taskq.context import TaskContext, current_or_none
from taskq.depends import DependsOn, edges_of
from taskq.domain.names import Names
from taskq.domain.workflow import OnParentFailure
from taskq.errors import ConfigError, IdempotencyConflict, InvalidOption
from taskq.flows.members import add_members
from taskq.flows.messages import Into, messages_of
from taskq.flows.nodes import Step, sources_of
from taskq.handle import TaskHandle
from taskq.ids import derived_id
from taskq.signatures import Signature
from taskq.submitter import StoreSubmitter


class Graph(Protocol):
    """A workflow that is built, and not enqueued."""

    name: str

    def graph(self) -> tuple[list[Step], StoreSubmitter]:
        """Its tasks, each behind those for which it waits, and what enqueues them."""
        ...


async def add_tasks(
    flow: str,
    what: Signature[Any] | Graph,
    after: DependsOn,
    on_parent_failure: OnParentFailure | str | None,
    name: str | None,
) -> list[TaskHandle[Any]]:
    """Add tasks to the workflow of the task that runs here.

    Their ids are made of that task's and of their names, so that a later attempt of it adds the same once more.

    Arguments:
        flow: the id of the workflow.
        what: one call, or the tasks of another workflow.
        after: tasks for which those wait that wait for no other of these.
        on_parent_failure: what becomes of them where one of these fails; None: what the signature of each says.
        name: of the one, or what the names of several begin with.

    Returns:
        The handles of those for which no other of these waits.

    Raises:
        TaskqError: see WorkflowRun.aadd.
    """
    context = _member_of(flow)
    heads = edges_of(after, OnParentFailure.CANCEL if on_parent_failure is None else on_parent_failure, "after")
    order, submitter = _graph(what, name)
    if context.origin is not submitter:
        raise ConfigError("what is added to a workflow are tasks of its own application")
    names = _names(context, order, name, is_one=isinstance(what, Signature))

    def id_of(step: Step, shard: int) -> str:
        return derived_id(shard, submitter.namespace, "node", flow, context.id, names[step.name])

    is_own_policy = on_parent_failure is None
    into = Into(flow, heads, is_own_policy, id_of, names.__getitem__, is_whole=False)
    try:
        ids, messages = messages_of(order[0].name if isinstance(what, Signature) else what.name, order, submitter, into)
        await add_members(submitter.way, messages)
    except BaseException as error:
        if context.added is not None:
            context.added.give_back(names.values())  # who tries that again means the same tasks
        if not isinstance(error, IdempotencyConflict):
            raise
        raise IdempotencyConflict(
            f"workflow {flow}: an earlier attempt of this task has added one of that name with other arguments: "
            "give each a name that says what it is for, add(…, name=…)"
        ) from error
    waited_for = {parent for step in order for parent in step.parents}
    last = [step for step in order if step not in waited_for]
    return [TaskHandle(ids[step], submitter.stores, step.signature.task.codec) for step in last]


def _member_of(flow: str) -> TaskContext:
    context = current_or_none()
    if context is None or context.flow != flow or not context.node:  # one of a batch has no name in it
        raise ConfigError(
            "only a task of a workflow adds to it, while it runs: app.find_workflow(ctx.flow).add(…); "
            "tasks from elsewhere are added to a batch"
        )
    return context


def _graph(what: Signature[Any] | Graph, name: str | None) -> tuple[list[Step], StoreSubmitter]:
    if name is not None and not is_label(name):
        raise InvalidOption(f"the name of a node must have 1 to 255 printable characters, not {shown(name)}")
    if not isinstance(what, Signature):
        if not hasattr(what, "graph"):
            raise ConfigError(f"a workflow is made of task.s(…) and of workflows, not of {shown(what)}")
        return what.graph()
    if sources_of(what):
        raise ConfigError(f"{what.task.name}: an output can be used within one workflow alone: add that as a whole")
    return [Step(name or what.task.name, what, {})], what.task.submitter


def _names(context: TaskContext, order: list[Step], name: str | None, *, is_one: bool) -> dict[str, str]:
    """The names of added tasks: behind that of the one that adds them, and each once in its run."""
    prefix = f"{context.node}/"
    if name is not None and not is_one:
        prefix += f"{name}/"
    given = context.added = context.added or Names()
    usual = {step.name: prefix + step.name for step in order}
    if name is not None and (taken := next(filter(given.is_taken, usual.values()), None)) is not None:
        raise InvalidOption(f"this task has added one named {taken!r} already")
    names: dict[str, str] = {}
    for own, wanted in usual.items():
        names[own] = given.fresh(wanted)
        given.take(names[own])
    return names
