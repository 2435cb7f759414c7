"""What surrounds a process task: the log, signals to everybody, and what it has started itself."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import psutil
import pytest

from taskq import App, NoRetry, TaskState
from tests.worker import jobs
from tests.worker.support import adopt, ended, until, work


async def test_what_it_logs_goes_to_the_workers_log(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    caplog.set_level(logging.INFO, "taskq")
    logs = adopt(app, jobs.logs)
    async with work(app):
        handle = await logs.aenqueue()
        assert (await ended(handle)).state is TaskState.COMPLETED
        await until(lambda: "caught" in caplog.text, "the records have arrived")
    noted = next(record for record in caplog.records if record.getMessage() == "it is noted")
    assert noted.levelno == logging.INFO
    assert noted.__dict__["taskq"]["task_id"] == handle.id
    others = {record.getMessage(): record for record in caplog.records if record.name == "somebody.else"}
    assert set(others) == {"worth a line", "caught"}
    assert "ValueError: seen" in (others["caught"].exc_text or "")


async def test_a_sigterm_to_everybody_lets_it_finish(app: App, tmp_path: Path) -> None:
    says = adopt(app, jobs.says_who_it_is)
    pid, gate = tmp_path / "pid", tmp_path / "gate"
    async with work(app):
        handle = await says.aenqueue(str(pid), str(gate))
        await until(pid.exists, "the task has begun")
        os.kill(int(pid.read_text()), signal.SIGTERM)
        os.kill(int(pid.read_text()), signal.SIGINT)
        gate.touch()
        assert await handle.aresult(30) == "done"
    assert (await handle.ainfo()).lost_leases == 0


async def test_what_it_has_started_ends_with_it_when_it_takes_too_long(app: App, tmp_path: Path) -> None:
    starts = adopt(app, jobs.starts_a_program, retry=NoRetry())
    pid = tmp_path / "pid"
    async with work(app):
        handle = await starts.options(timeout=1.0).aenqueue(str(pid))
        await until(pid.exists, "the program runs")
        program = psutil.Process(int(pid.read_text()))
        assert (await ended(handle)).state is TaskState.DEAD
        await until(
            lambda: not program.is_running() or program.status() == psutil.STATUS_ZOMBIE, "the program has ended"
        )


async def test_what_it_enqueues_goes_to_the_workers_store(redis_url: str) -> None:
    app = App(redis_url)  # the module of the task names a store in memory
    enqueues = adopt(app, jobs.enqueues, retry=NoRetry())
    add = adopt(app, jobs.add)
    async with work(app):
        id = await (await enqueues.aenqueue()).aresult(30)
        handle = app.handle(id)
        assert (await ended(handle)).state is TaskState.COMPLETED
        assert (await ended(handle)).name == add.name
    await app.aclose()


async def test_a_child_that_is_killed_while_it_is_idle_costs_nobody_anything(app: App) -> None:
    tells = adopt(app, jobs.tells_its_process)
    async with work(app, processes=1):
        first = await (await tells.aenqueue()).aresult(30)
        os.kill(first, signal.SIGKILL)
        handles = await tells.aenqueue_many([()] * 3)
        assert {await handle.aresult(30) for handle in handles}.isdisjoint({first})
        assert [(await handle.ainfo()).lost_leases for handle in handles] == [0, 0, 0]


async def test_one_that_dies_in_the_middle_of_a_word_disturbs_no_other(app: App) -> None:
    dies = adopt(app, jobs.dies_in_the_middle_of_a_word)
    add = adopt(app, jobs.add)
    async with work(app):
        poison = await dies.aenqueue_many([()] * 3)
        for number, handle in enumerate(await add.aenqueue_many([(number, 1) for number in range(30)])):
            assert await handle.aresult(30) == number + 1
            assert (await handle.ainfo()).lost_leases == 0
        for handle in poison:
            assert (await ended(handle)).reason == "poison"


async def test_a_child_is_used_again(app: App) -> None:
    tells = adopt(app, jobs.tells_its_process)
    async with work(app, processes=1):
        pids = {await (await tells.aenqueue()).aresult(30) for _ in range(5)}
    assert len(pids) == 1
    assert os.getpid() not in pids
    assert not psutil.pid_exists(pids.pop())
