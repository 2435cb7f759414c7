"""Damage that is done by hand to a Postgres store: it is found, named, mended, and every task runs once after that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq.domain.flow import FlowKind
from taskq.domain.limits import Slots
from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Complete, Retry
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.domain.workflow import Edge
from taskq.ports import Damage, NewFlow
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import FAILURE, LONG, new_id
from taskq_postgres import PostgresBackend
from tests.damage import drain, found, mend

ONE = Slots("one", 1)
GONE = "01980000-0000-7000-8000-000000000000"


async def sql(bench: Bench, text: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Do something to the tables behind the store's back."""
    backend = bench.backend
    assert isinstance(backend, PostgresBackend)
    async with backend._store.pool.connection() as connection:
        await connection.execute(f'set search_path to "{backend._target.schema}"')
        cursor = await connection.execute(text, parameters)
        return await cursor.fetchall() if cursor.description is not None else []


class TestPlaces:
    """Rows of which the columns contradict each other."""

    @pytest.mark.parametrize("kind", ["scheduled", "retrying"])
    async def test_a_task_that_forgot_its_time_is_due(self, bench: Bench, kind: str) -> None:
        if kind == "scheduled":
            id = (await bench.put(delay=LONG)).id
        else:
            delivery = await bench.running()
            await bench.apply(delivery, Retry(LONG, FAILURE))
            id = delivery.id
        await sql(bench, "update task set due_at = null")
        await mend(bench, Damage.UNPLACED, id)
        assert await drain(bench) == [id]

    async def test_a_task_at_a_gate_without_a_room_meets_it_again(self, bench: Bench) -> None:
        runs, waits = await one_waits(bench)
        await sql(bench, "delete from room")
        await mend(bench, Damage.UNPLACED, waits)
        assert await bench.take(2) == []
        await bench.apply(runs, Complete())
        assert await drain(bench) == [waits]

    async def test_a_room_without_a_gate_lets_its_tasks_out(self, bench: Bench) -> None:
        runs, waits = await one_waits(bench)
        await sql(bench, "delete from gate")
        assert await found(bench) == {Damage.UNPLACED: (waits,)}
        assert await bench.backend.diagnosis.repair() == {Damage.UNPLACED: 1}
        await bench.backend.diagnosis.repair()
        assert await sql(bench, "select 1 from room") == []
        await bench.apply(runs, Complete())
        assert await drain(bench) == [waits]

    async def test_a_run_that_lies_in_front_is_not_claimed_twice(self, bench: Bench) -> None:
        delivery = await bench.running()
        await sql(bench, "update task set front = true")
        await mend(bench, Damage.MISPLACED, delivery.id)
        assert await bench.take() == []
        await bench.apply(delivery, Complete())
        assert await drain(bench) == []

    async def test_a_blocked_task_with_a_time_of_its_own_waits_for_its_parent(self, bench: Bench) -> None:
        parent, child = await family(bench)
        await sql(bench, "update task set due_at = now() where id = %(id)s", id=child)
        await mend(bench, Damage.MISPLACED, child)
        assert await drain(bench) == [parent, child]


