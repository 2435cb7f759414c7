"""Snapshots of the memory store: everything comes back, in its order; a torn file is set aside and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskq.domain.message import Message, Priority
from taskq.domain.outcome import Bury, Complete, Release, Retry
from taskq.domain.record import Failure, Progress
from taskq.errors import ConfigError
from taskq.ids import new_id
from taskq.ports import BackendOptions, EnqueueStatus, Settled, SettleStatus
from taskq.testing.clock import VirtualClock
from taskq_memory import MemoryBackend, create_backend

FAILURE = Failure("ValueError", "no")


def opened(path: Path, clock: VirtualClock) -> MemoryBackend:
    return create_backend(f"memory://?snapshot={path}", BackendOptions(clock=clock))


def message(name: str, priority: Priority = Priority.NORMAL, **fields: Any) -> Message:
    return Message(new_id(), name, name.encode(), priority=priority)._replace(**fields)


async def fill(backend: MemoryBackend) -> dict[str, Message]:
    """One task of each kind."""
    running = [message("completed"), message("retrying"), message("dead"), message("released"), message("running")]
    await backend.broker.enqueue(running)
    fetched = await backend.broker.fetch(["default"], 5, worker="w", lease=60, request_id="1")
    complete, retry, bury, release, held = fetched.deliveries
    await backend.annotations.progress(held, Progress(0.5, "half"))
    await backend.broker.settle(
        [
            Settled(complete, Complete(b"42")),
            Settled(retry, Retry(100, FAILURE)),
            Settled(bury, Bury("exhausted", FAILURE)),
            Settled(release, Release()),
        ]
    )
    waiting = [message("low", Priority.LOW), message("first"), message("second"), message("later", delay=50.0)]
    await backend.broker.enqueue([*waiting, message("keyed", digest="d", priority=Priority.LOW)])
    await backend.results.put("elsewhere", 1, b"kept", 1000)
    return {one.name: one for one in [*running, *waiting]}


async def test_everything_comes_back(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    async with opened(path, clock) as backend:
        messages = await fill(backend)
        before = {name: await backend.inspector.get(one.id) for name, one in messages.items()}
    async with opened(path, clock) as again:
        assert await again.check() == []
        assert {name: await again.inspector.get(one.id) for name, one in messages.items()} == before
        assert await again.results.get("elsewhere", 1) == b"kept"
        [repeated] = await again.broker.enqueue([messages["completed"]])
        assert repeated.status is EnqueueStatus.DUPLICATE
        fetched = await again.broker.fetch(["default"], 10, worker="v", lease=60, request_id="2")
        assert [one.name for one in fetched.deliveries] == ["released", "first", "second", "low", "keyed"]
        clock.advance(50)
        assert await again.maintenance.promote() == 1
        clock.advance(50)
        assert await again.maintenance.promote() == 1


async def test_a_lease_outlives_the_process(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    async with opened(path, clock) as backend:
        await backend.broker.enqueue([message("running")])
        [held] = (await backend.broker.fetch(["default"], 1, worker="w", lease=5, request_id="1")).deliveries
    async with opened(path, clock) as again:
        assert await again.broker.settle([Settled(held, Complete())]) == [SettleStatus.APPLIED]


@pytest.mark.parametrize("damage", ["cut", "flip", "format"])
async def test_a_torn_file_is_set_aside_and_reported(tmp_path: Path, damage: str) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    async with opened(path, clock) as backend:
        await backend.broker.enqueue([message("lost")])
    data = path.read_bytes()
    torn = {"cut": data[:-10], "flip": data.replace(b"lost", b"lust"), "format": b"something else"}[damage]
    path.write_bytes(torn)
    async with opened(path, clock) as again:
        [warning] = await again.check()
        assert str(path) in warning
        assert "set aside" in warning
        assert await again.inspector.counts() == {}
    [aside] = tmp_path.glob("tasks.torn-*")
    assert aside.read_bytes() == torn


async def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    async with opened(path, clock) as backend:
        await backend.broker.enqueue([message("one")])
    written = path.stat().st_mtime_ns
    async with opened(path, clock):
        pass
    assert path.stat().st_mtime_ns == written
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("url", ["memory://host", "memory:///path", "memory://?snapshot=", "memory://?snapshoot=x"])
def test_a_url_that_means_nothing_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"write memory:// or memory://\?snapshot=FILE"):
        create_backend(url, BackendOptions())
