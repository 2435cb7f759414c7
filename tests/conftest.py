"""Fixtures that give a test a store of its own: a real server, started once a run, emptied for each test."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import hypothesis
import pytest

from taskq.ports import BackendOptions
from tests.hooks import HookServer, hook_server
from tests.servers import PostgresServer, RedisServer
from tests.servers.postgres import create_database, drop_database

if "PYTEST_XDIST_WORKER" in os.environ:
    # Coverage measures the processes of the tests, not the programs that they start: some tests weigh those.
    os.environ.pop("COVERAGE_PROCESS_START", None)

hypothesis.settings.register_profile("default", deadline=None)
# What lands must not hang on a dice: new random runs are for everybody else (see CONTRIBUTING.md).
hypothesis.settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default"))


@pytest.fixture(scope="session", autouse=True)
def heard_signals() -> Iterator[None]:
    """Let the programs of the tests hear of a closed terminal and of Ctrl-C, also where `nohup` or `&` runs the tests.

    What is ignored here would be ignored by every program that is started from here; what has a handler is not.
    """
    ignored = [number for number in (signal.SIGHUP, signal.SIGINT) if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A private Redis, shared by the run; a test that kills it restarts it."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster_server() -> Iterator[RedisServer]:
    """A private Redis cluster of one node, shared by the run."""
    with RedisServer(cluster=True) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A private PostgreSQL, shared by the run; a test that kills it restarts it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty Redis database: the one of TASKQ_TEST_REDIS_URL, else the private server's."""
    url = os.environ.get("TASKQ_TEST_REDIS_URL")
    if url is None:
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    _flush(url)
    return url


@pytest.fixture
def redis_cluster_url(redis_cluster_server: RedisServer) -> str:
    """URL of an empty Redis cluster, for a backend with four shards."""
    _flush(redis_cluster_server.url)
    return f"redis+cluster://127.0.0.1:{redis_cluster_server.port}?shards=4"


@pytest.fixture(scope="session")
def postgres_admin_url(request: pytest.FixtureRequest) -> str:
    """URL to make databases with: TASKQ_TEST_POSTGRES_URL, else the private server's."""
    url = os.environ.get("TASKQ_TEST_POSTGRES_URL")
    if url is None:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url
    return url


@pytest.fixture(scope="session")
def postgres_template(postgres_admin_url: str) -> Iterator[str]:
    """URL of the database that each test's own is a copy of, with the schema of the default namespace in it."""
    url = create_database(postgres_admin_url)
    asyncio.run(_migrate(url))
    yield url
    drop_database(postgres_admin_url, url)


@pytest.fixture
def postgres_url(postgres_admin_url: str, postgres_template: str) -> Iterator[str]:
    """URL of a database that is this test's alone, with our schema in it."""
    url = create_database(postgres_admin_url, template=urlsplit(postgres_template).path.removeprefix("/"))
    yield url
    drop_database(postgres_admin_url, url)


@pytest.fixture
async def hooks() -> AsyncIterator[HookServer]:
    """A server that webhooks call."""
    async with hook_server() as server:
        yield server


async def _migrate(url: str) -> None:
    # Imported here, because most tests need no Postgres.
    from taskq_postgres import create_backend

    async with create_backend(url, BackendOptions()) as backend:
        await backend.migrate()


def _flush(url: str) -> None:
    # Imported here, because most tests need no Redis and the client is slow to load.
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushdb()
