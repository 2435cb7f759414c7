"""The children themselves: those that cannot be started, talk nonsense, say nothing more, or leave programs behind."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from taskq import App, TaskState
from taskq.runtime import processes
from tests.worker import jobs
from tests.worker.support import adopt, ended, until, work


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[OSError]:
    """What the system says in turn to those who start a process; once it has nothing more to say, it starts them."""
    spawn = processes._spawn
    said = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENOMEM, "Cannot allocate memory")]

    def may_refuse(line: socket.socket) -> subprocess.Popen[bytes]:
        if said:
            raise said.pop(0)
        return spawn(line)

    monkeypatch.setattr(processes, "_spawn", may_refuse)
    return said


async def test_a_system_that_starts_no_process_costs_a_task_no_attempt(
    any_app: App, refusals: list[OSError], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "SPAWN_AGAIN", 0.0)
    add = adopt(any_app, jobs.add)
    async with work(any_app):
        handle = await add.aenqueue(1, 2)
        assert await handle.aresult(30) == 3
    record = await handle.ainfo()
    assert (record.attempt, record.lost_leases) == (1, 0)
    assert [attempt.outcome.value for attempt in record.attempts] == ["released", "released", "succeeded"]
    assert "no child process can be started: [Errno 24] Too many open files" in caplog.text


async def test_a_task_can_be_cancelled_while_the_system_starts_no_process(
    app: App, refusals: list[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "SPAWN_AGAIN", 3600.0)
    add = adopt(app, jobs.add)
    async with work(app):
        handle: Any = await add.aenqueue(1, 2)
        await until(lambda: len(refusals) == 1, "the system has refused")
        await handle.acancel()
        assert (await ended(handle)).state is TaskState.CANCELLED


NONSENSE = {
    "no MessagePack": b"\xc1",
    "no word": msgspec.msgpack.encode(["Unheard", 1]),
    "no text": msgspec.msgpack.encode(["Begun", 0, 1]).replace(b"\x00", b"\xa1\xff"),
    "no outcome": msgspec.msgpack.encode(["Ended", "Unheard", []]),
    "no fields of an outcome": msgspec.msgpack.encode(["Ended", "Snoozed", ["soon"]]),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_child_that_talks_nonsense_is_killed(app: App, name: str, caplog: pytest.LogCaptureFixture) -> None:
    talks = adopt(app, jobs.talks_nonsense)
    async with work(app):
        record = await ended(await talks.aenqueue(NONSENSE[name]))
    assert (record.state, record.reason, record.lost_leases) == (TaskState.DEAD, "poison", 3)
    assert record.failure is not None
    assert record.failure.message == "the process of the task died: killed by SIGKILL"
    assert caplog.text.count("a child process says what nobody understands, and is ended: ") == 3


async def test_a_child_that_hangs_up_is_killed(app: App) -> None:
    hangs_up = adopt(app, jobs.hangs_up)
    async with work(app):
        record = await ended(await hangs_up.aenqueue())
    assert (record.state, record.reason) == (TaskState.DEAD, "poison")
    assert record.failure is not None
    assert record.failure.message == "the process of the task died: killed by SIGKILL"


def has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_what_a_child_has_started_ends_when_the_child_does(app: App, tmp_path: Path) -> None:
    leaves = adopt(app, jobs.leaves_a_program, max_lost_leases=1)
    pid = tmp_path / "pid"
    async with work(app):
        record = await ended(await leaves.aenqueue(str(pid), 7))
        assert record.failure is not None
        assert "exit status 7" in record.failure.message
        await until(lambda: has_ended(int(pid.read_text())), "the program has ended")


async def test_what_a_child_has_started_may_go_on_until_the_worker_stops(app: App, tmp_path: Path) -> None:
    leaves = adopt(app, jobs.leaves_a_program)
    tells = adopt(app, jobs.tells_its_process)
    pid = tmp_path / "pid"
    async with work(app, processes=1):
        await (await leaves.aenqueue(str(pid), None)).aresult(30)
        child = await (await tells.aenqueue()).aresult(30)
        assert not has_ended(int(pid.read_text()))
    await until(lambda: has_ended(int(pid.read_text())), "the program has ended")
    assert not psutil.pid_exists(child)


async def test_no_number_is_killed_that_may_be_another_s(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    kill, killed = os.killpg, list[bool]()

    def note(group: int, number: int) -> None:
        killed.append(psutil.pid_exists(group))  # one that nobody has waited for counts
        kill(group, number)

    monkeypatch.setattr(os, "killpg", note)
    exits, tells = adopt(app, jobs.exits), adopt(app, jobs.tells_its_process)
    async with work(app):
        assert (await ended(await exits.aenqueue(7))).state is TaskState.DEAD
        await (await tells.aenqueue()).aresult(30)
    assert killed
    assert all(killed)


async def test_a_system_that_cannot_wait_without_reaping_will_do(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "waitid")
    exits, add = adopt(app, jobs.exits), adopt(app, jobs.add)
    async with work(app):
        record = await ended(await exits.aenqueue(7))
        assert record.failure is not None
        assert "exit status 7" in record.failure.message
        assert await (await add.aenqueue(1, 2)).aresult(30) == 3
