"""Names that a resolver is slow to answer: nobody else waits for them, and nothing is left of them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq.outbound import Networks, client, read_url
from taskq.outbound.client import RequestFailed, post
from taskq.outbound.urls import ANY_PORT
from tests.hooks import hook_server
from tests.worker.support import PATIENCE, until

LOCAL = Networks(["127.0.0.0/8"])
MOST = 64
"""Names that may be looked up at once."""


class Resolver:
    """Knows all names but those of `nowhere`, and is silent about those of `tarpit` until it is told to answer.

    Attributes:
        asked: for which names it was asked.
        answers: set as soon as it answers for all.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()
        self._test = threading.get_ident()
        self._resolve = socket.getaddrinfo

    def getaddrinfo(self, host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        """What takes the place of the function of the standard library."""
        if not str(host).endswith(".example"):
            return self._resolve(host, port, *rest, **options)
        assert threading.get_ident() != self._test, "a name is looked up in the thread of the loop"
        self.asked.append(host)
        if host.startswith("tarpit"):
            self.answers.wait(PATIENCE)
        if host.startswith("nowhere"):
            raise socket.gaierror("no such name")
        return [(None, None, 0, "", ("127.0.0.1", port))]

    def end(self) -> None:
        """Answer, and wait until nobody asks any more."""
        self.answers.set()
        for thread in threads():
            thread.join()


def threads() -> list[threading.Thread]:
    """Those in which names are looked up now."""
    return [thread for thread in threading.enumerate() if thread.name == "taskq-resolve"]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """What is asked for names; at the end all have been answered."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.end()


async def call(host: str, port: int = 80) -> int:
    """The status with which a host has answered."""
    return (await post(read_url("url", f"http://{host}:{port}/", ANY_PORT), b"{}", {}, LOCAL)).status


async def test_names_without_an_answer_hold_up_neither_others_nor_the_exit(resolver: Resolver) -> None:
    waiting = [asyncio.create_task(call(f"tarpit{n}.example")) for n in range(MOST - 1)]
    try:
        async with hook_server() as hooks:
            assert await call("hooks.example", hooks.port) == 200
        assert len(threads()) >= MOST - 1  # that of the other name may be about to end
        assert all(thread.daemon for thread in threads())
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_one_name_too_many_is_refused_until_another_was_answered(resolver: Resolver) -> None:
    waiting = [asyncio.create_task(call(f"tarpit{n}.example", port=1)) for n in range(MOST)]
    await until(lambda: len(resolver.asked) == MOST, "all are asked for")
    async with hook_server() as hooks:
        with pytest.raises(RequestFailed, match=r"hooks\.example cannot be resolved: too many names are being looked"):
            await call("hooks.example", hooks.port)
        assert await call("127.0.0.1", hooks.port) == 200
        resolver.end()
        assert await call("hooks.example", hooks.port) == 200
    failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert all("cannot be reached" in str(failure) for failure in failures)


@pytest.mark.parametrize("host", ["hooks.example", "nowhere.example"])
async def test_one_after_the_other_is_never_too_many(resolver: Resolver, host: str) -> None:
    for _ in range(MOST + 1):
        with pytest.raises(RequestFailed, match=r"cannot be reached|no such name"):
            await call(host, port=1)
    assert resolver.asked == [host] * (MOST + 1)


async def test_a_name_that_takes_too_long_fails_and_its_answer_is_dropped(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
    monkeypatch.setattr(client, "RESOLVE_WITHIN", 0.01)
    for host in ("tarpit.example", "tarpit.nowhere.example"):
        with pytest.raises(RequestFailed, match=rf"{host} cannot be resolved within 0\.01 s"):
            await call(host)
    resolver.end()
    await asyncio.sleep(0)  # the loop has heard of the answers
    assert troubles == []


def test_an_answer_may_come_after_the_loop_has_ended(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", troubles.append)
    monkeypatch.setattr(client, "RESOLVE_WITHIN", 0.01)
    with pytest.raises(RequestFailed, match=r"tarpit\.example cannot be resolved within 0\.01 s"):
        asyncio.run(call("tarpit.example"))
    assert threads()
    resolver.end()
    assert troubles == []
