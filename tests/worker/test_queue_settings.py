"""What is set for a queue, and the weights of queues, as workers keep to them."""

from __future__ import annotations

from collections import Counter

import pytest

from taskq import App, NoRetry
from taskq.domain.routing import QueueOrder
from taskq.queues import Queues
from taskq.runtime.queue_settings import REFRESH_EVERY
from tests.worker.support import Crowd, Gate, configure, ended, parts, until, work


async def test_what_a_queue_says_of_retries_and_timeouts_holds_where_nobody_else_does(any_app: App) -> None:
    gate = Gate()

    @any_app.task(name="silent")
    async def silent() -> None:
        await gate.passed()

    @any_app.task(name="own", retry=NoRetry(), timeout=0.1)
    async def own() -> None:
        await gate.passed()

    await configure(any_app, retry={"strategy": "fixed", "delay": 0, "max_retries": 1}, timeout=0.2)
    async with work(any_app) as worker:
        await until(lambda: parts(worker).settings.of("default").retry, "the worker has looked up the settings")
        taciturn, talkative = await ended(await silent.aenqueue()), await ended(await own.aenqueue())
        call = silent.options(retry={"strategy": "fixed", "delay": 0, "max_retries": 2}, timeout=0.1)
        particular = await ended(await call.aenqueue())
    assert [record.failure and record.failure.message for record in (taciturn, talkative, particular)] == [
        "it ran longer than its timeout of 0.2 s",
        "it ran longer than its timeout of 0.1 s",
        "it ran longer than its timeout of 0.1 s",
    ]
    assert [record.attempt for record in (taciturn, talkative, particular)] == [2, 1, 3]


async def test_a_queue_s_soft_timeout_is_raised_in_tasks_that_say_none(any_app: App) -> None:
    gate = Gate()

    @any_app.task(retry=NoRetry())
    async def waits() -> None:
        await gate.passed()

    await configure(any_app, soft_timeout=0.1)
    async with work(any_app) as worker:
        await until(lambda: parts(worker).settings.of("default").soft_timeout, "the worker has looked up the settings")
        record = await ended(await waits.aenqueue())
    assert record.failure is not None
    assert record.failure.type == "SoftTimeout"


async def test_no_more_of_a_queue_run_at_once_than_may(any_app: App) -> None:
    crowd = Crowd()

    @any_app.task
    async def visits() -> None:
        await crowd.visit()

    await configure(any_app, workers=2)
    handles = await visits.aenqueue_many([()] * 20)
    async with work(any_app), work(any_app):
        for handle in handles:
            await ended(handle)
    assert (crowd.came, crowd.most[None] <= 2) == (20, True)


# ---------------------------------------------------------------- weights


async def test_queues_are_served_in_the_proportion_of_their_weights(app: App) -> None:
    broker = (await app.backend()).broker
    order = QueueOrder({"high": 3, "default": 1})
    for queue in ("high", "default"):
        await app.task(name=queue, queue=queue)(_nothing).aenqueue_many([()] * 9_000)
    taken: Counter[str] = Counter()
    while taken.total() < 10_000:
        request = str(taken.total())
        fetched = await broker.fetch(order.next(), 10, worker="w", lease=60.0, request_id=request)
        taken.update(delivery.queue for delivery in fetched.deliveries)
    assert taken["high"] == pytest.approx(7_500, rel=0.05)
    assert taken["default"] == pytest.approx(2_500, rel=0.05)


async def _nothing() -> None: ...


async def test_a_worker_serves_queues_by_the_weights_it_was_given_and_those_that_are_set(app: App) -> None:
    ran: list[str] = []

    async def notes(queue: str) -> None:
        ran.append(queue)

    task = app.task(name="notes")(notes)
    await configure(app, "set", weight=4)
    async with work(app, concurrency=1, queues={"given": 2.0, "set": None, "plain": None}) as worker:
        await until(lambda: parts(worker).settings.of("set").weight, "the worker has looked up the settings")
        control = (await app.backend()).queues
        handles = []
        for queue in worker.options.queues:
            await control.pause(queue)
            handles += await task.options(queue=queue).aenqueue_many([(queue,)] * 200)
        for queue in worker.options.queues:
            await control.resume(queue)
        for handle in handles:
            await ended(handle)
    busy = Counter(ran[20:220])
    assert busy["set"] == pytest.approx(2 * busy["given"], rel=0.1)
    assert busy["given"] == pytest.approx(2 * busy["plain"], rel=0.1)


async def test_a_change_is_heard_of_at_once(any_app: App) -> None:
    async with work(any_app) as worker:
        settings = parts(worker).settings
        await until(lambda: settings.of("default").max_size == 1_000_000, "the worker has looked up the settings")

        async def heard() -> bool:
            await Queues(any_app).aconfigure("default", weight=7.0)  # again: the first may come before it listens
            return settings.of("default").weight == 7.0

        await until(heard, "the worker has heard of the change", timeout=REFRESH_EVERY / 2)
