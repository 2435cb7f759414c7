"""How much a worker holds: as much as there is room for, suspects alone, nothing for long that others could run."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from taskq import App, TaskContext, TaskState
from taskq.runtime import executor, slots
from tests.worker import jobs
from tests.worker.support import (
    Gate,
    adopt,
    ended,
    gated,
    make_suspects,
    options,
    parts,
    registered,
    suspect_behind,
    twin,
    until,
    until_state,
    work,
    wrap,
)


async def counts(app: App) -> dict[TaskState, int]:
    """How many tasks of the default queue are in each state."""
    found = await (await app.backend()).inspector.counts()
    return dict(found.get("default", {}))


async def test_a_suspect_never_overlaps_another_task_of_its_worker(any_app: App) -> None:
    running: set[str] = set()
    overlaps: list[set[str]] = []

    async def run(name: str) -> None:
        running.add(name)
        for _ in range(5):
            await asyncio.sleep(0)
            if len(running) > 1 and any(other.startswith("suspect") for other in running):
                overlaps.append(set(running))
        running.discard(name)

    @any_app.task
    async def on_the_loop(ctx: TaskContext, name: str) -> None:
        await run(name)

    suspects = await on_the_loop.aenqueue_many([(f"suspect {number}",) for number in range(3)])
    await make_suspects(any_app, suspects)
    innocents = await on_the_loop.aenqueue_many([(f"innocent {number}",) for number in range(30)])
    async with work(any_app, concurrency=10):
        for handle in (*innocents, *suspects):
            assert (await ended(handle)).state is TaskState.COMPLETED
    assert overlaps == []


async def test_a_suspect_waits_until_the_worker_is_empty(app: App) -> None:
    gate = Gate()
    ran: list[str] = []

    @app.task
    async def waits() -> None:
        await gate.passed()
        ran.append("waits")

    @app.task
    async def doubtful() -> None:
        ran.append("doubtful")

    suspect = await doubtful.aenqueue()
    async with suspect_behind(app, suspect, gate, waits) as (worker, handle):
        await until(lambda: suspect.id in parts(worker).executor.runs, "the suspect is held")
        assert ran == []
        gate.open()
        assert (await ended(suspect)).state is TaskState.COMPLETED
        assert (await ended(handle)).state is TaskState.COMPLETED
    assert ran == ["waits", "doubtful"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs has run for long already."""
    for module in (slots, executor):
        monkeypatch.setattr(module, "SOLITUDE", 0.0)


async def test_a_suspect_does_not_wait_for_what_has_run_for_long(app: App, impatient: None) -> None:
    gate, waits = gated(app)

    @app.task
    async def doubtful() -> None: ...

    suspect = await doubtful.aenqueue()
    async with suspect_behind(app, suspect, gate, waits) as (_, handle):
        assert (await ended(suspect)).state is TaskState.COMPLETED
        assert (await handle.ainfo()).state is TaskState.RUNNING
        gate.open()
        assert (await ended(handle)).state is TaskState.COMPLETED


async def test_a_suspect_that_runs_for_long_keeps_nobody_but_other_suspects_out(app: App, impatient: None) -> None:
    gate, waits = gated(app)

    @app.task
    async def quick() -> None: ...

    first, second = suspects = await waits.aenqueue_many([(), ()])
    await make_suspects(app, suspects)
    async with work(app):
        assert (await ended(await quick.aenqueue())).state is TaskState.COMPLETED
        held = await until_state(second, TaskState.SCHEDULED)
        assert (held.attempt, held.lost_leases, gate.arrived) == (0, 2, 1)
        gate.open()
        assert (await ended(first)).state is TaskState.COMPLETED
        assert (await ended(second)).state is TaskState.COMPLETED


