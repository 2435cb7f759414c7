"""What holds for the gates of a memory store instead of what tasks bring along."""

from __future__ import annotations

from taskq.domain.overrides import Override, is_over, names_of
from taskq_memory.passage import Passage
from taskq_memory.store import Store


class MemoryOverrides:
    """See taskq.ports.Overrides."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._passage = Passage(store)

    async def put(self, queue: str, override: Override) -> None:
        """Have something hold for a gate."""
        with self._store.lock:
            held, now = self._store.gates.overrides, self._store.clock.now()
            for gate in [gate for gate, each in held.items() if is_over(each, now)]:
                del held[gate]
            held[override.gate] = override
            self._open(override.gate)

    async def remove(self, queue: str, gate: str) -> bool:
        """Take it back."""
        with self._store.lock:
            found = self._store.gates.overrides.pop(gate, None)
            self._open(gate)
            return found is not None and not is_over(found, self._store.clock.now())

    async def all(self) -> list[Override]:
        """All that hold now."""
        with self._store.lock:
            now = self._store.clock.now()
            return sorted(each for each in self._store.gates.overrides.values() if not is_over(each, now))

    def _open(self, name: str) -> None:
        """Who waits at a gate that heeds the name is looked at by the next claims."""
        for gate in {gate for rooms in self._store.rooms.of.values() for gate in rooms if name in names_of(gate)}:
            self._passage.open(gate)
        self._store.note_change()
