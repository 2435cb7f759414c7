"""What the result of a workflow is made of, as it is kept with its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from taskq.flows.nodes import Step
from taskq.inputs import outputs_in, template_of
from taskq.payload import Codec

MOST_ENDS = 100
"""Tasks that make up a result of which the record has the names; of more, whoever asks looks for them, if it can."""
_NO_CODECS: Mapping[str, Codec[Any]] = {}


class Ends(NamedTuple):
    """The tasks whose results are a workflow's."""

    tasks: Sequence[tuple[str, str]]
    """Name and id of each."""
    template: list[Any]
    """What is made of their results; see taskq.inputs."""
    codecs: Mapping[str, Codec[Any]] = _NO_CODECS
    """By id, where the functions are known."""


def ends_of(result: Any, ids: Mapping[Step, str]) -> Ends:
    """The tasks whose outputs make up a result."""
    steps = list(dict.fromkeys(output._source for output in outputs_in(result)))
    places = {step: place for place, step in enumerate(steps)}
    codecs = {ids[step]: step.signature.task.codec for step in steps}
    return Ends([(step.name, ids[step]) for step in steps], template_of(result, places.__getitem__), codecs)


def spec_of(ends: Ends, last: Sequence[str]) -> dict[str, Any]:
    """What the record of a workflow says of its result.

    Arguments:
        last: the names of the tasks for which nobody waits, in the order in which they are stored.
    """
    names = [name for name, _ in ends.tasks]
    kind = ends.template[0]
    if len(names) > MOST_ENDS and names == list(last) and ends.template == plain_template(kind, names):
        return {"ends": None, "result": kind}
    return {"ends": ends.tasks, "result": ends.template}


def plain_template(kind: str, names: Sequence[str]) -> list[Any]:
    """The template of a list of results, or of a dict of them by name.

    >>> plain_template("l", ["a", "b"]), plain_template("d", ["a"])
    (['l', [['o', 0], ['o', 1]]], ['d', {'a': ['o', 0]}])
    """
    outputs = [["o", place] for place in range(len(names))]
    return [kind, outputs if kind == "l" else dict(zip(names, outputs, strict=True))]
