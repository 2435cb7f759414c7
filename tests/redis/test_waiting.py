"""Waiting for hints: how long it takes is for our own clock to say, whenever the server says that its time is over."""

from __future__ import annotations

import asyncio

from taskq.ports import BackendOptions
from taskq_redis import RedisBackend, create_backend
from tests.redis.fake import Command, FakeRedis
from tests.redis.helpers import until

TOKEN = b"*2\r\n$24\r\ntaskq:{default:0}:wake:q\r\n$1\r\n1\r\n"
NOTHING = b"*-1\r\n"


def opened(server: FakeRedis) -> RedisBackend:
    """A backend on a fake server."""
    return create_backend(f"redis://127.0.0.1:{server.port}", BackendOptions())


def silence(command: Command) -> bytes:
    """No answer to a pop."""
    return b""


async def left_over(server: FakeRedis, backend: RedisBackend) -> None:
    """Leave a pop over that the server has not ended."""
    assert await backend.broker.wait(["q"], 0.01) is False
    await until(lambda: server.seen["BLPOP"] == 1)


async def test_a_wait_is_over_in_its_time_though_the_server_says_nothing() -> None:
    async with FakeRedis(silence) as server, opened(server) as backend:
        await left_over(server, backend)
        for _ in range(5):
            assert await backend.broker.wait(["q"], 0.01) is False
        assert (server.seen["BLPOP"], server.accepted) == (1, 1)


async def test_a_pop_that_is_left_over_gives_way_to_another_once_the_server_ends_it() -> None:
    async with FakeRedis(silence) as server, opened(server) as backend:
        await left_over(server, backend)
        server.tell(NOTHING)
        waiting = asyncio.create_task(backend.broker.wait(["q"], 60.0))
        await until(lambda: server.seen["BLPOP"] == 2)
        server.tell(TOKEN)
        assert await waiting is True
        assert server.accepted == 1


async def test_a_token_that_comes_to_a_pop_which_is_left_over_is_a_hint() -> None:
    async with FakeRedis(silence) as server, opened(server) as backend:
        await left_over(server, backend)
        server.tell(TOKEN)
        assert await backend.broker.wait(["q"], 60.0) is True
        assert server.seen["BLPOP"] == 1


async def test_a_pop_of_other_queues_is_not_taken_over() -> None:
    async with FakeRedis(silence) as server, opened(server) as backend:
        await left_over(server, backend)
        assert await backend.broker.wait(["r"], 0.01) is False
        await until(lambda: server.seen["BLPOP"] == 2)
        await until(lambda: server.connected == 1)


async def test_what_is_left_over_ends_with_the_backend() -> None:
    async with FakeRedis(silence) as server:
        async with opened(server) as backend:
            await left_over(server, backend)
        await until(lambda: server.connected == 0)


async def test_of_two_who_wait_at_once_one_leaves_its_pop_over() -> None:
    async with FakeRedis(silence) as server, opened(server) as backend:
        for _ in range(3):
            assert await asyncio.gather(*(backend.broker.wait(["q"], 0.05) for _ in range(2))) == [False, False]
        await until(lambda: server.connected == 1)
