"""`taskq beat`, and the worker that carries one, as processes on stores that they share."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import msgspec
import pytest

from taskq import App, TaskRecord, TaskState
from taskq.domain.envelope import unseal
from taskq.ids import derived_id
from taskq.ports import TaskQuery
from taskq.schedule_spec import read_state
from tests.cli.support import Shell, taskq
from tests.servers import wait_until

TICKS = """
from taskq import App, Every

app = App()


@app.task(name="tick")
async def tick(number: int) -> int:
    return number


for number in range(10):
    app.periodic(Every(seconds=0.2), task=tick, args=(number,), name=f"tick {number}", misfire="all")
"""
Answer = TypeVar("Answer")


@pytest.fixture
def here(shell: Shell, shared_url: str) -> tuple[str, ...]:
    """The arguments that name the application and its store."""
    (shell.folder / "ticks.py").write_text(TICKS)
    return ("-A", "ticks:app", "--backend", shared_url)


async def records(app: App, state: TaskState) -> list[TaskRecord]:
    """All tasks in a state."""
    inspector, found, cursor = (await app.backend()).inspector, list[TaskRecord](), None
    while True:
        page = await inspector.list(TaskQuery(queue="default", state=state, limit=500, cursor=cursor))
        found += page.records
        cursor = page.next_cursor
        if cursor is None:
            return found


def asked(url: str, state: TaskState) -> list[TaskRecord]:
    """The same from blocking code."""

    async def ask() -> list[TaskRecord]:
        async with App(url) as app:
            return await records(app, state)

    return asyncio.run(ask())


def has_more(url: str, count: int) -> bool:
    """Whether so many tasks wait."""
    return len(asked(url, TaskState.PENDING)) >= count


def fired_once(found: list[TaskRecord], names: Callable[[int], str]) -> None:
    """Each task is that of an instant of its schedule, and of no two the same."""
    assert len({record.id for record in found}) == len(found)
    for record in found:
        number = msgspec.json.decode(unseal(record.id, record.name, record.body)[0])["number"]
        seconds = record.created_at.timestamp()
        near = [datetime.fromtimestamp(round(5 * seconds + shift) / 5, UTC) for shift in range(-50, 3)]
        ids = {derived_id(0, "default", "schedule", names(number), instant.isoformat()) for instant in near}
        assert record.id in ids


def test_three_beats_of_which_one_is_killed_again_and_again(
    shell: Shell, here: tuple[str, ...], shared_url: str
) -> None:
    beats = [shell.start("beat", *here) for _ in range(3)]
    for beat in beats:
        beat.until_it_says("the beat has begun; the code declares 10 schedules")
    for kill in range(3):
        before = len(asked(shared_url, TaskState.PENDING))
        wait_until(partial(has_more, shared_url, before + 60), "more tasks")
        beats[kill].process.kill()
        beats.append(shell.start("beat", *here))
        beats[-1].until_it_says("the beat has begun")
    assert [beat.stop() for beat in beats[3:]] == [0, 0, 0]
    found = asked(shared_url, TaskState.PENDING)
    fired_once(found, lambda number: f"tick {number}")
    numbers = Counter(msgspec.json.decode(unseal(one.id, one.name, one.body)[0])["number"] for one in found)
    assert max(numbers.values()) - min(numbers.values()) <= 1, "no instant was left out"


def test_a_worker_carries_the_beat(shell: Shell, here: tuple[str, ...], shared_url: str) -> None:
    worker = shell.start("worker", *here, "--beat")
    wait_until(lambda: len(asked(shared_url, TaskState.COMPLETED)) >= 20, "tasks that have fired have run")
    assert worker.stop() == 0
    fired_once(asked(shared_url, TaskState.COMPLETED), lambda number: f"tick {number}")

    async def ledger() -> list[object]:
        async with App(shared_url) as app:
            scheduler = (await app.backend()).scheduler
            assert scheduler is not None
            return [note for entry in await scheduler.entries() for note in read_state(entry.state).notes]

    assert asyncio.run(ledger()) == []


def test_ctrl_c_ends_a_beat(shell: Shell, here: tuple[str, ...]) -> None:
    beat = shell.start("beat", *here)
    beat.until_it_says("the beat has begun")
    assert beat.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("command", [("beat",), ("worker", "--beat", "-P", "0")])
def test_a_declaration_that_does_not_fit_its_task(shell: Shell, redis_url: str, command: tuple[str, ...]) -> None:
    (shell.folder / "ticks.py").write_text(TICKS.replace("args=(number,)", "args=(str(number),)"))
    result = shell.run(*command, "-A", "ticks:app", "--backend", redis_url)
    assert result.returncode == 2
    said = r"^taskq: schedule 'tick 0' cannot be declared: tick: parameter number: expected `int`, got `str`$"
    assert re.search(said, result.stderr, re.MULTILINE)


def test_a_beat_in_memory_would_fire_for_nobody() -> None:
    result = taskq("beat", "-A", "tests.cli.test_beat:app")
    assert result.exit_code == 2
    assert "memory:// is this process alone, where nothing would run: give --backend redis://" in result.stderr


app = App("memory://")