class TestRuns:
    """Claims and slots."""

    @pytest.mark.parametrize("lost", ["delete from claim", "update claim set ids = '{}'"])
    async def test_a_run_that_no_reaper_would_find(self, bench: Bench, lost: str) -> None:
        delivery = await bench.running(bench.short)
        await sql(bench, lost)
        await mend(bench, Damage.UNLEASED, delivery.id)
        await bench.lapse()
        assert await drain(bench) == [delivery.id]
        assert (await bench.record(delivery.id)).lost_leases == 1

    async def test_a_healthy_run_keeps_its_lease(self, bench: Bench) -> None:
        delivery = await bench.running()
        await sql(bench, "delete from claim")
        await mend(bench, Damage.UNLEASED, delivery.id)
        await bench.reap()
        assert (await bench.backend.broker.extend([delivery], LONG)).lost == frozenset()
        await bench.apply(delivery, Complete())
        assert await drain(bench) == []

    async def test_a_slot_of_a_task_that_is_over(self, bench: Bench) -> None:
        runs, waits = await one_waits(bench)
        await sql(bench, "update holder set id = %(id)s", id=GONE)
        assert await found(bench) == {Damage.OVERLIMITED: (GONE,), Damage.UNLIMITED: (runs.id,)}
        assert await bench.backend.diagnosis.repair() == {Damage.OVERLIMITED: 1, Damage.UNLIMITED: 1}
        assert await found(bench) == {}
        assert await bench.take(2) == []
        await bench.apply(runs, Complete())
        assert await drain(bench) == [waits]

    async def test_slots_are_given_only_to_what_still_runs(self, bench: Bench) -> None:
        runs, _ = await one_waits(bench)
        await sql(bench, "delete from holder")
        ended = bench.apply(runs, Complete())
        await asyncio.gather(ended, *(bench.backend.diagnosis.repair() for _ in range(4)))
        assert await found(bench) == {}
        assert await sql(bench, "select 1 from holder") == []

    async def test_a_slot_that_is_freed_lets_others_run_at_once(self, bench: Bench) -> None:
        runs, waits = await one_waits(bench)
        await sql(bench, "insert into holder select gate, %(id)s from holder", id=GONE)
        await bench.apply(runs, Complete())
        assert await bench.take() == []
        await mend(bench, Damage.OVERLIMITED, GONE)
        assert await drain(bench) == [waits]


class TestKeys:
    """Unique keys."""

    async def test_a_task_without_its_key(self, bench: Bench) -> None:
        id = (await bench.put(unique=UniqueKey("k"))).id
        await sql(bench, "delete from unique_key")
        await mend(bench, Damage.KEYLESS, id)
        [answer] = await bench.backend.broker.enqueue([bench.message(unique=UniqueKey("k"))])
        assert (answer.id, str(answer.status)) == (id, "duplicate")
        assert await drain(bench) == [id]

    async def test_a_key_of_a_task_that_is_over(self, bench: Bench) -> None:
        delivery = await bench.running(unique=UniqueKey("k"))
        await bench.apply(delivery, Bury("rejected", FAILURE))
        await sql(bench, "insert into unique_key values ('k', %(id)s, 'done', null)", id=delivery.id)
        await mend(bench, Damage.OVERKEYED, "k")
        assert await sql(bench, "select 1 from unique_key") == []

    async def test_a_key_that_is_kept_for_a_time_stays(self, bench: Bench) -> None:
        await sql(bench, "insert into unique_key values ('k', %(id)s, 'ttl', now() + interval '1 hour')", id=GONE)
        assert await found(bench) == {}
        assert await bench.backend.diagnosis.repair() == {}
        assert len(await sql(bench, "select 1 from unique_key")) == 1


class TestParents:
    """Tasks that wait for others, and flows."""

    @pytest.mark.parametrize(
        "lost",
        [
            "delete from edge",
            "update task set waits = 0 where state = 3",
            "update task set waits = 2 where state = 3",
            "update task set has_children = null",
        ],
    )
    async def test_a_task_that_would_not_be_told(self, bench: Bench, lost: str) -> None:
        parent, child = await family(bench)
        await sql(bench, lost)
        await mend(bench, Damage.UNTOLD, child)
        assert await drain(bench) == [parent, child]

    async def test_a_parent_that_has_ended_tells_how(self, bench: Bench) -> None:
        parent, child = await family(bench)
        await sql(bench, "update task set has_children = null")
        await bench.apply(await bench.take_one(), Bury("rejected", FAILURE))
        await mend(bench, Damage.UNTOLD, child)
        assert await drain(bench) == []
        record = await bench.record(child)
        assert (record.state, record.reason) == (
            TaskState.CANCELLED,
            f"task {parent}, for which it waited, ended as dead",
        )

    async def test_a_parent_that_is_gone_holds_up_nobody(self, bench: Bench) -> None:
        parent, child = await family(bench)
        await sql(bench, "delete from task where id = %(id)s", id=parent)
        await mend(bench, Damage.UNTOLD, child)
        assert await drain(bench) == [child]

    async def test_a_chain_that_lost_all_its_edges(self, bench: Bench) -> None:
        first = (await bench.put()).id
        second = (await bench.put(parents=(Edge(first),))).id
        third = (await bench.put(parents=(Edge(first), Edge(second)))).id
        await sql(bench, "delete from edge")
        await mend(bench, Damage.UNTOLD, second, third)
        assert await drain(bench) == [first, second, third]

    async def test_a_member_that_a_flow_holds_starts_when_it_is_closed(self, bench: Bench) -> None:
        flow = new_id()
        await bench.backend.flows.create(NewFlow(id=flow, kind=FlowKind.WORKFLOW, is_held=True))
        id = (await bench.put(flow=flow, parents=(Edge(flow),))).id
        await sql(bench, "delete from edge")
        await mend(bench, Damage.UNTOLD, id)
        assert await drain(bench) == []
        await bench.backend.flows.close(flow)
        assert await drain(bench) == [id]

    @pytest.mark.parametrize("by", [1, -1])
    async def test_a_flow_that_counts_wrongly(self, bench: Bench, by: int) -> None:
        flow = new_id()
        await bench.backend.flows.create(NewFlow(id=flow, kind=FlowKind.BATCH))
        ids = [(await bench.put(flow=flow)).id for _ in range(2)]
        await bench.backend.flows.close(flow)
        await sql(bench, "update tally set total = total + %(by)s", by=by)
        await mend(bench, Damage.MISTALLIED, flow)
        assert await drain(bench) == ids
        record = await bench.backend.flows.get(flow)
        assert record is not None
        assert record.ended_at is not None


