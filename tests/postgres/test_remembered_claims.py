"""What the store remembers of a worker's newest claim, and what cannot make it forget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import psycopg
import pytest

from taskq.domain.message import Delivery
from taskq.domain.outcome import Crash
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import FAILURE, SILENCE
from taskq_postgres import PostgresBackend


async def lose_lease(bench: Bench, delivery: Delivery) -> None:
    """The lease runs out, and the task waits in the front lane."""
    await bench.backend.broker.extend([delivery], 0.0)
    assert (await bench.backend.maintenance.reap(renewal=SILENCE)).requeued == 1


async def crash(bench: Bench, delivery: Delivery) -> None:
    """The run ends with its process, and the task waits in the front lane."""
    await bench.settle(delivery, Crash(FAILURE))


@pytest.mark.parametrize("leave", [lose_lease, crash])
async def test_a_stale_extension_does_not_make_a_claim_forgotten(
    bench: Bench, backend: PostgresBackend, postgres_url: str, leave: Callable[[Bench, Delivery], Awaitable[None]]
) -> None:
    await bench.put()
    delivery = await bench.take_one(worker="w", request_id="r")
    await leave(bench, delivery)
    let_claims_lapse(postgres_url)
    for _ in range(2):
        await backend.maintenance.reap(renewal=SILENCE)
        assert (await backend.broker.extend([delivery], 0.0)).lost == {delivery.id}
    async with backend.clone() as other:
        again = await other.broker.fetch([bench.queue], 1, worker="w", lease=900.0, request_id="r")
    assert not again.deliveries


def let_claims_lapse(url: str) -> None:
    """The reaper looks at every claim with its next tick; those that hold nothing are emptied."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update taskq.claim set lapses_at = now() where ids <> '{}'")
