"""Whom Redis wakes, and whom it does not."""

from __future__ import annotations

import asyncio

import redis

from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.ports import BackendOptions, EnqueueStatus
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import LONG, new_worker
from taskq_redis import create_backend
from tests.redis.helpers import until


async def test_a_task_that_is_put_off_further_wakes_nobody(bench: Bench) -> None:
    unique = UniqueKey(bench.queue)
    first = await bench.put(unique=unique, delay=LONG)
    assert await bench.finish(bench.backend.broker.wait([bench.queue], LONG))  # so that it is known when it is due
    assert await bench.take() == []
    for more in (1.0, 2.0):
        later = bench.message(id=first.id, unique=unique, replaces=True, delay=LONG + more)
        assert await bench.enqueue(later) == [EnqueueStatus.REPLACED]
    assert not await bench.backend.broker.wait([bench.queue], bench.short)
    sooner = bench.message(id=first.id, unique=unique, replaces=True, delay=LONG / 2)
    assert await bench.enqueue(sooner) == [EnqueueStatus.REPLACED]
    assert await bench.finish(bench.backend.broker.wait([bench.queue], LONG))
    assert await bench.counts() == {TaskState.SCHEDULED: 1}


async def test_who_finds_work_takes_no_hint_from_others(
    bench: Bench, outside: redis.Redis, redis_url: str, options: BackendOptions
) -> None:
    def blocked(number: int) -> bool:
        return bool(outside.info("clients")["blocked_clients"] == number)

    queues = [bench.queue]
    async with create_backend(redis_url, options) as other:
        waiting = asyncio.create_task(other.broker.wait(queues, LONG))
        await until(lambda: blocked(1))
        assert not await bench.backend.broker.wait(queues, bench.short)
        await until(lambda: blocked(2))
        await bench.put()
        assert await waiting, "whose pop is the older one"
        assert len(await bench.take()) == 1
        await until(lambda: blocked(0))
        fetched = await other.broker.fetch(queues, 1, worker=new_worker(), lease=LONG, request_id="r")
        assert not fetched.deliveries
        waiting = asyncio.create_task(other.broker.wait(queues, LONG))
        await bench.put()
        assert await bench.finish(waiting)
