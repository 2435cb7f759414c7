"""Steering the queues and limits of a memory store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from taskq.domain.state import TaskState
from taskq.ports import GateState, QueueConfig, QueueSettings, Standing
from taskq_memory.passage import Passage
from taskq_memory.rows import QueueRow
from taskq_memory.store import Store

_DEFAULTS = asdict(QueueSettings())


class MemoryQueues:
    """See taskq.ports.QueueControl."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._passage = Passage(store)

    async def settings(self, queue: str) -> QueueSettings:
        """What holds for a queue now."""
        with self._store.lock:
            row = self._store.queues[queue]
            if not self._store.is_paused(queue):
                return row.settings
            until = None if row.paused_until is None else datetime.fromtimestamp(row.paused_until, UTC)
            return replace(row.settings, paused_reason=row.paused_reason, paused_until=until)

    async def configure(self, queue: str, config: QueueConfig) -> None:
        """Change what is set for a queue."""
        changes: dict[str, Any] = {}
        for name in QueueConfig.__slots__:
            value = getattr(config, name)
            if value is not None:
                changes[name] = _DEFAULTS[name] if value == "default" else value
        if "rate" in changes and changes["rate"] is not None:
            changes["rate"] = changes["rate"]._replace(key=f"queue:{queue}")
        with self._store.lock:
            row = self._store.queues[queue]
            row.settings = replace(row.settings, **changes)
            self._store.note_change()
            self._store.listeners.tell("ready", queue)

    async def standings(self) -> dict[str, Standing]:
        """How each queue stands."""
        with self._store.lock:
            return {name: self._standing(name, row) for name, row in self._store.queues.items() if row.arrived}

    def _standing(self, name: str, row: QueueRow) -> Standing:
        tasks = [task for task in self._store.tasks.values() if task.queue == name and task.state is TaskState.PENDING]
        counts = Counter(task.priority for task in tasks)
        since = [task.ready_at for task in tasks if task.ready_at is not None and not task.waits_at]
        oldest = max(0.0, self._store.clock.now() - min(since)) if since else None
        return Standing(row.arrived, tuple(counts[priority] for priority in range(4)), oldest)

    async def pause(self, queue: str, reason: str = "", until: datetime | None = None) -> None:
        """Hand out no task of this queue."""
        with self._store.lock:
            row = self._store.queues[queue]
            row.paused_reason = reason
            row.paused_until = None if until is None else until.timestamp()
            self._store.note_change()

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        with self._store.lock:
            self._store.queues[queue].paused_reason = None
            self._store.note_change()
            self._store.listeners.tell("ready", queue)

    async def gates(self, queue: str, gates: Sequence[str]) -> list[GateState]:
        """How limits stand."""
        with self._store.lock:
            found = self._store.gates
            return [
                GateState(
                    gate,
                    found.buckets.get(gate),
                    tuple(found.holders.get(gate, ())),
                    found.breakers.get(gate),
                    self._store.rooms.parked(queue, gate),
                )
                for gate in gates
            ]

    async def reset(self, queue: str, gate: str) -> None:
        """Forget what a limit has counted."""
        with self._store.lock:
            self._store.gates.reset(gate)
            self._passage.open(gate)
            self._store.note_change()
