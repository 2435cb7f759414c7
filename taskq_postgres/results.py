"""Results on Postgres: how a task ended lies in its record; others are kept in a table."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

from taskq.errors import TaskNotFound
from taskq.ports import Finished
from taskq_postgres.hints import INTEREST, Hints
from taskq_postgres.record import STATES, is_id, to_failure
from taskq_postgres.store import Store

FIRST_LOOK = 0.05
LAST_LOOK = 1.0
"""Seconds between two looks while nobody tells of the end; they double from the first to the last."""


class PostgresResults:
    """See taskq.ports.ResultStore."""

    def __init__(self, store: Store, hints: Hints) -> None:
        self._store = store
        self._hints = hints

    async def wait(self, id: str, timeout: float) -> Finished | None:
        """How the task ended, waiting at most `timeout` seconds for its end."""
        if not is_id(id):
            raise _not_found(id)
        ended = asyncio.Event()
        stop = self._hints.await_end(id, ended)
        try:
            return await self._wait(id, timeout, ended)
        finally:
            stop()

    async def _wait(self, id: str, timeout: float, ended: asyncio.Event) -> Finished | None:
        end, pause, next_call = monotonic() + timeout, FIRST_LOOK, 0.0
        while True:
            ended.clear()
            finished = await self._finished(id)
            left = end - monotonic()
            if finished is not None or left <= 0:
                return finished
            if monotonic() >= next_call:
                self._hints.tell("w", [id])
                next_call = monotonic() + INTEREST / 2
            try:
                await asyncio.wait_for(ended.wait(), min(pause, left))
            except TimeoutError:
                pause = min(pause * 2, LAST_LOOK)

    async def _finished(self, id: str) -> Finished | None:
        rows = await self._store.run("result_wait", (id,), reads=True)
        if not rows:
            raise _not_found(id)
        code, fence, result, failure, reason = rows[0]
        state = STATES[code]
        return Finished(state, fence, result, to_failure(failure), reason) if state.is_final else None

    async def ended(self, ids: Sequence[str]) -> list[Finished | None]:
        """How tasks ended."""
        known = [id for id in ids if is_id(id)]
        rows = await self._store.run("result_ended", (known,), reads=True)
        found = {row[0]: Finished(STATES[row[1]], row[2], row[3], to_failure(row[4]), row[5]) for row in rows}
        return [found.get(id) for id in ids]

    async def put(self, id: str, fence: int, result: bytes, retention: float) -> None:
        """Keep a result."""
        await self._store.run("result_put", (id, fence, result, float(retention)))

    async def get(self, id: str, fence: int) -> bytes | None:
        """A result that was put."""
        return (await self.get_many([(id, fence)]))[0]

    async def get_many(self, keys: Sequence[tuple[str, int]]) -> list[bytes | None]:
        """Several results that were put."""
        if not keys:
            return []
        ids, fences = zip(*keys, strict=True)
        found: dict[int, bytes] = dict(await self._store.run("result_get", (list(ids), list(fences)), reads=True))
        return [found.get(place) for place in range(1, len(keys) + 1)]

    async def expire(self, limit: int = 1000) -> int:
        """Forget results whose retention is over."""
        return await self._store.count("result_expire", (limit,))


def _not_found(id: str) -> TaskNotFound:
    return TaskNotFound(f"no record of task {id}: it never existed, or its retention is over")
