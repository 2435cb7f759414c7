"""Which node serves a hash slot: one server, the master that the sentinels name, or the cluster's map."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from hiredis import ReplyError

from taskq_redis.connection import Address, Connection, Login, connect, look_at_outcome
from taskq_redis.errors import ConnectionLost
from taskq_redis.urls import Target


class Node:
    """A server with one shared connection, opened when it is needed."""

    def __init__(self, address: Address, login: Login, timeout: float) -> None:
        self.address = address
        self._login = login
        self._timeout = timeout
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None

    async def connection(self) -> Connection:
        """The open connection; callers that come while it is being opened share the attempt."""
        if self._connection is not None and self._connection.is_open:
            return self._connection
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(connect(self.address, self._login, self._timeout))
            self._connecting.add_done_callback(look_at_outcome)
        self._connection = await asyncio.shield(self._connecting)
        return self._connection

    async def close(self) -> None:
        """Close the connection, or the attempt to open it."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
            if not self._connecting.cancelled() and self._connecting.exception() is None:
                self._connecting.result().close()


class Route(ABC):
    """Finds the node of a slot, and learns from errors."""

    is_cluster = False

    def __init__(self, target: Target, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        self._nodes: dict[Address, Node] = {}

    def node_at(self, address: Address) -> Node:
        """The node at an address."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(address, self._target.login, self._timeout)
        return node

    @abstractmethod
    async def node(self, slot: int) -> Node:
        """The node that serves a slot.

        Raises:
            ConnectionLost: nobody could say.
        """

    def forget(self) -> None:  # noqa: B027 - one server has nothing to forget
        """Ask again before the next use: a connection broke, or a node said that it is not the right one."""

    async def close(self) -> None:
        """Close all connections."""
        for node in self._nodes.values():
            await node.close()
        self._nodes.clear()

    async def _ask(self, address: Address, login: Login, *command: str) -> Any:
        connection = await connect(address, login, self._timeout)
        try:
            return await connection.execute(*command, timeout=self._timeout)
        except ReplyError as error:
            raise ConnectionLost(f"{address}: {error}", was_sent=False) from None
        finally:
            connection.close()


class SingleRoute(Route):
    """One server."""

    async def node(self, slot: int) -> Node:
        """The server."""
        return self.node_at(self._target.addresses[0])


class SentinelRoute(Route):
    """The master that the sentinels name."""

    _master: Address | None = None

    async def node(self, slot: int) -> Node:
        """The master."""
        if self._master is None:
            self._master = await self._find()
        return self.node_at(self._master)

    def forget(self) -> None:
        """Ask the sentinels again."""
        self._master = None

    async def _find(self) -> Address:
        trouble: Exception = ConnectionLost("no sentinel", was_sent=False)
        for sentinel in self._target.addresses:
            try:
                found = await self._ask(sentinel, Login(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.service)
            except ConnectionLost as error:
                trouble = error
                continue
            if found:
                return Address(found[0].decode(), int(found[1]))
            trouble = ConnectionLost(f"{sentinel} knows no service {self._target.service!r}", was_sent=False)
        raise ConnectionLost(f"no sentinel names the master ({trouble})", was_sent=False)


class ClusterRoute(Route):
    """The cluster's map of slots; read again after a MOVED or a lost connection."""

    is_cluster = True

    def __init__(self, target: Target, timeout: float) -> None:
        super().__init__(target, timeout)
        self._ranges: list[tuple[int, int, Address]] = []
        self._known = list(target.addresses)

    async def node(self, slot: int) -> Node:
        """The master of a slot."""
        if not self._ranges:
            self._ranges = await self._read_map()
        for first, last, address in self._ranges:
            if first <= slot <= last:
                return self.node_at(address)
        self._ranges = []
        raise ConnectionLost(f"the cluster has no node for slot {slot}", was_sent=False)

    def forget(self) -> None:
        """Read the map again."""
        self._ranges = []

    async def _read_map(self) -> list[tuple[int, int, Address]]:
        trouble: Exception = ConnectionLost("no address", was_sent=False)
        for address in dict.fromkeys([*self._target.addresses, *self._known]):
            try:
                rows = await self._ask(address, self._target.login, "CLUSTER", "SLOTS")
            except ConnectionLost as error:
                trouble = error
                continue
            ranges = [(row[0], row[1], Address(row[2][0].decode() or address.host, row[2][1])) for row in rows]
            self._known = [found for _, _, found in ranges]
            return ranges
        raise ConnectionLost(f"no node of the cluster answers ({trouble})", was_sent=False)


def route_to(target: Target, timeout: float) -> Route:
    """The route of a URL."""
    routes: dict[str, type[Route]] = {"redis": SingleRoute, "cluster": ClusterRoute, "sentinel": SentinelRoute}
    return routes[target.kind](target, timeout)
