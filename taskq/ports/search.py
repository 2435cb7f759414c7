"""Finding tasks that have ended by what they were: the indexes of a store, each filled within seconds of an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState


class Key(StrEnum):
    """By what an ended task is found."""

    NAME = "name"
    TENANT = "tenant"
    TAG = "tag"
    ERROR = "error"
    """The class of its newest failure."""
    FINGERPRINT = "fingerprint"
    """Of its newest failure."""


class Place(NamedTuple):
    """Where an ended task stands among all: the newest end first, then the greater id."""

    ended_at: datetime
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedQuery:
    """Which ended tasks to list."""

    states: Sequence[TaskState]
    """Final ones."""
    key: Key | None = None
    """None: those of `queues`, whatever they were."""
    value: str = ""
    queues: Sequence[str] = ()
    """Where `key` is None."""
    since: datetime | None = None
    """Those that ended then or later."""
    until: datetime | None = None
    """Those that ended before."""
    before: Place | None = None
    """Where the page before ended."""
    limit: int = 50


class Found(NamedTuple):
    """A page of ended tasks."""

    records: Sequence[TaskRecord]
    next_place: Place | None = None
    """Where to go on; None: there are no more. A page may be short, or empty, and not the last."""
    since: datetime | None = None
    """Those that ended before are not in the index, of which the newest are kept; None: all are."""
    until: datetime | None = None
    """Those that ended after are not in it yet; None: all are."""


class Counted(NamedTuple):
    """How many tasks a query means."""

    number: int
    is_exact: bool = True
    """False: at least so many."""


class Values(NamedTuple):
    """Some values of a key."""

    values: Sequence[str]
    """In the order of their bytes."""
    is_whole: bool = True
    """False: what has ended just now may have others."""


class Search(Protocol):
    """Finds tasks that have ended, by one value of one key."""

    async def ended(self, query: EndedQuery) -> Found:
        """A page of ended tasks."""
        ...

    async def count(self, query: EndedQuery, most: int = 10_000) -> Counted:
        """How many a query means, without a key of all queues; at least `most` where there are that many or more."""
        ...

    async def values(self, key: Key, prefix: str = "", limit: int = 20) -> Values:
        """Values that ended tasks have, but for "", which is nothing to be found by."""
        ...

    async def catch_up(self, limit: int = 1000) -> int:
        """Put into the indexes what has ended since; any worker may do so at any time. Returns how many it was."""
        ...
