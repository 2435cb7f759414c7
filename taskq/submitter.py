"""From a call to a message in a store: options, routes, identity, headers."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from taskq.backends import Stores
from taskq.config import check_identifier
from taskq.context import current_or_none
from taskq.domain.envelope import seal
from taskq.domain.message import DEFAULT_QUEUE, Message
from taskq.domain.retry import to_dict
from taskq.errors import (
    CapabilityMissing,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    LeaseLost,
    PayloadTooLarge,
    QueueFull,
)
from taskq.handle import TaskHandle
from taskq.headers import Headers, encode_headers
from taskq.ids import derived_id, digest, new_id
from taskq.middleware import Draft
from taskq.options import CallOptions, as_priority, as_seconds
from taskq.ports import Capability, Enqueued, EnqueueStatus, Parent
from taskq.ports.backend import TransactionalBackend
from taskq.task import Task

R = TypeVar("R")

Routes = Mapping[str, str] | Callable[[str], str | None]
"""Task name, or pattern as in fnmatch, → queue; or a function from the name to the queue or None."""


class StoreSubmitter:
    """Enqueues the tasks of one application (see taskq.task.Submitter).

    Arguments:
        stores: where they go.
        namespace: part of the ids that are derived from idempotency keys.
        max_payload: the most bytes that encoded arguments may take.
        routes: which task goes to which queue, where neither the call nor the task says so.
        hooks: gives the `on_enqueue` hooks of the application's middleware.
    """

    def __init__(
        self,
        stores: Stores,
        namespace: str,
        max_payload: int,
        routes: Routes,
        hooks: Callable[[], tuple[Callable[..., Any], ...]],
    ) -> None:
        self._stores = stores
        self._namespace = namespace
        self._max_payload = max_payload
        self._routes = routes
        self._hooks = hooks

    async def submit(
        self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions, *, atomic: bool = False
    ) -> list[TaskHandle[R]]:
        """Enqueue one task for each payload."""
        messages = self._messages(task, payloads, call)
        if call.connection is not None:
            return self._handles(task, await self._transactional().aenqueue_in(call.connection, messages))
        broker = (await self._stores.backend()).broker
        answers = await broker.enqueue(messages, parent=self._parent(), atomic=atomic)
        return self._handles(task, answers, refuse_any=atomic)

    def submit_inside(self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions) -> list[TaskHandle[R]]:
        """Enqueue inside the transaction of a blocking connection."""
        answers = self._transactional().enqueue_in(call.connection, self._messages(task, payloads, call))
        return self._handles(task, answers)

    def _transactional(self) -> TransactionalBackend:
        backend = self._stores.root
        if Capability.TRANSACTIONAL_ENQUEUE not in backend.capabilities:
            raise CapabilityMissing("options(connection=…) needs the Postgres backend: its tasks live in your database")
        return cast("TransactionalBackend", backend)

    def _messages(self, task: Task[..., Any], payloads: Sequence[bytes], call: CallOptions) -> list[Message]:
        declared, name = task.declared, task.name
        if call.idempotency_key is not None and len(payloads) != 1:
            raise InvalidOption(f"{name}: one idempotency_key is for one task, not for {len(payloads)}")
        queue = call.queue or self.queue_of(task)
        headers = self._headers(name, queue, call)
        shard = self._stores.root.shard_of(queue)
        priority = as_priority(declared.priority if call.priority is None else call.priority)
        retention = declared.retention if call.retention is None else call.retention
        messages = []
        for payload in payloads:
            if (size := len(payload) + len(headers)) > self._max_payload:
                raise PayloadTooLarge(name, size, self._max_payload)
            id, digest = self._identity(task, payload, call, shard)
            messages.append(
                Message(
                    id,
                    name,
                    seal(id, name, payload, headers),
                    queue,
                    priority,
                    "",
                    as_seconds(call.delay),
                    None if call.eta is None else call.eta.timestamp(),
                    as_seconds(call.expires) or declared.expires,
                    declared.max_lost_leases,
                    declared.dead_letter,
                    retention,
                    call.tenant,
                    digest,
                )
            )
        return messages

    def _identity(self, task: Task[..., Any], payload: bytes, call: CallOptions, shard: int) -> tuple[str, str]:
        if call.idempotency_key is None:
            return new_id(shard), ""
        id = derived_id(shard, self._namespace, call.tenant, task.name, call.idempotency_key)
        return id, digest(payload)

    def _headers(self, name: str, queue: str, call: CallOptions) -> bytes:
        metadata, trace = dict(call.metadata or {}), {}
        if hooks := self._hooks():
            draft = Draft(name, queue, metadata)
            for hook in hooks:
                hook(draft)
            metadata, trace = draft.metadata, draft.trace
        if not (metadata or trace or call.retry or call.timeout):
            return b""
        retry = None if call.retry is None else to_dict(call.retry)
        try:
            return encode_headers(Headers(metadata, retry, call.timeout, trace))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidPayload(f"{name}: the metadata cannot be written as JSON: {error}") from None

    def queue_of(self, task: Task[..., Any]) -> str:
        """The queue that calls of a task go to which name none."""
        return task.declared.queue or self._route(task.name) or DEFAULT_QUEUE

    def _route(self, name: str) -> str | None:
        queue = self._routes(name) if callable(self._routes) else self._matching(self._routes, name)
        return None if queue is None else check_identifier("queue", queue)

    @staticmethod
    def _matching(routes: Mapping[str, str], name: str) -> str | None:
        if name in routes:
            return routes[name]
        return next((queue for pattern, queue in routes.items() if fnmatch.fnmatchcase(name, pattern)), None)

    def _parent(self) -> Parent | None:
        context = current_or_none()
        # The run of another application's task lives in another store, which knows nothing of this one.
        if context is None or context.origin is not self:
            return None
        return Parent(context.id, context.fence, context.worker_id)

    def _handles(
        self, task: Task[..., R], answers: Sequence[Enqueued], *, refuse_any: bool = False
    ) -> list[TaskHandle[R]]:
        if refuse_any or len(answers) == 1:
            for answer in answers:
                _refuse(task.name, answer.status)
        codec = None if task.function is stands_for_unknown else task.codec
        return [TaskHandle(answer.id, self._stores, codec, answer.status) for answer in answers]


def stands_for_unknown(**payload: Any) -> Any:
    """Stands for a function that only the workers know."""


def _refuse(name: str, status: EnqueueStatus) -> None:
    match status:
        case EnqueueStatus.CONFLICT:
            raise IdempotencyConflict(f"{name}: this idempotency key was used before with other arguments")
        case EnqueueStatus.FULL:
            raise QueueFull(f"{name}: its queue holds as many tasks as it may; try again later")
        case EnqueueStatus.STALE_PARENT:
            raise LeaseLost(f"{name}: the task that enqueues it has lost its lease, so nothing was enqueued")
        case EnqueueStatus.CREATED | EnqueueStatus.DUPLICATE:
            pass
