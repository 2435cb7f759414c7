"""Workflows: tasks that wait for each other, built in code and stored as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast, overload

import msgspec

from taskq import blocking
from taskq.config import is_label, shown
from taskq.domain.flow import FlowKind
from taskq.domain.message import DEFAULT_QUEUE, DEFAULT_RETENTION
from taskq.domain.names import Names
from taskq.domain.workflow import Edge, OnParentFailure, find_loop, in_order
from taskq.errors import ConfigError, CyclicDependency, InvalidOption
from taskq.flows.members import store_members
from taskq.flows.messages import Into, checked_metadata, messages_of
from taskq.flows.nodes import Node, Step, copied, put_behind, sources_of, tails_of
from taskq.flows.once import Run, ids_for_task, run_ids, store_once
from taskq.flows.results import ends_of, spec_of
from taskq.flows.run import WorkflowRun
from taskq.ids import derived_id, new_id
from taskq.inputs import Output, with_outputs
from taskq.options import CallOptions
from taskq.ports import NewFlow
from taskq.signatures import Signature
from taskq.submitter import StoreSubmitter

R = TypeVar("R")


class Workflow:
    """Tasks that wait for each other: a graph without loops.

    Nothing of it runs before all of it is stored. It may be enqueued several times; each is a run of its own.

    Arguments:
        name: for people.
        metadata: JSON, kept with each run.

    Raises:
        InvalidOption: the name cannot be one, or the metadata is no mapping that can be written as JSON.

    >>> from taskq import App
    >>> app = App("memory://")
    >>> @app.task(name="extract")
    ... def extract(source: str) -> list[int]: ...
    >>> @app.task(name="total")
    ... def total(rows: list[int]) -> int: ...
    >>> nightly = Workflow("nightly")
    >>> rows = nightly.add(extract.s("s3://x"))
    >>> _ = nightly.add(total.s(rows.output))
    >>> nightly.enqueue().progress().total
    2
    """

    def __init__(self, name: str = "workflow", *, metadata: Mapping[str, Any] | None = None) -> None:
        if not is_label(name):
            raise InvalidOption(f"the name of a workflow must have 1 to 255 printable characters, not {shown(name)}")
        self.name = name
        self._metadata = checked_metadata(f"workflow {name}", metadata)
        self._steps: dict[str, Step] = {}
        self._names = Names()
        self._nodes: list[Node[Any]] = []
        self.gives_list = False
        """Whether its result is a list, even of one: that of a group."""

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"Workflow({self.name!r}, {len(self)} tasks)"

    # ------------------------------------------------------------ building

    @overload
    def add(
        self,
        what: Signature[R],
        /,
        *,
        after: Node[Any] | Iterable[Node[Any]] = (),
        on_parent_failure: OnParentFailure | str | None = None,
        name: str | None = None,
    ) -> Node[R]: ...
    @overload
    def add(
        self,
        what: Workflow,
        /,
        *,
        after: Node[Any] | Iterable[Node[Any]] = (),
        on_parent_failure: OnParentFailure | str | None = None,
        name: str | None = None,
    ) -> Node[Any]: ...
    def add(
        self,
        what: Signature[Any] | Workflow,
        /,
        *,
        after: Node[Any] | Iterable[Node[Any]] = (),
        on_parent_failure: OnParentFailure | str | None = None,
        name: str | None = None,
    ) -> Node[Any]:
        """Add a task, or the tasks of another workflow.

        Arguments:
            what: `task.s(…)`, with outputs of others among its arguments, for which it then waits; or a workflow.
            after: for whom it waits beside them.
            on_parent_failure: what becomes of it when one of these ends otherwise than COMPLETED: "cancel" (with all
                that hangs on it), "run" (all the same; an argument from there is None) or "fail"; None: what
                `.options(on_parent_failure=…)` says of the signature, of a workflow what it says of each of its first
                tasks, else "cancel".
            name: None: that of the task, with a number where it is not the first.

        Returns:
            The node, of which other tasks may use the output.

        Raises:
            InvalidOption: another has that name, or there is no such policy.
            ConfigError: it is neither a signature nor a workflow, a workflow without tasks, or this one.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> flow = Workflow("sums")
        >>> first = flow.add(add.s(1, 2))
        >>> flow.add(add.s(first.output, 3), name="again")
        Node('again')
        """
        if isinstance(what, Workflow):
            node = self._taken_in(what, tails_of(after), on_parent_failure, name)
        elif isinstance(what, Signature):
            parents = [*tails_of(after), *sources_of(what)]
            step = Step(self._fresh_name(what.task.name, name), what, {})
            put_behind([step], parents, on_parent_failure)
            self._keep([step])
            node = Node(step.name, [step], [step], Output(step))
        else:
            raise ConfigError(f"a workflow is made of task.s(…) and of workflows, not of {shown(what)}")
        self._nodes.append(node)
        return node

    def _taken_in(
        self, other: Workflow, parents: list[Step], on_parent_failure: OnParentFailure | str | None, name: str | None
    ) -> Node[Any]:
        """Take in the tasks of another workflow under names of their own."""
        if other is self or not other._steps:
            what = "itself" if other is self else f"workflow {other.name}, which has no task"
            raise ConfigError(f"workflow {self.name} cannot take in {what}")
        prefix = self._fresh_name(other.name, name, is_outer=True)
        copies = copied(other._steps, lambda own: f"{prefix}/{own}")
        heads = [copy for step, copy in copies.items() if copies.keys().isdisjoint(step.parents)]
        put_behind(heads, parents, on_parent_failure)
        self._keep(copies.values())
        return Node(prefix, heads, [copies[step] for step in other._ends()], _moved(other._result(), copies))

    def behind(self, value: object) -> Workflow:
        """The same with one argument more, before the others, of each task that waits for nobody (used by chains)."""
        other = Workflow(self.name, metadata=self._metadata)
        other.gives_list = self.gives_list
        copies = copied(self._steps)
        for step, copy in copies.items():
            if not step.parents and not step.signature.is_immutable:
                copy.signature = copy.signature.behind(value)
        other._keep(copies.values())
        for node in self._nodes:
            heads, tails = ([copies[step] for step in steps] for steps in (node.heads, node.tails))
            other._nodes.append(Node(node.name, heads, tails, _moved(node.output, copies)))
        return other

    def _fresh_name(self, usual: str, wanted: str | None, *, is_outer: bool = False) -> str:
        if wanted is not None:
            if not is_label(wanted):
                raise InvalidOption(f"the name of a node must have 1 to 255 printable characters, not {shown(wanted)}")
            if self._names.is_taken(wanted, is_outer=is_outer):
                raise InvalidOption(f"workflow {self.name}: there is a task named {wanted!r} already")
            return wanted
        return self._names.fresh(usual, is_outer=is_outer)

    def _keep(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self._steps[step.name] = step
            self._names.take(step.name)

    # ------------------------------------------------------------ enqueuing

    async def aenqueue(self, *, idempotency_key: str | None = None) -> WorkflowRun[Any]:
        """Store all of it, and have it run; for code that runs in an event loop.

        Arguments:
            idempotency_key: 1 to 255 printable characters; who enqueues a workflow of the same name with it again gets
                the run that there is, for at least a day.

        Returns:
            The run.

        Raises:
            IdempotencyConflict: the key was used with other tasks, or other arguments.
            CyclicDependency: its tasks wait for each other in a circle; nothing was stored.
            InvalidPayload, PayloadTooLarge: an argument does not fit; nothing was stored.
            ConfigError: it has no task, or tasks of several applications; nothing was stored.
            QueueFull: a queue has no room for all; what was stored of it is gone again, nothing of it has run.
            TaskqError: for the rest see Task.aenqueue.

        >>> import asyncio
        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> flow = Workflow("sums")
        >>> _ = flow.add(add.s(1, 2))
        >>> len(asyncio.run(flow.aenqueue()).id)
        36
        """
        order, submitter = self.graph()
        if idempotency_key is not None:
            CallOptions(idempotency_key=idempotency_key)  # which says what is wrong with it
            shard = submitter.stores.root.shard_of(DEFAULT_QUEUE)
            ids = run_ids(shard, submitter.namespace, self.name, idempotency_key)
            return await self._once(order, submitter, ids)
        id = new_id(submitter.stores.root.shard_of(order[0].signature.task.queue))
        run = self._written(order, submitter, id)
        await store_members(await submitter.stores.trusted_backend(), submitter.way, run.new, run.messages)
        return WorkflowRun(id, submitter.stores, run.ends)

    def enqueue(self, *, idempotency_key: str | None = None) -> WorkflowRun[Any]:
        """Store all of it, and have it run; for code without an event loop.

        Arguments, returns, and raises: see `aenqueue`.

        Raises:
            WouldBlock: an event loop runs in this thread: await `aenqueue` instead.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> flow = Workflow("sums")
        >>> _ = flow.add(add.s(1, 2))
        >>> flow.enqueue().status().value
        'running'
        """
        run = self.aenqueue(idempotency_key=idempotency_key)
        return blocking.run(run, "workflow.enqueue()", "workflow.aenqueue()")

    async def astart_for(self, task: str, home: object) -> WorkflowRun[Any]:
        """Store it as the run that a task starts: once, however often that task runs.

        Arguments:
            task: its id.
            home: what enqueues the tasks of its application.

        Raises:
            ConfigError: the tasks are another application's.
            TaskqError: see `aenqueue`.
        """
        order, submitter = self.graph()
        if submitter is not home:
            raise ConfigError(f"workflow {self.name}: a task starts a workflow of its own application, no other's")
        return await self._once(order, submitter, ids_for_task(submitter.namespace, task), may_differ=True)

    async def _once(
        self, order: Sequence[Step], submitter: StoreSubmitter, ids: Iterator[str], *, may_differ: bool = False
    ) -> WorkflowRun[Any]:
        def write(flow: str) -> Run:
            def id_of(step: Step, shard: int) -> str:
                return derived_id(shard, submitter.namespace, "node", flow, step.name)

            return self._written(order, submitter, flow, id_of)

        id, ends = await store_once(submitter, ids, write, may_differ=may_differ)
        return WorkflowRun(id, submitter.stores, ends)

    def _written(
        self,
        order: Sequence[Step],
        submitter: StoreSubmitter,
        flow: str,
        id_of: Callable[[Step, int], str] | None = None,
    ) -> Run:
        """What is stored of it under an id; its first tasks wait for the flow itself."""
        ids, messages = messages_of(self.name, order, submitter, Into(flow, (Edge(flow),), id_of=id_of))
        ends, last = ends_of(self._result(), ids), set(self._ends())
        told = spec_of(ends, [step.name for step in order if step in last])
        spec = msgspec.json.encode({"metadata": self._metadata, "size": len(messages), **told})
        retention = max(message.retention for message in messages) or DEFAULT_RETENTION
        return Run(NewFlow(flow, FlowKind.WORKFLOW, self.name, spec, is_held=True, retention=retention), messages, ends)

    def graph(self) -> tuple[list[Step], StoreSubmitter]:
        """The tasks, each behind those for which it waits, and what enqueues them.

        Raises:
            ConfigError: it has no task, tasks of several applications, or one waits for another workflow's.
            CyclicDependency: they wait for each other in a circle.
        """
        submitters = {id(step.signature.task.submitter): step.signature.task.submitter for step in self._steps.values()}
        if len(submitters) != 1:
            what = "has tasks of several applications, which cannot wait for each other"
            if not submitters:
                what = "has no task: give it at least one (a generator gives what it has only once)"
            raise ConfigError(f"workflow {self.name} {what}")
        for step in self._steps.values():
            for parent in step.parents:
                if self._steps.get(parent.name) is not parent:
                    raise ConfigError(
                        f"workflow {self.name}: {step.name} waits for {parent.name}, of another workflow: add that one "
                        "to this, and use what add(…) has given"
                    )
        graph = {name: [parent.name for parent in step.parents] for name, step in self._steps.items()}
        loop = find_loop(graph)
        if loop:
            raise CyclicDependency(self.name, loop)
        [submitter] = submitters.values()
        return [self._steps[name] for name in in_order(graph)], cast("StoreSubmitter", submitter)

    def _ends(self) -> list[Step]:
        """The tasks for which nobody waits: their results are the workflow's."""
        waited_for = {parent for step in self._steps.values() for parent in step.parents}
        return [step for step in self._steps.values() if step not in waited_for]

    def _result(self) -> Any:
        """The outputs that are its result: of a group those of all, else of those for which nobody waits."""
        if self.gives_list:
            return [node.output for node in self._nodes]
        ends = set(self._ends())
        outputs = {node.name: node.output for node in self._nodes if not ends.isdisjoint(node.tails)}
        return outputs if len(outputs) != 1 else next(iter(outputs.values()))


def _moved(value: Any, copies: Mapping[Step, Step]) -> Any:
    """The same outputs of copies."""
    return with_outputs(value, lambda source: copies.get(source, source))
