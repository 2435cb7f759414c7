"""Looking whether a store is sound: its servers, and whether its records agree with what it finds them by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

SAMPLE = 20
"""Ids that a finding names at the most."""
MOST_RECORDS = 100_000
"""Records that an examination looks at, unless it is told to look at all."""


class FindingStatus(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works; it may not for long, or not as fast or as safely as it could."""
    FAULT = "fault"
    """Tasks do not run, run wrongly, or may be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one thing that was looked at.

    >>> Finding(check="redis.memory", detail="12 % of 4 GiB are used").status.value
    'ok'
    """

    check: str
    """A name that stays the same through the releases: "redis.eviction", "places.missing"."""
    status: FindingStatus = FindingStatus.OK
    detail: str
    """What was found, without anything secret."""
    advice: str = ""
    """What to do about it; "" where there is nothing to do."""
    number: int = 0
    """How many tasks, queues or keys are concerned, where such are."""
    sample: tuple[str, ...] = ()
    """Some of them, at most SAMPLE."""
    is_repairable: bool = False
    """Whether `Diagnosis.repair` mends it."""


class Damage(StrEnum):
    """How records and what they are found by can disagree. Each kind has one repair: the record is the truth."""

    UNPLACED = "places.missing"
    """A waiting task lies in no place of its state."""
    MISPLACED = "places.left"
    """A place holds a task that is gone, or is elsewhere."""
    UNLEASED = "leases.missing"
    """A task is RUNNING without a lease that a reaper would find."""
    OVERLEASED = "leases.left"
    """A lease, or the wish to cancel a run, is of no running task."""
    UNTOLD = "parents"
    """A BLOCKED task waits for an end of which it would not be told."""
    UNLIMITED = "limits.missing"
    """A running task holds no slot of its concurrency limit."""
    OVERLIMITED = "limits.left"
    """A slot is held by a task that does not run."""
    KEYLESS = "unique.missing"
    """A task does not hold its unique key."""
    OVERKEYED = "unique.left"
    """A unique key is held by a task that is over."""
    UNEXPIRED = "expiry"
    """A waiting task with a time to live is not in the index of those."""
    UNFORGOTTEN = "ended"
    """An ended task is in no index by which it would be forgotten."""
    OVERFOUND = "search.left"
    """A search finds a task that is gone, or did not end so."""
    UNLISTED = "queues.missing"
    """Tasks are in a queue that maintenance does not know."""
    UNREADABLE = "records.unreadable"
    """A record cannot be judged: it was written by something else, or damaged. It is the one kind without a repair."""
    MISCOUNTED = "counts"
    """A queue counts other numbers of tasks than it holds; the samples are queues."""
    MISTALLIED = "flows"
    """A workflow or batch counts another number of pending members than it has; the samples are their ids."""


class _Words(NamedTuple):
    """What is said of a kind of damage: how bad it is, what it means, what a repair does ("": there is none)."""

    status: FindingStatus
    found: str
    repair: str


