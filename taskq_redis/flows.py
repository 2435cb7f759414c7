"""Flows on Redis: each is at home in the shard that its id names, and is counted in those where its members are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from taskq.domain.flow import Callback, FlowKind, FlowRecord, Tally
from taskq.domain.message_text import pack_message
from taskq.errors import InvalidOption
from taskq.ports import FlowPage, MemberPage, NewFlow
from taskq_redis.connection import Argument
from taskq_redis.joins import COUNTERS, Joins
from taskq_redis.record import milliseconds, plain
from taskq_redis.scripts import JOINS_PER_CALL
from taskq_redis.store import Store

_CALLBACKS = {callback[0]: callback for callback in Callback}
_EPOCH = datetime.fromtimestamp(0, UTC)


class RedisFlows:
    """See taskq.ports.Flows."""

    def __init__(self, store: Store, joins: Joins) -> None:
        self._store = store
        self._joins = joins

    async def create(self, flow: NewFlow) -> bool:
        """Store a flow."""
        fields: list[Argument] = ["kd", flow.kind, "nm", plain(flow.name), "sp", flow.spec]
        for callback, message in flow.callbacks.items():
            fields += [f"cb{callback[0]}", pack_message(message)]
        head = (flow.id, "1" if flow.is_held else "", milliseconds(flow.retention))
        return bool(await self._store.run_durably(self._home(flow.id), "flow_create", *head, *fields))

    async def get(self, id: str) -> FlowRecord | None:
        """All that is known of a flow."""
        home = self._home(id)
        flat, *rows = await asyncio.gather(
            self._store.command(home, "HGETALL", self._name(home, id)),
            *(
                self._store.command(shard, "HMGET", self._name(shard, id), *COUNTERS)
                for shard in self._store.shards
                if shard != home
            ),
        )
        fields: dict[bytes, bytes] = dict(zip(flat[::2], flat[1::2], strict=True))
        return _record(id, fields, rows) if b"at" in fields else None

    async def close(self, id: str) -> bool:
        """No more members come from outside."""
        home = self._home(id)
        if not await self._store.run_durably(home, "flow_close", id):
            return False
        await self._deliver(home)
        return True

    async def cancel(self, id: str, reason: str = "") -> bool:
        """Cancel all members."""
        return await self._cancel(id, reason)

    async def give_up(self, id: str, reason: str = "") -> bool:
        """Cancel a flow that is not closed yet."""
        return await self._cancel(id, reason, "open")

    async def _cancel(self, id: str, reason: str, *condition: str) -> bool:
        home = self._home(id)
        if not await self._store.run_durably(home, "flow_cancel", id, plain(reason), *condition):
            return False
        await self._deliver(home)
        return True

    async def reopen(self, id: str) -> bool:
        """Take back that a flow was cancelled."""
        home = self._home(id)
        if not await self._store.run_durably(home, "flow_reopen", id):
            return False
        await self._deliver(home)
        return True

    async def _deliver(self, shard: int) -> None:
        while await self._joins.relay(shard, JOINS_PER_CALL):
            pass

    async def list(self, limit: int = 50, cursor: str | None = None) -> FlowPage:
        """A page of flows, the newest first."""
        found: list[tuple[int, str]] = []
        below = _place(cursor) if cursor else None
        for shard in self._store.shards:
            found += await self._places(shard, below, limit + 1)
        found.sort(reverse=True)
        page = found[:limit]
        records = await asyncio.gather(*(self.get(id) for _, id in page))
        following = f"{page[-1][0]}.{page[-1][1]}" if len(found) > limit else None
        return FlowPage([record for record in records if record is not None], following)

    async def _places(self, shard: int, below: tuple[int, str] | None, wanted: int) -> Sequence[tuple[int, str]]:
        """The newest flows of a shard, before a place; those that are forgotten leave the list here."""
        name = f"{self._store.keys[shard].prefix}flows"
        places: list[tuple[int, str]] = []
        start = 0
        highest = "+inf" if below is None else below[0]
        while len(places) < wanted:
            step = ("LIMIT", start, wanted + 1)
            rows = await self._store.command(shard, "ZREVRANGEBYSCORE", name, highest, "-inf", "WITHSCORES", *step)
            found = [(int(float(score)), id.decode()) for id, score in zip(rows[::2], rows[1::2], strict=True)]
            alive = await asyncio.gather(
                *(self._store.command(shard, "EXISTS", self._name(shard, id)) for _, id in found)
            )
            gone = [id for (_, id), is_alive in zip(found, alive, strict=True) if not is_alive]
            if gone:
                await self._store.command(shard, "ZREM", name, *gone)
            start += len(found) - len(gone)
            places += [
                place
                for place, is_alive in zip(found, alive, strict=True)
                if is_alive and (below is None or place < below)
            ]
            if len(found) <= wanted:
                break
        return places[:wanted]

    async def members(
        self, id: str, limit: int = 1000, cursor: str | None = None, *, failed: bool = False
    ) -> MemberPage:
        """A page of members, shard by shard."""
        shard, start = _place_of_member(cursor)
        ids: list[str] = []
        while shard < len(self._store.shards):
            last = start + limit - len(ids)  # one more than fits
            name = self._store.keys[shard].of("failed" if failed else "members", id)
            found = await self._store.command(shard, "ZRANGE" if failed else "LRANGE", name, start, last)
            ids += [each.decode() for each in found]
            if len(ids) > limit:
                return MemberPage(ids[:limit], f"{shard}.{last}")
            shard, start = shard + 1, 0
        return MemberPage(ids)

    async def forget(self, id: str) -> bool:
        """Forget a flow."""
        record = await self.get(id)
        if record is None or record.tally.pending > 0:
            return False
        for shard in self._store.shards:
            await self._store.run(shard, "flow_forget", id)
        return True

    def _home(self, id: str) -> int:
        return self._store.shard_of_id(id)

    def _name(self, shard: int, id: str) -> str:
        return self._store.keys[shard].of("flow", id)


def _record(id: str, fields: dict[bytes, bytes], rows: Sequence[Sequence[Any]]) -> FlowRecord:
    own = [fields.get(counter.encode()) for counter in COUNTERS]
    total, completed, failed, cancelled = (sum(int(row[n] or 0) for row in [own, *rows]) for n in range(4))
    reason = fields.get(b"cr")
    return FlowRecord(
        id=id,
        kind=FlowKind(fields[b"kd"].decode()),
        name=fields[b"nm"].decode(),
        spec=fields[b"sp"],
        tally=Tally(total, completed, failed, cancelled),
        created_at=_instant(fields[b"at"]),
        is_held=b"hl" in fields,
        closed_at=_maybe(fields.get(b"cl")),
        ended_at=_maybe(fields.get(b"en")),
        cancel_reason=None if reason is None else reason.decode(),
        is_partial=b"pt" in fields,
        fired=frozenset(_CALLBACKS[letter] for letter in fields.get(b"fd", b"").decode()),
    )


def _instant(ms: bytes) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)


def _maybe(ms: bytes | None) -> datetime | None:
    return None if ms is None else _instant(ms)


def _place(cursor: str) -> tuple[int, str]:
    try:
        ms, id = cursor.split(".")
        return int(ms), id
    except ValueError:
        raise _no_cursor(cursor) from None


def _place_of_member(cursor: str | None) -> tuple[int, int]:
    try:
        shard, start = (cursor or "0.0").split(".")
        return int(shard), int(start)
    except ValueError:
        raise _no_cursor(cursor) from None


def _no_cursor(cursor: str | None) -> InvalidOption:
    return InvalidOption(f"{cursor!r} is not a cursor of an earlier page")
