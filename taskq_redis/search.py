"""Finding ended tasks on Redis: by the indexes of each shard, which catch up behind the ends, or off their streams."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from typing import NamedTuple

from taskq.domain.record import TaskRecord
from taskq.ports import Counted, EndedQuery, Found, Key, Place, Values
from taskq_redis.record import LETTERS
from taskq_redis.scripts import TASKS_PER_CALL
from taskq_redis.store import Store

_KINDS = {Key.NAME: "n", Key.TENANT: "t", Key.TAG: "g", Key.ERROR: "e", Key.FINGERPRINT: "f"}
_QUEUES_PER_CALL = 50
_ENTRIES = 20
"""Entries that one look at a stream of ended tasks reads beyond those that are wanted."""
_SLACK = 1000
"""Milliseconds by which the id of an entry may be ahead of its instant without a word (_lib.lua)."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


class _Standing(NamedTuple):
    """Where a task stands: a greater one has ended later."""

    ms: int
    id: str

    @property
    def place(self) -> Place:
        return Place(_EPOCH + self.ms * _MILLISECOND, self.id)


class RedisSearch:
    """See taskq.ports.Search."""

    def __init__(self, store: Store, read: Callable[[Sequence[str]], Awaitable[Sequence[TaskRecord | None]]]) -> None:
        self._store = store
        self._read = read

    async def ended(self, query: EndedQuery) -> Found:
        """A page of ended tasks."""
        since = until = None
        if query.key is None:
            sources = await self._streams(query)
        else:
            until = await self._catch_up(TASKS_PER_CALL)
            since, sources = await self._indexed(query)
        standings = list(islice(merge(*sources, reverse=True), query.limit + 1))
        page = standings[: query.limit]
        rows = zip(page, await self._read([one.id for one in page]), strict=True)
        # One that was redriven meanwhile, or is forgotten, stands at its old place for a moment.
        records = [
            record
            for one, record in rows
            if record is not None and record.state in query.states and record.completed_at == one.place.ended_at
        ]
        next_place = page[-1].place if len(standings) > query.limit else None
        return Found(records, next_place, _instant(since), _instant(until))

    async def count(self, query: EndedQuery, most: int = 10_000) -> Counted:
        """How many a query means."""
        is_behind = await self._catch_up(TASKS_PER_CALL) is not None
        said = [*_bounds(query), *(LETTERS[state] for state in query.states)]
        under = "" if query.key is None else _under(query)
        shards = self._store.shards
        replies = await asyncio.gather(*(self._store.run(shard, "count_ended", most, under, *said) for shard in shards))
        number = sum(int(number) for number, _ in replies)
        is_cut = any(cut for _, cut in replies)
        return Counted(min(number, most), number < most and not (is_behind or is_cut))

    async def values(self, key: Key, prefix: str = "", limit: int = 20) -> Values:
        """Values that ended tasks have."""
        is_behind = await self._catch_up(TASKS_PER_CALL) is not None
        low, high = f"[{prefix}" if prefix else "-", b"[" + prefix.encode() + b"\xff" if prefix else "+"
        rows = await asyncio.gather(
            *(
                self._store.command(
                    keys.shard, "ZRANGEBYLEX", keys.of("values", _KINDS[key]), low, high, "LIMIT", 0, limit
                )
                for keys in self._store.keys
            )
        )
        return Values(sorted({value.decode() for row in rows for value in row})[:limit], not is_behind)

    async def catch_up(self, limit: int = 1000) -> int:
        """Put into the indexes what has ended since."""
        done: int = 0
        for shard in self._store.shards:
            queues = await self._store.queues(shard)
            for at in range(0, len(queues), _QUEUES_PER_CALL):
                step = -1
                while done < limit and step != 0:
                    wanted = min(TASKS_PER_CALL, limit - done)
                    step, _ = await self._store.run(shard, "catch_up", wanted, *queues[at : at + _QUEUES_PER_CALL])
                    done += int(step)
        return done

    async def _catch_up(self, limit: int) -> int | None:
        """A step ahead of a look; returns since when (ms) one may have ended that is not in the indexes."""
        waiting = await asyncio.gather(*(self._step(shard, limit) for shard in self._store.shards))
        return min((int(ms) for some in waiting for ms in some if ms), default=None)

    async def _step(self, shard: int, limit: int) -> list[bytes]:
        queues = await self._store.queues(shard)
        parts = [queues[at : at + _QUEUES_PER_CALL] for at in range(0, len(queues), _QUEUES_PER_CALL)]
        return [(await self._store.run(shard, "catch_up", limit, *part))[1] for part in parts]

    # ------------------------------------------------------------ by a key

    async def _indexed(self, query: EndedQuery) -> tuple[int | None, list[list[_Standing]]]:
        first, last = _bounds(query)
        place = query.before
        before = ("", "") if place is None else (_ms(place.ended_at), place.id)
        letters = [LETTERS[state] for state in query.states]
        until = last.removeprefix("(")
        args = (_under(query), first, until, *before, query.limit + 1, *letters)
        replies = await asyncio.gather(*(self._store.run(shard, "found", *args) for shard in self._store.shards))
        standings = [
            _Standing(int(ms), id.decode())
            for reply in replies
            for id, ms in zip(reply[1::2], reply[2::2], strict=True)
        ]
        since = max((int(reply[0]) for reply in replies if reply[0]), default=None)
        return since, [sorted(standings, reverse=True)]

    # ------------------------------------------------------------ by queue

    async def _streams(self, query: EndedQuery) -> list[list[_Standing]]:
        letters = {LETTERS[state] for state in query.states}
        found = await asyncio.gather(*(self._lanes(queue, letters) for queue in dict.fromkeys(query.queues)))
        streams = [lane for lanes in found for lane in lanes]
        ahead = {shard: await self._ahead(shard) for shard in {shard for shard, _ in streams}}
        return list(await asyncio.gather(*(self._stream(shard, name, query, ahead[shard]) for shard, name in streams)))

    async def _ahead(self, shard: int) -> int:
        """By how many ms at the most the id of an entry is ahead of the instant that it tells of (_lib.lua)."""
        ahead = await self._store.command(shard, "HGET", self._store.keys[shard].meta, "ahead")
        return _SLACK + int(float(ahead or 0))

    async def _lanes(self, queue: str, letters: set[str]) -> list[tuple[int, str]]:
        shard = self._store.shard_of(queue)
        keys = self._store.keys[shard]
        lanes = [lane.decode() for lane in await self._store.command(shard, "HKEYS", keys.of("ends", queue))]
        return [(shard, keys.part("end", queue, lane)) for lane in lanes if lane[0] in letters]

    async def _stream(self, shard: int, name: str, query: EndedQuery, ahead: int) -> list[_Standing]:
        """The newest standings of one stream before a place, a few more than are wanted: all of an instant, or none."""
        found: list[_Standing] = []
        newest, wanted = _newest(query, ahead), query.limit + _ENTRIES
        while True:
            rows = await self._store.command(shard, "XREVRANGE", name, newest, "-", "COUNT", wanted)
            for entry, fields in rows:
                # What comes now has ended then or before, for no id is behind the clock.
                latest = int(entry.partition(b"-")[0])
                if _is_enough(found, query, latest):
                    return found
                ms, ids = int(fields[1]), fields[3].decode().split(",")
                found += [one for one in (_Standing(ms, id) for id in ids) if _takes(query, one)]
                found.sort(reverse=True)
                newest = f"({entry.decode()}"
            if len(rows) < wanted:
                return found


