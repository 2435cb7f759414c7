"""Dead letters: grouped by what went wrong, started anew, forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from taskq.dead_answers import DeadGroups, DeadPage, Purge, Redrive
from taskq.dead_filter import DeadFilter
from taskq.dead_letters import SCAN, Which
from taskq.domain.record import TaskRecord
from taskq.management.access import Permission
from taskq.management.desk import Desk, named
from taskq.management.finding import masked


class DeadLetterDesk(Desk):
    """The dead letters of a store, of all tenants; `App.dead_letters` says of each method what it takes and raises."""

    async def list(
        self, filter: DeadFilter | None = None, *, limit: int = 50, cursor: str | None = None, scan: int = SCAN
    ) -> DeadPage:
        """A page of dead letters, the newest first; without what they were given for who may not see that."""
        await self.look(Permission.READ_FLEET)
        page = await self.app.dead_letters.alist(filter, limit=limit, cursor=cursor, scan=scan)
        if self.actor.may(Permission.READ_PAYLOADS):
            return page
        return page._replace(letters=[masked(letter) for letter in page.letters])

    async def show(self, id: str) -> TaskRecord:
        """All that is known of a task that was given up, also what it was given."""
        self.actor.require(Permission.READ_FLEET)
        await self.look(Permission.READ_PAYLOADS)
        return await self.app.dead_letters.ashow(id)

    async def groups(self, filter: DeadFilter | None = None, *, scan: int = SCAN) -> DeadGroups:
        """Dead letters counted by what went wrong."""
        await self.look(Permission.READ_FLEET)
        return await self.app.dead_letters.agroups(filter, scan=scan)

    async def redrive(self, which: Which, *, queue: str | None = None, limit: int | None = None) -> Redrive:
        """Start tasks anew that were given up."""
        self.actor.require(Permission.READ_FLEET)
        after = {name: value for name, value in (("queue", queue), ("limit", limit)) if value is not None}
        which = _meant(which)
        async with self.act(Permission.ACT, "dead.redrive", _told(which), after=after or None):
            return await self.app.dead_letters.aredrive(which, queue=queue, limit=limit)

    async def purge(self, which: Which, *, limit: int | None = None) -> Purge:
        """Forget tasks that were given up, for good."""
        which = _meant(which)
        after = None if limit is None else {"limit": limit}
        async with self.act(Permission.DESTROY, "dead.purge", _told(which), after=after):
            return await self.app.dead_letters.apurge(which, limit=limit)


def _meant(which: Which) -> str | list[str] | DeadFilter:
    """The same, to be read more than once."""
    return which if isinstance(which, str | DeadFilter) else list(which)


def _told(which: str | list[str] | DeadFilter) -> Mapping[str, Any]:
    """Which are meant, as the audit trail has it."""
    if isinstance(which, DeadFilter):
        return {"filter": {name: str(value) for name, value in asdict(which).items() if value is not None}}
    return named([which] if isinstance(which, str) else which)
