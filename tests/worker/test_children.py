"""The children themselves: those that cannot be started, talk nonsense, say nothing more, or leave programs behind."""

from __future__ import annotations

import errno
import socket
import subprocess
from typing import Any

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
