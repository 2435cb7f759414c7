"""A backend on a database of each test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from taskq.ports import BackendOptions
from taskq.testing.conformance import Bench
from taskq.testing.conformance.kit import Kit
from taskq_postgres import PostgresBackend, create_backend


@pytest_asyncio.fixture
async def backend(postgres_url: str) -> AsyncIterator[PostgresBackend]:
    """An opened backend."""
    async with create_backend(postgres_url, BackendOptions()) as backend:
        yield backend


@pytest.fixture
def bench(backend: PostgresBackend) -> Bench:
    """The backend with a queue of its own."""
    return Bench(Kit(), backend)
