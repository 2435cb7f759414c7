"""Which node serves a hash slot: one server, the master that the sentinels name, or the cluster's map."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from hiredis import ReplyError

from taskq_redis.connection import Address, Connection, Login, connect
from taskq_redis.errors import ConnectionLost
from taskq_redis.flight import Flight
from taskq_redis.urls import Target


class Node:
    """A server with one shared connection, opened when it is needed."""

    def __init__(self, address: Address, login: Login, timeout: float) -> None:
        self.address = address
        self._login = login
        self._timeout = timeout
        self._is_closed = False
        self._connection: Connection | None = None
        self._opening = Flight(self._open)

    async def connection(self) -> Connection:
        """The open connection; callers that come while it is being opened share the attempt.

        Raises:
            ConnectionLost: the server cannot be reached.
            ReplyError: it refuses the login.
        """
        if self._connection is not None and self._connection.is_open:
            return self._connection
        if self._is_closed:
            raise ConnectionLost(f"the connection to {self.address} is closed", was_sent=False)
        return await self._opening.join()

    async def _open(self) -> Connection:
        self._connection = await connect(self.address, self._login, self._timeout)
        return self._connection

    async def close(self) -> None:
        """Close the connection, or the attempt to open it."""
        self._is_closed = True
        await self._opening.cancel()
        if self._connection is not None:
            self._connection.close()


class Route(ABC):
    """Finds the node of a slot, and learns from errors."""

    is_cluster = False

    def __init__(self, target: Target, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        self._nodes: dict[Address, Node] = {}
        self.closed = asyncio.Event()
        """Set while the backend is closed: no connection is opened any more."""

    async def node(self, slot: int) -> Node:
        """The node that serves a slot.

        Raises:
            ConnectionLost: nobody could say, or the backend is closed.
            ReplyError: who was asked refuses the login.
        """
        self._refuse_if_closed()
        return self.node_at(await self._find(slot))

    def node_at(self, address: Address) -> Node:
        """The node at an address.

        Raises:
            ConnectionLost: the backend is closed.
        """
        self._refuse_if_closed()
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(address, self._target.login, self._timeout)
        return node

    def forget(self, slot: int, wrong: Address | None = None) -> None:  # noqa: B027 - one server has nothing to forget
        """Ask again before the next use: a connection broke, or a node said that it is not the right one.

        Arguments:
            slot: what was looked for.
            wrong: where that was. Of many callers who were sent to the same wrong place, only the first has news.
        """

    def reopen(self) -> None:
        """Undo `close`, perhaps in another event loop."""
        if self.closed.is_set():
            self.closed = asyncio.Event()

    async def close(self) -> None:
        """Close all connections."""
        self.closed.set()
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.close()

    @abstractmethod
    async def _find(self, slot: int) -> Address:
        """Where the node of a slot listens."""

    def _refuse_if_closed(self) -> None:
        if self.closed.is_set():
            raise ConnectionLost("the backend is closed", was_sent=False)

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

    async def _find(self, slot: int) -> Address:
        return self._target.addresses[0]


class SentinelRoute(Route):
    """The master that the sentinels name."""

    def __init__(self, target: Target, timeout: float) -> None:
        super().__init__(target, timeout)
        self._master: Address | None = None
        self._asking = Flight(self._ask_sentinels)

    def forget(self, slot: int, wrong: Address | None = None) -> None:
        """Ask the sentinels again."""
        if wrong is None or wrong == self._master:
            self._master = None

    async def close(self) -> None:
        """Close all connections, that to a sentinel too."""
        await super().close()
        await self._asking.cancel()

    async def _find(self, slot: int) -> Address:
        return self._master or await self._asking.join()

    async def _ask_sentinels(self) -> Address:
        trouble: Exception = ConnectionLost("no sentinel", was_sent=False)
        for sentinel in self._target.addresses:
            try:
                found = await self._ask(sentinel, Login(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.service)
            except ConnectionLost as error:
                trouble = error
                continue
            if found:
                self._master = Address(found[0].decode(), int(found[1]))
                return self._master
            trouble = ConnectionLost(f"{sentinel} knows no service {self._target.service!r}", was_sent=False)
        raise ConnectionLost(f"no sentinel names the master ({trouble})", was_sent=False)


class ClusterRoute(Route):
    """The cluster's map of slots; read again after a MOVED or a lost connection."""

    is_cluster = True

    def __init__(self, target: Target, timeout: float) -> None:
        super().__init__(target, timeout)
        self._ranges: list[_Range] = []
        self._known = list(target.addresses)
        self._reading = Flight(self._read_map)

    def forget(self, slot: int, wrong: Address | None = None) -> None:
        """Read the map again."""
        if wrong is None or _find_in(self._ranges, slot) == wrong:
            self._ranges = []

    async def close(self) -> None:
        """Close all connections, that over which the map is read too."""
        await super().close()
        await self._reading.cancel()

    async def _find(self, slot: int) -> Address:
        address = _find_in(self._ranges or await self._reading.join(), slot)
        if address is None:
            self._ranges = []
            raise ConnectionLost(f"the cluster has no node for slot {slot}", was_sent=False)
        return address

    async def _read_map(self) -> list[_Range]:
        trouble: Exception = ConnectionLost("no address", was_sent=False)
        for address in dict.fromkeys([*self._target.addresses, *self._known]):
            try:
                rows = await self._ask(address, self._target.login, "CLUSTER", "SLOTS")
            except ConnectionLost as error:
                trouble = error
                continue
            self._ranges = [_Range(row[0], row[1], _address(row[2], address)) for row in rows]
            self._known = [found.address for found in self._ranges]
            return self._ranges
        raise ConnectionLost(f"no node of the cluster answers ({trouble})", was_sent=False)


class _Range(NamedTuple):
    """A row of the cluster's map: the slots from `first` to `last` and their master."""

    first: int
    last: int
    address: Address


def _find_in(ranges: Sequence[_Range], slot: int) -> Address | None:
    return next((found.address for found in ranges if found.first <= slot <= found.last), None)


def _address(master: Sequence[Any], asked: Address) -> Address:
    """Where a master listens; a missing name means the one by which the asked node was reached."""
    host: bytes | None = master[0]
    return Address(host.decode() if host else asked.host, master[1])


def route_to(target: Target, timeout: float) -> Route:
    """The route of a URL."""
    routes: dict[str, type[Route]] = {"redis": SingleRoute, "cluster": ClusterRoute, "sentinel": SentinelRoute}
    return routes[target.kind](target, timeout)
