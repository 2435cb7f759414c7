"""Snapshots of the memory store: everything comes back, in its order; a torn file is set aside and reported."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskq.domain.flow import Callback, FlowState, Tally
from taskq.domain.message import Delivery, Message, Priority
from taskq.domain.outcome import Bury, Complete, Release, Retry, Settlement
from taskq.domain.record import Failure, Progress
from taskq.domain.state import TaskState
from taskq.domain.workflow import Edge, OnParentFailure
from taskq.errors import ConfigError
from taskq.ids import new_id
from taskq.ports import BackendOptions, EnqueueStatus, NewFlow, QueueConfig, RedriveStatus, Settled, SettleStatus
from taskq.testing.clock import VirtualClock
from taskq_memory import MemoryBackend, create_backend
from taskq_memory import backend as memory_backend
from taskq_memory.snapshot import SnapshotFile, _image

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


Change = Callable[[MemoryBackend, Delivery], Awaitable[object]]

CHANGES: dict[str, Change] = {
    "progress": lambda backend, held: backend.annotations.progress(held, Progress(0.5, "half")),
    "checkpoint": lambda backend, held: backend.annotations.checkpoint(held, b"page 7"),
    "log": lambda backend, held: backend.annotations.log(held, ["a line"]),
    "cancel request": lambda backend, held: backend.broker.cancel([held.id], "enough"),
    "lease": lambda backend, held: backend.broker.extend([held], 3600.0),
    "pause": lambda backend, held: backend.queues.pause("default", "upkeep"),
    "max_finished": lambda backend, held: backend.queues.configure("default", QueueConfig(max_finished=5)),
    "result": lambda backend, held: backend.results.put("elsewhere", 1, b"kept", 1000),
}
"""All that can change while every task stays in its state."""


def image(backend: MemoryBackend) -> bytes:
    """All that a snapshot keeps of a store."""
    return msgspec.json.encode(_image(backend._store))


@pytest.mark.parametrize("kind", CHANGES)
async def test_what_changes_while_no_task_moves_outlives_a_clean_restart(tmp_path: Path, kind: str) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    async with opened(path, clock) as backend:
        await backend.broker.enqueue([message("running")])
        [held] = (await backend.broker.fetch(["default"], 1, worker="w", lease=60, request_id="1")).deliveries
        before = image(backend)
    async with opened(path, clock) as backend:
        await CHANGES[kind](backend, held)
        changed = image(backend)
    assert changed != before
    async with opened(path, clock) as again:
        assert image(again) == changed


async def test_a_lease_that_a_repeated_claim_extends_outlives_a_clean_restart(tmp_path: Path) -> None:
    backend = opened(tmp_path / "tasks", VirtualClock())
    async with backend:
        await backend.broker.enqueue([message("running")])
        await backend.broker.fetch(["default"], 1, worker="w", lease=60, request_id="1")
    async with backend:
        await backend.broker.fetch(["default"], 1, worker="w", lease=600, request_id="1")
        changed = image(backend)
    async with opened(tmp_path / "tasks", VirtualClock()) as again:
        assert image(again) == changed


async def test_clones_that_save_at_once_leave_the_newest_image(tmp_path: Path) -> None:
    path, clock = tmp_path / "tasks", VirtualClock()
    first = opened(path, clock)

    async def enqueue_and_close(clone: MemoryBackend, name: str) -> None:
        for number in range(20):
            async with clone as backend:
                await backend.broker.enqueue([message(f"{name}-{number}", body=bytes(2000))])

    def run(clone: MemoryBackend, name: str) -> None:
        asyncio.run(enqueue_and_close(clone, name))

    async with first:
        await asyncio.gather(*(asyncio.to_thread(run, first.clone(), name) for name in ("a", "b", "c")))
        kept = image(first)
    async with opened(path, clock) as again:
        assert await again.check() == []
        assert image(again) == kept
    assert list(tmp_path.iterdir()) == [path]


async def test_a_snapshot_that_cannot_be_written_is_told_of_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory_backend, "SNAPSHOT_EVERY", 0.0)
    path, clock = tmp_path / "tasks", VirtualClock()
    loop, write = asyncio.get_running_loop(), SnapshotFile._write
    written = asyncio.Event()
    failures = [OSError("no space left"), OSError("no space left")]

    def full_at_first(file: SnapshotFile, data: bytes) -> None:
        if failures:
            raise failures.pop()
        write(file, data)
        loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(SnapshotFile, "_write", full_at_first)
    with caplog.at_level(logging.WARNING, "taskq.memory"):
        async with opened(path, clock) as backend:
            await backend.broker.enqueue([message("kept")])
            await asyncio.wait_for(written.wait(), 20)
    assert ["no space left" in text for text in caplog.messages] == [True, True]
    async with opened(path, clock) as again:
        assert len(await again.inspector.counts()) == 1


async def take(backend: MemoryBackend, *queues: str) -> list[Delivery]:
    """All that is ready."""
    request = new_id()
    fetched = await backend.broker.fetch(queues or ["default"], 100, worker="w", lease=600, request_id=request)
    return list(fetched.deliveries)


async def take_names(backend: MemoryBackend, *queues: str) -> list[str]:
    """The names of all that is ready."""
    return [delivery.name for delivery in await take(backend, *queues)]


async def settle(backend: MemoryBackend, settlement: Settlement, *deliveries: Delivery) -> None:
    """Say what became of runs."""
    answers = await backend.broker.settle([Settled(delivery, settlement) for delivery in deliveries])
    assert set(answers) == {SettleStatus.APPLIED}


def new_flow(**fields: Any) -> NewFlow:
    """A flow with a callback for each occasion, in a queue of their own."""
    return NewFlow(new_id(), callbacks={each: message(each, queue="callbacks") for each in Callback}, **fields)


async def test_a_child_runs_after_the_parent_that_completes_after_the_restart(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    parents = [message("one"), message("two")]
    edges = tuple(Edge(parent.id, OnParentFailure.CANCEL) for parent in parents)
    child, grandchild = message("child", parents=edges), message("grandchild")
    grandchild = grandchild._replace(parents=(Edge(child.id, OnParentFailure.FAIL),))
    late = message("late", parents=edges, delay=50.0)
    async with opened(path, clock) as backend:
        await backend.broker.enqueue([*parents, child, grandchild, late])
        one, two = await take(backend)
        await settle(backend, Complete(), one)
        before = {each.id: await backend.inspector.get(each.id) for each in (child, grandchild, late)}
    async with opened(path, clock) as again:
        assert {id: await again.inspector.get(id) for id in before} == before
        assert {record and record.state for record in before.values()} == {TaskState.BLOCKED}
        assert await take(again) == []
        await settle(again, Complete(), two)
        [delivery] = await take(again)
        assert delivery.id == child.id
        await settle(again, Complete(), delivery)
        assert await take_names(again) == ["grandchild"]
        clock.advance(50)
        assert await again.maintenance.promote() == 1
        assert await take_names(again) == ["late"]


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        (OnParentFailure.CANCEL, TaskState.CANCELLED),
        (OnParentFailure.FAIL, TaskState.FAILED),
        (OnParentFailure.RUN, TaskState.PENDING),
    ],
)
async def test_what_becomes_of_a_child_outlives_a_restart(
    tmp_path: Path, policy: OnParentFailure, state: TaskState
) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    parent = message("parent")
    child = message("child", parents=(Edge(parent.id, policy),))
    async with opened(path, clock) as backend:
        await backend.broker.enqueue([parent, child])
        running = await take(backend)
    async with opened(path, clock) as again:
        await settle(again, Bury("exhausted", FAILURE), *running)
        record = await again.inspector.get(child.id)
        assert record is not None
        assert record.state is state


async def test_a_child_that_was_redriven_waits_for_its_parent_after_a_restart(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    parent = message("parent")
    child = message("child", parents=(Edge(parent.id, OnParentFailure.FAIL),), delay=50.0)
    async with opened(path, clock) as backend:
        await backend.broker.enqueue([parent, child])
        await settle(backend, Bury("exhausted", FAILURE), *await take(backend))
        await backend.inspector.redrive([parent.id, child.id])
    async with opened(path, clock) as again:
        clock.advance(50)
        assert await again.maintenance.promote() == 0
        [delivery] = await take(again)
        assert delivery.id == parent.id
        await settle(again, Complete(), delivery)
        record = await again.inspector.get(child.id)
        assert record is not None
        assert record.state in (TaskState.PENDING, TaskState.SCHEDULED)


async def test_a_flow_goes_on_counting_after_a_restart(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    new = new_flow(name="Ünïcode ✓", spec=b'{"x":1}')
    members = [message(f"member-{number}", flow=new.id) for number in range(4)]
    async with opened(path, clock) as backend:
        await backend.flows.create(new)
        await backend.broker.enqueue(members)
        one, two, three, four = await take(backend)
        await settle(backend, Complete(), one)
        await settle(backend, Bury("exhausted", FAILURE), two)
        assert await take_names(backend, "callbacks") == ["failure"]
        before = await backend.flows.get(new.id)
    async with opened(path, clock) as again:
        assert await again.flows.get(new.id) == before
        assert (await again.flows.members(new.id)).ids == [member.id for member in members]
        assert (await again.flows.members(new.id, failed=True)).ids == [two.id]
        await again.flows.close(new.id)
        await settle(again, Complete(), three, four)
        record = await again.flows.get(new.id)
        assert record is not None
        assert (record.state, record.tally) == (FlowState.FAILED, Tally(4, completed=3, failed=1))
        # What was told before the restart is not told again.
        assert await take_names(again, "callbacks") == ["complete"]
        assert (await again.inspector.redrive([two.id]))[0].status is RedriveStatus.MOVED
        await settle(again, Complete(), *await take(again))
        assert await take_names(again, "callbacks") == ["success"]


async def test_a_held_flow_lets_its_members_go_after_a_restart(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    new = new_flow(is_held=True)
    held = message("held", flow=new.id, parents=(Edge(new.id, OnParentFailure.CANCEL),))
    async with opened(path, clock) as backend:
        await backend.flows.create(new)
        await backend.broker.enqueue([held])
    async with opened(path, clock) as again:
        assert await take(again) == []
        await again.flows.close(new.id)
        assert await take_names(again) == ["held"]


async def test_a_callback_that_found_no_room_is_enqueued_after_a_restart(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    new = new_flow()
    async with opened(path, clock) as backend:
        await backend.queues.configure("callbacks", QueueConfig(max_size=1))
        await backend.broker.enqueue([message("other", queue="callbacks")])
        await backend.flows.create(new)
        await backend.flows.close(new.id)
        await backend.maintenance.relay()
    async with opened(path, clock) as again:
        told: list[str] = []
        for _ in range(3):  # there is room for one at a time
            told += await take_names(again, "callbacks")
            await again.maintenance.relay()
    assert sorted(told) == ["complete", "other", "success"]


async def test_what_was_cancelled_or_forgotten_stays_so_after_a_restart(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "tasks"
    cancelled, forgotten, member = new_flow(), new_flow(), message("member")
    async with opened(path, clock) as backend:
        for flow in (cancelled, forgotten):
            await backend.flows.create(flow)
        await backend.broker.enqueue([member._replace(flow=cancelled.id)])
    async with opened(path, clock) as backend:  # where no task moves, too, it is written
        await backend.flows.cancel(cancelled.id, "enough")
        await backend.flows.forget(forgotten.id)
    async with opened(path, clock) as again:
        record = await again.flows.get(cancelled.id)
        assert record is not None
        assert (record.state, record.cancel_reason) == (FlowState.CANCELLED, "enough")
        assert await again.flows.get(forgotten.id) is None
        assert await take_names(again, "callbacks") == ["complete"]


@pytest.mark.parametrize("url", ["memory://host", "memory:///path", "memory://?snapshot=", "memory://?snapshoot=x"])
def test_a_url_that_means_nothing_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"write memory:// or memory://\?snapshot=FILE"):
        create_backend(url, BackendOptions())


async def test_a_snapshot_that_cannot_be_kept_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "no" / "folder" / "tasks", "cannot be written: there is no folder"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(ConfigError, match=message):
            async with opened(path, VirtualClock()):
                raise AssertionError("it was opened")
