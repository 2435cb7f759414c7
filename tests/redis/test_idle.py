"""What a whole idle worker asks of Redis in an hour: each of its ticks is called as often as it says, in no time.

The commands are counted as MONITOR tells them: INFO counts those inside scripts too.
"""

from __future__ import annotations

import asyncio
import heapq
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from taskq import App, Every
from taskq.config import WorkerOptions
from taskq.management.errands import errands_of
from taskq.ports import Backend
from taskq.runtime.parts import Parts
from taskq.runtime.service import Tick
from taskq.runtime.worker import Worker
from taskq_redis.scripts import script
from taskq_redis.waiting import POP

HOUR = 3600.0
_SENT = re.compile(rb'\+\d+\.\d+ \[\d+ (?!lua)\S+\] "(\S+)"(?: "(\S+)")?')
SCRIPTS = {
    script(name).sha: name
    for name in ("reap", "fetch", "schedules", "counts", "standing", "catch_up", "left", "report")
}


@pytest.fixture(autouse=True)
def _no_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jitter comes to nothing."""
    monkeypatch.setattr("random.uniform", lambda least, most: (least + most) / 2)


@asynccontextmanager
async def sent(url: str) -> AsyncIterator[Counter[str]]:
    """The commands that clients send meanwhile, by name, those of scripts by the name of the script."""
    found, port = Counter[str](), urlsplit(url).port or 6379
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    try:
        yield found
        end = uuid4().hex.encode()
        _, other = await asyncio.open_connection("127.0.0.1", port)
        other.write(b"ECHO %s\r\n" % end)
        while end not in (line := await reader.readline()):
            if match := _SENT.match(line):
                name, first = match[1].decode().lower(), (match[2] or b"").decode()
                found[SCRIPTS.get(first, name) if name == "evalsha" else name] += 1
        other.close()
        await other.wait_closed()
    finally:
        writer.close()
        await writer.wait_closed()


class Life:
    """The ticks of a worker that does not run, and the clock that they go by."""

    def __init__(self, ticks: Mapping[str, Tick], owners: list[Any]) -> None:
        self.now = 1_000_000.0
        self._ticks = ticks
        for owner in owners:
            owner._now = lambda: self.now

    async def lasts(self, seconds: float) -> None:
        """Call each tick when it is due."""
        begin = self.now
        due = [(begin, name) for name in self._ticks]
        heapq.heapify(due)
        while due[0][0] < begin + seconds:
            self.now, name = heapq.heappop(due)
            heapq.heappush(due, (self.now + max(0.01, await self._ticks[name]()), name))


@asynccontextmanager
async def idle_worker(app: App, *, beat: bool) -> AsyncIterator[Life]:
    """A worker with nothing to do, which has begun and does not run."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app)
        worker = Worker(app, WorkerOptions(beat=beat))
        begun = await worker._start(stack)
        assert begun is not None
        backend, parts = begun
        ticks, owners = dict[str, Tick](), list[Any]([parts.rolling])
        if worker._beat is not None:
            errands = errands_of(app)
            ticks |= {"beat": worker._beat.tick, "declaring": worker._beat._declaring.tick, **dict(errands.ticks)}
            watch: Any = getattr(ticks["looking for alerts"], "__self__")  # noqa: B009 - a tick need not have one
            owners += [watch, watch._readings]
        ticks |= own_ticks(worker, backend, parts)
        yield Life(ticks, owners)
        parts.executor.close()


def own_ticks(worker: Worker, backend: Backend, parts: Parts) -> dict[str, Tick]:
    """What every worker does; that it listens is one command, once."""
    upkeep, heartbeat = worker._upkeep(backend, parts), worker._heartbeat(parts)

    async def claim() -> float:
        assert not (await parts.fetcher._claim(1, uuid4().hex)).deliveries
        await backend.broker.wait(list(worker.options.queues), 0.01)
        return worker.options.poll

    services = {name: tick for name, tick in worker._services(backend, parts) if name != "listening"}
    maintenance: dict[str, Callable[..., Any]] = {
        name: getattr(upkeep, name) for name in ("reap", "relay", "index", "tidy")
    }
    return {**services, **maintenance, "heartbeat": lambda: heartbeat.tick(backend), "claims": claim}


async def test_a_worker_asks_little(redis_url: str) -> None:
    async with idle_worker(App(redis_url), beat=False) as life:
        await life.lasts(120)
        async with sent(redis_url) as commands:
            await life.lasts(HOUR)
    # What a worker that runs adds is one pop in twenty seconds, and one word in a minute of how late its loop is.
    assert sum(commands.values()) <= HOUR - HOUR / POP - HOUR / 60, commands
    assert commands["hmget"] <= HOUR / 60 + HOUR / 120 + 2, "the settings of its queue, and its fitness"
    assert commands["smembers"] <= HOUR / 30 + 2, "to index and to forget what has ended"
    assert commands["reap"] == pytest.approx(HOUR / 4.4, abs=2), "a lost worker is noticed as soon as ever"
    assert commands["fetch"] == pytest.approx(HOUR / 6, abs=3)
    assert commands["counts"] <= HOUR / 30 + HOUR / 60 + 2
    assert commands["standing"] <= HOUR / 60 + 2, "as often as it is told though nothing moves"
    assert commands["blpop"] <= HOUR / POP + 2


async def test_a_worker_with_a_beat_asks_little(redis_url: str) -> None:
    async with idle_worker(App(redis_url), beat=True) as life:
        await life.lasts(120)
        async with sent(redis_url) as commands:
            await life.lasts(HOUR)
    assert sum(commands.values()) <= 2.75 * HOUR, commands
    assert commands["schedules"] <= 0.5 * HOUR, "there are none"


async def test_where_there_are_schedules_they_are_looked_at_as_often_as_was_said(redis_url: str) -> None:
    app = App(redis_url)
    app.periodic(Every(days=1), task=app.task(name="tick")(print), name="daily")
    async with idle_worker(app, beat=True) as life:
        await life.lasts(120)
        async with sent(redis_url) as commands:
            await life.lasts(60)
    assert commands["schedules"] >= 60
