"""Journals on the memory store."""

from __future__ import annotations

from bisect import bisect_right

from taskq.ports import Entry
from taskq_memory.store import Store


class MemoryJournal:
    """See taskq.ports.Journal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def append(self, name: str, number: int, data: bytes) -> bool:
        """Add an entry at the end."""
        with self._store.lock:
            journal = self._store.journals[name]
            if journal.newest != number - 1:
                return journal.entries.get(number) == data
            journal.entries[number] = data
            journal.newest = number
            self._store.note_change()
            return True

    async def newest(self, name: str) -> int:
        """The number of the entry that was added last."""
        with self._store.lock:
            return self._store.journals[name].newest

    async def read(self, name: str, after: int = 0, limit: int = 100) -> list[Entry]:
        """Some entries, the oldest first."""
        with self._store.lock:
            entries = self._store.journals[name].entries
            numbers = list(entries)
            start = bisect_right(numbers, after)
            return [Entry(number, entries[number]) for number in numbers[start : start + limit]]

    async def trim(self, name: str, through: int) -> int:
        """Forget the oldest entries."""
        with self._store.lock:
            entries = self._store.journals[name].entries
            gone = [number for number in entries if number <= through]
            for number in gone:
                del entries[number]
            self._store.note_change()
            return len(gone)
