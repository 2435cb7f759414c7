"""Unique tasks: a key that one task holds, so that the next one with the same key is not enqueued beside it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from taskq.domain.state import TaskState


class Until(StrEnum):
    """Until when a task holds its key."""

    START = "start"
    """Until its first run begins."""
    DONE = "done"
    """Until it has ended, through all retries."""
    TTL = "ttl"
    """For a time from its enqueue, whether or not it has ended."""


class UniqueKey(NamedTuple):
    """The key of a task, as a store keeps it."""

    key: str
    """A digest of the task's name, its tenant and the values that make it unique."""
    until: Until = Until.DONE
    ttl: float | None = None
    """Seconds from the enqueue for which the key is held at the most."""


class Holding(NamedTuple):
    """Who holds a key, as a store remembers it."""

    owner: str
    """The id of the task."""
    until: Until
    free_at: float | None = None
    """The instant (seconds, the store's clock) at which it is free in any case."""


def is_held(holding: Holding | None, owner_state: TaskState | None, now: float) -> bool:
    """Whether a key is held: no key survives its owner.

    Arguments:
        holding: what the store remembers of the key.
        owner_state: the state of the task that took it, None where it is gone.
        now: the store's clock, in seconds.

    >>> is_held(Holding("5b", Until.DONE), TaskState.RETRYING, 0.0), is_held(Holding("5b", Until.DONE), None, 0.0)
    (True, False)
    """
    if holding is None or owner_state is None or (holding.free_at is not None and holding.free_at <= now):
        return False
    return holding.until is Until.TTL or not owner_state.is_final


def released_by(until: Until, *, has_begun: bool, is_over: bool) -> bool:
    """Whether a task gives its key back: as its first run begins, or as it ends.

    >>> released_by(Until.START, has_begun=True, is_over=False), released_by(Until.DONE, has_begun=True, is_over=False)
    (True, False)
    """
    return until is not Until.TTL and (is_over or (has_begun and until is Until.START))
