"""Requests to where users say: to what was checked, and no further, whatever the far side does."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from taskq.outbound import Networks, Target, client, read_url
from taskq.outbound.client import AddressRefused, RequestFailed, post
from taskq.outbound.urls import ANY_PORT
from tests.hooks import HookServer, answer, hook_server

LOCAL = Networks(["127.0.0.0/8"])


class Names:
    """Resolves names as a test says."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int) -> list[Any]:
        self.asked.append(host)
        return [(None, None, 0, "", (address, port)) for address in self.addresses]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What takes the place of the resolver of names; connections to addresses are made as ever."""
    names = Names()
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(host, str) and host.endswith(".example"):
            return names.getaddrinfo(host, port)
        return resolve(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


def target(url: str) -> Target:
    """Where to."""
    return read_url("url", url, ANY_PORT)


def of(hooks: HookServer) -> Target:
    """Where a server is."""
    return target(hooks.url)


async def test_a_body_is_sent_and_the_status_comes_back(hooks: HookServer) -> None:
    hooks.answers = [answer(202, "Retry-After: 7\r\n", b"thanks")]
    answered = await post(of(hooks), b"{}", {"webhook-id": "1"}, LOCAL)
    assert (answered.status, answered.headers["retry-after"]) == (202, "7")
    [request] = hooks.received
    assert (request.line, request.body) == ("POST /hook?key=hush HTTP/1.1", b"{}")
    assert request.headers["host"] == f"127.0.0.1:{hooks.port}"
    assert request.headers["webhook-id"] == "1"


async def test_what_is_not_public_is_not_called(hooks: HookServer) -> None:
    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1 is not on the public internet, nor in a network"):
        await post(of(hooks), b"{}", {}, Networks([]))
    assert not hooks.received


@pytest.mark.parametrize("other", ["93.184.216.34", "::1", "169.254.169.254"])
async def test_a_name_with_one_address_that_is_refused_is_not_called(
    hooks: HookServer, names: Names, other: str
) -> None:
    names.addresses = [other, "127.0.0.1"]
    with pytest.raises(AddressRefused, match=r"hooks\.example is not on the public internet"):
        await post(target(f"http://hooks.example:{hooks.port}/"), b"{}", {}, Networks([]))
    assert not hooks.received


async def test_a_name_is_resolved_once(hooks: HookServer, names: Names) -> None:
    names.addresses = ["127.0.0.1"]
    await post(target(f"http://hooks.example:{hooks.port}/"), b"{}", {}, LOCAL)
    assert names.asked == ["hooks.example"]
    assert hooks.received[0].headers["host"] == f"hooks.example:{hooks.port}"


async def test_the_next_address_is_tried_where_one_does_not_answer(hooks: HookServer, names: Names) -> None:
    names.addresses = ["127.0.0.2", "127.0.0.1"]  # it listens at the second one alone
    assert (await post(target(f"http://hooks.example:{hooks.port}/"), b"{}", {}, LOCAL)).status == 200


@pytest.fixture
def silent(hooks: HookServer) -> Iterator[str]:
    """An address where whoever connects to the port of the server hears nothing: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.2", hooks.port))
        listening.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            assert caller.connect_ex(("127.0.0.2", hooks.port)) in {0, errno.EINPROGRESS}
        yield "127.0.0.2"