class TestCounts:
    """What queues count."""

    @pytest.mark.parametrize(
        "lost",
        [
            "delete from change",
            "insert into change values ('other', 21, null, 5)",
            "delete from finished",
            "truncate finished",
            "insert into change select queue, 10, (completed_at at time zone 'UTC')::date, -3 from finished",
        ],
    )
    async def test_a_number_that_is_wrong(self, bench: Bench, lost: str) -> None:
        await bench.put_many(3)
        await bench.apply(await bench.take_one(), Complete())
        await bench.take_one()
        await sql(bench, lost)
        queue = "other" if "other" in lost else bench.queue
        if lost == "delete from finished":  # which is counted
            assert await found(bench) == {}
            return
        await mend(bench, Damage.MISCOUNTED, queue)
        ended = {} if "truncate" in lost else {TaskState.COMPLETED: 1}
        assert await bench.counts() == {TaskState.PENDING: 1, TaskState.RUNNING: 1, **ended}

    async def test_a_tag_of_a_task_that_is_gone(self, bench: Bench) -> None:
        delivery = await bench.running(tags=("vip",))
        await bench.apply(delivery, Complete())
        assert await found(bench) == {}
        await sql(bench, "update ended_tag set id = %(id)s", id=GONE)
        await mend(bench, Damage.OVERFOUND, GONE)
        assert await sql(bench, "select 1 from ended_tag") == []

    async def test_two_who_count_anew_at_once_count_once(self, bench: Bench) -> None:
        await bench.put_many(3)
        await sql(bench, "delete from change")
        repairs = [bench.backend.diagnosis.repair(None) for _ in range(3)]
        mended = await asyncio.gather(*repairs)
        assert sum(each.get(Damage.MISCOUNTED, 0) for each in mended) == 1
        assert await bench.counts() == {TaskState.PENDING: 3}

    async def test_a_bound_is_said_honestly(self, bench: Bench) -> None:
        for _ in range(3):
            await bench.put_many(1000, delay=LONG)
        *_, whole = await bench.backend.diagnosis.examine(3000)
        assert (whole.detail, whole.advice) == ("looked at all 3,000 records", "")
        *_, part = await bench.backend.diagnosis.examine(500)
        assert part.detail.startswith("looked at 2,000 of about 3,000 records; what has ended")
        assert part.advice == "`--deep` looks at all"


async def one_waits(bench: Bench) -> tuple[Delivery, str]:
    """A run, and a task that waits at its gate."""
    _, waits = await bench.put_many(2, limits=(ONE,))
    [runs] = await bench.take(2)
    return runs, waits


async def family(bench: Bench) -> tuple[str, str]:
    """A task, and one that waits for it."""
    parent = (await bench.put()).id
    return parent, (await bench.put(parents=(Edge(parent),))).id
