"""Finding ended tasks on Redis: what the index keeps, and what happens when the clock goes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import redis.asyncio

from taskq.domain.outcome import Complete
from taskq.domain.state import FINAL
from taskq.ports import BackendOptions, EndedQuery, Key, QueueConfig
from taskq.testing.conformance.bench import Bench
from taskq.testing.conformance.finding import ended, find
from taskq_redis import create_backend
from taskq_redis.scripts import FOUND_MOST
from tests.redis.test_conformance import TestRedisBackend as RedisKit

ALL = tuple(FINAL)


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with create_backend(redis_url, BackendOptions(namespace=uuid4().hex)) as backend:
        yield Bench(RedisKit(), backend)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


async def test_what_ends_after_the_clock_went_back_is_listed(bench: Bench, client: redis.asyncio.Redis) -> None:
    first = [(await ended(bench)).id for _ in range(3)]
    async for key in client.scan_iter(match="*:end:*"):
        # As if the last entry had been written when the clock was an hour ahead.
        last = (await client.xinfo_stream(key))["last-generated-id"].decode()
        await client.execute_command("XSETID", key, f"{int(last.partition('-')[0]) + 3_600_000}-0")
    second = [(await ended(bench)).id for _ in range(7)]
    expected = (first + second)[::-1]
    for limit in (1, 3, 100):
        assert await find(bench, limit, queues=[bench.queue]) == expected


async def test_of_what_did_not_fail_the_newest_are_found_and_the_rest_is_said(bench: Bench) -> None:
    await bench.backend.queues.configure(bench.queue, QueueConfig(max_finished=10 * FOUND_MOST))
    oldest = await ended(bench, Complete(), name="mass")
    for _ in range(FOUND_MOST // 1000):
        ids = await bench.put_many(1000, name="mass")
        await bench.backend.broker.cancel(ids)
    while await bench.backend.search.catch_up():
        pass
    rest = await bench.put_many(5, name="mass")
    await bench.backend.broker.cancel(rest)
    await bench.backend.search.catch_up()
    query = EndedQuery(states=ALL, key=Key.NAME, value="mass")
    found = await bench.backend.search.ended(query)
    assert found.since is not None
    assert await bench.backend.search.count(query) == (FOUND_MOST, False)
    assert await bench.backend.search.count(query, 10 * FOUND_MOST) == (FOUND_MOST + 1, False)
    assert oldest.id in await find(bench, 1000, states=(oldest.state,), key=Key.NAME, value="mass")


async def test_an_index_that_is_behind_says_so(bench: Bench) -> None:
    for _ in range(3):
        await bench.backend.broker.cancel(await bench.put_many(400, name="mass"))
    query = EndedQuery(states=ALL, key=Key.NAME, value="mass")
    assert (await bench.backend.search.count(query)).is_exact is False
    assert (await bench.backend.search.ended(query)).until is not None
    while await bench.backend.search.catch_up():
        pass
    assert await bench.backend.search.count(query) == (1200, True)
    assert (await bench.backend.search.ended(query)).until is None
    assert await bench.backend.search.values(Key.NAME) == (["mass"], True)
