"""A table of the user's own, in which each run of a task leaves a row: its effect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from taskq import App
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker

INSERT = "insert into effect (note) values (%s)"
Refusals = list[BaseException]
IMPATIENT: dict[str, Any] = {"lease": 1.0, "heartbeat": 0.3, "poll": 0.1, "threads": 4, "shutdown_timeout": 8.0}
"""What a worker is told whose leases run out soon."""


def make_effects(url: str) -> None:
    """Make the table."""
    with psycopg.connect(url) as connection:
        connection.execute("create table effect (note text)")


def effects(url: str) -> list[str]:
    """The notes that are there, in their order."""
    with psycopg.connect(url) as connection:
        return [note for (note,) in connection.execute("select note from effect order by note").fetchall()]


@asynccontextmanager
async def impatient(app: App, **options: Any) -> AsyncIterator[Worker]:
    """A worker whose leases run out soon."""
    async with Worker(app, WorkerOptions(**{**IMPATIENT, **options})).running() as worker:
        yield worker
