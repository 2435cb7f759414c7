"""The parts of a workflow while it is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from taskq.config import shown
from taskq.depends import as_policy
from taskq.domain.workflow import OnParentFailure
from taskq.errors import ConfigError
from taskq.inputs import Output, outputs_in, with_outputs
from taskq.signatures import Signature

R = TypeVar("R")


class Node(Generic[R]):
    """A task of a workflow, or a workflow within it.

    Attributes:
        name: its name in the workflow.
        heads: the tasks of it that wait for whom it waits.
        tails: those that are waited for by whoever waits for it.
    """

    def __init__(self, name: str, heads: Sequence[Step], tails: Sequence[Step], output: Any) -> None:
        self.name = name
        self.heads = heads
        self.tails = tails
        self._output = output

    @property
    def output(self) -> R:
        """Its result, to be an argument of another: that one waits for it. A part of it is `output["rows"]`.

        Of a workflow it is what its `result()` would be: a list of outputs, or a dict of them by name, where it has
        several.
        """
        return cast("R", self._output)

    def after(self, *parents: Node[Any], on_parent_failure: OnParentFailure | str | None = None) -> Node[R]:
        """Have it wait for others as well.

        Arguments:
            on_parent_failure: what becomes of it where one of these ends otherwise than COMPLETED: "cancel", "run" or
                "fail"; None: what was said before, where it waits for that one already, else what
                `.options(on_parent_failure=…)` says of each task, else "cancel".

        >>> from taskq import App, Workflow
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> flow = Workflow("sums")
        >>> first, second = flow.add(add.s(1, 2)), flow.add(add.s(3, 4))
        >>> second.after(first).name
        'add-2'
        """
        put_behind(self.heads, tails_of(parents), on_parent_failure)
        return self

    def __repr__(self) -> str:
        return f"Node({self.name!r})"


class Step:
    """One task of a workflow, before it is enqueued.

    Attributes:
        name: its name.
        signature: what is called.
        parents: for whom it waits by order, and what becomes of it when they fail.
    """

    def __init__(self, name: str, signature: Signature[Any], parents: dict[Step, OnParentFailure]) -> None:
        self.name = name
        self.signature = signature
        self.parents = parents

    def __repr__(self) -> str:
        return f"{self.name!r}"


def put_behind(steps: Iterable[Step], parents: Iterable[Step], on_parent_failure: OnParentFailure | str | None) -> None:
    """Have tasks wait for others as well.

    Arguments:
        on_parent_failure: what becomes of them when one of these fails; None: an edge that is there stays as it is, and
            a new one is as the signature says.

    Raises:
        InvalidOption: there is no such policy.
    """
    said = None if on_parent_failure is None else as_policy(on_parent_failure)
    waited_for = list(parents)
    for step in steps:
        if said is None:
            own = as_policy(step.signature.task.call_options.on_parent_failure)
            step.parents.update((parent, own) for parent in waited_for if parent not in step.parents)
        else:
            step.parents.update(dict.fromkeys(waited_for, said))


def tails_of(after: Node[Any] | Iterable[Node[Any]]) -> list[Step]:
    """The tasks for which one waits that is to run after others.

    Raises:
        ConfigError: one of them is no node.
    """
    given: Any = after
    is_one = isinstance(given, Node | Output | str) or not isinstance(given, Iterable)
    nodes = [given] if is_one else list(given)
    for node in nodes:
        if not isinstance(node, Node):
            raise ConfigError(f"after must be what Workflow.add has given, one or several, not {shown(node)}")
    return [step for node in nodes for step in node.tails]


def sources_of(signature: Signature[Any]) -> list[Step]:
    """The tasks whose outputs are among the arguments.

    Raises:
        ConfigError: an argument is a node itself.
    """
    arguments = [*signature.args, *(signature.kwargs or {}).values()]
    for argument in arguments:
        if isinstance(argument, Node):
            raise ConfigError(f"{signature.task.name}: an argument is the node {argument.name!r}: give its .output")
    return list(dict.fromkeys(output._source for output in outputs_in(arguments)))


def copied(steps: Mapping[str, Step], name_of: Callable[[str], str] = str) -> dict[Step, Step]:
    """The same tasks under other names, which wait for each other, and for those outside, as they did.

    Returns:
        Each task → its copy.
    """
    copies = {step: Step(name_of(name), step.signature, {}) for name, step in steps.items()}
    for step, copy in copies.items():
        copy.signature = with_sources(step.signature, copies)
        copy.parents = {copies.get(parent, parent): policy for parent, policy in step.parents.items()}
    return copies


def with_sources(signature: Signature[Any], others: Mapping[Step, Step]) -> Signature[Any]:
    """The same with the outputs of other tasks, where there is one for a task."""

    def other(value: Any) -> Any:
        return with_outputs(value, lambda source: others.get(source, source))

    args, kwargs = tuple(map(other, signature.args)), {key: other(v) for key, v in (signature.kwargs or {}).items()}
    return Signature(signature.task, args, kwargs, signature.is_immutable)
