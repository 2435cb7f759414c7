"""What a worker counts and times, and how it becomes the figures of the fleet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from taskq import App, NoRetry, Reject, Retry, Snooze
from taskq.domain.figures import FLEET, PROCESS, QUEUE, RUN, Figures, Frame, add, chosen, total
from taskq.domain.sketch import bound
from taskq.errors import BackendUnavailable
from taskq.ports import Backend, MetricsStore
from taskq.rollups import STEPS, points, read_moments, roll_up
from taskq.runtime import recorder as recording
from taskq.runtime.recorder import MOST_WAITING, Recorder
from taskq.runtime.rolling import HELD, Rolling
from tests.worker.support import ended, until, work


@pytest.fixture(params=["memory", "redis", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty store of each kind."""
    return "memory://" if request.param == "memory" else str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def app(url: str) -> AsyncIterator[App]:
    """An application on it."""
    async with App(url) as app:
        yield app


def lately() -> tuple[float, float]:
    """The last five minutes, and a little more."""
    return time.time() - 300, time.time() + 10


async def seconds_of(backend: Backend) -> Frame:
    """All of the figures that were rolled up into seconds, as one frame."""
    whole: Frame = {}
    for point in await points(backend.metrics, 1, *lately()):
        add(whole, point.frame)
    return whole


async def test_each_end_of_a_run_is_counted_where_it_belongs(app: App) -> None:
    tries = 0

    @app.task(name="ends", queue="mail")
    async def ends(how: str) -> None:
        nonlocal tries
        tries += 1
        if how == "retry" and tries == 1:
            raise Retry(delay=0.01)
        if how == "snooze" and tries == 1:
            raise Snooze(delay=0.01)
        if how == "reject":
            raise Reject("no")
        if how == "fail":
            raise ValueError(how)

    @app.task(name="fails", queue="mail", dead_letter=False, retry=NoRetry())
    async def fails() -> None:
        raise ValueError("x")

    async with work(app, queues={"mail": None}) as worker:
        for how in ("well", "well", "retry", "snooze", "reject"):
            tries = 0
            await ended(await ends.aenqueue(how))
        await ended(await fails.aenqueue())
        assert worker.parts is not None
        keeper = worker.parts.recorder
        await keeper.tick()
        totals = keeper.totals()
    counts = totals["run ends mail"].counts
    got = {name: counts.get(name) for name in ("submitted", "completed", "retried", "snoozed", "dead")}
    assert got == {"submitted": 5, "completed": 4, "retried": 1, "snoozed": 1, "dead": 1}
    assert totals["run fails mail"].counts["failed"] == 1
    assert sum(totals["run ends mail"].sketches["duration"].values()) == 7
    assert sum(totals["run ends mail"].sketches["wait"].values()) == 7


async def test_how_long_a_task_waited_and_ran(app: App) -> None:
    def over(seconds: float) -> Callable[[], bool]:
        since = time.monotonic()
        return lambda: time.monotonic() - since > seconds

    @app.task(name="slow")
    async def slow() -> None:
        await until(over(0.05), "it has run for a while")

    handle = await slow.aenqueue()
    await until(over(0.1), "it has waited for a while")
    async with work(app) as worker:
        await ended(handle)
        assert worker.parts is not None
        await worker.parts.recorder.tick()
        figures = worker.parts.recorder.totals()["run slow default"]
    [duration], [wait] = figures.sketches["duration"], figures.sketches["wait"]
    assert bound(duration) >= 0.05
    assert bound(wait) >= 0.1
    assert figures.counts["duration.seconds"] >= 0.05


async def test_a_worker_that_stops_has_told_the_store_all(app: App) -> None:
    @app.task(name="add")
    async def add(x: int) -> int:
        return x

    async with work(app):
        for handle in [await add.options(tenant="acme").aenqueue(n) for n in range(7)]:
            await ended(handle)
    backend = await app.backend()
    while (await roll_up(backend.metrics)).taken:
        pass
    frame = await seconds_of(backend)
    assert frame["run add default"].counts["completed"] == 7
    assert frame["run add default"].counts["submitted"] == 7
    assert frame["tenant acme"].counts == {"completed": 7}
    assert frame[PROCESS].sketches["store_latency"]
    minutes = [point.frame for point in await points(backend.metrics, 60, *lately())]
    assert sum(total(chosen(minute, RUN)).counts["completed"] for minute in minutes) == 7
    assert [step.seconds for step in STEPS] == [1, 60, 3600]


