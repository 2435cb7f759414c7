"""What is read of a store for each rule of alerts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest

from taskq import App, Breaker, Every
from taskq.domain.alerts import DEFAULTS, Rule
from taskq.domain.figures import Figures, Frame
from taskq.domain.outcome import Complete, Retry
from taskq.errors import ConfigError, SchemaMismatch
from taskq.management.alert_readings import DEAD_OVER, LEAST_ANSWERS, REMEMBERED, STORE, Found, Readings
from taskq.ports import WorkerState
from taskq.queues import Queues
from taskq.rollups import Moment, roll_up, write_moments
from taskq.store_clock import store_now
from taskq.testing.clock import VirtualClock
from tests.management.alarms import Hands, lives
from tests.unit.support import BROKEN, buried, claim, settle


class Looks:
    """One who looks, and the time that a test turns for them."""

    def __init__(self, app: App, clock: VirtualClock | None = None) -> None:
        self.app = app
        self.clock = clock
        self.hands = Hands()
        self._readings = Readings(app, DEFAULTS.__getitem__, self.hands)

    async def take(self, after: float = 5.0) -> dict[Rule, Found]:
        """Look, so many seconds later."""
        self.hands.seconds += after
        if self.clock is not None:
            self.clock.advance(after)
        backend = await self.app.backend()
        return await self._readings.take(backend, await store_now(backend))

    async def values(self, rule: Rule, after: float = 5.0) -> dict[str, float]:
        """The values of one rule."""
        return {subject: reading.value for subject, reading in (await self.take(after)).get(rule, {}).items()}


@pytest.fixture
def looks(app: App) -> Looks:
    """Somebody who looks at a store of each kind."""
    return Looks(app)


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of `virtual`."""
    return VirtualClock()


@pytest.fixture
async def virtual(clock: VirtualClock) -> AsyncIterator[Looks]:
    """Somebody who looks at a store in memory whose time a test turns."""
    async with App("memory://", clock=clock) as app:
        yield Looks(app, clock)


async def put(app: App, number: int, queue: str = "default") -> None:
    for _ in range(number):
        await app.aenqueue("mail.send", {}, queue=queue)


async def leave(app: App, frame: Frame) -> None:
    """Have figures in the store."""
    metrics = (await app.backend()).metrics
    await metrics.leave(uuid4().hex, write_moments([Moment(0.0, frame)]))
    assert (await roll_up(metrics)).taken == 1


async def test_a_queue_that_grows_is_behind(app: App, looks: Looks) -> None:
    await put(app, 1)
    assert Rule.QUEUE_BEHIND not in await looks.take()
    await put(app, 59)
    for _ in range(30):
        await settle(app, await claim(app), Complete(b"1"))
    found = await looks.take(after=30.0)
    reading = found[Rule.QUEUE_BEHIND]["default"]
    assert (reading.value, reading.text) == (30.0, "30 wait in default, 1.97/s come and 1/s leave")


async def test_a_queue_that_keeps_up_is_not_behind(app: App, looks: Looks) -> None:
    await put(app, 40)
    await looks.take()
    for _ in range(10):
        await settle(app, await claim(app), Complete(b"1"))
    assert await looks.values(Rule.QUEUE_BEHIND, after=30.0) == {"default": 0.0}


async def test_the_first_task_of_a_queue_grows_old(virtual: Looks) -> None:
    await put(virtual.app, 2)
    assert await virtual.values(Rule.OLDEST_AGE, after=400.0) == {"default": 400.0}


async def test_what_is_paused_is_not_told_of(virtual: Looks) -> None:
    await put(virtual.app, 2)
    await put(virtual.app, 2, "mail")
    await Queues(virtual.app).apause("mail", "for now")
    found = await virtual.take(after=400.0)
    assert {queue: one.value for queue, one in found[Rule.NO_WORKER].items()} == {"default": 2.0, "mail": 0.0}
    assert found[Rule.NO_WORKER]["mail"].text == "mail is paused"
    assert found[Rule.OLDEST_AGE]["mail"].value == 0.0
    assert found[Rule.OLDEST_AGE]["default"].value == 400.0


async def test_a_queue_that_nobody_serves(app: App, looks: Looks) -> None:
    await put(app, 3, "mail")
    assert await looks.values(Rule.NO_WORKER) == {"mail": 3.0}
    await lives(app, queues=("web",))
    assert await looks.values(Rule.NO_WORKER) == {"mail": 3.0}
    await lives(app, "w2", queues=("mail", "web"))
    assert await looks.values(Rule.NO_WORKER) == {"mail": 0.0}


async def test_dead_letters_that_grow(app: App, looks: Looks) -> None:
    await buried(app)
    assert await looks.values(Rule.DEAD_LETTERS) == {"default": 0.0}
    await buried(app)
    await buried(app)
    assert await looks.values(Rule.DEAD_LETTERS, after=20.0) == {"default": 2.0}
    assert await looks.values(Rule.DEAD_LETTERS, after=DEAD_OVER + 1) == {"default": 0.0}


async def test_the_dead_letters_of_a_queue_that_is_new(app: App, looks: Looks) -> None:
    assert await looks.values(Rule.DEAD_LETTERS) == {}
    for _ in range(3):
        await buried(app)
    assert await looks.values(Rule.DEAD_LETTERS) == {"default": 3.0}


