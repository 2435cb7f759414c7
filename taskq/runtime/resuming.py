"""What a run is given beside its arguments: results of others, and what an earlier attempt has kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from taskq.app import App
from taskq.context import TaskContext
from taskq.crypto import about_checkpoint, decrypt, escaped, key_of, unescaped
from taskq.domain.message import Delivery
from taskq.domain.outcome import Interrupted, Outcome
from taskq.headers import Headers
from taskq.runtime.cache import may_be_cached
from taskq.runtime.detached import call_or_recall
from taskq.runtime.failures import undecodable
from taskq.runtime.opening import UNREADABLE
from taskq.runtime.parents import call_with_parents, needs_parents
from taskq.runtime.run import Run
from taskq.runtime.settler import STORE_IS_AWAY
from taskq.task import Task

Call = Callable[[], Awaitable[Outcome]]


def prepared(app: App, run: Run, context: TaskContext, call: Call) -> Call:
    """The call of a run, once it has been given what it needs; none is made where its result is cached."""
    if run.task.declared.cache is not None and may_be_cached(run.task, run.headers):
        call = partial(call_or_recall, app, run, call)
    if needs_parents(run.task, run.headers):
        call = partial(call_with_parents, app, run, context, call)
    if may_resume(run.task, run.delivery):
        call = partial(_call_with_checkpoint, app, run, context, call)
    return call


def may_resume(task: Task[Any, Any], delivery: Delivery) -> bool:
    """Whether an earlier attempt may have kept something that this one could use."""
    return delivery.fence > 1 and task.codec.injected is not None


async def checkpoint_of(app: App, task: Task[Any, Any], id: str) -> Any:
    """What an earlier attempt of a task has kept, None where none has.

    Raises:
        CorruptRecord, KeyMissing: it cannot be had, now or ever.
    """
    record = await (await app.backend()).inspector.get(id)
    data = None if record is None else record.checkpoint
    if data is None:
        return None
    if key_of(data) is None:
        return msgspec.json.decode(unescaped(data))
    return msgspec.json.decode(decrypt(task.submitter.crypto, data, about_checkpoint(id, task.name)))


def seal_checkpoint(task: Task[Any, Any], id: str, headers: Headers, checkpoint: bytes) -> bytes:
    """A checkpoint as it is stored: encrypted as the result of the run would be."""
    crypto = task.submitter.crypto
    if crypto is None or not (headers.encrypted or crypto.wants(task.declared.encrypt)):
        return escaped(checkpoint)
    return crypto.encrypt(checkpoint, about_checkpoint(id, task.name))


async def _call_with_checkpoint(app: App, run: Run, context: TaskContext, call: Call) -> Outcome:
    try:
        context.last_checkpoint = await checkpoint_of(app, run.task, run.delivery.id)
    except STORE_IS_AWAY:
        return Interrupted()  # no fault of the task: it is given back
    except UNREADABLE as error:
        return undecodable(error)
    run.last_checkpoint = msgspec.json.encode(context.last_checkpoint)
    return await call()
