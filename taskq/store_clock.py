"""The store's clock, by which instants are compared that several processes have written."""

from __future__ import annotations

from datetime import UTC, datetime

from taskq.domain.message import DEFAULT_QUEUE
from taskq.ports import Backend


async def store_now(backend: Backend) -> datetime:
    """What it says; where the store has none to tell, what this process's says.

    >>> import asyncio
    >>> from taskq import App
    >>> async def example() -> bool:
    ...     return (await store_now(await App("memory://").backend())).tzinfo is UTC
    >>> asyncio.run(example())
    True
    """
    return datetime.now(UTC) if backend.scheduler is None else await backend.scheduler.now(DEFAULT_QUEUE)
