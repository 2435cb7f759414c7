"""Who is told that a task is there already, and who only said the same again."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import App, DuplicateTask, Unique
from taskq.ports import Enqueued, EnqueueStatus


async def test_another_task_of_the_key_is_told_where_the_task_asks_for_that() -> None:
    app = App("memory://")

    @app.task(name="job", unique=Unique(on_duplicate="raise"))
    async def job(number: int) -> None: ...

    async with app:
        first = await job.aenqueue(1)
        with pytest.raises(DuplicateTask, match=f"task {first.id} holds the same unique key") as caught:
            await job.aenqueue(1)
        assert caught.value.holder == first.id


async def test_what_is_only_said_again_is_no_duplicate_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("memory://")

    @app.task(name="job", unique=Unique(on_duplicate="raise"))
    async def job(number: int) -> None: ...

    async with app:
        first = await job.options(idempotency_key="o-17").aenqueue(1)
        assert (await job.options(idempotency_key="o-17").aenqueue(1)).id == first.id
        broker = (await app.backend()).broker
        enqueue = broker.enqueue

        async def over_a_lost_reply(*given: Any, **options: Any) -> list[Enqueued]:
            return [answer._replace(status=EnqueueStatus.DUPLICATE) for answer in await enqueue(*given, **options)]

        monkeypatch.setattr(broker, "enqueue", over_a_lost_reply)
        assert (await job.aenqueue(2)).enqueued is EnqueueStatus.DUPLICATE
