"""Flows on a Postgres store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any

from taskq.domain.flow import ABANDONED, NEVER_CLOSED, Callback, FlowKind, FlowRecord, Tally
from taskq.errors import InvalidOption
from taskq.ports import FlowPage, MemberPage, NewFlow
from taskq_postgres.hints import Hints
from taskq_postgres.record import is_id, plain
from taskq_postgres.store import Row, Store
from taskq_postgres.transaction import to_json

_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class PostgresFlows:
    """See taskq.ports.Flows."""

    def __init__(self, store: Store, hints: Hints) -> None:
        self._store = store
        self._hints = hints

    async def create(self, flow: NewFlow) -> bool:
        """Store a flow."""
        callbacks = {callback: to_json([message]) for callback, message in flow.callbacks.items()}
        fields = (flow.id, flow.kind, plain(flow.name), flow.spec, json.dumps(callbacks), flow.is_held)
        return bool(await self._store.value("flow_create", (*fields, float(flow.retention))))

    async def get(self, id: str) -> FlowRecord | None:
        """All that is known of a flow."""
        rows = await self._read([id], inf, _LAST_ID, 1) if is_id(id) else []
        return _record(rows[0]) if rows else None

    async def close(self, id: str) -> bool:
        """No more members come from outside."""
        if not is_id(id) or not await self._store.value("flow_close", (id,)):
            return False
        await self._go_on()
        return True

    async def cancel(self, id: str, reason: str = "") -> bool:
        """Cancel all members."""
        return await self._cancel(id, reason, is_to_be_open=False)

    async def give_up(self, id: str, reason: str = "") -> bool:
        """Cancel a flow that is not closed yet."""
        return await self._cancel(id, reason, is_to_be_open=True)

    async def _cancel(self, id: str, reason: str, *, is_to_be_open: bool) -> bool:
        if not is_id(id) or not await self._store.value("flow_cancel", (id, plain(reason), is_to_be_open)):
            return False
        await self._go_on()
        return True

    async def reopen(self, id: str) -> bool:
        """Take back that a flow was cancelled."""
        if not is_id(id) or not await self._store.value("flow_reopen", (id,)):
            return False
        await self._go_on()
        return True

    async def relay(self, limit: int) -> int:
        """Go on with what is left of ends and flows, of any; returns how much was done."""
        return int(await self._store.value("relay", (limit, NEVER_CLOSED, ABANDONED)))

    async def _go_on(self) -> None:
        while await self.relay(1):
            pass
        self._hints.tell("a", [""])

    async def list(self, limit: int = 50, cursor: str | None = None) -> FlowPage:
        """A page of flows, the newest first."""
        before, below = _place(cursor)
        rows = await self._read(None, before, below, limit + 1)
        page = rows[:limit]
        following = f"{page[-1][15]!r}_{page[-1][0]}" if len(rows) > limit else None
        return FlowPage([_record(row) for row in page], following)

    async def members(
        self, id: str, limit: int = 1000, cursor: str | None = None, *, failed: bool = False
    ) -> MemberPage:
        """A page of members."""
        if failed:
            return await self._failed(id, limit, cursor)
        start = _number(cursor)
        if not is_id(id):
            return MemberPage([])
        found = await self._store.run("flow_members", (id, start, limit + 1), reads=True)
        page = found[:limit]
        return MemberPage([row[0] for row in page], str(page[-1][1]) if len(found) > limit else None)

    async def _failed(self, id: str, limit: int, cursor: str | None) -> MemberPage:
        """Those that ended otherwise than COMPLETED, by their ends."""
        after, behind = _place_of_failed(cursor)
        if not is_id(id):
            return MemberPage([])
        where = {"id": id, "after": after, "behind": behind, "limit": limit + 1}
        found = await self._store.run("flow_failed", where, reads=True)
        page = found[:limit]
        return MemberPage([row[0] for row in page], f"{page[-1][1]}_{page[-1][0]}" if len(found) > limit else None)

    async def forget(self, id: str) -> bool:
        """Forget a flow."""
        return is_id(id) and bool(await self._store.value("flow_forget", (id,)))

    async def _read(self, ids: Sequence[str] | None, before: float, below: str, limit: int) -> Sequence[Row]:
        known = None if ids is None else list(ids)
        return await self._store.run(
            "flow_get", {"ids": known, "before": before, "below": below, "limit": limit}, reads=True
        )


def _record(row: Sequence[Any]) -> FlowRecord:
    id, kind, name, spec, total, completed, failed, cancelled, created_at, is_held = row[:10]
    closed_at, ended_at, reason, is_partial, fired = row[10:15]
    return FlowRecord(
        id=id,
        kind=FlowKind(kind),
        name=name,
        spec=bytes(spec),
        tally=Tally(total, completed, failed, cancelled),
        created_at=created_at.astimezone(UTC),
        is_held=is_held,
        closed_at=_maybe(closed_at),
        ended_at=_maybe(ended_at),
        cancel_reason=reason,
        is_partial=is_partial,
        fired=frozenset(map(Callback, fired)),
    )


def _maybe(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.astimezone(UTC)


def _place(cursor: str | None) -> tuple[float, str]:
    if cursor is None:
        return inf, _LAST_ID
    try:
        before, below = cursor.split("_")
        if is_id(below):
            return float(before), below
    except ValueError:
        pass
    raise _no_cursor(cursor)


def _place_of_failed(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return 0, _FIRST_ID
    try:
        after, behind = cursor.split("_")
        if is_id(behind):
            return int(after), behind
    except ValueError:
        pass
    raise _no_cursor(cursor)


def _number(cursor: str | None) -> int:
    try:
        return int(cursor or 0)
    except ValueError:
        raise _no_cursor(cursor) from None


def _no_cursor(cursor: str | None) -> InvalidOption:
    return InvalidOption(f"{cursor!r} is not a cursor of an earlier page")
