"""What a running task writes about itself, each write fenced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskq.domain.message import Delivery
from taskq.domain.record import Progress


class Annotations(Protocol):
    """Each method returns False, and changes nothing, when the delivery's fence is no longer the newest."""

    async def progress(self, delivery: Delivery, progress: Progress) -> bool:
        """Replace the task's progress."""
        ...

    async def checkpoint(self, delivery: Delivery, data: bytes) -> bool:
        """Replace the task's checkpoint, which the next attempt finds."""
        ...

    async def log(self, delivery: Delivery, lines: Sequence[str]) -> bool:
        """Append lines to the task's own log, of which the newest LOG_LIMIT are kept."""
        ...