def _is_enough(found: Sequence[_Standing], query: EndedQuery, latest: int) -> bool:
    """Whether what ended at an instant or before, in ms, is not wanted any more."""
    is_too_early = query.since is not None and latest < _ms(query.since)
    return is_too_early or (len(found) > query.limit and latest < found[query.limit].ms)


def _newest(query: EndedQuery, ahead: int) -> str:
    """The stream entry from which on to look: of one millisecond, all of it."""
    ends = [_ms(end) for end in (query.until, query.before and query.before.ended_at) if end is not None]
    return str(max(0, min(ends) + ahead)) if ends else "+"


def _takes(query: EndedQuery, one: _Standing) -> bool:
    return (
        (query.before is None or one < (_ms(query.before.ended_at), query.before.id))
        and (query.since is None or one.ms >= _ms(query.since))
        and (query.until is None or one.ms < _ms(query.until))
    )


def _under(query: EndedQuery) -> str:
    assert query.key is not None
    return f"{_KINDS[query.key]}:{query.value}"


def _bounds(query: EndedQuery) -> tuple[str, str]:
    """The scores of what ended between the instants of a query."""
    first = "-inf" if query.since is None else str(_ms(query.since))
    return first, "+inf" if query.until is None else f"({_ms(query.until)}"


def _ms(instant: datetime) -> int:
    """An instant in milliseconds, rounded up: what ended before it did so in an earlier one."""
    return -((_EPOCH - instant) // _MILLISECOND)


def _instant(ms: int | None) -> datetime | None:
    return None if ms is None else _EPOCH + ms * _MILLISECOND
