"""One POST to where a user has said: to a checked address, within a time, reading no more than is needed.

Redirects are not followed and proxies of the environment not asked: whoever answers could send it anywhere. The name is
resolved once, every address it has is checked, and the connection goes to one of those that were: a name that is
resolved again may lie elsewhere by then. The certificate is checked against the name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any, NamedTuple

import httpcore

from taskq.errors import TaskqError
from taskq.outbound.addresses import Networks
from taskq.outbound.urls import Target

DEADLINE = 10.0
"""Seconds for all of it, from the name to the last byte of the answer."""
MOST_READ = 64 * 1024
"""Bytes of an answer that are read, whatever they are: a head, a part of a body, or answers before the answer."""
REST_OF_ANSWER = 1.0
"""Seconds for which the body of an answer is read, so that the far side may end in peace."""
TRY_NEXT = 3.0
"""Seconds after which another address of a host is tried."""
RESOLVE_WITHIN = 8.0
MOST_RESOLVING = 64
"""Names that are looked up at once, in threads of their own: a resolver that does not answer must hold up no other."""


class RequestFailed(TaskqError):
    """The request had no answer; another try may have one."""


class AddressRefused(TaskqError):
    """The host lies where requests may not go."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""


async def post(
    target: Target, body: bytes, headers: Mapping[str, str], allowed: Networks, context: ssl.SSLContext | None = None
) -> Answer:
    """Send a body and read the answer's status.

    Arguments:
        target: where to.
        body: what.
        headers: beside Host and Content-Length.
        allowed: which addresses it may go to.
        context: of TLS; None: the system's authorities.

    Raises:
        AddressRefused: one of the addresses of the host is not allowed.
        RequestFailed: no connection, no TLS, no HTTP, or not in time; the message names the host and not the path,
            which may hold a secret.
    """
    sent = [(b"Host", _host(target)), (b"Content-Length", str(len(body)).encode())]
    sent += [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
    url = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
    )
    try:
        async with asyncio.timeout(DEADLINE):
            addresses = await _resolve(target, allowed)
            if context is None and target.scheme == "https":
                context = await asyncio.to_thread(_of_the_system)
            async with httpcore.AsyncConnectionPool(ssl_context=context, network_backend=_Pinned(addresses)) as pool:
                request = httpcore.Request("POST", url, headers=sent, content=body)
                response = await pool.handle_async_request(request)
                # The answer is what its head says, however its body ends.
                with contextlib.suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError, OSError):
                    async with asyncio.timeout(REST_OF_ANSWER):
                        await _read(response)
                await response.aclose()
    except TimeoutError:
        raise RequestFailed(f"{target.host} has not answered within {DEADLINE:g} s") from None
    except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as error:
        raise RequestFailed(f"{target.host} cannot be reached: {error}") from None
    except httpcore.ProtocolError:  # whose text holds what the far side has sent
        raise RequestFailed(f"{target.host} does not speak HTTP") from None
    return Answer(
        response.status, {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    )


@cache
def _of_the_system() -> ssl.SSLContext:
    """The context of TLS with the authorities of the system: a loop would stand still while they are read."""
    return ssl.create_default_context()


async def _read(response: httpcore.Response) -> None:
    """Read the body: the stream itself says when it is too much."""
    async for _ in response.aiter_stream():
        pass


async def _resolve(target: Target, allowed: Networks) -> list[str]:
    """The addresses of a host.

    Raises:
        AddressRefused: it has one that is not allowed, whatever the others are.
        RequestFailed: it has none.
    """
    if target.address is not None:
        found = [target.host]
    else:
        try:
            async with asyncio.timeout(RESOLVE_WITHIN):
                infos = await _look_up(target.host, target.port)
        except TimeoutError:
            raise RequestFailed(f"{target.host} cannot be resolved within {RESOLVE_WITHIN:g} s") from None
        except (OSError, UnicodeError) as error:
            raise RequestFailed(f"{target.host} cannot be resolved: {error}") from None
        found = list(dict.fromkeys(str(info[4][0]) for info in infos))
    if not all(allowed.allow(ip_address(address)) for address in found):
        raise AddressRefused(f"{target.host} is not on the public internet, nor in a network that is allowed")
    return found


async def _look_up(host: str, port: int) -> list[Any]:
    """What the system's resolver says, asked in a thread that nothing waits for: neither other names nor the exit."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Any]] = loop.create_future()
    gate = _resolving
    if not gate.acquire(blocking=False):
        raise OSError("too many names are being looked up: the resolver does not answer")

    def tell(outcome: list[Any] | Exception) -> None:
        if found.done():  # nobody waits any more
            return
        if isinstance(outcome, Exception):
            found.set_exception(outcome)
        else:
            found.set_result(outcome)

    def look() -> None:
        try:
            outcome: list[Any] | Exception = list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            outcome = error
        finally:
            gate.release()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=look, name="taskq-resolve", daemon=True).start()
    return await found


_resolving = threading.BoundedSemaphore(MOST_RESOLVING)


def _host(target: Target) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = {"http": 80, "https": 443}[target.scheme]
    return (host if target.port == usual else f"{host}:{target.port}").encode()


class _Pinned(httpcore.AnyIOBackend):
    """Connects to addresses that were checked, whatever the name of the host is."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of them that answers."""
        failure: Exception | None = None
        for address in self._addresses:
            within = timeout if address == self._addresses[-1] else TRY_NEXT
            try:
                stream = await super().connect_tcp(address, port, within, local_address, socket_options)
                return _Limited(stream)
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                failure = error
        raise failure or httpcore.ConnectError("it has no address")


class _Limited(httpcore.AsyncNetworkStream):
    """A connection from which so much is read and no more."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = MOST_READ

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has come."""
        data = await self._stream.read(max_bytes, timeout)
        self._left -= len(data)
        if self._left < 0:
            raise httpcore.ReadError("its answer is too long")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Go on in TLS."""
        return _Limited(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of it."""
        return self._stream.get_extra_info(info)
