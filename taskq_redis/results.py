"""Results on Redis: waiting costs the one who waits, and the usual end of a task nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from taskq.errors import TaskNotFound
from taskq.ports import Finished
from taskq_redis.listening import Listening
from taskq_redis.record import STATES, milliseconds, to_failure
from taskq_redis.store import Store

_FIRST_POLL = 1.0
_LONGEST_POLL = 5.0
"""Seconds between two looks by one who was not told, in case that a message was lost."""


class RedisResults:
    """See taskq.ports.ResultStore."""

    def __init__(self, store: Store, listening: Listening) -> None:
        self._store = store
        self._listening = listening

    # ------------------------------------------------------------ waiting

    async def wait(self, id: str, timeout: float) -> Finished | None:
        """How the task ended, or None if it has not ended within `timeout` seconds.

        The look at the record marks it as waited for: only then is its end published.
        """
        finished = await self._look(id)
        if finished is not None or timeout <= 0:
            return finished
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        told = asyncio.Event()
        channel = self._store.keys[self._store.shard_of_id(id)].ended(id)

        def heard(_: bytes | None) -> None:
            told.set()

        try:
            await self._listening.listen(channel, heard, min(timeout, _FIRST_POLL))
            return await self._look_until(id, end, told)
        finally:
            self._listening.stop(channel, heard)

    async def _look_until(self, id: str, end: float, told: asyncio.Event) -> Finished | None:
        loop = asyncio.get_running_loop()
        poll = _FIRST_POLL
        while True:
            told.clear()
            finished = await self._look(id)
            left = end - loop.time()
            if finished is not None or left <= 0:
                return finished
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(poll, left)):
                    await told.wait()
            poll = min(poll * 2, _LONGEST_POLL)

    async def _look(self, id: str) -> Finished | None:
        reply = await self._store.run(self._store.shard_of_id(id), "await", id)
        if not reply:
            raise TaskNotFound(f"no record of task {id}: it never existed, or its retention is over")
        if len(reply) == 1:
            return None
        return _finished(reply)

    async def ended(self, ids: Sequence[str]) -> list[Finished | None]:
        """How tasks ended."""
        rows = await asyncio.gather(*map(self._fields, ids))
        return [_finished(row) if row[0] is not None and STATES[row[0]].is_final else None for row in rows]

    async def _fields(self, id: str) -> Sequence[Any]:
        shard = self._store.shard_of_id(id)
        name = self._store.keys[shard].task(id)
        fields: Sequence[Any] = await self._store.command(shard, "HMGET", name, "s", "f", "sf", "r", "fl", "rs")
        return fields

    # ------------------------------------------------------------ results of tasks of another backend

    async def put(self, id: str, fence: int, result: bytes, retention: float) -> None:
        """Keep a result for `retention` seconds."""
        shard = self._store.shard_of_id(id)
        name = self._store.keys[shard].result(id, fence)
        await self._store.command(shard, "SET", name, result, "PX", max(1, milliseconds(retention)))

    async def get(self, id: str, fence: int) -> bytes | None:
        """A result that was put."""
        return (await self.get_many([(id, fence)]))[0]

    async def get_many(self, keys: Sequence[tuple[str, int]]) -> list[bytes | None]:
        """Several results that were put."""
        return list(await asyncio.gather(*(self._get(id, fence) for id, fence in keys)))

    async def _get(self, id: str, fence: int) -> bytes | None:
        shard = self._store.shard_of_id(id)
        value: bytes | None = await self._store.command(shard, "GET", self._store.keys[shard].result(id, fence))
        return value

    async def expire(self, limit: int = 1000) -> int:
        """Nothing to do: the server forgets them by itself."""
        return 0


def _finished(row: Sequence[Any]) -> Finished:
    """From state, fence, settled fence, result, failure and reason."""
    state, fence, settled, result, failure, reason = row
    return Finished(
        STATES[state],
        int(fence if state == b"c" else settled or fence or 0),
        b"null" if result is None and state == b"c" else result,
        to_failure(failure),
        (reason or b"").decode(),
    )
