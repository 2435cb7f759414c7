"""Whom Redis wakes, and whom it does not."""

from __future__ import annotations

from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.ports import EnqueueStatus
from taskq.testing.conformance import Bench
from taskq.testing.conformance.bench import LONG


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
