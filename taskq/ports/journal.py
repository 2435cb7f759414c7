"""Journals: entries that are only ever added at the end, each by whoever knows the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """One entry."""

    number: int
    """From 1, without gaps, as far as none was taken away."""
    data: bytes
    """Opaque to the store."""


class Journal(Protocol):
    """Keeps journals by name."""

    async def append(self, name: str, number: int, data: bytes) -> bool:
        """Add an entry, if the newest before it has the number before.

        Returns:
            False, and nothing was changed, where another one has that number, or it is not the next. What is there
            already, with the same data, is its repetition.
        """
        ...

    async def newest(self, name: str) -> int:
        """The number of the entry that was added last, also where it was trimmed; 0: there never was one."""
        ...

    async def read(self, name: str, after: int = 0, limit: int = 100) -> Sequence[Entry]:
        """Entries from the one with the next number on."""
        ...

    async def trim(self, name: str, through: int) -> int:
        """Forget the entries up to a number; returns how many were forgotten."""
        ...
