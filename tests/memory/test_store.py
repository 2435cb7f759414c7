"""What is the memory store's own: how it tells those who wait, and what a claim holds it up for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from taskq.domain.message import Message
from taskq.domain.state import TaskState
from taskq.ids import new_id
from taskq.ports import BackendOptions, Event
from taskq.testing.clock import VirtualClock
from taskq_memory import create_backend
from taskq_memory.broker import EXPIRE_PER_STEP
from taskq_memory.listeners import Listener, Listeners


def test_only_those_who_wait_for_it_are_told() -> None:
    listeners, heard = Listeners(), list[tuple[str, str]]()
    stops = [listeners.listen(["ended"], [f"task-{n}"], lambda *told: heard.append(told)) for n in range(3)]
    stops.append(listeners.listen(["ready", "due"], ["mail", "images"], lambda *told: heard.append(told)))
    listeners.tell("ended", "task-1")
    listeners.tell("due", "mail")
    listeners.tell("ready", "task-1")
    listeners.tell("ended", "mail", "data")
    assert heard == [("task-1", ""), ("mail", "")]
    for stop in stops:
        stop()
        stop()
    listeners.tell("ended", "task-1")
    assert len(heard) == 2
    assert vars(listeners)["_of"] == {}


async def test_an_end_disturbs_nobody_who_waits_for_another_task(monkeypatch: pytest.MonkeyPatch) -> None:
    async with create_backend("memory://", BackendOptions()) as backend:
        messages = [Message(new_id(), "task") for _ in range(50)]
        await backend.broker.enqueue(messages)
        calls: list[str] = []
        listen = Listeners.listen

        def noting(
            self: Listeners, kinds: Iterable[str], keys: Iterable[str], listener: Listener
        ) -> Callable[[], None]:
            def heard(key: str, data: str) -> None:
                calls.append(key)
                listener(key, data)

            return listen(self, kinds, keys, heard)

        monkeypatch.setattr(Listeners, "listen", noting)
        waiting = [asyncio.create_task(backend.results.wait(one.id, 60.0)) for one in messages]
        await asyncio.sleep(0)
        await backend.broker.cancel([one.id for one in messages])
        await asyncio.gather(*waiting)
        assert sorted(calls) == sorted(one.id for one in messages)


async def test_one_listener_hears_all_its_topics() -> None:
    async with create_backend("memory://", BackendOptions()) as backend:
        events = backend.events.subscribe(["a", "b"])
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await backend.events.publish([Event("c", "0"), Event("b", "1"), Event("a", "2")])
        assert [await first, await anext(events)] == [Event("b", "1"), Event("a", "2")]


async def test_a_claim_ends_an_expired_backlog_in_steps_that_let_others_at_the_store() -> None:
    clock = VirtualClock()
    async with create_backend("memory://", BackendOptions(clock=clock)) as backend:
        queues = ["first", "second"]
        for queue in queues:
            expired = [Message(new_id(), "late", queue=queue, expires=1.0) for _ in range(2 * EXPIRE_PER_STEP + 50)]
            await backend.broker.enqueue(expired)
        fresh = Message(new_id(), "fresh", queue="second")
        await backend.broker.enqueue([fresh])
        clock.advance(2.0)
        ended = [0]

        async def watch() -> None:
            while True:
                counts = await backend.inspector.counts()
                ended.append(sum(states.get(TaskState.EXPIRED, 0) for states in counts.values()))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        fetched = await backend.broker.fetch(queues, 1, worker="w", lease=60, request_id="1")
        watching.cancel()
        assert [delivery.id for delivery in fetched.deliveries] == [fresh.id]
        assert max(after - before for before, after in pairwise(ended)) <= EXPIRE_PER_STEP
        again = await backend.broker.fetch(queues, 1, worker="w", lease=60, request_id="1")
        assert [delivery.id for delivery in again.deliveries] == [fresh.id]


async def test_a_claim_that_is_given_up_among_expired_tasks_has_taken_none() -> None:
    clock = VirtualClock()
    async with create_backend("memory://", BackendOptions(clock=clock)) as backend:
        await backend.broker.enqueue([Message(new_id(), "late", expires=1.0) for _ in range(EXPIRE_PER_STEP)])
        fresh = Message(new_id(), "fresh")
        await backend.broker.enqueue([fresh])
        clock.advance(2.0)
        claiming = asyncio.create_task(backend.broker.fetch(["default"], 9, worker="w", lease=60, request_id="1"))
        await asyncio.sleep(0)
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
        assert claiming.cancelled()
        fetched = await backend.broker.fetch(["default"], 9, worker="w", lease=60, request_id="1")
        assert [delivery.id for delivery in fetched.deliveries] == [fresh.id]
