"""One walk through a Redis store: its records, and the places where they are found, a page at a time.

Each page is judged, and mended, by one script, so that nothing which moves meanwhile looks wrong. What is counted over
the whole walk is compared only for queues in which nothing has ended meanwhile (recount.lua).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from taskq.ports.diagnosis import Damage
from taskq_redis.connection import Argument
from taskq_redis.store import Store

RECORDS_PER_CALL = 100
KEYS_PER_SCAN = 1000
MEMBERS_PER_CALL = 100
QUEUES_PER_CALL = 5
FLOWS, KEYS = 5, 100
"""That are looked at in one call."""
ENDED = b"cxdke"
"""The letters of the final states, in the order of recount.lua."""
_NAMED = ("task", "flow", "unique", "holders", "found")
"""The kinds of keys of which each is looked at."""
_AWAY = {Damage.UNPLACED, Damage.MISPLACED, Damage.UNLISTED}
_UNRUN = {Damage.UNLEASED, Damage.OVERLEASED}


class Examination:
    """One walk.

    Arguments:
        store: where.
        mends: whether what is wrong is mended.
        most: the most records to look at; None: all.
    """

    def __init__(self, store: Store, *, mends: bool, most: int | None) -> None:
        self._store = store
        self._mends = "1" if mends else ""
        self._most = most
        self._seen: set[str] = set()
        self._ended: Counter[tuple[int, bytes, bytes]] = Counter()
        """Records by shard, queue and the letter of their state."""
        self.found: dict[Damage, set[str]] = defaultdict(set)
        self.in_places = 0
        """How many entries of places were looked at."""
        self.is_whole = True
        """Whether those were all."""
        self.about = 0
        self.busy: list[str] = []
        """Queues of which something could not be compared."""

    @property
    def looked_at(self) -> int:
        """How many records were looked at."""
        return len(self._seen)

    async def run(self) -> None:
        """Walk through everything: places first, for what is cleared there leaves records without one."""
        queues = {shard: await self._store.queues(shard) for shard in self._store.shards}
        for shard in self._store.shards:
            await self._walk_places(shard, queues[shard])
        marks = {shard: await self._marks(shard, queues[shard]) for shard in self._store.shards}
        nodes = await self._nodes()
        # A node that takes over in the middle of a scan goes on with it as it likes.
        is_whole = await self._walk_keys() and nodes == await self._nodes()
        for shard in self._store.shards:
            await self._recount(shard, marks[shard] if is_whole else {}, await self._store.queues(shard))

    # ------------------------------------------------------------ places

    async def _walk_places(self, shard: int, queues: Sequence[str]) -> None:
        """The few that claims and reapers stumble over come before the many that only wait."""
        for kind in ("leases", "cancels", "unsure"):
            await self._walk_place(shard, kind)
        for queue in queues:
            for kind in ("gates", "front", "cleared"):
                await self._walk_place(shard, kind, queue)
            await self._walk_parts(shard, queue, "room", "gates")
        for queue in queues:
            for kind in ("due", "retry", "blocked"):
                await self._walk_place(shard, kind, queue)
            await self._walk_parts(shard, queue, "lane", "lanes")
        await self._walk_place(shard, "expiring")

    async def _walk_parts(self, shard: int, queue: str, kind: str, listed: str) -> None:
        for part in await self._store.command(shard, "ZRANGE", self._store.keys[shard].of(listed, queue), 0, -1):
            await self._walk_place(shard, kind, queue, part)

    async def _walk_place(self, shard: int, kind: str, name: Argument = "", part: Argument = "") -> None:
        cursor: bytes = b"0"
        while cursor and not self._is_enough(self.in_places):
            cursor, found, number = await self._store.run(
                shard, "examine_place", self._mends, kind, name, part, cursor, MEMBERS_PER_CALL
            )
            self.in_places += int(number)
            self._note(found)
        self.is_whole = self.is_whole and not cursor

    # ------------------------------------------------------------ records, and what is found by the names of keys

    async def _walk_keys(self) -> bool:
        """Look at all keys, as far as is asked for; returns whether it was all."""
        async for keys in self._scan():
            for shard, names in self._by_kind(keys):
                await self._judge_records(shard, [id.decode() for id in names["task"]])
                for kind, script, number in (("flow", "examine_flows", FLOWS), ("unique", "examine_keys", KEYS)):
                    for at in range(0, len(names[kind]), number):
                        some = names[kind][at : at + number]
                        self._note(await self._store.run(shard, script, self._mends, *some))
                for kind in ("holders", "found"):
                    for name in names[kind]:
                        await self._walk_place(shard, kind, name)
            if self._is_enough(self.looked_at):
                return False
        return True

    async def _nodes(self) -> list[bytes]:
        """Which process serves each shard."""
        nodes = []
        for keys in self._store.keys:
            await self._store.command(keys.shard, "EXISTS", keys.meta)  # one that has moved is found again by this
            said: bytes = await self._store.command(keys.shard, "INFO", "server")
            nodes.append(next(line for line in said.splitlines() if line.startswith(b"run_id:")))
        return nodes

    def _is_enough(self, number: int) -> bool:
        return self._most is not None and number >= self._most

    async def _scan(self) -> AsyncIterator[Sequence[bytes]]:
        """The keys of the namespace, from each node that serves one of its shards."""
        shards: dict[object, int] = {}
        for keys in self._store.keys:
            node = await self._store.transport.route.node(keys.slot)
            shards.setdefault(node.address, keys.shard)
        pattern = f"taskq:{{{_literal(self._store.options.namespace)}:*"
        for shard in shards.values():
            cursor = b"0"
            while True:
                cursor, found = await self._store.command(
                    shard, "SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_SCAN
                )
                yield found
                if cursor == b"0":
                    break

    def _by_kind(self, keys: Sequence[bytes]) -> Iterator[tuple[int, Mapping[str, Sequence[bytes]]]]:
        """By shard, what follows the kind in the names of those keys that are looked at."""
        for shard in self._store.shards:
            prefix = self._store.keys[shard].prefix.encode()
            names: dict[str, list[bytes]] = {kind: [] for kind in _NAMED}
            for key in keys:
                if key.startswith(prefix):
                    kind, _, name = key[len(prefix) :].partition(b":")
                    names.get(kind.decode(), []).append(name)
            yield shard, names

    async def _judge_records(self, shard: int, ids: Sequence[str]) -> None:
        new = [id for id in dict.fromkeys(ids) if id not in self._seen]
        for at in range(0, len(new), RECORDS_PER_CALL):
            page = new[at : at + RECORDS_PER_CALL]
            facts, found = await self._store.run(shard, "examine", self._mends, *page)
            for id, fact in zip(page, facts, strict=True):
                if fact:
                    self._seen.add(id)
                    self._ended[shard, fact[1:], fact[:1]] += fact[:1] in ENDED
            self._note(found)

    # ------------------------------------------------------------ counts

    async def _marks(self, shard: int, queues: Sequence[str]) -> dict[str, bytes]:
        """What tells whether anything has ended in a queue, or was forgotten."""
        marks: dict[str, bytes] = {}
        for at in range(0, len(queues), QUEUES_PER_CALL):
            some = queues[at : at + QUEUES_PER_CALL]
            asked = [part for queue in some for part in (queue, "", 0, 0, 0, 0, 0)]
            found, _, _ = await self._store.run(shard, "recount", "", "", "", *asked)
            marks |= zip(some, found, strict=True)
        return marks

    async def _recount(self, shard: int, marks: Mapping[str, bytes], queues: Sequence[str]) -> None:
        """Compare what is counted. Where tasks are not in their places, these say nothing until that is mended."""
        waits = "1" if self._mends or not _AWAY & set(self.found) else ""
        runs = "1" if self._mends or not _UNRUN & set(self.found) else ""
        for at in range(0, len(queues), QUEUES_PER_CALL):
            asked: list[Argument] = []
            for queue in queues[at : at + QUEUES_PER_CALL]:
                numbers = [self._ended[shard, queue.encode(), bytes([letter])] for letter in ENDED]
                asked += (queue, marks.get(queue, b""), *numbers)
            _, found, busy = await self._store.run(shard, "recount", self._mends, waits, runs, *asked)
            self._note(found)
            self.busy += [queue.decode() for queue in busy]
        self.about += sum(int(number) for _, row in await self._store.of_queues(shard, "counts") for number in row)

    # ------------------------------------------------------------

    def _note(self, found: Sequence[Any]) -> None:
        for kind, id in zip(found[::2], found[1::2], strict=True):
            self.found[Damage(kind.decode())].add(id.decode(errors="replace"))


def _literal(text: str) -> str:
    r"""A text as a pattern that means nothing else.

    >>> _literal("a*b")
    'a\\*b'
    """
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)
