"""Who waits for whom at the gates of limited tasks: a claim for nobody, and nobody for a room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from taskq.domain.limits import Rate, Slots
from taskq.domain.outcome import Complete
from taskq.domain.overrides import Override
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import LONG

PATIENCE = 5.0
MOMENT = pytest.approx(0.01)
"""Seconds after which a claim looks again for those at whose gates somebody is: no spinning while he stays there."""


@pytest.fixture
def holder(postgres_url: str) -> Iterator[psycopg.Connection]:
    """Somebody in the middle of a transaction."""
    with psycopg.connect(postgres_url) as holder:
        yield holder


async def test_a_claim_leaves_a_task_where_it_is_while_somebody_is_at_its_gate(
    bench: Bench, holder: psycopg.Connection
) -> None:
    limit = Slots(bench.queue, 1)
    await bench.apply(await bench.running(limits=(limit,)), Complete())
    holder.execute("select 1 from taskq.gate where name = %s for update", (limit.gate,))
    limited, free = await bench.put(limits=(limit,)), await bench.put()
    fetched = await asyncio.wait_for(bench.fetch(2), PATIENCE)
    assert [delivery.id for delivery in fetched.deliveries] == [free.id]
    assert fetched.next_due == MOMENT
    assert (await bench.record(limited.id)).waits_at == ""
    holder.rollback()
    assert await bench.take_ids() == [limited.id]


async def test_a_claim_waits_for_nobody_who_makes_a_gate(bench: Bench, holder: psycopg.Connection) -> None:
    limit = Slots(bench.queue, 1)
    limited = await bench.put(limits=(limit,))
    holder.execute("select taskq.take_gates_v1(%s)", ([limit.gate],))
    fetched = await asyncio.wait_for(bench.fetch(1), PATIENCE)
    assert fetched.deliveries == []
    assert fetched.next_due == MOMENT
    holder.commit()
    assert await bench.take_ids() == [limited.id]


async def test_the_end_of_a_run_waits_for_nobody_who_has_called_a_room_due(
    bench: Bench, holder: psycopg.Connection
) -> None:
    limit = Slots(bench.queue, 1)
    running = await bench.running(limits=(limit,))
    waits = await bench.put(limits=(limit,))
    assert await bench.take() == []
    holder.execute("update taskq.room set opens_at = clock_timestamp() where gate = %s", (limit.gate,))
    await asyncio.wait_for(bench.apply(running, Complete()), PATIENCE)
    holder.commit()
    assert await bench.take_ids() == [waits.id]


async def test_a_claim_that_finds_a_gate_closed_waits_for_nobody_who_has_called_its_room_due(
    bench: Bench, holder: psycopg.Connection
) -> None:
    limit = Slots(bench.queue, 1)
    await bench.running(limits=(limit,))
    await bench.put(limits=(limit,))
    assert await bench.take() == []
    holder.execute("update taskq.room set opens_at = clock_timestamp() where gate = %s", (limit.gate,))
    later = await bench.put(limits=(limit,))
    assert await asyncio.wait_for(bench.take(), PATIENCE) == []
    assert (await bench.record(later.id)).waits_at == limit.gate


async def test_one_whom_somebody_is_at_while_his_gate_opens_is_looked_for_again_in_a_second(
    bench: Bench, holder: psycopg.Connection
) -> None:
    limit = Slots(bench.queue, 1)
    running = await bench.running(limits=(limit,))
    waits = await bench.put(limits=(limit,))
    assert await bench.take() == []
    holder.execute("select 1 from taskq.task where id = %s for update", (waits.id,))
    await bench.apply(running, Complete())
    fetched = await bench.fetch(1)
    assert fetched.deliveries == []
    assert fetched.next_due is not None
    assert fetched.next_due <= 1.0
    holder.rollback()
    while not (taken := await bench.take_ids()):  # at most for that second
        await bench.lapse()
    assert taken == [waits.id]


async def test_a_gate_that_is_being_made_heeds_what_is_overridden_meanwhile(
    bench: Bench, holder: psycopg.Connection
) -> None:
    limit = Slots(bench.queue, 5)
    ids = await bench.put_many(2, limits=(limit,))
    holder.execute("select taskq.take_gates_v1(%s)", ([limit.gate],))
    putting = asyncio.ensure_future(bench.backend.overrides.put(bench.queue, Override(limit.gate, limit=1)))
    done, _ = await asyncio.wait([putting], timeout=0.3)
    assert not done, "it waits for the one who makes the gate"
    holder.commit()
    await asyncio.wait_for(putting, PATIENCE)
    assert await bench.take_ids() == ids[:1]
    assert await bench.take() == []


async def test_a_gate_that_is_forgotten_and_made_anew_heeds_its_override(
    bench: Bench, holder: psycopg.Connection
) -> None:
    limit = Slots(bench.queue, 5)
    await bench.backend.overrides.put(bench.queue, Override(limit.gate, limit=1))
    await bench.apply(await bench.running(limits=(limit,)), Complete())
    holder.execute("delete from taskq.gate where name = %s", (limit.gate,))
    holder.commit()
    ids = await bench.put_many(2, limits=(limit,))
    assert await bench.take_ids() == ids[:1]
    assert await bench.take() == []


async def test_an_override_that_is_over_is_not_kept(bench: Bench, holder: psycopg.Connection) -> None:
    await bench.backend.overrides.put(bench.queue, Override("c:old", limit=1, until=1.0))
    await bench.backend.overrides.put(bench.queue, Override("c:new", limit=1))
    assert holder.execute("select gate from taskq.override").fetchall() == [("c:new",)]


async def test_a_quota_that_is_changed_waits_for_the_claim_that_knows_the_old_one(
    bench: Bench, holder: psycopg.Connection
) -> None:
    await bench.backend.tenants.configure("acme", Quota(rate=Rate("", 1 / LONG, 1.0)))
    await bench.running(group="acme")
    waits = await bench.put(group="acme")
    claim = "select * from taskq.claim_v1(array[%s], 5, 'w', 'r', 60, 60, array[0, 0, 0, 0]::bigint[], 0)"
    holder.execute(claim, (bench.queue,))  # it has put the task into a room that opens late
    setting = asyncio.ensure_future(bench.backend.tenants.configure("acme", NO_QUOTA))
    done, _ = await asyncio.wait([setting], timeout=0.3)
    assert not done, "it waits for the claim"
    holder.commit()
    await asyncio.wait_for(setting, PATIENCE)
    assert await bench.take_ids() == [waits.id]


async def test_a_quota_that_is_changed_waits_for_nobody_who_has_called_a_room_due(
    bench: Bench, holder: psycopg.Connection
) -> None:
    await bench.backend.tenants.configure("acme", Quota(running=1))
    await bench.running(group="acme")
    waits = await bench.put(group="acme")
    assert await bench.take() == []
    holder.execute("update taskq.room set opens_at = clock_timestamp() where gate = 'c:@acme'")
    await asyncio.wait_for(bench.backend.tenants.configure("acme", NO_QUOTA), PATIENCE)
    holder.commit()
    assert await bench.take_ids() == [waits.id]