@pytest.mark.parametrize(
    ("task", "arguments", "said"),
    [
        (jobs.exits, (7,), "exit status 7"),
        (jobs.exits, (0,), "exit status 0"),
        (jobs.is_killed, (), "SIGKILL"),
    ],
    ids=["os._exit(7)", "os._exit(0)", "SIGKILL"],
)
async def test_a_process_task_that_kills_its_process_ends_in_the_dead_letter_queue(
    any_app: App, task: Any, arguments: tuple[int, ...], said: str
) -> None:
    poison = adopt(any_app, task)
    add = adopt(any_app, jobs.add)
    async with work(any_app) as worker:
        handle = await poison.aenqueue(*arguments)
        innocents = await add.aenqueue_many([(number, 1) for number in range(10)])
        record = await ended(handle)
        assert (record.state, record.reason, record.lost_leases) == (TaskState.DEAD, "poison", 3)
        assert [attempt.outcome.value for attempt in record.attempts] == ["crashed"] * 3
        assert record.failure is not None
        assert record.failure.type == "ProcessCrashed"
        assert said in record.failure.message
        for number, innocent in enumerate(innocents):
            assert await innocent.aresult(30) == number + 1
            assert (await innocent.ainfo()).lost_leases == 0
        assert not worker.wants_restart


async def test_what_waits_for_a_slot_is_given_back_and_another_worker_takes_it(any_app: App) -> None:
    other = twin(any_app)
    gate = Gate()
    begun: list[tuple[str, int]] = []

    async def waits(ctx: TaskContext) -> None:
        begun.append((ctx.worker_id, ctx.attempt))
        await gate.passed()

    task = any_app.task(name="waits")(waits)
    other.task(name="waits")(waits)
    async with work(any_app, concurrency=4) as first:
        handles = await task.aenqueue_many([()] * 8)
        await gate.until_arrived(4)

        async def holds_only_what_runs() -> bool:
            return (await counts(any_app)).get(TaskState.RUNNING) == 4

        await until(holds_only_what_runs, "what waited for a slot was given back")
        async with work(other, concurrency=4) as second:
            await gate.until_arrived(8)
            assert {worker for worker, _ in begun} == {first.id, second.id}
            assert [attempt for _, attempt in begun] == [1] * 8
            gate.open()
            for handle in handles:
                assert (await ended(handle)).attempt == 1
    await other.aclose()


async def test_a_claim_never_asks_for_more_than_there_is_room_for(app: App) -> None:
    wrapped = wrap(app)
    gate, waits = gated(app)
    asked: list[tuple[int, int]] = []
    async with work(app, concurrency=4) as worker:

        def note(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name == "fetch":
                asked.append((len(parts(worker).executor.runs), args[1]))

        wrapped.switch.on_call = note
        handles = await waits.aenqueue_many([()] * 100)
        await gate.until_arrived(4)
        gate.open()
        for handle in handles:
            await ended(handle)
    # Beside the four that run, a few that the slots get through in no time; at most twice the slots.
    assert max(held + limit for held, limit in asked) <= 3 * 4


async def test_of_slow_tasks_none_is_held_ready(app: App) -> None:
    gate, waits = gated(app)
    async with work(app, concurrency=4) as worker:
        await registered(app, worker)
        parts(worker).executor.slots._kinds["async"].seconds = 10.0
        await waits.aenqueue_many([()] * 100)
        await gate.until_arrived(4)
        assert parts(worker).executor.slots.room() == 0
        assert (await counts(app))[TaskState.RUNNING] == 4
        gate.open()


async def test_threads_that_are_all_busy_do_not_hold_up_the_loop(app: App) -> None:
    release = threading.Event()

    @app.task
    def in_a_thread() -> None:
        release.wait()

    @app.task
    async def on_the_loop() -> str:
        return "not held up"

    try:
        async with work(app, threads=2, concurrency=10) as worker:
            await registered(app, worker)
            await in_a_thread.aenqueue_many([()] * 2)
            await until(lambda: parts(worker).executor.slots._kinds["thread"].running == 2, "both threads are busy")
            assert await (await on_the_loop.aenqueue()).aresult(30) == "not held up"
            release.set()
    finally:
        release.set()


async def test_a_paused_queue_hands_out_nothing(any_app: App) -> None:
    ran = []

    @any_app.task
    async def noted() -> None:
        ran.append(1)

    queues = (await any_app.backend()).queues
    await queues.pause("default")
    async with work(any_app, queues={"default": 1.0, "other": 1.0}):
        held = await noted.aenqueue()
        passed = await noted.options(queue="other").aenqueue()
        await ended(passed)
        assert (await held.ainfo()).state is TaskState.PENDING
        await queues.resume("default")
        assert (await ended(held)).state is TaskState.COMPLETED
    assert len(ran) == 2


def test_a_queue_that_is_not_served_stays() -> None:
    assert options(queues={"a": 2.0}).queues == {"a": 2.0}
