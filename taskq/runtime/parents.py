"""What a run needs of the tasks for which it has waited: their results, fetched before it begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from taskq.app import App
from taskq.context import TaskContext
from taskq.crypto import about_payload, about_result, decrypt, key_of, unescaped
from taskq.domain.outcome import Interrupted, Outcome
from taskq.domain.state import TaskState
from taskq.domain.workflow import Edge, OnParentFailure
from taskq.errors import CorruptRecord, InvalidPayload
from taskq.headers import Headers
from taskq.inputs import GONE, filled
from taskq.ports import Finished
from taskq.runtime.failures import undecodable
from taskq.runtime.opening import UNREADABLE, plain_payload_of
from taskq.runtime.run import Run
from taskq.runtime.settler import STORE_IS_AWAY
from taskq.task import Task

STEP = 500
"""Results that are asked for in one call."""


class Given(NamedTuple):
    """What a run was given by others."""

    payload: bytes
    """Its arguments, whole."""
    results: Mapping[str, Any]
    """Of its parents, by their names."""


def needs_parents(task: Task[..., Any], headers: Headers) -> bool:
    """Whether a run has use for the results of its parents."""
    return headers.parents is not None and bool(headers.inputs or task.codec.injected is not None)


async def call_with_parents(
    app: App, run: Run, context: TaskContext, call: Callable[[], Awaitable[Outcome]]
) -> Outcome:
    """The outcome of a run whose arguments, or whose context, hold results of others."""
    try:
        given = await given_by_parents(app, run.task, run.delivery.id, run.headers, run.payload)
    except STORE_IS_AWAY:
        return Interrupted()  # no fault of the task: it is given back
    except UNREADABLE as error:
        return undecodable(error)
    run.payload, context.parent_results = given
    run.parent_results = msgspec.json.encode(given.results)
    return await call()


async def given_by_parents(app: App, task: Task[..., Any], id: str, headers: Headers, payload: bytes) -> Given:
    """The arguments of a task, and the results of its parents.

    Arguments:
        task: as it is registered here.
        id, headers, payload: of the enqueued task.

    Raises:
        CorruptRecord, InvalidPayload, KeyMissing: they cannot be had, now or ever.
    """
    edges = await _edges_of(app, id)
    results = await _results(app, [edge.parent for edge in edges])
    names = headers.parents or [edge.parent for edge in edges]
    named = {name: value for name, (is_there, value) in zip(names, results, strict=True) if is_there}
    if headers.inputs:
        # Whoever waits for the success of another runs after it: of such a one there was a result.
        gone = [None if edge.on_failure is OnParentFailure.RUN else GONE for edge in edges]
        values = [value if is_there else other for other, (is_there, value) in zip(gone, results, strict=True)]
        payload = _fill(task, id, headers, payload, values)
    return Given(payload, named)


async def _edges_of(app: App, id: str) -> Sequence[Edge]:
    record = await (await app.backend()).inspector.get(id)
    if record is None:
        raise CorruptRecord(f"no record of task {id} (any more)")
    # A workflow holds its first tasks as if they had it for a parent.
    return [edge for edge in record.parents if edge.parent != record.flow]


async def _results(app: App, ids: Sequence[str]) -> list[tuple[bool, Any]]:
    """Of each task whether it has completed, and its result."""
    store = (await app.backend()).results
    found: list[Finished | None] = []
    for start in range(0, len(ids), STEP):
        found += await store.ended(ids[start : start + STEP])
    detached = await app.stores.detached_results()
    data = [None if one is None or one.state is not TaskState.COMPLETED else one.result for one in found]
    if detached is not None:
        keys = [(id, 0 if one is None else one.fence) for id, one in zip(ids, found, strict=True)]
        kept = [
            each for start in range(0, len(keys), STEP) for each in await detached.get_many(keys[start : start + STEP])
        ]
        data = [None if own is None else other for own, other in zip(data, kept, strict=True)]
    return [
        (one is not None and one.state is TaskState.COMPLETED, await _decoded(app, id, one, each))
        for id, one, each in zip(ids, found, data, strict=True)
    ]


async def _decoded(app: App, id: str, finished: Finished | None, data: bytes | None) -> Any:
    if data is None or finished is None:
        if finished is not None and finished.state is TaskState.COMPLETED:
            raise CorruptRecord(f"the result of task {id}, for which it has waited, is no longer kept")
        return None
    if key_of(data) is None:
        return msgspec.json.decode(unescaped(data))
    record = await (await app.backend()).inspector.get(id)
    name = "" if record is None else record.name
    return msgspec.json.decode(decrypt(app.stores.crypto, data, about_result(id, name, finished.fence)))


def _fill(task: Task[..., Any], id: str, headers: Headers, payload: bytes, results: Sequence[Any]) -> bytes:
    """Put results into arguments; what came encrypted stays so on its way to a child process."""
    crypto = task.submitter.crypto
    plain = plain_payload_of(crypto, id, task.name, headers, payload)
    try:
        whole = filled(plain, headers.inputs, results)
    except InvalidPayload as error:
        raise InvalidPayload(f"{task.name}: {error}", parameter=error.parameter) from None
    return crypto.encrypt(whole, about_payload(id, task.name)) if headers.encrypted and crypto else whole
