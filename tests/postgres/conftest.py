"""A backend on a database of each test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from taskq import App
from taskq.config import Settings
from taskq.ports import BackendOptions
from taskq.testing.conformance import Bench
from taskq.testing.conformance.kit import Kit
from taskq_postgres import PostgresBackend, create_backend
from tests.postgres.effects import make_effects


@pytest_asyncio.fixture
async def backend(postgres_url: str) -> AsyncIterator[PostgresBackend]:
    """An opened backend."""
    async with create_backend(postgres_url, BackendOptions()) as backend:
        yield backend


@pytest.fixture
def bench(backend: PostgresBackend) -> Bench:
    """The backend with a queue of its own."""
    return Bench(Kit(), backend)


@pytest_asyncio.fixture
async def app(postgres_url: str) -> AsyncIterator[App]:
    """An application on a database with a table for effects."""
    make_effects(postgres_url)
    async with App(postgres_url, settings=Settings(max_result=100)) as app:
        yield app
