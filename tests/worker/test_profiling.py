"""Profiles of a worker on request: off by default, one at a time, without arguments, whatever the worker is doing."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from taskq import App, NotApplied
from taskq.domain.profile import Profile, collapsed
from taskq.errors import InvalidOption
from taskq.management import Actor, Forbidden, Management, ProfileFailed, ProfileNotFound, Role
from taskq.management import profiles as waiting
from taskq.ports import WorkerCommand
from taskq.profiles import ProfileInfo, ProfileState, write
from taskq.runtime.profiling import OCCUPIED, OFF, Profiling
from taskq.runtime.worker import Worker
from tests.worker.support import PATIENCE, options, until, work

QUICK = {"heartbeat": 0.1, "profiling": True}


def management(app: App, *roles: Role) -> Management:
    return Management(app, Actor("ann", roles or [Role.ADMIN]))


class Oven:
    """Tasks that burn until they are let go."""

    def __init__(self, app: App) -> None:
        self.out, self.begun = threading.Event(), threading.Event()

        @app.task(name="bake")
        def bake(secret: str) -> None:
            self.grind_in_a_thread()

        @app.task(name="toast")
        async def toast(secret: str) -> None:
            await self.deep()

        self.bake, self.toast = bake, toast

    def grind_in_a_thread(self) -> None:
        self.begun.set()
        while not self.out.is_set():
            sum(range(100))

    async def deep(self) -> None:
        self.grind_on_the_loop()

    def grind_on_the_loop(self) -> None:
        self.begun.set()
        while not self.out.is_set():
            sum(range(100))


@pytest.fixture
def oven(any_app: App) -> Oven:
    return Oven(any_app)


async def alive(app: App, worker: Worker) -> None:
    """Wait until a worker has reported."""

    async def reported() -> bool:
        return worker.id in [one.id for one in await (await app.backend()).registry.workers()]

    await until(reported, "it has reported")


async def profiled(app: App, worker: str, seconds: float = 0.5) -> Profile:
    desk = management(app).workers
    id = await desk.profile(worker, seconds)
    info = await desk.profiled(id)
    assert (info.state, info.worker, info.actor) == (ProfileState.DONE, worker, "ann")
    return await desk.download(id)


async def test_a_thread_task_that_burns_is_the_hottest(any_app: App, oven: Oven) -> None:
    async with work(any_app, **QUICK) as worker:
        handle = await oven.bake.aenqueue(secret="s3cret")
        await until(oven.begun.is_set, "it runs")
        await alive(any_app, worker)
        text = collapsed(await profiled(any_app, worker.id))
        oven.out.set()
        await handle.aresult(timeout=30)
    hottest = text.splitlines()[0]
    assert "grind_in_a_thread (tests/worker/test_profiling.py:" in hottest
    assert "s3cret" not in text
    assert "/home" not in text
    entry = (await management(any_app).audit.newest())[0]
    assert (entry.action, entry.on) == ("worker.profile", {"workers": [worker.id]})


def test_a_loop_task_that_blocks_its_worker_is_seen(store_url: str) -> None:
    """Asked for from elsewhere, as it would be: the loop of the worker answers nobody."""
    app = App(store_url)
    asking = app if store_url == "memory://" else App(store_url)
    oven, worker = Oven(app), Worker(app, options(**QUICK))

    async def serve() -> None:
        async with worker.running():
            handle = await oven.toast.aenqueue(secret="s3cret")
            await handle.aresult(timeout=60)
        await app.aclose()

    async def ask() -> str:
        async with asking:
            await alive(asking, worker)
            return collapsed(await profiled(asking, worker.id))

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert oven.begun.wait(PATIENCE)
        text = asyncio.run(ask())
    finally:
        oven.out.set()
        thread.join()
    names = [frame.partition(" ")[0].rpartition(".")[2] for frame in text.splitlines()[0].split(";")]
    assert names.index("toast") < names.index("deep") < names.index("grind_on_the_loop"), "the stack of the coroutine"


async def test_off_is_the_default_and_is_told_at_once(any_app: App) -> None:
    async with work(any_app, heartbeat=0.1) as worker:
        await alive(any_app, worker)
        assert not worker.info.profiling
        with pytest.raises(NotApplied, match=r"takes no profiles: start it with `taskq worker --enable-profiling`"):
            await management(any_app).workers.profile(worker.id)
        assert not await management(any_app).workers.profiles()


async def test_a_worker_that_has_it_off_says_so_itself(app: App) -> None:
    """Whoever gives the order without looking."""
    async with work(app, heartbeat=0.1) as worker:
        await alive(app, worker)
        backend = await app.backend()
        info = await asked_for(app, worker.id)
        assert await backend.registry.command(worker.id, WorkerCommand.PROFILE, f"{info.id}:1")
        with pytest.raises(ProfileFailed, match=f"has brought no profile: {OFF}"):
            await management(app).workers.profiled(info.id)
        with pytest.raises(NotApplied, match="is refused"):
            await management(app).workers.download(info.id)


async def asked_for(app: App, worker: str) -> ProfileInfo:
    info = ProfileInfo("p1", worker, "n", "bob", 60.0, datetime.now(UTC))
    await write((await app.backend()).documents, info)
    return info


async def test_one_at_a_time(app: App) -> None:
    desk = management(app).workers
    async with work(app, **QUICK) as worker:
        await alive(app, worker)
        first = await desk.profile(worker.id, 60)
        with pytest.raises(NotApplied, match=f"is being taken: {first}"):
            await desk.profile(worker.id, 1)
        profiling = worker._orders.profiling
        await until(lambda: profiling._taking is not None, "it has begun")
        info = await asked_for(app, worker.id)
        profiling.begin("p1:1")
        with pytest.raises(ProfileFailed, match=OCCUPIED):
            await desk.profiled(info.id)
    found = await desk.profiled(first)
    assert found.state is ProfileState.DONE
    assert found.reason.startswith("the worker stopped after")
    assert found.took < 60


async def test_a_worker_that_has_gone_is_not_waited_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_AT_WORKERS", 0.01)
    info = await asked_for(app, "nobody")
    with pytest.raises(ProfileFailed, match="it has gone"):
        await management(app).workers.profiled(info.id)
    assert [one.state for one in await management(app).workers.profiles()] == [ProfileState.LOST]


async def test_what_cannot_be_asked_for(app: App) -> None:
    desk = management(app).workers
    for seconds in (0, 61, "ten", True, float("nan")):
        with pytest.raises(InvalidOption, match=r"seconds must be from 0\.1 to 60, not "):
            await desk.profile("n", seconds)  # type: ignore[arg-type]
    with pytest.raises(ProfileNotFound, match="there is no profile p9: the newest 20 are kept, for a day"):
        await desk.profiled("p9")
    async with work(app, name="twin", **QUICK) as other, work(app, name="twin", **QUICK) as worker:
        await alive(app, other)
        await alive(app, worker)
        with pytest.raises(InvalidOption, match=f"2 workers have the name twin: say which by its id: .*{worker.id}"):
            await desk.profile("twin")
    with pytest.raises(Forbidden):
        await management(app, Role.VIEWER).workers.profile("n")
    with pytest.raises(Forbidden):
        await management(app, Role.VIEWER).workers.download("p9")


async def test_a_store_that_is_away_troubles_nobody(app: App, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("s3cret")

    profiling = Profiling(True, broken)  # type: ignore[arg-type]
    profiling.begin("p1:1")
    await profiling.farewell(30)
    assert "a profile was not taken: RuntimeError at" in caplog.text
    assert "s3cret" not in caplog.text
