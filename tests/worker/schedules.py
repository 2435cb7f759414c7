"""What the tests of schedules share: an application under a virtual clock, and looks into its store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from taskq import App, TaskRecord, TaskState
from taskq.domain.schedule import Why
from taskq.ports import Change, ScheduleEntry, TaskQuery
from taskq.runtime.beat import Beat
from taskq.runtime.declaring import Declaring
from taskq.schedule_spec import Spec, State, read_spec, read_state, write
from taskq.testing.clock import VirtualClock

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def beat_of(app: App) -> Beat:
    """A beat that a test drives."""
    return Beat(app, asyncio.Event())


async def declare(app: App, clock: VirtualClock) -> None:
    """What a beat does first."""
    await Declaring(app, clock.monotonic).tick()


async def entry_of(app: App, name: str = "job") -> ScheduleEntry:
    """A schedule as the store keeps it."""
    scheduler = (await app.backend()).scheduler
    assert scheduler is not None
    entry = await scheduler.get(name)
    assert entry is not None
    return entry


async def spec_of(app: App, name: str = "job") -> Spec:
    """What holds of a schedule."""
    return read_spec((await entry_of(app, name)).spec)


async def state_of(app: App, name: str = "job") -> State:
    """What has become of a schedule."""
    return read_state((await entry_of(app, name)).state)


async def why(app: App, name: str = "job") -> list[tuple[Why, int]]:
    """The ledger, in short."""
    return [(note.why, note.number) for note in (await state_of(app, name)).notes]


async def commit(app: App, entry: ScheduleEntry, spec: Spec) -> None:
    """Change a schedule as a person would."""
    scheduler = (await app.backend()).scheduler
    assert scheduler is not None
    [done] = await scheduler.commit([Change(replace(entry, spec=write(spec)))])
    assert done.is_applied


async def tasks(app: App) -> list[TaskRecord]:
    """All tasks of the queue `default`, oldest first."""
    inspector, found, cursor = (await app.backend()).inspector, list[TaskRecord](), None
    for state in TaskState:
        while True:
            page = await inspector.list(TaskQuery(queue="default", state=state, limit=500, cursor=cursor))
            found += page.records
            cursor = page.next_cursor
            if cursor is None:
                break
    return sorted(found, key=lambda record: record.created_at)


async def run_for(clock: VirtualClock, seconds: float, *beats: Beat) -> None:
    """Let time pass, waking each beat when it wants to be woken."""
    end = clock.monotonic() + seconds
    wanted = dict.fromkeys(beats, clock.monotonic())
    while True:
        beat = min(wanted, key=wanted.__getitem__)
        if wanted[beat] > end:
            break
        clock.advance(max(0.0, wanted[beat] - clock.monotonic()))
        wanted[beat] = clock.monotonic() + max(0.001, await beat.tick())
    clock.advance(end - clock.monotonic())
