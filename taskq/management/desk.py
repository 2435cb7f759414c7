"""What the parts of the Management have in common: a store, somebody who asks, and the note of what they did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from taskq.app import App
from taskq.management.access import Actor, Permission
from taskq.management.audit import AuditTrail
from taskq.ports import Backend

MOST_IDS = 1000
"""Ids that an entry of the audit trail names; of more, it tells how many."""


class Desk:
    """One part of the Management.

    Arguments:
        app: whose store it is.
        actor: who asks.
    """

    def __init__(self, app: App, actor: Actor) -> None:
        self.app = app
        self.actor = actor

    async def look(self, permission: Permission = Permission.READ) -> Backend:
        """The store, for somebody who may look.

        Raises:
            Forbidden: they may not.
        """
        self.actor.require(permission)
        return await self.app.backend()

    @asynccontextmanager
    async def act(
        self,
        permission: Permission,
        action: str,
        on: Mapping[str, Any],
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[Backend]:
        """The store, for a change that is noted in the audit trail before it is made; so is its failure, after it.

        Arguments:
            permission: what it takes.
            action: what is done, as the trail has it: "queue.pause".
            on: to what.

        Raises:
            Forbidden: they may not; nothing is noted, and nothing changed.
        """
        self.actor.require(permission)
        backend = await self.app.backend()
        trail = AuditTrail(backend)
        await trail.note(self.actor, action, on, before=before, after=after)
        try:
            yield backend
        except Exception as error:
            await trail.note(self.actor, f"{action}.failed", on, after={"error": type(error).__name__})
            raise


def named(ids: list[str]) -> dict[str, Any]:
    """Ids as the audit trail tells them."""
    return {"ids": ids} if len(ids) <= MOST_IDS else {"ids": ids[:MOST_IDS], "count": len(ids)}
