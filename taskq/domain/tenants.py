"""What a tenant may have, and how that becomes limits of its tasks."""

from __future__ import annotations

from typing import NamedTuple

from taskq.domain.limits import Limit, Rate, Slots, pack_limits, unpack_limits

MARK = "@"
"""What the key of a tenant's own limits begins with; no other limit's key does."""


class Quota(NamedTuple):
    """What is set for a tenant; None: no bound.

    >>> Quota(running=5).is_nothing, Quota().is_nothing
    (False, True)
    """

    weight: float = 1.0
    """How much of what runs it may have before others go first (taskq.domain.routing.is_noisy)."""
    running: int | None = None
    """The most of its tasks that run at once, in all queues."""
    rate: Rate | None = None
    """How many of its tasks start a second, in all queues; the key counts for nothing."""
    unfinished: int | None = None
    """The most of its tasks that may be there and not over; beyond them an enqueue is refused."""
    payload_bytes: int | None = None
    """The most bytes that those may take."""

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is set."""
        return self == NO_QUOTA

    def limits(self, tenant: str) -> tuple[Limit, ...]:
        """The limits that each task of the tenant has beside its own.

        >>> Quota(running=5).limits("acme")
        (Slots(key='@acme', limit=5),)
        """
        slots = () if self.running is None else (Slots(MARK + tenant, self.running),)
        rate = () if self.rate is None else (self.rate._replace(key=MARK + tenant),)
        return (*slots, *rate)


NO_QUOTA = Quota()


def has_own_limits(limits: str) -> bool:
    """Whether a task has limits beside those of its tenant.

    >>> has_own_limits('[["c","@acme",3]]'), has_own_limits('[["c","@acme",3],["c","mail",5]]')
    (False, True)
    """
    return any(not one.key.startswith(MARK) for one in unpack_limits(limits))


def stamped(limits: str, own: tuple[Limit, ...]) -> str:
    """The limits of a task with those that its tenant has now, in place of those that it had.

    Arguments:
        limits: packed (taskq.domain.limits.pack_limits).
        own: the tenant's.

    >>> stamped('[["c","@acme",3],["c","mail",5]]', (Slots("@acme", 2),))
    '[["c","@acme",2],["c","mail",5]]'
    """
    return pack_limits((*own, *(one for one in unpack_limits(limits) if not one.key.startswith(MARK))))
