"""The audit trail for those who may read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from taskq.config import AuditRetention
from taskq.management.access import Permission
from taskq.management.audit import AuditEntry, AuditTrail, Head, Reach, Verification
from taskq.management.desk import Desk


class AuditDesk(Desk):
    """The audit trail of a store."""

    async def newest(self, limit: int = 50, before: int | None = None) -> Sequence[AuditEntry]:
        """The newest entries first.

        Arguments:
            limit: how many.
            before: those with lower numbers: where the page before ended.
        """
        trail = await self._trail()
        last = (await trail.head()).number if before is None else before - 1
        entries: list[AuditEntry] = []
        async for entry in trail.entries(max(0, last - limit)):
            if entry.number > last:
                break
            entries.append(entry)
        return entries[::-1]

    async def export(self) -> AsyncIterator[AuditEntry]:
        """All entries, the oldest first."""
        async for entry in (await self._trail()).entries():
            yield entry

    async def head(self) -> Head:
        """The number and the digest of the newest entry: to be noted elsewhere, and given to `verify` later."""
        return await (await self._trail()).head()

    async def verify(self, known: Head | None = None) -> Verification:
        """Look whether an entry was changed, taken out or cut off."""
        return await (await self._trail()).verify(known)

    async def reach(self) -> Reach:
        """How far back the trail goes: what is older than `retention` says has been forgotten."""
        return await (await self._trail()).reach()

    @property
    def retention(self) -> AuditRetention:
        """How much of it is kept, by the code, else the configuration; taskq.management.audit_keeper keeps to it."""
        return self.app.settings.audit or self.app.assumed.audit

    async def trim(self, age: timedelta | None = None) -> int:
        """Forget entries that are older than `age`, else than the retention says, or too many; returns how many."""
        self.actor.require(Permission.CONFIGURE)
        kept = self.retention
        trail = await self._trail()
        return await (trail.trim(self.actor, kept.age, kept.most) if age is None else trail.trim(self.actor, age))

    async def _trail(self) -> AuditTrail:
        return AuditTrail(await self.look(Permission.READ_AUDIT))
