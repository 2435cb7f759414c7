"""The bench on which a backend is tried: a queue of its own, and short words for what every test does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from secrets import token_hex
from time import monotonic, time_ns
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

from taskq.domain.message import Delivery, Message
from taskq.domain.outcome import Settlement
from taskq.domain.record import Failure, TaskRecord
from taskq.domain.routing import AGING
from taskq.domain.state import TaskState
from taskq.ports import (
    Backend,
    EnqueueStatus,
    Fetched,
    Reaped,
    Redriven,
    RedriveStatus,
    Settled,
    SettleStatus,
)

LONG = 900.0
"""Seconds that no test lasts: leases and delays that must hold."""
SILENCE = 1e6
"""A renewal period after which no reaper ever holds off."""
FAILURE = Failure("ValueError", "no such user: Zoë", "Traceback (most recent call last): …", "5b0cfe17")

Answer = TypeVar("Answer")


class Hooks(Protocol):
    """What a bench asks of the class that runs the tests."""

    @property
    def tick(self) -> float: ...
    @property
    def deadline(self) -> float: ...

    async def pass_time(self, backend: Backend, seconds: float) -> None:
        """Let the store's time pass."""
        ...


def new_id(shard: int = 0) -> str:
    """A UUIDv7 whose last byte is the shard."""
    moment = time_ns() // 1_000_000
    value = (moment << 80) | (uuid4().int & ((1 << 80) - 1))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value & ~0xFF | shard))


def new_worker() -> str:
    """The random id of a worker's start."""
    return token_hex(8)


def moved(answers: Sequence[Redriven]) -> list[bool]:
    """Which tasks a redrive has started anew."""
    return [answer.status is RedriveStatus.MOVED for answer in answers]


async def eventually(check: Callable[[], Awaitable[bool]], deadline: float = 10.0) -> None:
    """Wait until `check` is true; fails when it is not within `deadline` seconds."""
    end = monotonic() + deadline
    while not await check():
        assert monotonic() < end, f"not true within {deadline} s: {check}"
        await asyncio.sleep(0.01)


class _Store:
    """A backend, its time, and what it knows of its tasks."""

    def __init__(self, kit: Hooks, backend: Backend, queue: str | None = None) -> None:
        self.kit = kit
        self.backend = backend
        self.queue = queue or f"queue-{token_hex(4)}"
        self.short = kit.tick / 10

    async def pass_time(self, seconds: float) -> None:
        """Let the store's time pass."""
        await self.kit.pass_time(self.backend, seconds)

    async def lapse(self) -> None:
        """Let everything `short` run out."""
        await self.kit.pass_time(self.backend, self.kit.tick / 4)

    async def finish(self, waiting: Awaitable[Answer]) -> Answer:
        """The outcome of something that must end by itself."""
        return await asyncio.wait_for(waiting, self.kit.deadline)

    async def record(self, id: str) -> TaskRecord:
        """The record of a task, which must be there."""
        record = await self.backend.inspector.get(id)
        assert record is not None, f"no record of {id}"
        assert record.id == id
        return record

    async def state(self, id: str) -> TaskState:
        """The state of a task."""
        return (await self.record(id)).state

    async def counts(self, queue: str | None = None) -> dict[TaskState, int]:
        """How many tasks the queue has in each state."""
        return dict((await self.backend.inspector.counts()).get(queue or self.queue, {}))


class _Producer(_Store):
    """Enqueues."""

    def message(self, queue: str | None = None, **fields: Any) -> Message:
        """A message for the bench's queue, or another, under a fresh id."""
        queue = queue or self.queue
        fields.setdefault("id", new_id(self.backend.shard_of(queue)))
        fields.setdefault("name", "tests.task")
        fields.setdefault("body", b'1 00000000 0\n{"n":1}')
        return Message(queue=queue, **fields)

    async def put(self, queue: str | None = None, **fields: Any) -> Message:
        """Enqueue one message."""
        message = self.message(queue, **fields)
        assert await self.enqueue(message) == [EnqueueStatus.CREATED]
        return message

    async def put_many(self, count: int, queue: str | None = None, **fields: Any) -> list[str]:
        """Enqueue several messages in one call; returns their ids."""
        messages = [self.message(queue, **fields) for _ in range(count)]
        assert set(await self.enqueue(*messages)) == {EnqueueStatus.CREATED}
        return [message.id for message in messages]

    async def enqueue(self, *messages: Message, **options: Any) -> list[EnqueueStatus]:
        """Enqueue messages; returns their statuses, after a look whether the ids fit."""
        answers = await self.backend.broker.enqueue(messages, **options)
        assert [answer.id for answer in answers] == [message.id for message in messages]
        return [answer.status for answer in answers]

    async def now(self) -> float:
        """The store's clock, in seconds since the epoch, read off the record of a task."""
        probe = await self.put(queue=f"{self.queue}-clock")
        return (await self.record(probe.id)).created_at.timestamp()


