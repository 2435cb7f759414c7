"""Running a workflow once more, from what the store has of its last run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from taskq.backends import Stores
from taskq.crypto import Crypto, about_payload, decrypt
from taskq.domain.envelope import seal, unseal
from taskq.domain.flow import FlowKind, FlowRecord
from taskq.domain.message import DEFAULT_RETENTION, Message
from taskq.domain.record import TaskRecord
from taskq.domain.workflow import Edge, in_order
from taskq.errors import InvalidOption, TaskNotFound
from taskq.flows.members import headers_in, pages, records_of, store_members
from taskq.headers import decode_headers, encode_headers
from taskq.ids import new_id
from taskq.ports import Backend, Enqueued, NewFlow
from taskq.sending import Send


async def run_again(stores: Stores, record: FlowRecord) -> str:
    """Enqueue all tasks of a run anew, as another run; returns its id.

    Raises:
        TaskqError: see WorkflowRun.arun_again.
    """
    if record.kind is not FlowKind.WORKFLOW:
        raise InvalidOption(f"{record.id} is a batch, and only workflows can be run again")
    if record.closed_at is None or record.is_partial:
        raise InvalidOption(f"workflow {record.id} was never stored whole")
    backend = await stores.trusted_backend()
    said = msgspec.json.decode(record.spec)
    tasks = await _tasks_of(backend, record, said.get("size"))
    flow = new_id(int(record.id[-2:], 16))
    ids = {task.id: new_id(backend.shard_of(task.queue)) for task in tasks}
    messages = [_anew(task, {**ids, record.id: flow}, flow, stores.crypto) for task in tasks]
    said.pop("digest", None)
    if said["ends"] is not None:
        said["ends"] = [(name, ids[id]) for name, id in said["ends"]]
    retention = max(message.retention for message in messages) or DEFAULT_RETENTION
    new = NewFlow(
        flow, FlowKind.WORKFLOW, record.name, msgspec.json.encode(said), is_held=True, retention=retention
    )  # fmt: skip

    async def send(some: Sequence[Message]) -> list[Enqueued]:
        return await backend.broker.enqueue(some)

    await store_members(backend, Send(send, stores.step), new, messages)
    return flow


async def _tasks_of(backend: Backend, record: FlowRecord, size: int | None) -> list[TaskRecord]:
    """The records of its tasks in their order, without those that were added while it ran: who did so does it again.

    Arguments:
        size: how many there were; None: an earlier release has enqueued it, which noted neither that nor an order.
    """
    found = {task.id: task async for ids in pages(backend, record.id) for task in await records_of(backend, ids)}
    if size is None:
        order = in_order({id: [edge.parent for edge in task.parents] for id, task in found.items()})
    else:
        places = {id: place for id, task in found.items() if (place := headers_in(task).place) is not None}
        order = sorted(places, key=places.__getitem__)
    gone = (record.tally.total if size is None else size) - len(order)
    if gone > 0:
        raise TaskNotFound(f"workflow {record.id}: {gone:,} of its tasks are no longer kept")
    return [found[id] for id in order]


def _anew(task: TaskRecord, ids: Mapping[str, str], flow: str, crypto: Crypto | None) -> Message:
    """The message of a task under another id, in another run."""
    id = ids[task.id]
    payload, headers = unseal(task.id, task.name, task.body)
    said = decode_headers(headers)
    if said.encrypted and crypto is not None:
        payload = crypto.encrypt(
            decrypt(crypto, payload, about_payload(task.id, task.name)), about_payload(id, task.name)
        )
    elif said.encrypted:
        decrypt(crypto, payload, about_payload(task.id, task.name))  # which says that there is no key
    expires = None if task.expires_at is None else (task.expires_at - task.created_at).total_seconds()
    return Message(
        id,
        task.name,
        seal(id, task.name, payload, encode_headers(replace(said, flow=flow, trace={}))),
        task.queue,
        task.priority,
        group=task.group,
        delay=said.delay,
        eta=said.eta,
        expires=expires,
        max_lost_leases=task.max_lost_leases,
        dead_letter=task.dead_letter,
        retention=task.retention,
        tenant=task.tenant,
        unique=task.unique,
        limits=task.limits,
        parents=tuple(Edge(ids.get(edge.parent, edge.parent), edge.on_failure) for edge in task.parents),
        flow=flow,
        tags=task.tags,
    )
