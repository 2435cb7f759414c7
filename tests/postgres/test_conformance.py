"""The conformance kit on the Postgres backend, listening and not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from taskq.ports import BackendOptions
from taskq.testing.conformance import BackendConformance, FreshBackend
from taskq.testing.conformance.waking import CloneWakingRules
from taskq_postgres import PostgresBackend, create_backend


class PostgresKit(BackendConformance):
    """What both ways have in common."""

    tick = 0.4
    parameters = ""

    @pytest.fixture
    def fresh_backend(self, postgres_url: str) -> FreshBackend:
        numbers = count()

        @asynccontextmanager
        async def fresh() -> AsyncIterator[PostgresBackend]:
            number = next(numbers)
            # The schema of the default namespace comes with the test's database.
            options = BackendOptions(namespace=f"n{number}" if number else "default")
            async with create_backend(postgres_url + self.parameters, options) as backend:
                await backend.migrate()
                yield backend

        return fresh


class TestPostgresBackend(PostgresKit, CloneWakingRules):
    """taskq_postgres, with LISTEN and NOTIFY."""


class TestPollingPostgresBackend(PostgresKit):
    """taskq_postgres as it works behind a pooler in transaction mode."""

    parameters = "?listen=off"
