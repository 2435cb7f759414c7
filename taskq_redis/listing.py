"""Pages of tasks, the newest entry into the state first; each page reads a bounded part of one index."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from taskq.domain.record import TaskRecord
from taskq.domain.state import FINAL, TaskState
from taskq.errors import InvalidOption
from taskq.ports import Page, TaskQuery
from taskq_redis.keys import Keys
from taskq_redis.record import LETTERS, milliseconds
from taskq_redis.store import Store

_MOST_READ = 1000
"""Places that one page looks at; a page that finds too few of its queue ends early, with a cursor to go on from."""
_MOST_ROOMS = 100
"""Closed gates of one queue whose rooms are looked into, those first that open first."""
_ID_LENGTH = 36
_IDS_PER_ENTRY = 100_000
_FRONT_STEP = 10**13
"""What one priority adds to the scores of the front lane (_lib.lua)."""


class Place(NamedTuple):
    """Where a task stands in the index of its state; a greater place came later."""

    ms: int
    number: int
    member: str
    """What stands there; it begins with the task's id, after which that of an ended one has the instant of its end."""

    @property
    def id(self) -> str:
        """The task's id."""
        return self.member[:_ID_LENGTH]

    def is_of(self, record: TaskRecord) -> bool:
        """Whether a task stands here still: one that was redriven and has ended again stands at its old place too."""
        return record.completed_at is None or _ended_at(record.completed_at) == self.member[_ID_LENGTH:]

    @property
    def cursor(self) -> str:
        """The place as text."""
        return f"{self.ms}.{self.number}.{self.member}"

    @classmethod
    def parse(cls, cursor: str) -> Place:
        """Read a cursor.

        Raises:
            InvalidOption: it is none.
        """
        try:
            ms, number, member = cursor.split(".", 2)
            return cls(int(ms), int(number), member)
        except ValueError:
            raise InvalidOption(f"{cursor!r} is not a cursor of an earlier page") from None


class Listing:
    """See taskq.ports.Inspector.list."""

    def __init__(self, store: Store, read: Callable[[Sequence[str]], Awaitable[Sequence[TaskRecord | None]]]) -> None:
        self._store = store
        self._read = read

    async def page(self, query: TaskQuery) -> Page:
        """A page of tasks of one queue and one state."""
        shard = self._store.shard_of(query.queue)
        below = Place.parse(query.cursor) if query.cursor else None
        records: list[TaskRecord] = []
        cursors: list[str] = []
        looked_at = 0
        while len(records) < query.limit and looked_at < _MOST_READ:
            wanted = query.limit - len(records)
            places = await self._places(shard, query, below, wanted)
            for place, record in await self._found(shard, query, places):
                records.append(record)
                cursors.append(place.cursor)
            if len(places) < wanted:
                return Page(records, None, cursors)
            below = places[-1]
            looked_at += len(places)
        rest = await self._places(shard, query, below, 1)
        return Page(records, below.cursor if rest and below is not None else None, cursors)

    async def _found(self, shard: int, query: TaskQuery, places: Sequence[Place]) -> list[tuple[Place, TaskRecord]]:
        """The records of those that are what their places say."""
        if query.state is TaskState.RUNNING:
            # The leases of a shard are one index: most of what stands there may be of other queues.
            places = await self._of(shard, query, places)
        rows = zip(places, await self._read([place.id for place in places]), strict=True)
        known = [(place, r) for place, r in rows if r is not None and r.state is query.state and r.queue == query.queue]
        return [(place, record) for place, record in known if place.is_of(record)]

    async def _of(self, shard: int, query: TaskQuery, places: Sequence[Place]) -> list[Place]:
        """Those whose tasks are in the queue and the state; two fields are read of each, not the record."""
        keys, wanted = self._store.keys[shard], [query.queue.encode(), LETTERS[query.state].encode()]
        rows = await asyncio.gather(*(self._store.command(shard, "HMGET", keys.task(p.id), "q", "s") for p in places))
        return [place for place, row in zip(places, rows, strict=True) if row == wanted]

    async def _places(self, shard: int, query: TaskQuery, below: Place | None, wanted: int) -> list[Place]:
        """The newest places before `below`, at most `wanted`."""
        index = _Index(self._store, self._store.keys[shard], shard, below, wanted)
        sources = await self._sources(index, query.queue, query.state)
        newest_first = merge(*sources, reverse=True)
        return list(islice((place for place in newest_first if below is None or place < below), wanted))

    async def _sources(self, index: _Index, queue: str, state: TaskState) -> list[list[Place]]:
        keys = index.keys
        if state is TaskState.PENDING:
            lanes = await index.command("ZRANGE", keys.of("lanes", queue), 0, -1)
            streams = [index.lane(keys.part("lane", queue, lane.decode())) for lane in lanes]
            gates = await index.command("ZRANGE", keys.of("gates", queue), 0, _MOST_ROOMS - 1)
            apart = [keys.of("front", queue), keys.of("cleared", queue)]
            apart += [keys.part("room", queue, gate.decode()) for gate in gates]
            fronts = (index.front(name, rank) for name in apart for rank in range(4))
            return list(await asyncio.gather(*streams, *fronts))
        if state in FINAL:
            lanes = await index.command("HKEYS", keys.of("ends", queue))
            wanted = [lane.decode() for lane in lanes if lane.decode().startswith(LETTERS[state])]
            return list(await asyncio.gather(*(index.ended(keys.part("end", queue, lane)) for lane in wanted)))
        names = {
            TaskState.SCHEDULED: keys.of("due", queue),
            TaskState.RETRYING: keys.of("retry", queue),
            TaskState.BLOCKED: keys.of("blocked", queue),
            TaskState.RUNNING: keys.leases,
        }
        return [await index.sorted_set(names[state])]