_FAULT, _WARNING = FindingStatus.FAULT, FindingStatus.WARNING
_WORDS: Mapping[Damage, _Words] = {
    Damage.UNPLACED: _Words(
        _FAULT, "waiting tasks are in no place where they would be found: they never run", "puts them there"
    ),
    Damage.MISPLACED: _Words(
        _FAULT, "places are taken by tasks that are gone or elsewhere: claims may fail there", "clears these places"
    ),
    Damage.UNLEASED: _Words(
        _FAULT,
        "running tasks have no lease that would run out: if their worker dies, they never run again",
        "has the reapers look after them",
    ),
    Damage.OVERLEASED: _Words(_WARNING, "leases, or wishes to cancel, are of tasks that do not run", "takes them away"),
    Damage.UNTOLD: _Words(
        _FAULT, "blocked tasks would never hear of the end for which they wait", "has them ask again"
    ),
    Damage.UNLIMITED: _Words(
        _WARNING, "running tasks hold no slot of their limit: more of them run than may", "gives them their slots"
    ),
    Damage.OVERLIMITED: _Words(
        _FAULT, "slots of limits are held by tasks that do not run: fewer run than may", "frees these slots"
    ),
    Damage.KEYLESS: _Words(
        _WARNING,
        "tasks do not hold their unique keys: they may be enqueued a second time",
        "gives them those that are free",
    ),
    Damage.OVERKEYED: _Words(_WARNING, "unique keys are kept for tasks that are over", "forgets these keys"),
    Damage.UNEXPIRED: _Words(_WARNING, "waiting tasks would not expire in time", "notes when they expire"),
    Damage.UNFORGOTTEN: _Words(_WARNING, "ended tasks would never be forgotten", "notes when they ended"),
    Damage.OVERFOUND: _Words(
        _WARNING, "tasks are still found by searches that are gone, or did not end so", "takes them out of the index"
    ),
    Damage.UNLISTED: _Words(_FAULT, "tasks are in queues that no worker looks after", "lists these queues"),
    Damage.UNREADABLE: _Words(_FAULT, "records cannot be read: something else has written there", ""),
    Damage.MISCOUNTED: _Words(_WARNING, "queues count other numbers of tasks than they hold", "counts them anew"),
    Damage.MISTALLIED: _Words(
        _FAULT,
        "workflows or batches count other numbers of pending tasks than they have: they end too early, or never",
        "counts them anew",
    ),
}


def damaged(kind: Damage, ids: Collection[str]) -> Finding:
    """The finding of some damage.

    Arguments:
        kind: what is wrong.
        ids: with which tasks, queues or flows.

    >>> found = damaged(Damage.UNPLACED, ["5c", "5b"])
    >>> found.detail, found.sample
    ('2 waiting tasks are in no place where they would be found: they never run', ('5b', '5c'))
    >>> damaged(Damage.UNREADABLE, ["5b"]).is_repairable
    False
    """
    status, found, repair = _WORDS[kind]
    return Finding(
        check=kind,
        status=status,
        detail=f"{len(ids):,} {found}",
        advice=f"`taskq doctor --repair` {repair}"
        if repair
        else "find out what did it; look at them in the store itself",
        number=len(ids),
        sample=tuple(sorted(ids)[:SAMPLE]),
        is_repairable=bool(repair),
    )


def reach(looked_at: int, about: int, left_out: Sequence[str] = ()) -> Finding:
    """The finding that says how far an examination has looked.

    Arguments:
        looked_at: records that were looked at.
        about: how many there are, as the store counts them.
        left_out: what could not be compared, a sentence each.

    >>> reach(100_000, 1_234_567).detail
    'looked at 100,000 of about 1,234,567 records'
    >>> reach(5, 5, ["mail was too busy to be counted"]).detail
    'looked at all 5 records; mail was too busy to be counted'
    """
    is_whole = about <= looked_at
    far = f"all {looked_at:,} records" if is_whole else f"{looked_at:,} of about {about:,} records"
    return Finding(
        check="records",
        detail="; ".join([f"looked at {far}", *left_out]),
        advice="" if is_whole else "`--deep` looks at all",
        number=looked_at,
    )


class Diagnosis(Protocol):
    """Examines a store, and mends what is damaged in it. Nothing here stops workers, or waits until they are idle."""

    async def servers(self) -> Sequence[Finding]:
        """What its servers say of themselves: versions, settings, memory, clocks, how fast they answer."""
        ...

    async def examine(self, most: int | None = MOST_RECORDS) -> Sequence[Finding]:
        """Compare the records with what they are found by: a finding of each kind of damage, and how far it looked.

        What moves meanwhile is not told: each record is judged together with its places in one step of the store.

        Arguments:
            most: the most records to look at; None: all.
        """
        ...

    async def repair(self, most: int | None = MOST_RECORDS) -> Mapping[Damage, int]:
        """Mend what `examine` would find; how many of each kind were mended.

        Each is judged anew in the step that mends it, so that this may be said again, by several at once, at any time.
        """
        ...
