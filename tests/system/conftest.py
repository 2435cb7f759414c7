"""A store of its own for each test, with a schema where it needs one, and processes that end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import App
from tests.servers import PostgresServer, RedisServer, Server
from tests.system.support import JOBS, Site


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that this test may kill."""
    kind = RedisServer if request.param == "redis" else PostgresServer
    with kind() as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    """The URL of the server, with our schema in it."""

    async def migrate() -> None:
        async with App(server.url).stores.root.clone() as backend:
            await backend.migrate()

    asyncio.run(migrate())
    return server.url


@pytest.fixture
def site(url: str, tmp_path: Path) -> Iterator[Site]:
    """A folder with an application, and what is started there."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "jobs.py").write_text(JOBS)
    with Site(folder, url) as site:
        yield site
    # Shown by pytest where the test failed.
    print(site.log)
