"""Results on the memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskq.domain.record import Failure
from taskq.errors import TaskNotFound
from taskq.ports import Finished
from taskq_memory.store import Store


class MemoryResults:
    """See taskq.ports.ResultStore."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def wait(self, id: str, timeout: float) -> Finished | None:
        """How the task ended, waiting at most `timeout` seconds for its end."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def heard(*_: str) -> None:
            loop.call_soon_threadsafe(ended.set)

        with self._store.lock:
            finished = self._finished(id)
            if finished is not None or timeout <= 0:
                return finished
            stop = self._store.listeners.listen(["ended"], [id], heard)
        try:
            await asyncio.wait_for(ended.wait(), timeout)
        except TimeoutError:
            return None
        finally:
            with self._store.lock:
                stop()
        return self._finished(id)

    async def ended(self, ids: Sequence[str]) -> list[Finished | None]:
        """How tasks ended."""
        with self._store.lock:
            return [self._finished(id) if id in self._store.tasks else None for id in ids]

    def _finished(self, id: str) -> Finished | None:
        with self._store.lock:
            task = self._store.tasks.get(id)
            if task is None or task.state is None:
                raise TaskNotFound(f"no record of task {id}: it never existed, or its retention is over")
            if not task.state.is_final:
                return None
            failure = Failure.from_json(task.failure) if task.failure else None
            return Finished(task.state, task.settled_fence or task.fence, task.result, failure, task.reason)

    async def put(self, id: str, fence: int, result: bytes, retention: float) -> None:
        """Keep a result."""
        with self._store.lock:
            self._store.results[id, fence] = (result, self._store.clock.now() + retention)
            self._store.note_change()

    async def get(self, id: str, fence: int) -> bytes | None:
        """A result that was put."""
        return (await self.get_many([(id, fence)]))[0]

    async def get_many(self, keys: Sequence[tuple[str, int]]) -> list[bytes | None]:
        """Several results that were put."""
        with self._store.lock:
            now = self._store.clock.now()
            kept = [self._store.results.get(key, (None, now + 1)) for key in keys]
            return [result if until > now else None for result, until in kept]

    async def expire(self, limit: int = 1000) -> int:
        """Forget results whose retention is over."""
        with self._store.lock:
            now = self._store.clock.now()
            doomed = [key for key, (_, until) in self._store.results.items() if until <= now][:limit]
            for key in doomed:
                del self._store.results[key]
                self._store.note_change()
        return len(doomed)
