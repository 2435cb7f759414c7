"""What is stored of the tasks of a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from taskq.config import shown
from taskq.context import TaskContext
from taskq.depends import edges_of
from taskq.domain.message import Message
from taskq.domain.workflow import Edge
from taskq.errors import InvalidOption, InvalidPayload
from taskq.flows.nodes import Step, sources_of
from taskq.headers import check_depth, holds_not_finite
from taskq.ids import new_id
from taskq.inputs import PartialCodec
from taskq.submitter import StoreSubmitter
from taskq.task import Task
from taskq.writing import Related

_ALONE = ("idempotency_key", "connection", "block", "on_complete_url")
"""Options of a call that say how it is stored, which for all tasks of a workflow happens at once."""


class Into(NamedTuple):
    """Where tasks of a workflow are to be stored."""

    flow: str
    heads: tuple[Edge, ...]
    """For whom those wait that wait for none of the others."""
    is_own_policy: bool = False
    """Whether the signature of each of those says what becomes of it when one of `heads` fails."""
    id_of: Callable[[Step, int], str] | None = None
    """Gives the id of a task in its shard, always the same; None: fresh ones."""
    name_of: Callable[[str], str] = str
    """Their names in the workflow."""
    is_whole: bool = True
    """Whether they are all of it, and not some that are added."""


def messages_of(
    workflow: str, order: Sequence[Step], submitter: StoreSubmitter, into: Into
) -> tuple[dict[Step, str], list[Message]]:
    """The ids of tasks of a workflow, and a message for each.

    Raises:
        TaskqError: one cannot be enqueued so; the message names the node.
    """
    ids: dict[Step, str] = {}
    codecs: dict[str, PartialCodec[Any]] = {}
    messages = []
    for place, step in enumerate(order):
        try:
            message = _message_of(step, submitter, into, ids, codecs, place if into.is_whole else None)
        except InvalidPayload as error:
            raise InvalidPayload(f"workflow {workflow}, {step.name}: {error}", parameter=error.parameter) from error
        except InvalidOption as error:
            raise InvalidOption(f"workflow {workflow}, {step.name}: {error}") from error
        ids[step] = message.id
        messages.append(message)
    return ids, messages


def _message_of(
    step: Step,
    submitter: StoreSubmitter,
    into: Into,
    ids: Mapping[Step, str],
    codecs: dict[str, PartialCodec[Any]],
    place: int | None,
) -> Message:
    task: Task[..., Any] = step.signature.task
    call = task.call_options
    for option in _ALONE:
        if getattr(call, option) is not None:
            raise InvalidOption(f"the option {option} is for a task that is enqueued by itself: leave it out")
    payload, inputs = _encoded(step, task, codecs)
    heads = () if step.parents else into.heads
    if into.is_own_policy:
        heads = edges_of([edge.parent for edge in heads], call.on_parent_failure, "after")
    known = {edge.parent for edge in heads}
    others = [edge for edge in edges_of(call.depends_on, call.on_parent_failure) if edge.parent not in known]
    edges = [*(Edge(ids[parent], policy) for parent, policy in step.parents.items()), *others]
    # That it is held by its flow until that is stored is not for its user to see.
    names = [edge.parent for edge in heads if edge.parent != into.flow]
    names += [*(into.name_of(parent.name) for parent in step.parents), *(edge.parent for edge in others)]
    related = Related(into.flow, into.name_of(step.name), place, (*heads, *edges), tuple(names) or None, tuple(inputs))
    if into.id_of is None:
        return submitter.written(task, payload, call, new_id, related)
    return submitter.written(task, payload, call, partial(into.id_of, step), related, is_derived=True)


def _encoded(step: Step, task: Task[..., Any], codecs: dict[str, PartialCodec[Any]]) -> tuple[bytes, list[str]]:
    """The payload of a task, and which of its parameters are made of results."""
    args, kwargs = step.signature.args, dict(step.signature.kwargs or {})
    if not sources_of(step.signature):
        return task.codec.encode(args, kwargs), []
    codec = codecs.get(task.name)
    if codec is None:
        codec = codecs[task.name] = PartialCodec(task.function, task.name, injected=TaskContext)
    places = {parent: place for place, parent in enumerate(step.parents)}
    payload, inputs = codec.encode_with(args, kwargs, places.__getitem__)
    if task.terms.speak_of(inputs, is_unique_otherwise=task.call_options.unique_key is not None):
        raise InvalidOption(
            f"{task.name}: a key of its limits, or its unique key, is made of {', '.join(inputs)}, which nobody knows "
            "before the run: enqueue that one from a task that has it"
        )
    return payload, inputs


def checked_metadata(what: str, metadata: object) -> dict[str, Any]:
    """The metadata of a workflow or a batch; `what` names it.

    Raises:
        InvalidOption: it is no mapping that can be written as JSON.
    """
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidOption(f"{what}: metadata must be a mapping, not {shown(metadata)}")
    given = dict(metadata or {})
    try:
        check_depth(msgspec.json.encode(given))
        plain = msgspec.to_builtins(given)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"{what}: the metadata cannot be written as JSON: {error}") from None
    if holds_not_finite(plain):
        raise InvalidOption(f"{what}: the metadata holds NaN or infinity, which JSON cannot hold")
    return given
