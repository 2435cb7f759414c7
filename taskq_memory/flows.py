"""Flows on the memory store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from taskq.domain.flow import ABANDONED, NEVER_CLOSED, FlowRecord
from taskq.domain.message_text import pack_message
from taskq.domain.state import Event, TaskState
from taskq.errors import InvalidOption
from taskq.ports import FlowPage, MemberPage, NewFlow
from taskq_memory.rows import FlowRow
from taskq_memory.store import Store


class MemoryFlows:
    """See taskq.ports.Flows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._joins = store.joins

    async def create(self, flow: NewFlow) -> bool:
        """Store a flow."""
        with self._store.lock:
            if flow.id in self._joins.flows:
                return False
            now, (id, kind, name, spec, callbacks, is_held, retention) = self._store.clock.now(), flow
            kept = {callback: pack_message(message) for callback, message in callbacks.items()}
            self._joins.flows[id] = FlowRow(id, kind, name, spec, kept, is_held, retention, now)
            self._store.note_change()
            return True

    async def get(self, id: str) -> FlowRecord | None:
        """All that is known of a flow."""
        with self._store.lock:
            row = self._joins.flows.get(id)
            return None if row is None else _record(row)

    async def list(self, limit: int = 50, cursor: str | None = None) -> FlowPage:
        """A page of flows, the newest first."""
        with self._store.lock:
            rows = list(reversed(self._joins.flows.values()))
            start = _number(cursor, len(rows))
            page = rows[start : start + limit]
            return FlowPage([_record(row) for row in page], _next(rows, start + limit))

    async def close(self, id: str) -> bool:
        """No more members come from outside."""
        with self._store.lock:
            row = self._joins.flows.get(id)
            if row is not None:
                self._joins.close(row)
            return row is not None

    async def cancel(self, id: str, reason: str = "") -> bool:
        """Cancel all members."""
        with self._store.lock:
            row = self._joins.flows.get(id)
            if row is None or row.ended_at is not None:
                return False
            self._cancel(row, reason)
            return True

    async def give_up(self, id: str, reason: str = "") -> bool:
        """Cancel a flow that is not closed yet."""
        with self._store.lock:
            row = self._joins.flows.get(id)
            if row is None or row.closed_at is not None:
                return False
            self._cancel(row, reason)
            return True

    async def reopen(self, id: str) -> bool:
        """Take back that a flow was cancelled."""
        with self._store.lock:
            row = self._joins.flows.get(id)
            if row is not None:
                row.cancel_reason = None
                self._store.note_change()
                self._joins.look(row)
            return row is not None

    def cancel_abandoned(self) -> int:
        """Cancel what nobody has closed in time; returns how many. The lock is held."""
        before = self._store.clock.now() - NEVER_CLOSED
        rows = [row for row in self._joins.flows.values() if row.is_held and row.closed_at is None]
        doomed = [row for row in rows if row.created_at <= before and row.cancel_reason is None]
        for row in doomed:
            self._cancel(row, ABANDONED)
        return len(doomed)

    def _cancel(self, row: FlowRow, reason: str) -> None:
        if row.cancel_reason is None:
            row.cancel_reason, row.is_partial = reason, row.is_partial or row.closed_at is None
        reason = row.cancel_reason
        for id in row.members:
            task = self._store.tasks.get(id)
            if task is not None and task.state is TaskState.RUNNING:
                if not task.cancel_requested:
                    task.cancel_requested, task.cancel_reason = True, reason
            elif task is not None and task.state is not None and not task.state.is_final:
                self._store.end(task, Event.CANCEL, TaskState.CANCELLED, reason)
        self._joins.close(row)
        self._store.note_change()

    async def members(
        self, id: str, limit: int = 1000, cursor: str | None = None, *, failed: bool = False
    ) -> MemberPage:
        """A page of members."""
        with self._store.lock:
            row = self._joins.flows.get(id)
            ids: Iterable[str] = () if row is None else row.failed if failed else row.members
            known = list(ids)
            start = _number(cursor, len(known))
            return MemberPage(known[start : start + limit], _next(known, start + limit))

    async def forget(self, id: str) -> bool:
        """Forget a flow."""
        with self._store.lock:
            row = self._joins.flows.get(id)
            if row is None or row.tally.pending > 0:
                return False
            del self._joins.flows[id]
            self._store.note_change()
            return True


def _record(row: FlowRow) -> FlowRecord:
    return FlowRecord(
        id=row.id,
        kind=row.kind,
        name=row.name,
        spec=row.spec,
        tally=row.tally,
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        is_held=row.is_held,
        closed_at=_maybe(row.closed_at),
        ended_at=_maybe(row.ended_at),
        cancel_reason=row.cancel_reason,
        is_partial=row.is_partial,
        fired=frozenset(row.fired),
    )


def _maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _number(cursor: str | None, most: int) -> int:
    try:
        return min(int(cursor), most) if cursor else 0
    except ValueError:
        raise InvalidOption(f"{cursor!r} is not a cursor of an earlier page") from None


def _next(items: list[object] | list[str] | list[FlowRow], end: int) -> str | None:
    return str(end) if end < len(items) else None
