"""What keeps a store tidy: bounded, safe to repeat, done by any worker at any time; there is no leader."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from taskq.domain.lease import RENEWAL


class Reaped(NamedTuple):
    """What one tick of the reaper did with lost leases."""

    requeued: int = 0
    buried: int = 0
    cancelled: int = 0
    is_holding: bool = False
    """Whether the reaper holds off after an outage (taskq.domain.lease)."""


class Maintenance(Protocol):
    """The periodic duties of a store."""

    async def promote(self, limit: int = 1000) -> int:
        """Make due tasks ready (SCHEDULED, RETRYING → PENDING); returns how many."""
        ...

    async def reap(self, limit: int = 100, *, renewal: float = RENEWAL) -> Reaped:
        """Take away leases that ran out: → PENDING in the front lane, or DEAD, FAILED, CANCELLED.

        Arguments:
            limit: the most to take away in this call, so that redelivery is paced.
            renewal: seconds between two extensions of a live worker; longer silence counts as an outage.
        """
        ...

    async def expire(self, limit: int = 1000) -> int:
        """End waiting tasks whose time to live is over (→ EXPIRED); returns how many."""
        ...

    async def prune(self, limit: int = 1000) -> int:
        """Forget finished tasks by age and by count, leaving a tombstone; returns how many."""
        ...

    async def relay(self, limit: int = 100) -> int:
        """Deliver what is left of settlements and flows: what one shard has to tell another, what was too much for one
        step, what a process that died has begun; returns how many things were delivered."""
        ...
