"""Waiting for wake-up tokens, on connections of its own that a caller may drop at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from hiredis import ReplyError

from taskq_redis.connection import Connection, pack
from taskq_redis.errors import ConnectionLost, Verdict, judge, map_error
from taskq_redis.keys import queue_of_wake
from taskq_redis.store import Store
from taskq_redis.transport import Backoff

_SLACK = 5.0
"""Seconds that a server may take to say that its own timeout is over."""
POP = 20.0
"""Seconds that a pop is held for at the least: it outlives the wait that began it, for the next one to take over."""
_GRACE = 0.001
"""Seconds that the server's timeout is given before ours is over."""


class Waiting:
    """A blocking connection for each node (in a cluster: for each shard) whose queues are waited for.

    A token is a hint and no task: whatever is lost with a connection, the slow poll of any worker makes up for it.

    The timer that ends a wait is our own, for an idle server looks only ten times a second which timeouts are over. The
    pop goes on beside it, and the next wait takes it over: one pop serves many waits. Who finds work meanwhile ends it,
    for a token that comes to somebody who does not wait is one that another misses.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._idle: dict[int, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._left_over: dict[int, tuple[Sequence[str], asyncio.Task[bool]]] = {}
        """Pops whose wait is over, with their lists."""
        self._hinted: set[str] = set()
        """Queues of which a token was taken, and that nobody has claimed from since: their hint still stands."""
        self._backoff = Backoff()

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Wait for a token of one of these queues, at most `timeout` seconds.

        A lost connection counts as a hint, after a pause: there may be work, and `fetch` finds out.
        """
        if not self._hinted.isdisjoint(queues):
            return True
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout + _GRACE
        pops: dict[int, asyncio.Task[bool]] = {}
        try:
            while timeout > 0 and (left := end - loop.time()) > 0:
                for home, lists in self._lists(queues).items():
                    if home not in pops or pops[home].done():
                        pops[home] = self._begin(home, lists, max(POP, left - _GRACE))
                done, _ = await asyncio.wait(pops.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if any(pop.result() for pop in done):
                    return True
            for home, lists in self._lists(queues).items():
                if home in pops and home not in self._left_over:
                    self._left_over[home] = lists, pops.pop(home)
            return False
        finally:
            await _end(pops.values())

    def _begin(self, home: int, lists: list[str], timeout: float) -> asyncio.Task[bool]:
        """A pop of these lists: the one that an earlier wait has left over, or a new one."""
        known, pop = self._left_over.pop(home, (lists, None))
        if pop is not None and known == lists:
            return pop
        if pop is not None:
            pop.cancel()
        pop = asyncio.ensure_future(self._pop(home, lists, timeout))
        pop.add_done_callback(lambda pop: pop.cancelled() or pop.exception())  # it may end after all who waited for it
        return pop

    def looked_into(self, queues: Sequence[str]) -> None:
        """These queues are claimed from: whatever was hinted is found now."""
        self._hinted.difference_update(queues)

    async def has_work(self) -> None:
        """It may be long until the next wait."""
        await self._end_left_over()

    async def close(self) -> None:
        """Close the connections; whoever waits takes it for a hint."""
        await self._end_left_over()
        for connection in chain(self._busy, *self._idle.values()):
            connection.close()
        self._idle.clear()

    async def _end_left_over(self) -> None:
        if self._left_over:
            left_over = [pop for _, pop in self._left_over.values()]
            self._left_over.clear()
            await _end(left_over)

    def _lists(self, queues: Sequence[str]) -> dict[int, list[str]]:
        """The lists of tokens, grouped by the shard over whose connection one command can wait for them."""
        groups: dict[int, list[str]] = {}
        for queue in queues:
            shard = self._store.shard_of(queue)
            home = shard if self._store.transport.route.is_cluster else 0
            groups.setdefault(home, []).append(self._store.keys[shard].of("wake", queue))
        return groups

    async def _pop(self, home: int, lists: Sequence[str], timeout: float) -> bool:
        try:
            connection = await self._take(home)
            reply = await self._block(connection, ("BLPOP", *lists, f"{max(timeout, 0.001):.3f}"), timeout)
        except ConnectionLost:
            return await self._pause(home, timeout)
        if not isinstance(reply, ReplyError):
            self._idle.setdefault(home, []).append(connection)
            self._backoff = Backoff()
            if reply is not None:
                self._hinted.add(queue_of_wake(reply[0]))
            return reply is not None
        connection.close()
        if judge(reply) is Verdict.GIVE_UP:
            raise map_error(reply, f"BLPOP at {connection.address}", was_sent=False)
        return await self._pause(home, timeout)

    async def _block(self, connection: Connection, command: tuple[str, ...], timeout: float) -> Any:
        self._busy.add(connection)
        try:
            return await connection.send(pack(*command), timeout + _SLACK)
        except BaseException:
            # Also when the caller is cancelled: a token that is on its way must not be taken for another's reply.
            connection.close()
            raise
        finally:
            self._busy.discard(connection)

    async def _take(self, home: int) -> Connection:
        connections = self._idle.get(home, [])
        while connections:
            connection = connections.pop()
            if connection.is_open:
                return connection
        return await self._store.transport.open(self._store.keys[home].slot)

    async def _pause(self, home: int, timeout: float) -> bool:
        self._store.transport.route.forget(self._store.keys[home].slot)
        await asyncio.sleep(min(timeout, self._backoff.next()))
        return True


async def _end(pops: Iterable[asyncio.Task[bool]]) -> None:
    for pop in pops:
        pop.cancel()
    await asyncio.gather(*pops, return_exceptions=True)
