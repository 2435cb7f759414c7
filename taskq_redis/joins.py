"""Telling tasks of the ends of those for which they wait, across shards, and looking after flows.

What a script cannot do in one step it notes in the same step: `out` has parents whose children are yet to be told,
`looks` flows of which something may be due, `unsure` children whose parents are yet to be told of them. Whoever has
made such a note goes on at once; maintenance does so where that process died. Each step may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import NamedTuple

from taskq.domain.flow import ABANDONED, NEVER_CLOSED
from taskq.domain.message import Message
from taskq.domain.message_text import unpack_message
from taskq.errors import TaskqError
from taskq.ports import Enqueued, EnqueueStatus
from taskq_redis.connection import Argument
from taskq_redis.record import milliseconds, pack_parents
from taskq_redis.scripts import JOINS_PER_CALL
from taskq_redis.store import Store

Send = Callable[[Sequence[Message]], Awaitable[list[Enqueued]]]
Cancel = Callable[[Sequence[str], str], Awaitable[object]]

_BIND_WITHIN = 30_000
"""Milliseconds after which somebody else tells the parents of a child of it: who stored it is gone."""
_EDGES = re.compile("([a-zA-Z])([^,]+)")
COUNTERS = ("n", "c", "x", "k")


class Edge(NamedTuple):
    """One edge, as attach.lua takes it."""

    child: str
    parent: str
    policy: str


class Seen(NamedTuple):
    """What a look at a flow has come to."""

    is_done: bool = False
    """Whether nothing is left to be done."""
    is_more: bool = False
    """Whether something is left that can be done at once."""
    kept_for: str = ""
    """For how long (ms) it is kept, where nothing of it is pending."""


class Joins:
    """Edges and flows of a Redis store.

    Arguments:
        store: its shards.
        send: enqueues callbacks.
        cancel: cancels members of flows.
    """

    def __init__(self, store: Store, send: Send, cancel: Cancel) -> None:
        self._store = store
        self._send = send
        self._cancel = cancel
        self._relaying: dict[int, asyncio.Task[None]] = {}
        self._noted: set[int] = set()
        """Shards in which something was left since the last look began."""

    async def close(self) -> None:
        """Wait for what is under way; over a closed store it ends at once."""
        for relaying in list(self._relaying.values()):
            with contextlib.suppress(TaskqError, asyncio.CancelledError):
                await relaying

    # ------------------------------------------------------------ edges

    async def refusals(self, messages: Sequence[Message]) -> dict[int, Enqueued]:
        """Messages whose parent, or flow, in another shard is not there or takes nobody, by their positions."""
        coming = {message.id for message in messages}
        refused: dict[int, Enqueued] = {}
        for position, message in enumerate(messages):
            here = self._store.shard_of_id(message.id)
            far = [edge.parent for edge in message.parents if self._store.shard_of_id(edge.parent) != here]
            for parent in far:
                if parent not in coming and not await self._is_known(parent, parent == message.flow):
                    refused[position] = Enqueued(parent, EnqueueStatus.NO_PARENT)
                    break
            if message.flow and self._store.shard_of_id(message.flow) != here and not await self._takes(message.flow):
                refused.setdefault(position, Enqueued(message.id, EnqueueStatus.FLOW_OVER))
        return refused

    async def _is_known(self, id: str, is_flow: bool) -> bool:
        shard = self._store.shard_of_id(id)
        keys = self._store.keys[shard]
        return bool(await self._store.command(shard, "EXISTS", keys.of("flow", id) if is_flow else keys.task(id)))

    async def _takes(self, flow: str) -> bool:
        shard = self._store.shard_of_id(flow)
        name = self._store.keys[shard].of("flow", flow)
        at, cancelled, ended = await self._store.command(shard, "HMGET", name, "at", "cr", "en")
        if at is not None and cancelled is None and ended is None:
            await self._store.command(shard, "PERSIST", name)
            return True
        return False

    async def bind(
        self, children: Iterable[tuple[str, str]], *, is_again: bool = False, anew: AbstractSet[str] = frozenset()
    ) -> None:
        """Tell the parents of children of them.

        Arguments:
            children: id and packed parents of each.
            is_again: they were redriven: a parent that has ended holds up nobody, however it has.
            anew: parents that were redriven with them: one of these has ended since.
        """
        known = list(children)
        edges: dict[int, list[Edge]] = {}
        for child, parents in known:
            for policy, parent in _EDGES.findall(parents):
                edge = Edge(child, parent, policy.upper() if is_again and parent not in anew else policy)
                edges.setdefault(self._store.shard_of_id(parent), []).append(edge)
        for shard, own in edges.items():
            rest = iter(own)
            while some := list(islice(rest, JOINS_PER_CALL)):
                is_last = len(edges) == 1 and some[-1] is own[-1]
                await self._attach(shard, some, [child for child, _ in known] if is_last else [])
        if len(edges) > 1:
            for shard, positions in self._store.by_shard(child for child, _ in known).items():
                sure = [known[position][0] for position in positions]
                await self._store.command(shard, "ZREM", f"{self._store.keys[shard].prefix}unsure", *sure)

    async def _attach(self, shard: int, edges: Sequence[Edge], sure: Sequence[str]) -> None:
        pairs = [part for edge in edges for part in (edge.parent, f"{edge.policy}{edge.child}")]
        is_here = {self._store.shard_of_id(child) for child in sure} <= {shard}
        known = sure if is_here else ()
        *states, is_more = await self._store.run(shard, "attach", len(known), *known, *pairs)
        if is_more:
            self.go_on(shard)
        ended = [(edge, state.decode()) for edge, state in zip(edges, states, strict=True) if state]
        await self._resolve([(edge.child, edge.parent, state, edge.policy) for edge, state in ended])
        if not is_here:
            for child_shard, positions in self._store.by_shard(sure).items():
                some = [sure[position] for position in positions]
                await self._store.command(child_shard, "ZREM", f"{self._store.keys[child_shard].prefix}unsure", *some)

    async def _resolve(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Tell children, of any shard, that a parent has ended."""
        for shard, positions in self._store.by_shard(row[0] for row in rows).items():
            args = [part for position in positions for part in rows[position]]
            if await self._store.run(shard, "resolve", *args):
                self.go_on(shard)

    # ------------------------------------------------------------ going on

    def go_on(self, shard: int) -> None:
        """Deliver what is left in a shard, behind the back of whoever has noted it."""
        self._noted.add(shard)
        if shard not in self._relaying:
            self._relaying[shard] = asyncio.create_task(self._relay_all(shard))

    async def _relay_all(self, shard: int) -> None:
        try:
            # What is noted while the last look is on its way back it has not seen.
            while shard in self._noted:
                self._noted.discard(shard)
                while await self.relay(shard, JOINS_PER_CALL):
                    pass
        except TaskqError:
            pass  # it is noted in the store, and maintenance tries again
        finally:
            self._relaying.pop(shard, None)

    async def relay(self, shard: int, limit: int) -> int:
        """One step of what is left in a shard; returns how many things were delivered."""
        store = self._store
        terms = (limit, _BIND_WITHIN, milliseconds(NEVER_CLOSED))
        told, far, flows, unsure, abandoned = await store.run(shard, "relay", *terms)
        rows = [tuple(part.decode() for part in far[at : at + 4]) for at in range(0, len(far), 4)]
        await self._resolve([(child, parent, state, policy) for child, parent, state, policy in rows])
        for child, parent, _, policy in rows:
            await store.command(shard, "SREM", store.keys[shard].of("children", parent), f"{policy}{child}")
        done = sum([await self._look(shard, flows[at].decode(), flows[at + 1]) for at in range(0, len(flows), 2)])
        for at in range(0, len(unsure), 3):
            child, parents, was_redriven = (part.decode() for part in unsure[at : at + 3])
            if parents:
                await self.bind([(child, parents)], is_again=bool(was_redriven))
            else:
                await store.command(shard, "ZREM", f"{store.keys[shard].prefix}unsure", child)
        for flow in abandoned:
            await store.run(shard, "flow_cancel", flow, ABANDONED, "open")
        return int(told) + len(rows) + done + len(unsure) // 3 + len(abandoned)

    # ------------------------------------------------------------ flows

    async def _look(self, shard: int, flow: str, score: bytes) -> bool:
        """Look at a flow that was noted in a shard; whether that was of use."""
        seen = await self.look(flow)
        if seen.is_done:
            for each in self._store.shards if seen.kept_for else [shard]:
                noted: Argument = score if each == shard else ""
                await self._store.run(each, "flow_seen", flow, noted, seen.kept_for)
        return seen.is_done or seen.is_more

    async def look(self, flow: str) -> Seen:
        """See what is due of a flow, and do some of it."""
        home = self._store.shard_of_id(flow)
        others = await self._counts_beside(flow, home)
        reply = await self._store.run(home, "flow_look", flow, *others)
        if len(self._store.shards) > 1 and others != await self._counts_beside(flow, home):
            return Seen(is_more=True)  # something has happened meanwhile: the numbers may never have been true together
        if not reply:
            return Seen(is_done=True)
        is_idle, retention, is_to_cancel, *due = reply
        if is_to_cancel and not await self._cancel_members(flow, home):
            return Seen(is_more=True)
        is_done = True
        for letter, text in zip(due[::2], due[1::2], strict=True):
            [answer] = await self._send([unpack_message(text)])
            if answer.status in (EnqueueStatus.FULL, EnqueueStatus.OVER_QUOTA):
                is_done = False
            else:
                await self._store.run(home, "flow_fired", flow, letter)
        return Seen(is_done=is_done, kept_for=retention.decode() if is_idle else "")

    async def _counts_beside(self, flow: str, home: int) -> list[int]:
        """The numbers of a flow in the shards where it is not at home, together."""
        rows = await asyncio.gather(
            *(
                self._store.command(shard, "HMGET", self._store.keys[shard].of("flow", flow), *COUNTERS)
                for shard in self._store.shards
                if shard != home
            )
        )
        return [sum(int(row[place] or 0) for row in rows) for place in range(len(COUNTERS))]

    async def _cancel_members(self, flow: str, home: int) -> bool:
        """Cancel some more members of a flow; whether none is left."""
        store, name = self._store, self._store.keys[home].of("flow", flow)
        reason = (await store.command(home, "HGET", name, "cr")).decode()
        for shard in store.shards:
            place = int(await store.command(home, "HGET", name, f"cx{shard}") or 0)
            members = store.keys[shard].of("members", flow)
            ids = await store.command(shard, "LRANGE", members, place, place + JOINS_PER_CALL - 1)
            if ids:
                await self._cancel([id.decode() for id in ids], reason)
                await store.command(home, "HSET", name, f"cx{shard}", place + len(ids))
                return False
        await store.command(home, "HSET", name, "cd", 1)
        return True


def parents_of(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """Those of some messages that wait for others, with their packed parents."""
    return [(message.id, pack_parents(message.parents)) for message in messages if message.parents]
