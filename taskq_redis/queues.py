"""Steering the queues and limits of a Redis store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taskq.domain.limits import Breaker, Bucket, Rate
from taskq.ports import GateState, QueueConfig, QueueSettings, Standing
from taskq.ports.queues import STANDING_REACH
from taskq_redis.record import milliseconds
from taskq_redis.store import Store

_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "max_finished": ("mf", int),
    "max_size": ("ms", int),
    "warn_at": ("wa", float),
    "workers": ("wk", int),
    "rate": ("rt", lambda text: _rate(text)),
    "weight": ("we", float),
    "retry": ("re", json.loads),
    "timeout": ("to", float),
    "soft_timeout": ("so", float),
    "expires": ("ex", float),
}
"""What can be set: its field in the hash of the queue, and how that is read."""


class RedisQueues:
    """See taskq.ports.QueueControl."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def settings(self, queue: str) -> QueueSettings:
        """What holds for a queue now."""
        shard = self._store.shard_of(queue)
        names = [field for field, _ in _FIELDS.values()]
        name = self._store.keys[shard].of("queue", queue)
        values = await self._store.command(shard, "HMGET", name, *names, "pr", "pu")
        found = {
            setting: read(value.decode())
            for (setting, (_, read)), value in zip(_FIELDS.items(), values, strict=False)
            if value is not None
        }
        if "rate" in found:
            found["rate"] = found["rate"]._replace(key=f"queue:{queue}")
        return QueueSettings(**found, **await self._pause(shard, *values[-2:]))

    async def _pause(self, shard: int, reason: bytes | None, until: bytes | None) -> dict[str, Any]:
        """The pause, if it is not over by the clock of the store."""
        if reason is None:
            return {}
        end = int(until or 0)
        if end == 0:
            return {"paused_reason": reason.decode()}
        seconds, micros = await self._store.command(shard, "TIME")
        if end <= int(seconds) * 1000 + int(micros) // 1000:
            return {}
        return {"paused_reason": reason.decode(), "paused_until": datetime.fromtimestamp(end / 1000, UTC)}

    async def configure(self, queue: str, config: QueueConfig) -> None:
        """Change what is set for a queue."""
        pairs: list[str] = []
        for setting, (field, _) in _FIELDS.items():
            value = getattr(config, setting)
            if value is not None:
                pairs += (field, _written(value))
        if pairs:
            await self._store.run(self._store.shard_of(queue), "configure", queue, *pairs)

    async def pause(self, queue: str, reason: str = "", until: datetime | None = None) -> None:
        """Hand out no task of this queue."""
        shard = self._store.shard_of(queue)
        end = 0 if until is None else milliseconds(until.timestamp())
        await self._store.command(shard, "HSET", self._store.keys[shard].of("queue", queue), "pr", reason, "pu", end)

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        await self._store.run(self._store.shard_of(queue), "resume", queue)

    async def gates(self, queue: str, gates: Sequence[str]) -> list[GateState]:
        """How limits stand."""
        if not gates:
            return []
        rows = await self._store.run(self._store.shard_of(queue), "gates", queue, *gates)
        return [_state(gate, *row) for gate, row in zip(gates, rows, strict=True)]

    async def standings(self) -> dict[str, Standing]:
        """How each queue stands."""
        found: dict[str, Standing] = {}
        for shard in self._store.shards:
            for name, (arrived, *pending, age) in await self._store.of_queues(shard, "standing", STANDING_REACH):
                oldest = None if int(age) < 0 else int(age) / 1000
                found[name] = Standing(int(arrived), tuple(pending), oldest)
        return found

    async def reset(self, queue: str, gate: str) -> None:
        """Forget what a limit has counted."""
        await self._store.run(self._store.shard_of(queue), "reset", gate)


def _written(value: Any) -> str:
    if value == "default":
        return ""
    if isinstance(value, Rate):
        return f"{value.per_second!r} {value.burst!r}"
    return json.dumps(value, separators=(",", ":"))


def _rate(text: str) -> Rate:
    per_second, burst = map(float, text.split(" "))
    return Rate("", per_second, burst)


def _state(gate: str, parked: int, holders: Sequence[bytes], flat: Sequence[bytes]) -> GateState:
    row = {name.decode(): float(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    bucket = Bucket(row["t"], row["at"], row["sh"], row["cu"]) if "t" in row else None
    breaker = None
    if "si" in row:
        counted = (row["si"], int(row["ru"]), int(row["fa"]), row.get("op"))
        breaker = Breaker(*counted, int(row["pr"]), row["pa"], int(row["ps"]))
    return GateState(gate, bucket, tuple(holder.decode() for holder in holders), breaker, parked)