async def test_who_looks_first_knows_of_dead_letters_by_the_figures(app: App, looks: Looks) -> None:
    await leave(app, {"queue default": Figures(levels={"state.dead": 1.0}), "fleet": Figures()})
    for _ in range(4):
        await buried(app)
    assert await looks.values(Rule.DEAD_LETTERS) == {"default": 3.0}


async def test_a_schedule_that_is_late(virtual: Looks) -> None:
    await virtual.app.schedules.aput("tick", Every(seconds=60), "mail.send")
    late = await virtual.values(Rule.SCHEDULE_LATE, after=30.0)
    assert late == {"tick": 0.0}
    [value] = (await virtual.values(Rule.SCHEDULE_LATE, after=130.0)).values()
    assert 100.0 <= value <= 160.0


async def test_a_worker_that_falls_silent_is_lost(virtual: Looks) -> None:
    await lives(virtual.app, "w1", ttl=30.0, name="one", host="h1", pid=7, queues=("a", "b"))
    assert await virtual.values(Rule.WORKER_LOST) == {"w1": 0.0}
    await virtual.take(after=20.0)
    found = await virtual.take(after=6.0)
    assert found[Rule.WORKER_LOST]["w1"].value == 1.0
    assert found[Rule.WORKER_LOST]["w1"].text == "worker one on h1 (pid 7, a, b) has vanished"
    assert await virtual.values(Rule.WORKER_LOST) == {"w1": 1.0}
    assert await virtual.values(Rule.WORKER_LOST, after=REMEMBERED) == {}


async def test_a_worker_in_the_place_of_one_that_is_lost(virtual: Looks) -> None:
    info = await lives(virtual.app, "w1", ttl=5.0, heartbeat=1.0)
    await virtual.take(after=1.0)
    assert await virtual.values(Rule.WORKER_LOST, after=5.0) == {"w1": 1.0}
    assert virtual.clock is not None
    await lives(virtual.app, "w2", name=info.name, host=info.host, started_at=virtual.clock.now())
    assert await virtual.values(Rule.WORKER_LOST, after=1.0) == {"w2": 0.0}


@pytest.mark.parametrize("state", [WorkerState.IDLE, WorkerState.SHUTTING_DOWN])
async def test_who_says_farewell_is_not_lost(virtual: Looks, state: WorkerState) -> None:
    await lives(virtual.app, "w1", ttl=30.0, state=state)
    await virtual.take()
    if state is WorkerState.IDLE:
        await (await virtual.app.backend()).registry.forget("w1")
        assert await virtual.values(Rule.WORKER_LOST) == {}
    else:
        assert await virtual.values(Rule.WORKER_LOST, after=60.0) == {}


async def test_a_breaker_that_is_open(app: App, looks: Looks) -> None:
    @app.task(name="pay", breaker=Breaker(least=1, cooldown=900))
    def pay() -> None: ...

    assert await looks.values(Rule.BREAKER_OPEN) == {"pay": 0.0}
    await pay.aenqueue()
    await settle(app, await claim(app), Retry(900.0, BROKEN))
    assert await looks.values(Rule.BREAKER_OPEN) == {"pay": 0.0}, "it is looked at now and then"
    found = (await looks.take(after=20.0))[Rule.BREAKER_OPEN]["pay"]
    assert (found.value, found.text) == (1.0, "the breaker of pay is open")


async def test_a_store_that_is_slow(app: App, looks: Looks) -> None:
    assert Rule.STORE_SLOW not in await looks.take()
    process = Figures()
    for number in range(LEAST_ANSWERS):
        process.time("store_latency", 0.02 if number % 2 else 0.001)
    await leave(app, {"process": process})
    found = (await looks.take(after=20.0))[Rule.STORE_SLOW][STORE]
    assert 0.018 <= found.value <= 0.022
    assert found.text.startswith("of a hundred round trips to the store, five take over 2")
    assert DEFAULTS[Rule.STORE_SLOW].is_over(found.value)


async def test_few_answers_say_nothing(app: App, looks: Looks) -> None:
    process = Figures()
    process.time("store_latency", 9.0)
    await leave(app, {"process": process})
    assert Rule.STORE_SLOW not in await looks.take()


async def test_a_store_that_is_well(app: App, looks: Looks) -> None:
    found = await looks.take()
    assert found[Rule.STORE_AWAY][STORE].value == found[Rule.STORE_REGRESSED][STORE].value == 0.0


@pytest.mark.parametrize("error", [ConfigError("no INFO"), SchemaMismatch("old")])
async def test_a_store_that_cannot_be_looked_at_so_closely(
    app: App, looks: Looks, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: object) -> list[str]:
        raise error

    backend = await app.backend()
    monkeypatch.setattr(type(backend), "check", refuses)
    found = await looks.take()
    assert Rule.STORE_REGRESSED not in found
    assert found[Rule.STORE_AWAY][STORE].value == 0.0


async def test_who_is_no_longer_asked_forgets(virtual: Looks) -> None:
    await lives(virtual.app, "w1", ttl=5.0, heartbeat=1.0)
    await virtual.take(after=1.0)
    virtual._readings.forget()
    assert await virtual.values(Rule.WORKER_LOST, after=timedelta(minutes=5).total_seconds()) == {}
