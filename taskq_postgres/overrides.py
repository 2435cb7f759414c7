"""What holds for the gates of a Postgres store instead of what tasks bring along."""

from __future__ import annotations

from taskq.domain.overrides import Override, read, write
from taskq_postgres.record import plain
from taskq_postgres.store import Store


class PostgresOverrides:
    """See taskq.ports.Overrides."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, queue: str, override: Override) -> None:
        """Have something hold for a gate."""
        await self._store.run("override", (plain(override.gate), write(override)))

    async def remove(self, queue: str, gate: str) -> bool:
        """Take it back."""
        return bool(await self._store.value("override", (plain(gate), None)))

    async def all(self) -> list[Override]:
        """All that hold now."""
        rows = await self._store.run("overrides", (), reads=True)
        return sorted(read(gate, figures) for gate, figures in rows)
