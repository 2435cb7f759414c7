"""Storing a workflow once, however often that is asked for.

The id of its run is made of a key, and those of its tasks of that id: whoever tries again finds what is there, and adds
what is missing. What was refused is given up at once, and what nobody tried again for ten minutes by the store; then
the next of its ids is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import NamedTuple

import msgspec

from taskq.domain.flow import ABANDONED, FlowRecord
from taskq.domain.message import DIGEST_RETENTION, TOMBSTONE, Message
from taskq.errors import BackendUnavailable, FlowOver, IdempotencyConflict, ParentNotFound, TaskqError
from taskq.flows.members import add_members
from taskq.flows.results import Ends
from taskq.ids import derived_id, digest
from taskq.ports import Backend, NewFlow
from taskq.sending import Send
from taskq.submitter import StoreSubmitter


class Run(NamedTuple):
    """A workflow that is written, and not yet stored."""

    new: NewFlow
    messages: list[Message]
    ends: Ends


def run_ids(shard: int, namespace: str, *key: str) -> Iterator[str]:
    """The ids that a run may have which is stored once for a key; each is taken where the one before was given up."""
    return (derived_id(shard, namespace, "workflow", *key, str(number)) for number in count())


def ids_for_task(namespace: str, task: str) -> Iterator[str]:
    """The ids of the run that a task starts: it is at home where the task is."""
    return run_ids(int(task[-2:], 16), namespace, "", task)


async def store_once(
    submitter: StoreSubmitter, ids: Iterator[str], write: Callable[[str], Run], *, may_differ: bool = False
) -> tuple[str, Ends | None]:
    """Store a workflow, unless that was done before.

    Arguments:
        ids: those that it may have, in turn.
        write: gives what is stored under an id.
        may_differ: whether what was stored before may be another: it is as good, where it is whole.

    Returns:
        The id that it has, and the tasks that its result is of; None where what was stored before is another.

    Raises:
        IdempotencyConflict: another one was stored before.
        BackendUnavailable: the store is away; what was stored of it waits to be completed.
        TaskqError: see Task.aenqueue; what was stored of it is cancelled.
    """
    backend = await submitter.stores.trusted_backend()
    for id in ids:
        run = write(id)
        new = _remembered(run)
        record = None if await backend.flows.create(new) else await backend.flows.get(id)
        is_another = record is not None and _digest(record.spec) != _digest(new.spec)
        if is_another and not may_differ:
            raise IdempotencyConflict(
                f"workflow {new.name}: this idempotency key was used before by one of this name with other tasks "
                "or arguments: give it a name or a key of its own"
            )
        if is_another and record is not None and record.closed_at is None:
            # Nobody completes that one, and who began it must not let it run beside the one that comes in its place.
            await backend.flows.give_up(id, ABANDONED)
            record = await backend.flows.get(id)
        if record is not None and record.closed_at is not None:
            if _is_given_up(record):
                continue
            return id, None if is_another else run.ends
        if await _complete(backend, submitter.way, run):
            return id, run.ends
    raise AssertionError("there is always another id")


async def _complete(backend: Backend, way: Send, run: Run) -> bool:
    """Store what is missing of a workflow, and let it run; returns False where it was given up."""
    id = run.new.id
    try:
        await add_members(way, run.messages)
    except (FlowOver, ParentNotFound):  # somebody else has completed it, and what has ended may be forgotten
        record = await backend.flows.get(id)
        if record is None or record.closed_at is None:
            raise
        return not _is_given_up(record)
    except BackendUnavailable:
        raise
    except TaskqError:
        with suppress(TaskqError):  # else the store gives it up in ten minutes, and its tasks take room until then
            await backend.flows.give_up(id, ABANDONED)
        raise
    record = await backend.flows.get(id)
    if record is not None and record.closed_at is None and record.tally.total < len(run.messages):
        # The store takes some for those of a run under the same id that is forgotten, but for a dead letter of it.
        await backend.flows.give_up(id, ABANDONED)
    else:
        await backend.flows.close(id)
    record = await backend.flows.get(id)
    return record is None or not _is_given_up(record)


async def run_of_task(backend: Backend, namespace: str, task: str) -> FlowRecord | None:
    """The run that a task has started, None where it has started none."""
    for id in ids_for_task(namespace, task):
        record = await backend.flows.get(id)
        if record is None or not _is_given_up(record):
            return record
    raise AssertionError("there is always another id")


def _is_given_up(record: FlowRecord) -> bool:
    return record.is_partial and record.cancel_reason == ABANDONED


def _digest(spec: bytes) -> object:
    return msgspec.json.decode(spec).get("digest")


def _remembered(run: Run) -> NewFlow:
    """The flow with a digest of all its tasks, kept for as long as the store remembers their ids."""
    new = run.new
    told = [(message.id, message.name, message.digest, message.parents) for message in run.messages]
    spec = {**msgspec.json.decode(new.spec), "digest": digest(msgspec.json.encode(told))}
    retention = new.retention + max(DIGEST_RETENTION, TOMBSTONE)
    return new._replace(spec=msgspec.json.encode(spec), retention=retention)
