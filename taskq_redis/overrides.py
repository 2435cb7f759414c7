"""What holds for the gates of a Redis store instead of what tasks bring along."""

from __future__ import annotations

from taskq.domain.overrides import Override, is_over, read, write
from taskq_redis.store import Store


class RedisOverrides:
    """See taskq.ports.Overrides."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, queue: str, override: Override) -> None:
        """Have something hold for a gate."""
        await self._store.run(self._store.shard_of(queue), "override", override.gate, write(override))

    async def remove(self, queue: str, gate: str) -> bool:
        """Take it back."""
        return bool(await self._store.run(self._store.shard_of(queue), "override", gate, ""))

    async def all(self) -> list[Override]:
        """All that hold now."""
        found: dict[str, Override] = {}
        for shard in self._store.shards:
            rows = await self._store.command(shard, "HGETALL", self._store.keys[shard].overrides)
            if not rows:
                continue
            seconds, micros = await self._store.command(shard, "TIME")
            now = int(seconds) + int(micros) / 1e6
            for gate, text in zip(rows[::2], rows[1::2], strict=True):
                override = read(gate.decode(), text.decode())
                if not is_over(override, now):
                    found[override.gate] = override
        return sorted(found.values())
