"""Chains, groups and chords: the workflows that Celery's hands know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskq.config import shown
from taskq.errors import ConfigError
from taskq.flows.nodes import Node
from taskq.flows.workflow import Workflow
from taskq.signatures import Signature

Part = Signature[Any] | Workflow


def chain(*links: Part) -> Workflow:
    """Tasks one after the other: the result of each is put before the arguments of the next.

    Arguments:
        links: signatures, and workflows such as groups: whoever follows a group gets a list of its results.

    Returns:
        A workflow whose result is that of the last.

    >>> from taskq import App
    >>> @App("memory://").task(name="add")
    ... def add(x: int, y: int) -> int:
    ...     return x + y
    >>> len(chain(add.s(1, 2), add.s(3), add.s(4)))
    3
    """
    flow = Workflow("chain")
    before: Node[Any] | None = None
    for link in links:
        before = flow.add(link) if before is None else _added(flow, link, before.output, before)
    return flow


def group(members: Iterable[Part] | Part, /, *others: Part) -> Workflow:
    """Tasks beside each other.

    Arguments:
        members, others: signatures and workflows, as one iterable or one by one.

    Returns:
        A workflow whose result is the list of their results, in their order.

    >>> from taskq import App
    >>> @App("memory://").task(name="add")
    ... def add(x: int, y: int) -> int:
    ...     return x + y
    >>> len(group(add.s(n, n) for n in range(9)))
    9
    """
    flow = Workflow("group")
    first = (members,) if isinstance(members, Signature | Workflow) else _several("group", members)
    for member in (*first, *others):
        flow.add(member)
    flow.gives_list = True
    return flow


def chord(header: Iterable[Part], body: Part) -> Workflow:
    """Tasks beside each other, and one that gets the list of their results as its first argument.

    Arguments:
        header: signatures and workflows; of none the list is empty.
        body: what gets the list: a signature, or a workflow such as a chain, whose first tasks get it.

    Returns:
        A workflow whose result is that of the last.

    >>> from taskq import App
    >>> app = App("memory://")
    >>> @app.task(name="add")
    ... def add(x: int, y: int) -> int:
    ...     return x + y
    >>> @app.task(name="total")
    ... def total(numbers: list[int]) -> int:
    ...     return sum(numbers)
    >>> len(chord([add.s(1, 1), add.s(2, 2)], total.s()))
    3
    """
    flow = Workflow("chord")
    members = [flow.add(member) for member in _several("chord", header)]
    _added(flow, body, [member.output for member in members], members)
    return flow


def _added(flow: Workflow, link: Part, given: object, after: Node[Any] | list[Node[Any]]) -> Node[Any]:
    """Add what runs after others, and gets what they have given as its first argument."""
    if isinstance(link, Workflow):
        return flow.add(link.behind(given), after=after)
    known: object = link  # add refuses what is neither
    is_fed = isinstance(known, Signature) and not known.is_immutable
    return flow.add(link.behind(given) if is_fed else link, after=after)


def _several(what: str, given: object) -> Iterable[Any]:
    if not isinstance(given, Iterable) or isinstance(given, Signature | Workflow):
        raise ConfigError(f"a {what} is made of a list, or another iterable, of task.s(…), not of {shown(given)}")
    return given
