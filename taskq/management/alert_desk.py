"""Alerts: what goes on, what is over, and who has seen to it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from taskq.alert_rules import AlertOptions
from taskq.config import require
from taskq.domain.alerts import Bounds, Rule
from taskq.errors import NotApplied, TaskqError
from taskq.management.access import Permission
from taskq.management.alert_watch import event_of, log
from taskq.management.alerts import KEPT, Alert, AlertBook, Change, Kept
from taskq.management.desk import Desk
from taskq.ports import Backend
from taskq.store_clock import store_now

LONGEST_NOTE = 500


class AlertNotFound(TaskqError):
    """There is no such alert, or it is over."""


class AlertDesk(Desk):
    """The alerts of a store. They are raised and cleared by beats, servers and workers with --beat."""

    async def list(self) -> Sequence[Alert]:
        """Those that go on, the newest first."""
        book = AlertBook(await self.look(Permission.READ_FLEET))
        active = [row.kept.alert for row in (await book.rows()).values() if row.kept.alert.is_active]
        return sorted(active, key=lambda alert: (alert.raised_at, alert.id), reverse=True)

    async def history(self, limit: int = 100) -> Sequence[Alert]:
        """Those that are over, the last that was cleared first; the store keeps a thousand.

        Arguments:
            limit: how many.
        """
        require(1 <= limit <= KEPT, f"limit must be from 1 to {KEPT:,}", limit)
        book = AlertBook(await self.look(Permission.READ_FLEET))
        over = {row.kept.alert.id: row.kept.alert for row in (await book.rows()).values()}
        found = {alert.id: alert for alert in (*over.values(), *await book.past()) if alert.cleared_at is not None}
        return sorted(found.values(), key=lambda alert: (alert.cleared_at, alert.id), reverse=True)[:limit]

    async def acknowledge(self, id: str, note: str = "") -> Alert:
        """Say that somebody sees to an alert: it is not told again while it lasts. Said twice, the first counts.

        Arguments:
            id: of the alert, or its first letters where no other has them.
            note: for people.

        Raises:
            AlertNotFound: there is none of that id that goes on.
        """
        require(len(note) <= LONGEST_NOTE, f"a note must have at most {LONGEST_NOTE} characters", len(note))
        backend = await self.look(Permission.ACKNOWLEDGE)
        alert = await self._find(backend, id)
        if alert.acknowledged_at is not None:
            return alert
        on = {"alert": alert.id, "rule": alert.rule, "subject": alert.subject}
        async with self.act(Permission.ACKNOWLEDGE, "alert.acknowledge", on, after={"note": note}):
            return await self._acknowledge(backend, alert, note)

    def rules(self, options: AlertOptions | None = None) -> Mapping[Rule, Bounds]:
        """The bounds of all rules.

        Arguments:
            options: those with which beats run; None: the defaults.
        """
        self.actor.require(Permission.READ_FLEET)
        return {rule: (options or AlertOptions()).bounds(rule) for rule in Rule}

    async def _find(self, backend: Backend, id: str) -> Alert:
        rows = (await AlertBook(backend).rows()).values()
        found = [row.kept.alert for row in rows if id and row.kept.alert.is_active and row.kept.alert.id.startswith(id)]
        if len(found) > 1:
            raise NotApplied(f"{len(found)} alerts begin with {id!r}: give more of the id")
        if not found:
            raise AlertNotFound(f"no alert {id!r} goes on; `taskq alerts list` shows those that do")
        return found[0]

    async def _acknowledge(self, backend: Backend, alert: Alert, note: str) -> Alert:
        now = await store_now(backend)

        def seen(kept: Kept) -> Kept | None:
            if kept.alert.id != alert.id or not kept.alert.is_active:
                return None
            if kept.alert.acknowledged_at is not None:
                return kept
            changed = replace(kept.alert, acknowledged_at=now, acknowledged_by=self.actor.name, note=note)
            return replace(kept, alert=changed, untold=tuple(one for one in kept.untold if one.alert.id != alert.id))

        kept = await AlertBook(backend).change((alert.rule, alert.subject), seen)
        if kept is None:
            raise AlertNotFound(f"alert {alert.id} is over by now")
        log(Change.ACKNOWLEDGED, kept.alert)
        with contextlib.suppress(TaskqError):  # it is a hint
            await backend.events.publish([event_of(Change.ACKNOWLEDGED, kept.alert)])
        return kept.alert
