"""Blocking calls: from threads, in a loop, after a fork, from a task's thread, and at the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskq import App, Task, TaskContext, TaskState, WouldBlock, blocking
from taskq.blocking import worker_loop
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker
from tests.unit.support import claim, count

PATIENCE = 30.0


@pytest.fixture
def job(app: App) -> Task[..., int]:
    @app.task(name="job")
    def job(x: int = 0) -> int:
        return x

    return job


async def test_a_blocking_call_in_a_loop_is_refused_and_names_its_twin(app: App, job: Task[..., int]) -> None:
    handle = await job.aenqueue()
    calls: list[tuple[Any, str]] = [
        (job.enqueue, r"job\.enqueue\(\) would block the event loop that runs here: write `await job\.aenqueue\(…\)`"),
        (job.delay, r"`await job\.aenqueue\(…\)`"),
        (lambda: job.enqueue_many([(1,)]), r"`await job\.aenqueue_many\(…\)`"),
        (lambda: app.enqueue("job"), r"`await job\.aenqueue\(…\)`"),
        (app.close, r"app\.close\(\) would block.*`await app\.aclose\(\)`"),
        (handle.status, r"`await handle\.astatus\(\)`"),
        (handle.info, r"`await handle\.ainfo\(\)`"),
        (handle.progress, r"`await handle\.aprogress\(\)`"),
        (handle.result, r"`await handle\.aresult\(\)`"),
        (handle.wait, r"`await handle\.await_\(\)`"),
        (handle.cancel, r"`await handle\.acancel\(\)`"),
    ]
    for call, message in calls:
        with pytest.raises(WouldBlock, match=message):
            call()
    assert await count(app) == 1


def test_many_threads_at_once_share_one_store(app: App, job: Task[..., int]) -> None:
    barrier = threading.Barrier(20)

    def work(number: int) -> list[str]:
        barrier.wait()
        return [job.enqueue(number).id for _ in range(20)]

    with ThreadPoolExecutor(20) as pool:
        ids = [id for found in pool.map(work, range(20)) for id in found]
    assert len(set(ids)) == 400
    assert all(app.handle(id).status() is TaskState.PENDING for id in ids)


def test_an_interrupted_wait_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    def interrupt(future: Any, timeout: Any = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        blocking.run(forever(), "it", "ait")
    assert given_up.wait(PATIENCE)


def test_an_exception_comes_through() -> None:
    async def fail() -> None:
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        blocking.run(fail(), "it", "ait")


def test_close_and_use_again(app: App, job: Task[..., int]) -> None:
    ids = []
    for number in range(3):
        ids.append(job.enqueue(number).id)
        app.close()
    assert [app.handle(id).status() for id in ids] == [TaskState.PENDING] * 3
    app.close()
    app.close()


def test_one_application_in_several_loops_in_turn(app: App, job: Task[..., int]) -> None:
    async def add_and_count() -> int:
        async with app:
            await job.aenqueue()
            return await count(app)

    assert [asyncio.run(add_and_count()) for _ in range(3)] == [1, 2, 3]
    job.enqueue()
    assert asyncio.run(add_and_count()) == 5
    app.close()


async def test_close_and_open_again_in_one_loop(app: App, job: Task[..., int]) -> None:
    first = await app.backend()
    assert await app.backend() is first
    await app.aclose()
    await app.aclose()
    assert await app.backend() is not first
    await job.aenqueue()
    assert (await claim(app)).name == "job"


async def test_many_that_open_at_once_open_one(app: App) -> None:
    backends = await asyncio.gather(*(app.backend() for _ in range(20)))
    assert len({id(backend) for backend in backends}) == 1


async def test_one_that_gives_up_opening_does_not_disturb_the_others(app: App) -> None:
    impatient = asyncio.ensure_future(app.backend())
    patient = asyncio.ensure_future(app.backend())
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient is await app.backend()


async def test_a_task_s_thread_uses_the_loop_of_its_worker(app: App) -> None:
    loops: list[Any] = []

    @app.task(name="child")
    async def child(x: int) -> int:
        loops.append(asyncio.get_running_loop())
        return x * 2

    @app.task(name="parent")
    def parent(ctx: TaskContext) -> int:
        loops.append(worker_loop.get())
        return child.enqueue(21).result(PATIENCE)

    async with Worker(app, WorkerOptions(poll=0.05, threads=2, shutdown_timeout=8.0)).running():
        assert await (await parent.aenqueue()).aresult(PATIENCE) == 42
    assert loops == [asyncio.get_running_loop()] * 2
    assert worker_loop.get() is None


SNAPSHOT = """
import atexit, os, sys
from taskq import App

app = App("memory://")

@app.task(name="job")
def job(x: int) -> int:
    return x
"""

SCRIPTS = {
    "a plain script": "print(job.enqueue(1).status())",
    "closed by hand": "job.enqueue(1); app.close(); job.enqueue(2); print(job.enqueue(1).status())",
    "in a finaliser": "atexit.register(lambda: print(job.enqueue(1).status()))",
    "in a thread": """
import threading
thread = threading.Thread(target=lambda: print(job.enqueue(1).status()))
thread.start(); thread.join()
""",
    "by asyncio.run, twice, unclosed": """
import asyncio
async def main():
    await job.aenqueue(1)
asyncio.run(main())
asyncio.run(main())
print(job.enqueue(1).status())
""",
    "with a task that waits": """
import threading
handle = job.enqueue(1)
threading.Thread(target=handle.result, daemon=True).start()
print(handle.status())
""",
    "refused in a loop": """
import asyncio
from taskq import WouldBlock
async def main():
    try:
        job.enqueue(1)
    except WouldBlock:
        print(await (await job.aenqueue(1)).astatus())
asyncio.run(main())
""",
}

FORK = """
job.enqueue(1)
child = os.fork()
handle = job.enqueue(2)
assert handle.status() == "pending"
if child:
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    print("pending")
"""

FORK_IN_A_TASK = """
import asyncio
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker

@app.task(name="forks")
def forks() -> int:
    child = os.fork()
    if not child:
        try:
            os._exit(0 if job.enqueue(1).status() == "pending" else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1]

async def main():
    async with Worker(app, WorkerOptions(poll=0.05, threads=1, processes=1)).running():
        status = await (await forks.aenqueue()).aresult(30)
    assert status == 0, status
    print("pending")

asyncio.run(main())
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    # Python itself warns of a fork beside threads, from 3.12 on.
    flags = ["-X", "dev", "-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    command = [sys.executable, *flags, "-c", SNAPSHOT + script]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # On a busy machine asyncio's debug mode remarks that something took long; that is no warning of ours.
    ended.stderr = "".join(line for line in ended.stderr.splitlines(True) if not line.startswith("Executing <"))
    return ended


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_process_ends_without_a_word(script: str) -> None:
    ended = run(script)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("pending\n", "", 0)


@pytest.mark.parametrize("script", [FORK, FORK_IN_A_TASK], ids=["in a script", "in a task"])
def test_a_forked_child_has_a_loop_of_its_own(script: str) -> None:
    ended = run(script)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("pending\n", "", 0)
