"""The audit trail: who did what, to what, and when; each entry holds the digest of the one before.

The chain is that of S. Haber and W. S. Stornetta, "How to time-stamp a digital document" (1991). It shows that an entry
was changed, taken out or cut off to whoever knows a later digest: `head` tells it, each entry is logged with its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from taskq.errors import TaskqError
from taskq.management.access import Actor
from taskq.ports import Backend

logger = logging.getLogger("taskq.audit")
JOURNAL = "audit"
PAGE = 500
"""Entries in one round trip."""
FIRST = "0" * 64
"""What stands for the digest before the first entry."""
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

    @property
    def digest(self) -> str:
        """SHA-256 over all fields."""
        return sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


class Head(NamedTuple):
    """The newest entry: what is to be remembered elsewhere to find later that the trail was cut off."""

    number: int
    digest: str


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
            if await self._journal.append(JOURNAL, entry.number, msgspec.json.encode(entry)):
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
        if number == 0:
            return Head(0, FIRST)
        found = await self._journal.read(JOURNAL, number - 1, 1)
        if not found:
            raise TaskqError(f"entry {number} of the audit trail is not there: `taskq audit verify` tells more")
        return Head(number, _read(found[0].data).digest)

    async def entries(self, after: int = 0) -> AsyncIterator[AuditEntry]:
        """All entries after a number, the oldest first."""
        while some := await self._journal.read(JOURNAL, after, PAGE):
            for entry in some:
                yield _read(entry.data)
            after = some[-1].number

    async def verify(self, known: Head | None = None) -> Verification:
        """Look through the whole trail for what was changed, taken out or cut off.

        Arguments:
            known: a head that was noted elsewhere earlier.
        """
        faults: list[str] = []
        count, previous, trimmed = 0, None, Head(0, FIRST)
        first: AuditEntry | None = None
        after = 0
        newest = await self._journal.newest(JOURNAL)
        while some := await self._journal.read(JOURNAL, after, PAGE):
            for number, data in some:
                after = number
                try:
                    entry = _read(data)
                except msgspec.MsgspecError:
                    faults.append(f"entry {number} cannot be read: it was changed")
                    previous = None
                    continue
                faults += _between(previous, entry, number)
                if known is not None and known.number == number and known.digest != entry.digest:
                    faults.append(f"entry {number} is not the one that was noted: it was changed")
                if entry.action == TRIM and entry.on.get("through", 0) >= trimmed.number:
                    trimmed = Head(int(entry.on["through"]), str(entry.on["digest"]))
                first, previous, count = first or entry, entry, count + 1
        head = Head(after, FIRST if previous is None else previous.digest)
        faults += _at_the_ends(first, trimmed, after, newest, known)
        return Verification(count, head, tuple(faults))

    async def trim(self, actor: Actor, age: timedelta) -> int:
        """Forget entries that are older; an entry about that is written first. Returns how many were forgotten."""
        limit = datetime.now(UTC) - age
        last: AuditEntry | None = None
        async for entry in self.entries():
            if entry.at >= limit:
                break
            last = entry
        if last is None:
            return 0
        await self.note(actor, TRIM, {"through": last.number, "digest": last.digest})
        return await self._journal.trim(JOURNAL, last.number)


def _read(data: bytes) -> AuditEntry:
    return msgspec.json.decode(data, type=AuditEntry)


def _between(previous: AuditEntry | None, entry: AuditEntry, number: int) -> list[str]:
    if entry.number != number:
        return [f"entry {number} says that it is {entry.number}: it was changed"]
    if previous is None:
        return []
    if entry.number != previous.number + 1:
        return [f"entries {previous.number + 1} to {entry.number - 1} are missing: they were taken out"]
    if entry.previous != previous.digest:
        return [f"entry {entry.number} does not fit the one before: one of them was changed"]
    return []


def _at_the_ends(first: AuditEntry | None, trimmed: Head, last: int, newest: int, known: Head | None) -> list[str]:
    faults = []
    if first is not None and (first.number, first.previous) not in _beginnings(trimmed):
        faults.append(f"the entries before {first.number} are missing, and were not trimmed: they were cut off")
    if last != newest:
        faults.append(f"the entries {last + 1} to {newest} are missing: they were cut off")
    if known is not None and known.number > newest:
        faults.append(f"the trail ends at {newest}, and {known.number} was noted: it was cut off")
    return faults


def _beginnings(trimmed: Head) -> set[tuple[int, str]]:
    """What the first entry may say: that nothing was before it, or what was trimmed."""
    return {(trimmed.number + 1, trimmed.digest), (1, FIRST)}
