"""An application for each test: in memory, or on each backend in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from taskq import App
from taskq.config import Settings
from taskq.testing.clock import VirtualClock
from tests.hooks import HookServer, hook_server, webhooks_to


@pytest.fixture(params=["memory", "redis", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of each kind in turn."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest_asyncio.fixture
async def any_app(store_url: str) -> AsyncIterator[App]:
    """An application on each backend in turn."""
    app = App(store_url)
    yield app
    await app.aclose()


@pytest.fixture(params=["memory", "redis", "shards", "postgres"])
def wide_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of each kind in turn; also of a Redis whose queues lie in four shards."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue("postgres_url" if request.param == "postgres" else "redis_url")
    return f"{url}?shards=4" if request.param == "shards" else url


@pytest_asyncio.fixture
async def wide_app(wide_url: str) -> AsyncIterator[App]:
    """An application on each of these in turn."""
    app = App(wide_url)
    yield app
    await app.aclose()


@pytest_asyncio.fixture
async def app() -> AsyncIterator[App]:
    """An application in memory."""
    app = App("memory://")
    yield app
    await app.aclose()


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of `slow_app`'s store."""
    return VirtualClock()


@pytest_asyncio.fixture
async def virtual_app(clock: VirtualClock) -> AsyncIterator[App]:
    """An application in memory whose store's time is turned by hand."""
    app = App("memory://", clock=clock)
    yield app
    await app.aclose()


@pytest_asyncio.fixture
async def hooks() -> AsyncIterator[HookServer]:
    """A server that is called."""
    async with hook_server() as server:
        yield server


@pytest_asyncio.fixture
async def hooked(store_url: str, hooks: HookServer) -> AsyncIterator[App]:
    """An application on each backend in turn that may call the server."""
    async with App(store_url, settings=Settings(webhooks=webhooks_to(hooks))) as app:
        yield app
