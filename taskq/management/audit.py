"""The audit trail: who did what, to what, and when; each entry holds the digest of the one before.

The chain is that of S. Haber and W. S. Stornetta, "How to time-stamp a digital document" (1991). It shows that an entry
was changed, taken out or cut off to whoever knows a later digest: `head` tells it, each entry is logged with its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from taskq.errors import TaskqError
from taskq.management.access import Actor
from taskq.ports import Backend, Entry

logger = logging.getLogger("taskq.audit")
JOURNAL = "audit"
PAGE = 500
"""Entries in one round trip."""
FIRST = "0" * 64
"""What stands for the digest before the first entry."""
UNREADABLE = "unreadable"
"""What stands for the action of an entry that cannot be read."""
_NEVER = datetime.fromtimestamp(0, UTC)
TRIM = "audit.trim"
"""The action by which the oldest entries are forgotten: it keeps the digest of the last of them."""


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was done."""

    number: int
    at: datetime
    """By the clock of the process that wrote it."""
    actor: str
    action: str
    """What was done: "queue.pause", "tasks.cancel", …."""
    previous: str
    """The digest of the entry before."""
    on: dict[str, Any] = {}
    """Ids, a query, a name: to what it was done."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    request_id: str = ""
    tenant: str = ""
    """To which the actor is bound."""
    digest: str = ""
    """SHA-256 of the entry as it is stored, without this field."""


class Head(NamedTuple):
    """The newest entry: what is to be remembered elsewhere to find later that the trail was cut off."""

    number: int
    digest: str


class Reach(NamedTuple):
    """How far back the trail goes."""

    first: int
    """The number of its oldest entry; 0 where there is none."""
    since: datetime | None
    """When that was written."""
    entries: int


class Verification(NamedTuple):
    """What a look through the whole trail has found."""

    entries: int
    head: Head
    faults: tuple[str, ...] = ()
    """What is wrong with it, a sentence each; () where nothing is."""


class AuditTrail:
    """Writes entries one after the other, whoever else does, and reads them.

    Arguments:
        backend: where they are kept.
    """

    def __init__(self, backend: Backend) -> None:
        self._journal = backend.journal
        self._head: Head | None = None

    async def note(
        self,
        actor: Actor,
        action: str,
        on: Mapping[str, Any] | None = None,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        """Add an entry at the end.

        Arguments:
            on: to what it was done; arguments and results of tasks have no place in it.

        Raises:
            BackendUnavailable: the store cannot be reached, and the entry is not written.
        """
        while True:
            head = self._head or await self.head()
            entry = AuditEntry(
                number=head.number + 1,
                at=datetime.now(UTC),
                actor=actor.name,
                action=action,
                previous=head.digest,
                on=dict(on or {}),
                before=None if before is None else dict(before),
                after=None if after is None else dict(after),
                request_id=actor.request_id,
                tenant=actor.tenant,
            )
            data = _encoded(entry)
            if await self._journal.append(JOURNAL, entry.number, data):
                entry = replace(entry, digest=_digest(data))
                self._head = Head(entry.number, entry.digest)
                logger.info(
                    "audit %d: %s %s %s",
                    *(entry.number, entry.actor, entry.action, entry.digest),
                    extra={"taskq": {"audit": entry.number, "digest": entry.digest, "request_id": actor.request_id}},
                )
                return entry
            self._head = None
            await asyncio.sleep(random.uniform(0, 0.02))  # of many writers, who comes first is chance

    async def head(self) -> Head:
        """The newest entry."""
        number = await self._journal.newest(JOURNAL)
        while number:
            found = await self._journal.read(JOURNAL, number - 1, 1)
            if found and found[0].number == number:
                return Head(number, _digest(found[0].data))
            before, number = number, await self._journal.newest(JOURNAL)
            if number == before:  # it was not trimmed meanwhile, after which there is a newer one
                raise TaskqError(f"entry {number} of the audit trail is not there: `taskq audit verify` tells more")
        return Head(0, FIRST)

    async def reach(self) -> Reach:
        """How far back the trail goes."""
        oldest = await self._oldest()
        if oldest is None:
            return Reach(0, None, 0)
        last = await self._journal.newest(JOURNAL)
        return Reach(oldest.number, _shown(*oldest).at, last - oldest.number + 1)

    async def _oldest(self) -> Entry | None:
        found = await self._journal.read(JOURNAL, 0, 1)
        return found[0] if found else None

    async def entries(self, after: int = 0) -> AsyncIterator[AuditEntry]:
        """All entries after a number, the oldest first."""
        while some := await self._journal.read(JOURNAL, after, PAGE):
            for number, data in some:
                yield _shown(number, data)
            after = some[-1].number

    async def verify(self, known: Head | None = None) -> Verification:
        """Look through the whole trail for what was changed, taken out or cut off.

        Arguments:
            known: a head that was noted elsewhere earlier.
        """
        while True:
            oldest = await self._oldest()
            verification = await self._verified(known)
            # What is trimmed during a look is missing for it: then the trail begins later, and is looked at anew.
            if not verification.faults or await self._oldest() == oldest:
                return verification

    async def _verified(self, known: Head | None) -> Verification:
        look = _Look(known)
        while True:
            newest = await self._journal.newest(JOURNAL)
            before = look.last
            while some := await self._journal.read(JOURNAL, look.last, PAGE):
                for number, data in some:
                    look.take(number, data)
            if look.last >= newest or look.last == before:  # what was added meanwhile is read too
                return look.verification(newest)

    async def trim(self, actor: Actor, age: timedelta, most: int | None = None) -> int:
        """Forget entries that are too old or too many; an entry about that is written first.

        Arguments:
            age: how old they may be.
            most: how many may stay, beside the one about it; None: any number.

        Returns:
            How many were forgotten.
        """
        last = await self._last_to_go(age, most)
        found = await self._journal.read(JOURNAL, last - 1, 1) if last else []
        if not found or found[0].number != last:  # somebody else has trimmed it meanwhile
            return 0
        await self.note(actor, TRIM, {"through": last, "digest": _digest(found[0].data)})
        return await self._journal.trim(JOURNAL, last)

    async def _last_to_go(self, age: timedelta, most: int | None) -> int:
        """The number of the last entry that is too old, or one too many; 0 where none is."""
        now = datetime.now(UTC)
        limit = now - min(age, now - datetime.min.replace(tzinfo=UTC))  # however long that is
        last = 0
        async for entry in self.entries():
            if entry.at >= limit:
                break
            last = entry.number
        too_many = 0 if most is None else await self._journal.newest(JOURNAL) - most
        return max(last, too_many, 0)


class _Look:
    """A look through the trail, entry by entry."""

    def __init__(self, known: Head | None) -> None:
        self.known = known
        self.last = 0
        self._digest = FIRST
        self._first: tuple[int, str] | None = None
        """Number of the first entry, and the digest before it, of which it speaks."""
        self._count = 0
        self._trims: dict[int, str] = {0: FIRST}
        """Through which numbers it was trimmed, and the digests of those."""
        self._faults: list[str] = []
        self._is_known = known is None or known.number == 0

    def take(self, number: int, data: bytes) -> None:
        """Look at the next entry."""
        digest = _digest(data)
        try:
            entry = _read(data)
        except msgspec.MsgspecError:
            self._faults.append(f"entry {number} cannot be read: it was changed")
        else:
            self._compare(number, entry)
        if self.known is not None and self.known.number == number:
            self._is_known = True
            if self.known.digest != digest:
                self._faults.append(f"entry {number} is not the one that was noted: it was changed")
        self.last, self._digest = number, digest
        self._count += 1

    def _compare(self, number: int, entry: AuditEntry) -> None:
        if entry.number != number:
            self._faults.append(f"entry {number} says that it is {entry.number}: it was changed")
        elif self._first is None and self._count == 0:
            self._first = number, entry.previous
        elif number != self.last + 1:
            self._faults.append(f"the entries {self.last + 1} to {number - 1} are missing: they were taken out")
        elif entry.previous != self._digest:
            self._faults.append(f"entry {number} does not fit the one before: one of them was changed")
        if entry.action == TRIM:
            through = entry.on.get("through")
            if isinstance(through, int):
                self._trims[through] = str(entry.on.get("digest", ""))
            else:
                self._faults.append(f"entry {number} does not say what was trimmed: it was changed")

    def verification(self, newest: int) -> Verification:
        """What was found."""
        if self._first is not None and self._trims.get(self._first[0] - 1) != self._first[1]:
            missing = f"the entries before {self._first[0]} are missing, and were not trimmed: they were cut off"
            self._faults.append(missing)
        if self.last < newest:
            self._faults.append(f"the entries {self.last + 1} to {newest} are missing: they were cut off")
        if self.known is not None and not self._is_known and self._trims.get(self.known.number) != self.known.digest:
            self._faults.append(f"entry {self.known.number}, which was noted, is not there: it was trimmed or cut off")
        return Verification(self._count, Head(self.last, self._digest), tuple(self._faults))


def _read(data: bytes) -> AuditEntry:
    return replace(msgspec.json.decode(data, type=AuditEntry), digest=_digest(data))


def _shown(number: int, data: bytes) -> AuditEntry:
    """An entry for people: also one that cannot be read, of which `verify` speaks."""
    try:
        return _read(data)
    except msgspec.MsgspecError:
        return AuditEntry(number, _NEVER, "?", UNREADABLE, "", digest=_digest(data))


def _encoded(entry: AuditEntry) -> bytes:
    """An entry as it is stored; half a pair of surrogates, which is no text, is told as "?"."""
    try:
        return msgspec.json.encode(entry)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(entry), ensure_ascii=False).encode("utf-8", "replace")


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
