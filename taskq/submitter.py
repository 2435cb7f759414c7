"""From a call to a message in a store: options, routes, identity, headers."""

from __future__ import annotations

import fnmatch
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import repeat
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
    NotApplied,
    OutcomeUnknown,
    PayloadTooLarge,
    QueueFull,
)
from taskq.handle import TaskHandle
from taskq.headers import Headers, encode_headers
from taskq.ids import derived_id, digest, new_id
from taskq.middleware import Draft
from taskq.options import CallOptions, as_priority, as_seconds, expires_in
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
        """Enqueue one task for each payload, a batch a call to the store.

        Raises:
            OutcomeUnknown: something went wrong after batches before were stored; it says how many tasks.
        """
        if atomic and len(payloads) > self._stores.batch and call.connection is None:
            most = self._stores.batch
            raise InvalidOption(f"{task.name}: atomic=True is for at most {most} tasks, not for {len(payloads)}")
        messages = self._messages(task, payloads, call)
        if call.connection is not None:
            return self._handles(task, await self._transactional().aenqueue_in(call.connection, messages))
        broker = (await self._stores.trusted_backend()).broker
        step, parent = self._stores.step, self._parent()
        if len(messages) <= step:
            answers = await broker.enqueue(messages, parent=parent, atomic=atomic)
        else:
            answers = await self._in_steps(task.name, messages, lambda some: broker.enqueue(some, parent=parent), step)
        return self._handles(task, answers, refuse_any=atomic)

    @staticmethod
    async def _in_steps(
        name: str, messages: Sequence[Message], enqueue: Callable[..., Awaitable[list[Enqueued]]], step: int
    ) -> list[Enqueued]:
        answers: list[Enqueued] = []
        for start in range(0, len(messages), step):
            some = messages[start : start + step]
            try:
                answers += await enqueue(some)
            except (NotApplied, OutcomeUnknown) as error:
                if start == 0:
                    raise
                # "Nothing happened" is true of the last batch, and no longer of the call.
                perhaps = "then" if isinstance(error, NotApplied) else f"and perhaps some of the next {len(some)}"
                text = f"{name}: {start:,} of {len(messages):,} tasks were stored, {perhaps}: {error}"
                raise OutcomeUnknown(text, stored=start) from error
            if answers[-1].status is EnqueueStatus.STALE_PARENT:
                raise LeaseLost(_stale(name, f"{start:,} of {len(messages):,} were stored"))
        return answers

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
        shard = self._stores.root.shard_of(queue)
        terms = (
            queue,
            as_priority(declared.priority if call.priority is None else call.priority),
            "",
            as_seconds(call.delay),
            None if call.eta is None else call.eta.timestamp(),
            expires_in(call.expires) or declared.expires,
            declared.max_lost_leases,
            declared.dead_letter,
            declared.retention if call.retention is None else call.retention,
            call.tenant,
        )
        messages = []
        for payload, headers in zip(payloads, self._headers(name, queue, call), strict=False):
            if (size := len(payload) + len(headers)) > self._max_payload:
                raise PayloadTooLarge(name, size, self._max_payload)
            id, digest = self._identity(task, payload, call, shard)
            messages.append(Message(id, name, seal(id, name, payload, headers), *terms, digest))
        return messages

    def _identity(self, task: Task[..., Any], payload: bytes, call: CallOptions, shard: int) -> tuple[str, str]:
        if call.idempotency_key is None:
            return new_id(shard), ""
        id = derived_id(shard, self._namespace, call.tenant, task.name, call.idempotency_key)
        return id, digest(payload)

    def _headers(self, name: str, queue: str, call: CallOptions) -> Iterator[bytes]:
        """The headers of each task in turn: all alike, unless a hook makes them."""
        hooks = self._hooks()
        # Where the record has the retention of its result too, it is not said twice.
        retention = call.retention if self._stores.has_detached_results else None
        if not hooks:
            yield from repeat(_encoded(name, call, retention, dict(call.metadata or {}), {}))
        while True:
            draft = Draft(name, queue, _copied(name, call.metadata))
            for hook in hooks:
                hook(draft)
            yield _encoded(name, call, retention, draft.metadata, draft.trace)

    def redirect(self, url: str) -> None:
        """Enqueue into the store at `url` from now on, as the worker does whose child this process is."""
        self._stores.url = url

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
        for answer in answers:
            if refuse_any or len(answers) == 1 or answer.status is EnqueueStatus.STALE_PARENT:
                _refuse(task.name, answer.status)
        codec = None if task.function is stands_for_unknown else task.codec
        return [TaskHandle(answer.id, self._stores, codec, answer.status) for answer in answers]


def stands_for_unknown(**payload: Any) -> Any:
    """Stands for a function that only the workers know."""


def _encoded(
    name: str, call: CallOptions, retention: float | None, metadata: dict[str, Any], trace: dict[str, str]
) -> bytes:
    if not (metadata or trace or call.retry or call.timeout or call.soft_timeout or retention is not None):
        return b""
    retry = None if call.retry is None else to_dict(call.retry)
    try:
        return encode_headers(Headers(metadata, retry, call.timeout, trace, retention, soft_timeout=call.soft_timeout))
    except (TypeError, ValueError, RecursionError) as error:
        raise _unwritable(name, error) from None


def _copied(name: str, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The metadata for one draft to change: neither the caller's own nor that of the next task."""
    try:
        return deepcopy(dict(metadata or {}))
    except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
        raise _unwritable(name, error) from None


def _unwritable(name: str, error: Exception) -> InvalidPayload:
    return InvalidPayload(f"{name}: the metadata cannot be written as JSON: {error}")


def _stale(name: str, what: str) -> str:
    return f"{name}: the task that enqueues it has lost its lease; {what}"


def _refuse(name: str, status: EnqueueStatus) -> None:
    match status:
        case EnqueueStatus.CONFLICT:
            raise IdempotencyConflict(f"{name}: this idempotency key was used before with other arguments")
        case EnqueueStatus.FULL:
            raise QueueFull(f"{name}: its queue holds as many tasks as it may; try again later")
        case EnqueueStatus.STALE_PARENT:
            raise LeaseLost(_stale(name, "nothing was stored"))
        case EnqueueStatus.CREATED | EnqueueStatus.DUPLICATE:
            pass