class _Index(NamedTuple):
    """Reads the newest places of one key, down from `below`: a few more than are wanted, never a whole index."""

    store: Store
    keys: Keys
    shard: int
    below: Place | None
    wanted: int

    async def command(self, *command: str | int) -> Any:
        return await self.store.command(self.shard, *command)

    async def lane(self, stream: str) -> list[Place]:
        """A ready lane: an entry for each task."""
        newest = f"{self.below.ms}-{self.below.number}" if self.below else "+"
        rows = await self.command("XREVRANGE", stream, newest, "-", "COUNT", self.wanted + 1)
        return [Place(*_moment(entry), fields[1].decode()) for entry, fields in rows]

    async def ended(self, stream: str) -> list[Place]:
        """A stream of finished tasks: an entry for each call, with a list of ids."""
        newest = f"{self.below.ms}-{self.below.number // _IDS_PER_ENTRY}" if self.below else "+"
        rows = await self.command("XREVRANGE", stream, newest, "-", "COUNT", self.wanted + 1)
        places = []
        for entry, fields in rows:
            ms, number = _moment(entry)
            ended_at, ids = fields[1].decode(), fields[3].decode().split(",")
            places += [Place(ms, number * _IDS_PER_ENTRY + n, ids[n] + ended_at) for n in range(len(ids) - 1, -1, -1)]
        return places

    async def sorted_set(self, name: str) -> list[Place]:
        """A sorted set whose members begin with ids and whose scores are instants."""
        start = 0
        if self.below is not None:
            rank = await self.command("ZREVRANK", name, self.below.member)
            above = f"({self.below.ms}"
            start = rank + 1 if rank is not None else await self.command("ZCOUNT", name, above, "+inf")
        rows = await self.command("ZREVRANGE", name, start, start + self.wanted, "WITHSCORES")
        return [
            Place(int(float(score)), 0, member.decode()) for member, score in zip(rows[::2], rows[1::2], strict=True)
        ]

    async def front(self, name: str, rank: int) -> list[Place]:
        """One priority of a front lane: since when its tasks were first ready."""
        low, high = rank * _FRONT_STEP, (rank + 1) * _FRONT_STEP - 1
        ties = 0
        if self.below is not None:
            high = low + self.below.ms
            ties = await self.command("ZCOUNT", name, high, high)
        limit = ("LIMIT", 0, self.wanted + ties + 1)
        rows = await self.command("ZREVRANGEBYSCORE", name, high, low, "WITHSCORES", *limit)
        members = zip(rows[::2], rows[1::2], strict=True)
        return [Place(int(float(score)) - low, int(text[:6]), text[6:].decode()) for text, score in members]


def _ended_at(instant: datetime) -> str:
    return str(milliseconds(instant.timestamp()))


def _moment(entry: bytes) -> tuple[int, int]:
    ms, _, number = entry.partition(b"-")
    return int(ms), int(number)
