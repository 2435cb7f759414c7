"""The workers that reported to the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taskq.ports import Order, WorkerCommand, WorkerInfo
from taskq_memory.store import Store


class MemoryRegistry:
    """See taskq.ports.WorkerRegistry."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, tuple[WorkerInfo, float]] = {}
        self._commands: dict[str, list[Order]] = {}
        self._duties: dict[str, tuple[str, float]] = {}

    async def report(self, info: WorkerInfo, ttl: float) -> Sequence[Order]:
        """Note that the worker lives, and take what it is told."""
        with self._store.lock:
            now = self._store.clock.now()
            self._seen[info.id] = (replace(info, seen_at=now), now + ttl)
            return self._commands.pop(info.id, [])

    async def workers(self) -> Sequence[WorkerInfo]:
        """The workers that live."""
        with self._store.lock:
            now = self._store.clock.now()
            for id in [id for id, (_, until) in self._seen.items() if until <= now]:
                self._seen.pop(id)
                self._commands.pop(id, None)
            return [info for info, _ in self._seen.values()]

    async def command(self, worker: str, command: WorkerCommand, argument: str = "") -> bool:
        """Tell a worker something with its next report."""
        with self._store.lock:
            alive = {info.id for info in await self.workers()}
            if worker in alive:
                self._commands.setdefault(worker, []).append(Order(command, argument))
            return worker in alive

    async def forget(self, worker: str) -> None:
        """The worker has stopped in good order."""
        with self._store.lock:
            self._seen.pop(worker, None)
            self._commands.pop(worker, None)
            self._store.claims.pop(worker, None)

    async def take_duty(self, duty: str, holder: str, seconds: float) -> bool:
        """Take, or keep, a duty."""
        with self._store.lock:
            now = self._store.clock.now()
            known, until = self._duties.get(duty, (holder, 0.0))
            if known != holder and until > now:
                return False
            self._duties[duty] = (holder, now + seconds)
            return True
