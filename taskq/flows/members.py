"""Storing the members of a workflow, all or none, and starting those anew that have failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from taskq import blocking
from taskq.domain.envelope import unseal
from taskq.domain.message import Message
from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.domain.workflow import PARENT_FAILED, in_order
from taskq.errors import CorruptRecord, DuplicateTask, TaskqError
from taskq.headers import EMPTY, Headers, decode_headers
from taskq.ports import Backend, EnqueueStatus, NewFlow, RedriveStatus
from taskq.ports.events import CONTROL, Event
from taskq.sending import Send, refuse

PAGE = 500
"""Members that are asked for in one call."""
TOGETHER = 10_000
"""Members that are started anew in one call: one that is started later takes a parent that has failed again by then
for one that will not run, and does not wait for it."""
MOST_HINTS = 5_000
"""Members at whose cancel workers are hinted; of the others they learn by their heartbeats."""
GIVEN_UP = "it could not be stored whole"
_FAILED = (TaskState.FAILED, TaskState.DEAD, TaskState.EXPIRED)


async def store_members(backend: Backend, way: Send, new: NewFlow, messages: Sequence[Message]) -> None:
    """Store a flow with all its members, and let them run; where one is refused nothing of it is left.

    Raises:
        TaskqError: see Task.aenqueue.
    """
    await backend.flows.create(new)
    try:
        await add_members(way, messages)
    except BaseException:
        giving_up = _give_up(backend, new.id)
        with suppress(TaskqError):  # else it is given up in ten minutes, and nothing of it has run
            await (giving_up if blocking.inline.get() else asyncio.shield(giving_up))
        raise
    await backend.flows.close(new.id)


async def add_members(way: Send, messages: Sequence[Message]) -> None:
    """Store members of a flow.

    Raises:
        TaskqError: the first that was refused; those before it are stored.
    """
    step = way.step or len(messages)
    for start in range(0, len(messages), step):
        some = messages[start : start + step]
        for message, answer in zip(some, await way.send(some), strict=True):
            refuse(message.name, answer)
            if answer.status is EnqueueStatus.DUPLICATE and answer.id != message.id:
                raise DuplicateTask(message.name, answer.id)


async def _give_up(backend: Backend, flow: str) -> None:
    await backend.flows.cancel(flow, GIVEN_UP)
    async for ids in pages(backend, flow):
        await backend.inspector.discard(ids)
    await backend.flows.forget(flow)


async def pages(backend: Backend, flow: str, *, failed: bool = False) -> AsyncIterator[Sequence[str]]:
    """The ids of the members of a flow, page by page."""
    cursor: str | None = None
    while True:
        page = await backend.flows.members(flow, PAGE, cursor, failed=failed)
        if page.ids:
            yield page.ids
        cursor = page.next_cursor
        if cursor is None:
            return


async def hint_at_cancel(backend: Backend, flow: str) -> None:
    """Have workers that run members of a flow look before their next heartbeat; of a large one not all."""
    record, hinted = await backend.flows.get(flow), 0
    if record is None or record.tally.pending == 0:
        return
    async for ids in pages(backend, flow):
        await backend.events.publish([Event(CONTROL, id) for id in ids])
        hinted += len(ids)
        if hinted >= MOST_HINTS:
            return


async def records_of(backend: Backend, ids: Sequence[str]) -> list[TaskRecord]:
    """The records of tasks; of those that are forgotten there is none."""
    return [record for record in await backend.inspector.get_many(ids) if record is not None]


async def retry_members(backend: Backend, flow: str, *, only_failed: bool) -> int:
    """Start anew the members that have ended otherwise than COMPLETED, each behind those for which it waits.

    Arguments:
        only_failed: not those that were cancelled, or failed because others had.

    Returns:
        How many.
    """
    before = await backend.flows.get(flow)
    ids = [id async for page in pages(backend, flow, failed=True) for id in page]
    parents: dict[str, list[str]] = {}
    for start in range(0, len(ids), PAGE):
        found = await records_of(backend, ids[start : start + PAGE])
        wanted = (record for record in found if not only_failed or failed_itself(record))
        parents.update({record.id: [edge.parent for edge in record.parents] for record in wanted})
    order = in_order(parents)
    started = 0
    for start in range(0, len(order), TOGETHER):
        answers = await backend.inspector.redrive(order[start : start + TOGETHER])
        started += sum(answer.status is RedriveStatus.MOVED for answer in answers)
    if started and not only_failed and before is not None and before.is_over and before.cancel_reason is not None:
        # Only now: meanwhile those that are yet to be started anew would count as the first failure.
        await backend.flows.reopen(flow)
    return started


def failed_itself(record: TaskRecord) -> bool:
    """Whether a task has failed, and not because another had."""
    by_parent = record.failure is not None and record.failure.type == PARENT_FAILED
    return record.state in _FAILED and not (record.state is TaskState.FAILED and by_parent)


def headers_in(record: TaskRecord) -> Headers:
    """The headers of a task; of a damaged one those that say nothing."""
    try:
        return decode_headers(unseal(record.id, record.name, record.body)[1])
    except CorruptRecord:
        return EMPTY