async def test_one_process_at_a_time_looks_at_the_store_and_another_takes_over(app: App) -> None:
    backend = await app.backend()
    first, second = Rolling(app.backend, "a"), Rolling(app.backend, "b")

    @app.task(name="wait", queue="mail")
    async def wait() -> None: ...

    await first.tick()
    await second.tick()
    assert (first.is_holder, second.is_holder) == (True, False)
    await wait.options(priority="high").aenqueue()
    await wait.aenqueue()
    await first.tick()
    frame = await seconds_of(backend)
    [queue] = chosen(frame, QUEUE, "mail")
    assert queue.counts["arrived"] == 2
    assert (queue.levels["pending.1"], queue.levels["pending.2"], queue.levels["state.pending"]) == (1, 1, 2)
    assert frame[FLEET].levels["workers"] == 0
    await first.farewell()
    await second.tick()
    assert second.is_holder


async def test_nothing_is_left_while_nothing_changes() -> None:
    clock = [0.0]
    async with App("memory://") as app:
        backend = await app.backend()
        rolling = Rolling(app.backend, "a", lambda: clock[0])
        pauses = [await rolling.tick() for _ in range(3)]
        assert len(await points(backend.metrics, 3600, *lately())) == 1
        [_] = await points(backend.metrics, 1, *lately())
        assert pauses[0] < pauses[1] == pauses[2] < HELD
        before = (await backend.metrics.rows(1, 0, 10**10))[0].version
        clock[0] += 61
        await rolling.tick()
        rows = await backend.metrics.rows(1, 0, 10**10)
        assert sum(row.version for row in rows) == before + 1


class Away:
    """A store that does not take figures for a while."""

    def __init__(self, store: MetricsStore) -> None:
        self._store = store
        self.is_away = True

    async def leave(self, id: str, data: bytes) -> None:
        if self.is_away:
            raise BackendUnavailable("away")
        await self._store.leave(id, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_figures_wait_for_a_store_that_is_away_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LEAVE_EVERY", 0)
    async with App("memory://") as app:
        store = (await app.backend()).metrics
        away = Away(store)
        submitted = {("a", "mail"): 0}
        keeper = Recorder(away, {"store_latency": deque([0.1])}, dict, submitted)
        for _ in range(MOST_WAITING + 5):
            submitted["a", "mail"] += 1
            await keeper.tick()
        away.is_away = False
        for _ in range(2):  # what was on its way, and what has waited behind it
            submitted["a", "mail"] += 1
            await keeper.tick()
        left = await store.left()
    frames = [moment.frame for one in left for moment in read_moments(one.data)]
    assert len(frames) == MOST_WAITING + 1
    told = total(figures for frame in frames for figures in chosen(frame, RUN))
    assert told.counts == {"submitted": MOST_WAITING + 1}
    assert keeper.totals()["run a mail"].counts == {"submitted": MOST_WAITING + 7}


async def test_figures_whose_answer_was_lost_are_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LEAVE_EVERY", 0)
    async with App("memory://") as app:
        store = (await app.backend()).metrics

        class Deaf(Away):
            async def leave(self, id: str, data: bytes) -> None:
                await store.leave(id, data)
                await super().leave(id, data)

        away, submitted = Deaf(store), {("a", "mail"): 0}
        keeper = Recorder(away, {}, dict, submitted)
        for is_away in (True, True, False, False):
            away.is_away = is_away
            submitted["a", "mail"] += 1
            await keeper.tick()
        frames = [moment.frame for one in await store.left() for moment in read_moments(one.data)]
    assert total(figures for frame in frames for figures in chosen(frame, RUN)).counts == {"submitted": 4}


async def test_what_a_process_measures_is_told_now_and_then_though_it_runs_nothing() -> None:
    clock = [0.0]
    async with App("memory://") as app:
        store = (await app.backend()).metrics
        lags: deque[float] = deque([0.001])
        keeper = Recorder(store, {"loop_lag": lags}, lambda: {"slots": 4}, {}, lambda: clock[0])
        await keeper.tick()
        assert await store.left() == []
        clock[0] = 61.0
        lags.append(0.002)
        await keeper.tick()
        [left] = await store.left()
    assert [moment.frame for moment in read_moments(left.data)] == [
        {PROCESS: Figures({"loop_lag.seconds": 0.003}, {"loop_lag": {0: 1, 8: 1}})}
    ]
    assert keeper.totals()[PROCESS].levels == {"slots": 4}


async def test_what_stands_as_before_is_the_same(any_app: App) -> None:
    """So that whoever passes the totals on each second passes on what has changed."""
    submitted = {("a", "mail"): 1}
    keeper = Recorder((await any_app.backend()).metrics, {}, lambda: {"slots": 4}, submitted)
    await keeper.tick()
    first = keeper.totals()
    submitted["b", "mail"] = 2
    await keeper.tick()
    second = keeper.totals()
    assert second["run a mail"] is first["run a mail"]
    assert set(second) - set(first) == {"run b mail"}
    assert "run b mail" not in first
