"""Steering the queues and limits of a Postgres store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from taskq.domain.limits import Breaker, Bucket, Rate
from taskq.ports import GateState, QueueConfig, QueueSettings, Standing
from taskq.ports.queues import STANDING_REACH
from taskq_postgres.hints import Hints
from taskq_postgres.record import plain
from taskq_postgres.roomy import Roomy
from taskq_postgres.store import Store

_SETTINGS = (
    "max_finished", "max_size", "warn_at", "workers", "rate", "weight", "retry", "timeout", "soft_timeout", "expires",
)  # fmt: skip
"""In the order of sql/queue_settings.sql."""
_FLOATS = {"warn_at", "weight", "timeout", "soft_timeout", "expires"}


class PostgresQueues:
    """See taskq.ports.QueueControl."""

    def __init__(self, store: Store, hints: Hints, roomy: Roomy) -> None:
        self._store = store
        self._hints = hints
        self._roomy = roomy

    async def settings(self, queue: str) -> QueueSettings:
        """What holds for a queue now."""
        rows = await self._store.run("queue_settings", (plain(queue),), reads=True)
        if not rows:
            return QueueSettings()
        *values, reason, until = rows[0]
        found = {name: value for name, value in zip(_SETTINGS, values, strict=True) if value is not None}
        if "rate" in found:
            found["rate"] = Rate(f"queue:{queue}", *json.loads(found["rate"])[2:4])
        if "retry" in found:
            found["retry"] = json.loads(found["retry"])
        until = None if until is None else until.astimezone(UTC)
        return QueueSettings(**found, paused_reason=reason, paused_until=until)

    async def configure(self, queue: str, config: QueueConfig) -> None:
        """Change what is set for a queue."""
        given = {name: getattr(config, name) for name in _SETTINGS}
        changed = [name for name, value in given.items() if value is not None]
        if changed:
            values = {name: _written(name, value) for name, value in given.items()}
            await self._store.run("configure", {"queue": plain(queue), "changed": changed, **values})
            self._roomy.forget(queue)
            self._hints.tell("q", [queue])

    async def pause(self, queue: str, reason: str = "", until: datetime | None = None) -> None:
        """Hand out no task of this queue."""
        await self._store.run("pause", (queue, plain(reason), None if until is None else until.timestamp()))

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        await self._store.run("resume", (queue,))
        self._hints.tell("q", [queue])

    async def gates(self, queue: str, gates: Sequence[str]) -> list[GateState]:
        """How limits stand."""
        rows = await self._store.run("gates", (plain(queue), [plain(gate) for gate in gates]), reads=True)
        return [_state(*row) for row in rows]

    async def standings(self) -> dict[str, Standing]:
        """How each queue stands."""
        rows = await self._store.run("standings", (STANDING_REACH,), reads=True)
        return {
            queue: Standing(arrived, tuple(pending), None if oldest is None else max(0.0, oldest))
            for queue, arrived, pending, oldest in rows
        }

    async def reset(self, queue: str, gate: str) -> None:
        """Forget what a limit has counted."""
        await self._store.run("reset_gate", (plain(gate),))


def _written(name: str, value: Any) -> Any:
    if value is None or value == "default":
        return None
    if isinstance(value, Rate):
        return json.dumps(["r", "", value.per_second, value.burst, False])
    if name == "retry":
        return json.dumps(value)
    return float(value) if name in _FLOATS else value


def _state(gate: str, *row: Any) -> GateState:
    tokens, at, share, cut_at, since, runs, failures, opened_at, probing, probed_at, passed, holders, parked = row
    bucket = None if at is None else Bucket(tokens, at, share, cut_at)
    breaker = None if since is None else Breaker(since, runs, failures, opened_at, probing, probed_at, passed)
    return GateState(gate, bucket, tuple(holders), breaker, parked)
