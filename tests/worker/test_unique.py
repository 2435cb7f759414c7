"""Unique, KeepLatest and Debounce while workers run, on every backend."""

from __future__ import annotations

from taskq import App, Debounce, Fixed, KeepLatest, Unique
from taskq.ports import EnqueueStatus
from tests.worker.support import Gate, ended, work


async def test_a_unique_task_is_one_through_its_retries_and_may_come_again_after_its_end(any_app: App) -> None:
    found: list[tuple[str, EnqueueStatus]] = []

    @any_app.task(unique=Unique(key="order"), retry=Fixed(0.0, max_retries=2))
    async def ship(order: int) -> int:
        handle = await ship.aenqueue(order)
        found.append((handle.id, handle.enqueued))
        if len(found) < 3:
            raise ConnectionError("not yet")
        return order

    first = await ship.aenqueue(17)
    async with work(any_app):
        await ended(first)
        assert found == [(first.id, EnqueueStatus.DUPLICATE)] * 3
        again = await ship.aenqueue(17)
        assert (again.enqueued, again.id != first.id) == (EnqueueStatus.CREATED, True)
        await ended(again)


async def test_a_key_that_is_held_until_the_start_is_free_while_its_task_runs(any_app: App) -> None:
    gate = Gate()

    @any_app.task(unique=Unique(until="start"))
    async def once() -> None:
        await gate.passed()

    first, double = await once.aenqueue(), await once.aenqueue()
    assert double.id == first.id
    async with work(any_app):
        await gate.until_arrived(1)
        second = await once.aenqueue()
        assert second.enqueued is EnqueueStatus.CREATED
        gate.open()
        await ended(second)


async def test_of_many_calls_while_one_runs_the_last_runs_after_it_and_no_other(any_app: App) -> None:
    gate, ran = Gate(), []

    @any_app.task(unique=KeepLatest(key="document"))
    async def index(document: str, version: int) -> None:
        ran.append(version)
        await gate.passed()

    first = await index.aenqueue("a", 0)
    async with work(any_app):
        await gate.until_arrived(1)
        handles = [await index.aenqueue("a", version) for version in range(1, 20)]
        assert len({handle.id for handle in handles}) == 1
        assert ran == [0]
        gate.open()
        await ended(first)
        await ended(handles[-1])
    assert ran == [0, 19]


async def test_a_debounced_task_runs_once_with_the_last_arguments(any_app: App) -> None:
    ran = []

    @any_app.task(unique=Debounce(0.3, key="user"))
    async def notify(user: str, text: str) -> None:
        ran.append((user, text))

    async with work(any_app):
        handles = await notify.aenqueue_many([("anna", "one"), ("berta", "hello"), ("anna", "two"), ("anna", "three")])
        for handle in handles:
            await ended(handle)
    assert len({handle.id for handle in handles}) == 2
    assert sorted(ran) == [("anna", "three"), ("berta", "hello")]