async def test_the_next_address_is_tried_where_one_is_silent(
    hooks: HookServer, names: Names, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TRY_NEXT", 0.05)
    names.addresses = [silent, "127.0.0.1"]
    assert (await post(target(f"http://hooks.example:{hooks.port}/"), b"{}", {}, LOCAL)).status == 200


async def test_the_last_address_has_all_the_time_there_is(
    hooks: HookServer, names: Names, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TRY_NEXT", 0.01)
    monkeypatch.setattr(client, "DEADLINE", 0.2)
    names.addresses = ["127.0.0.3", silent]
    with pytest.raises(RequestFailed, match=r"hooks\.example has not answered within 0\.2 s"):
        await post(target(f"http://hooks.example:{hooks.port}/"), b"{}", {}, LOCAL)


async def test_a_redirect_is_not_followed(hooks: HookServer) -> None:
    async with hook_server() as other:
        hooks.answers = [answer(302, f"Location: {other.url}\r\n")]
        assert (await post(of(hooks), b"{}", {}, LOCAL)).status == 302
        assert not other.received


async def test_proxies_of_the_environment_are_not_asked(hooks: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await post(of(hooks), b"{}", {}, LOCAL)).status == 200


async def test_a_body_without_end_is_left(hooks: HookServer) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    hooks.answers = [flood]
    assert (await post(of(hooks), b"{}", {}, LOCAL)).status == 200
    assert sent < 64 * 1024 * 1024


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    """Begin an answer that does not come to its body."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"x" * 8000 + b"\r\n")
        await writer.drain()


async def old(writer: asyncio.StreamWriter) -> None:
    """Answer as before HTTP/1.0."""
    writer.write(b"<p>hello</p>\r\n\r\n")


async def nothing(writer: asyncio.StreamWriter) -> None:
    """Close without a word."""


@pytest.mark.parametrize("answering", [endless_headers, old, nothing])
async def test_what_is_no_answer_fails(hooks: HookServer, answering: Any) -> None:
    hooks.answers = [answering]
    with pytest.raises(RequestFailed, match=r"127\.0\.0\.1 (does not speak HTTP|cannot be reached)") as caught:
        await post(of(hooks), b"{}", {}, LOCAL)
    assert "hush" not in str(caught.value)


async def test_who_does_not_answer_in_time_fails(hooks: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "DEADLINE", 0.05)
    hooks.answers = [silence]
    with pytest.raises(RequestFailed, match=r"127\.0\.0\.1 has not answered within 0\.05 s"):
        await post(of(hooks), b"{}", {}, LOCAL)


async def test_nobody_there_fails(hooks: HookServer, names: Names) -> None:
    with pytest.raises(RequestFailed, match=r"127\.0\.0\.1 cannot be reached"):
        await post(target("http://127.0.0.1:1/"), b"{}", {}, LOCAL)
    with pytest.raises(RequestFailed, match=r"nowhere\.example cannot be reached: it has no address"):
        await post(target("http://nowhere.example/"), b"{}", {}, LOCAL)


async def test_a_name_that_cannot_be_resolved_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(RequestFailed, match=r"nowhere\.example cannot be resolved: no such name"):
        await post(target("http://nowhere.example/"), b"{}", {}, LOCAL)


class Tls:
    """A certificate for hooks.example, and who trusts it."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example")])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        names = [x509.DNSName("hooks.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "both.pem").write_bytes(secret + certificate.public_bytes(pem))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(folder / "both.pem")
        self.client = ssl.create_default_context(cadata=certificate.public_bytes(pem).decode())


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate."""
    return Tls(tmp_path)


async def test_the_certificate_is_that_of_the_name(tls: Tls, names: Names) -> None:
    names.addresses = ["127.0.0.1"]
    async with hook_server(tls.server) as hooks:
        answered = await post(target(f"https://hooks.example:{hooks.port}/"), b"{}", {}, LOCAL, tls.client)
        assert answered.status == 200
        with pytest.raises(RequestFailed, match=r"other\.example cannot be reached: .*certificate"):
            await post(target(f"https://other.example:{hooks.port}/"), b"{}", {}, LOCAL, tls.client)
        with pytest.raises(RequestFailed, match=r"hooks\.example cannot be reached: .*certificate"):
            await post(target(f"https://hooks.example:{hooks.port}/"), b"{}", {}, LOCAL)
        assert len(hooks.received) == 1


async def test_the_authorities_of_the_system_are_read_once_and_not_in_the_loop(
    tls: Tls, hooks: HookServer, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[int] = []

    def create_default_context() -> ssl.SSLContext:
        readers.append(threading.get_ident())
        return tls.client

    monkeypatch.setattr(ssl, "create_default_context", create_default_context)
    client._of_the_system.cache_clear()
    await post(of(hooks), b"{}", {}, LOCAL)
    assert readers == []
    names.addresses = ["127.0.0.1"]
    try:
        async with hook_server(tls.server) as secure:
            for _ in range(2):
                await post(target(f"https://hooks.example:{secure.port}/"), b"{}", {}, LOCAL)
    finally:
        client._of_the_system.cache_clear()
    assert len(readers) == 1
    assert readers != [threading.get_ident()]


async def test_an_answer_is_taken_by_its_head(hooks: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")
        await writer.drain()
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "REST_OF_ANSWER", 0.01)
    hooks.answers = [hangs]
    assert (await post(of(hooks), b"{}", {}, LOCAL)).status == 200


async def test_a_head_without_end_is_cut(hooks: HookServer) -> None:
    hooks.answers = [endless_headers]
    with pytest.raises(RequestFailed, match=r"127\.0\.0\.1 cannot be reached: its answer is too long"):
        await post(of(hooks), b"{}", {}, LOCAL)


async def floods(writer: asyncio.StreamWriter) -> None:
    """Answer with nothing but answers before the answer."""
    with contextlib.suppress(OSError):
        while True:
            writer.write(b"HTTP/1.1 100 C\r\n\r\n" * 1000)
            await writer.drain()


async def test_answers_before_the_answer_are_bounded(hooks: HookServer) -> None:
    hooks.answers = [floods]
    with pytest.raises(RequestFailed, match=r"127\.0\.0\.1 cannot be reached: its answer is too long"):
        await post(of(hooks), b"{}", {}, LOCAL)


async def test_answers_are_bounded_in_tls_too(tls: Tls, names: Names) -> None:
    names.addresses = ["127.0.0.1"]
    async with hook_server(tls.server) as hooks:
        hooks.answers = [floods]
        with pytest.raises(RequestFailed, match=r"hooks\.example cannot be reached: its answer is too long"):
            await post(target(f"https://hooks.example:{hooks.port}/"), b"{}", {}, LOCAL, tls.client)