class _Consumer(_Producer):
    """Claims."""

    async def fetch(
        self,
        limit: int = 1,
        *,
        queues: Sequence[str] | None = None,
        worker: str | None = None,
        lease: float = LONG,
        request_id: str | None = None,
        aging: float = AGING,
    ) -> Fetched:
        """Claim tasks, by default from the bench's queue as a new worker."""
        return await self.backend.broker.fetch(
            [self.queue] if queues is None else queues,
            limit,
            worker=worker or new_worker(),
            lease=lease,
            request_id=request_id or str(uuid4()),
            aging=aging,
        )

    async def take(self, limit: int = 1, **options: Any) -> list[Delivery]:
        """The deliveries of one claim."""
        return list((await self.fetch(limit, **options)).deliveries)

    async def take_one(self, **options: Any) -> Delivery:
        """The one task that is there to be claimed."""
        deliveries = await self.take(1, **options)
        assert len(deliveries) == 1, "nothing to claim"
        return deliveries[0]

    async def take_ids(self, limit: int = 100, **options: Any) -> list[str]:
        """The ids of one claim, in the order in which they were handed out."""
        return [delivery.id for delivery in await self.take(limit, **options)]

    async def take_ids_one_by_one(self, count: int, **options: Any) -> list[str]:
        """The ids of `count` claims of one task each."""
        return [(await self.take_one(**options)).id for _ in range(count)]

    async def running(self, lease: float = LONG, *, queue: str | None = None, **fields: Any) -> Delivery:
        """A task that runs."""
        message = await self.put(queue, **fields)
        delivery = await self.take_one(queues=[message.queue], lease=lease)
        assert delivery.id == message.id
        return delivery


class Bench(_Consumer):
    """A backend, a queue that nobody else uses, and short words for what every test does.

    `short` is a lifetime (of a lease, a delay) that is over after `lapse`; LONG is one that no test outlives.
    """

    def apart(self, name: str) -> Bench:
        """The same backend with a queue of its own, for one of several cases in a test."""
        return Bench(self.kit, self.backend, f"{self.queue}-{name}")

    def beside(self, name: str) -> Bench:
        """The same backend with another queue in the same shard."""
        shard, found = self.backend.shard_of(self.queue), (self.apart(f"{name}-{n}") for n in count())
        return next(bench for bench in found if self.backend.shard_of(bench.queue) == shard)

    async def settle(self, delivery: Delivery, settlement: Settlement) -> SettleStatus:
        """Settle one run."""
        [status] = await self.backend.broker.settle([Settled(delivery, settlement)])
        return status

    async def apply(self, delivery: Delivery, settlement: Settlement) -> TaskRecord:
        """Settle one run, which must be accepted; returns the record after it."""
        status = await self.settle(delivery, settlement)
        assert status == SettleStatus.APPLIED
        return await self.record(delivery.id)

    async def reap(self, limit: int = 100, renewal: float = SILENCE) -> Reaped:
        """One tick of the reaper, which never holds off unless `renewal` is given."""
        return await self.backend.maintenance.reap(limit, renewal=renewal)

    async def lost(self, **fields: Any) -> Delivery:
        """A run whose lease was lost, and that the reaper has seen."""
        delivery = await self.running(self.short, **fields)
        await self.lapse()
        await self.reap()
        assert (await self.record(delivery.id)).lost_leases == delivery.lost_leases + 1
        return delivery

    async def let_wait(self) -> None:
        """Let those who have begun to wait come as far as waiting: others begin after them, wait, and are served."""
        for _ in range(3):
            there = self.apart(token_hex(4))
            working = asyncio.create_task(self.backend.broker.wait([there.queue], LONG))
            await asyncio.sleep(0)
            task = await there.put()
            assert await self.finish(working)
            ending = asyncio.create_task(self.backend.results.wait(task.id, LONG))
            await asyncio.sleep(0)
            await self.backend.broker.cancel([task.id])  # a claim might end what has expired elsewhere
            assert await self.finish(ending) is not None
