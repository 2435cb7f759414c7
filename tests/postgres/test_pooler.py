"""Behind PgBouncer in transaction mode."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

from taskq.domain.outcome import Complete
from taskq.domain.state import TaskState
from taskq.ports import BackendOptions, Settled
from taskq.testing.conformance import Bench
from taskq.testing.conformance.kit import Kit
from taskq_postgres import create_backend
from tests.servers import PgBouncer


async def test_everything_works_without_a_session(postgres_url: str) -> None:
    with PgBouncer(postgres_url) as pooler:
        url = urlunsplit(urlsplit(pooler.url)._replace(path=urlsplit(postgres_url).path, query="listen=off"))
        async with create_backend(url, BackendOptions(pool_size=8)) as backend:
            bench = Bench(Kit(), backend)
            await asyncio.gather(*(bench.put_many(20) for _ in range(20)))
            claims = await asyncio.gather(*(bench.take(50) for _ in range(8)))
            settled = [[Settled(delivery, Complete()) for delivery in claim] for claim in claims]
            await asyncio.gather(*(backend.broker.settle(each) for each in settled))
            assert await bench.counts() == {TaskState.COMPLETED: 400}
            await backend.maintenance.prune()
            assert not await backend.broker.wait([bench.queue], 0.05)
