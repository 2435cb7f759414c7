"""Results of tasks that are cached by their arguments: kept beside all others, under an id that the arguments give."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from taskq.app import App
from taskq.errors import TaskqError
from taskq.headers import Headers
from taskq.ids import derived_id, digest
from taskq.ports import ResultStore
from taskq.runtime.service import said
from taskq.task import Task

FENCE = 0
"""No run has it: every run of a task with the same arguments writes the same place."""
logger = logging.getLogger("taskq.worker")


def cache_id(namespace: str, task: Task[..., Any], tenant: str, payload: bytes) -> str:
    """The id under which the result of a call is cached.

    Arguments:
        namespace: of the application.
        task: whose name and version count.
        tenant: whose call it is; none sees the results of another.
        payload: the encoded arguments; in which order they were given by name makes no difference.

    >>> app = App("memory://")
    >>> @app.task(name="add", cache=60)
    ... def add(x: int, y: int) -> int:
    ...     return x + y
    >>> cache_id("default", add, "", b'{"x":1,"y":2}') == cache_id("default", add, "", b'{"y":2,"x":1}')
    True
    """
    arguments = digest(_canonical(payload))
    version = str(task.declared.version)
    # The last byte of an id is its shard, or that byte modulo their number: the digest spreads them.
    return derived_id(int(arguments[:2], 16), "cache", namespace, tenant, task.name, version, arguments)


def may_be_cached(task: Task[..., Any], headers: Headers) -> bool:
    """Whether the result of a run stands for others: no secret does, nor one of another version's arguments."""
    declared = task.declared
    if declared.cache is None or headers.version != declared.version:
        return False
    crypto = task.submitter.crypto
    return not (headers.encrypted or (crypto is not None and crypto.wants(declared.encrypt)))


def _canonical(payload: bytes) -> bytes:
    """The arguments by name in order, each value as it was written: read and written anew, two could become alike."""
    try:
        arguments = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:  # no run comes of it, and so no result
        return payload
    # The names as JSON too: so none holds a NUL, and none looks like others with their values.
    return b"\0".join(msgspec.json.encode(name) + b"\0" + bytes(arguments[name]) for name in sorted(arguments))


async def recall(app: App, id: str) -> bytes | None:
    """The result that is cached under an id, None where there is none; a store that is away has none."""
    try:
        return await (await _store(app)).get(id, FENCE)
    except TaskqError as error:
        logger.warning("a cached result cannot be read, so the task runs: %s", said(error))
        return None


async def remember(app: App, id: str, result: bytes, seconds: float) -> None:
    """Cache a result for so many seconds; where the store is away it is not cached."""
    try:
        await (await _store(app)).put(id, FENCE, result, seconds)
    except TaskqError as error:
        logger.warning("a result cannot be cached: %s", said(error))


async def expire(app: App) -> int:
    """Forget what is no longer cached, with the results on a store of their own, which no worker there may look after.

    Returns:
        How many results were forgotten.
    """
    is_cached = any(task.declared.cache is not None for task in app.tasks)
    return await (await _store(app)).expire() if is_cached or app.stores.has_detached_results else 0


async def _store(app: App) -> ResultStore:
    """Where results are kept."""
    return await app.stores.detached_results() or (await app.backend()).results
