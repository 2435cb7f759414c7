"""Overrides: what holds for limits and breakers instead of what tasks bring along (taskq.domain.overrides)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskq.domain.overrides import Override


class Overrides(Protocol):
    """Keeps overrides beside the gates. The next claim heeds what was changed, and looks at who waits there."""

    async def put(self, queue: str, override: Override) -> None:
        """Have something hold for a gate, in place of what held there before.

        Arguments:
            queue: limits are kept where their queue is.
        """
        ...

    async def remove(self, queue: str, gate: str) -> bool:
        """Take it back; False where there is none."""
        ...

    async def all(self) -> Sequence[Override]:
        """All that hold now, by name."""
        ...
