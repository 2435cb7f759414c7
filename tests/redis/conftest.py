"""Fixtures of the Redis adapter's tests: a backend, a bench on it, and the server seen from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio
import redis

from taskq.ports import BackendOptions
from taskq.testing.conformance import Bench, Kit
from taskq_redis import RedisBackend, create_backend
from taskq_redis.keys import is_ours


@pytest.fixture
def options() -> BackendOptions:
    """Options with a namespace of the test's own."""
    return BackendOptions(namespace=uuid4().hex, retry_for=10.0)


@pytest_asyncio.fixture
async def backend(redis_url: str, options: BackendOptions) -> AsyncIterator[RedisBackend]:
    """A backend on a plain Redis."""
    async with create_backend(redis_url, options) as backend:
        yield backend


@pytest.fixture
def bench(backend: RedisBackend) -> Bench:
    """A bench on it."""
    return Bench(Kit(), backend)


@pytest.fixture
def outside(redis_url: str) -> Iterator[redis.Redis]:
    """The server, seen by another client; at the end every key in it must have a known name."""
    with redis.Redis(port=urlsplit(redis_url).port or 6379) as client:
        yield client
        unknown = [key for key in client.scan_iter() if not is_ours(key)]
        assert unknown == []
