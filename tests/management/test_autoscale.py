"""Hints of how many workers queues need, on each store."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from taskq import App, RateLimit
from taskq.domain.autoscale import STEADY, Scaling
from taskq.domain.figures import Figures, Frame
from taskq.errors import ConfigError, InvalidOption
from taskq.management import Actor, Forbidden, Management, Role
from taskq.management.autoscale import external_metric, plain, scaling_of
from taskq.rollups import Moment, roll_up, write_moments
from taskq.runtime.store_watch import StoreWatch
from taskq.scaling import EVERY, FORGOTTEN, KIND, MOST_KEPT, RUNS_OVER, hinted, look
from taskq.store_clock import store_now
from tests.management.alarms import lives
from tests.unit.support import claim

AT_ONCE = Scaling(min=0, max=50, up_after=0.0)


def queue(arrived: float, pending: float) -> Figures:
    """How a queue stood."""
    return Figures({"arrived": arrived}, levels={"state.pending": pending})


def runs(number: int, seconds: float) -> Figures:
    """Runs that took so long."""
    figures = Figures()
    for _ in range(number):
        figures.time("duration", seconds)
    return figures


async def leave(app: App, *moments: tuple[float, Frame]) -> None:
    """Have figures in the store, of so many seconds ago."""
    metrics = (await app.backend()).metrics
    await metrics.leave(uuid4().hex, write_moments([Moment(ago, frame) for ago, frame in moments]))
    assert (await roll_up(metrics)).taken == 1


async def busy(app: App) -> None:
    """Ten tasks a second come into the queue mail, each takes two seconds, and none waits."""
    frames = [(ago, {"queue mail": queue(100.0, 20.0)}) for ago in (30.0, 20.0, 10.0)]
    await leave(app, *frames, (1.0, {"run mail.send mail": runs(50, 2.0)}))


async def test_what_arrives_and_how_long_it_takes_say_how_many_are_needed(app: App, management: Management) -> None:
    await busy(app)
    await lives(app, queues=("mail",), concurrency=5)
    found = await management.workers.autoscale.hint(["mail"], AT_ONCE)
    assert (found.desired, found.workers, found.waiting) == (5, 1, 0)
    assert (found.arrival, found.drain) == (10.0, 10.0)
    assert found.reason == "10/s arrive and one worker does 2.5/s: 5 are needed, at 80 % busy"
    assert external_metric(found) == {"value": 5}
    told = plain(found)
    assert (told["queues"], told["desired"], str(told["at"]).endswith("+00:00")) == (["mail"], 5, True)


async def test_queues_that_the_same_workers_serve_are_one(app: App, management: Management) -> None:
    await busy(app)
    frames = [(ago, {"queue web": queue(50.0, 0.0)}) for ago in (30.0, 20.0, 10.0)]
    await leave(app, *frames, (1.0, {"run show web": runs(50, 2.0)}))
    await lives(app, queues=("mail", "web"), concurrency=5)
    found = await management.workers.autoscale.hint(["web", "mail", "web"], AT_ONCE)
    assert (found.queues, found.arrival, found.desired) == (("mail", "web"), 15.0, 8)


async def test_an_answer_does_not_hang_on_who_is_asked(app: App, management: Management) -> None:
    await busy(app)
    await lives(app, queues=("mail",), concurrency=5)
    backend = await app.backend()
    seen = await look(backend)
    found = await asyncio.gather(*(hinted(backend, ["mail"], AT_ONCE, seen) for _ in range(5)))
    assert len(set(found)) == 1
    assert await management.workers.autoscale.hint(["mail"], AT_ONCE) == found[0], "it is told again as it was"
    later = await hinted(backend, ["mail"], AT_ONCE, seen._replace(now=seen.now + EVERY, lately=(), runs=()))
    assert (later.desired, later.at) == (5, found[0].at + EVERY), "what was told is kept"


async def test_what_waits_with_nobody_to_run_it_needs_one(app: App, management: Management) -> None:
    await app.aenqueue("mail.send", {}, queue="mail")
    found = await management.workers.autoscale.hint(["mail"], AT_ONCE)
    assert (found.desired, found.arrival, found.workers) == (1, None, 0)
    assert found.reason == "1 wait, and none has ended lately: as many as there are, and one at least"


async def test_what_a_limit_holds_back_needs_no_worker(app: App, management: Management) -> None:
    @app.task(name="slow", rate_limit=RateLimit("1/h", burst=1))
    def slow() -> None: ...

    for _ in range(5):
        await slow.aenqueue()
    await claim(app)
    again = {"worker": "w2", "lease": 30.0, "request_id": "r2"}
    assert (await (await app.backend()).broker.fetch(["default"], 9, **again)).deliveries == []  # type: ignore[arg-type]
    found = await management.workers.autoscale.hint(["default"], AT_ONCE)
    assert (found.desired, found.waiting) == (0, 0)


async def test_what_runs_keeps_its_workers(app: App, management: Management) -> None:
    await app.aenqueue("mail.send", {})
    await claim(app)
    await lives(app, "w1", concurrency=1)
    await lives(app, "w2", concurrency=1)
    found = await management.workers.autoscale.hint(["default"], Scaling(min=0, down_after=0.0, tolerance=0.0))
    assert (found.desired, found.needed) == (1, 1)


async def test_each_queue_by_itself(app: App, management: Management) -> None:
    await busy(app)
    await lives(app, queues=("mail",), concurrency=5)
    await app.aenqueue("mail.send", {}, queue="web")
    await app.aenqueue("mail.send", {}, queue="mail")
    found = await management.workers.autoscale.each(AT_ONCE)
    assert [(one.queues, one.desired) for one in found] == [(("mail",), 6), (("web",), 1)]


async def test_old_answers_are_forgotten_and_there_is_an_end(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_KEPT == 500
    monkeypatch.setattr("taskq.scaling.MOST_KEPT", 2)
    backend = await app.backend()
    seen = await look(backend)
    for name in ("a", "b", "c"):
        await hinted(backend, [name], AT_ONCE, seen)
    assert len((await backend.documents.list(KIND)).documents) == 2
    await hinted(backend, ["d"], AT_ONCE, seen._replace(now=seen.now + FORGOTTEN + 1))
    assert len((await backend.documents.list(KIND)).documents) == 1


async def test_what_a_later_release_has_kept_is_begun_anew(app: App, management: Management) -> None:
    await management.workers.autoscale.hint(["mail"], AT_ONCE)
    documents = (await app.backend()).documents
    [document] = (await documents.list(KIND)).documents
    assert await documents.put(KIND, document.id, b"{}", document.version)
    assert (await management.workers.autoscale.hint(["mail"], AT_ONCE)).desired == 0


async def test_the_store_says_what_now_is(app: App) -> None:
    backend = await app.backend()
    before = (await store_now(backend)).timestamp()
    assert (await look(backend)).now >= before
    assert RUNS_OVER > STEADY


async def test_prometheus_is_told(app: App) -> None:
    await app.aenqueue("mail.send", {}, queue="mail")
    watch = StoreWatch(app)
    await watch.tick()
    assert watch.frame()["queue mail"].levels["desired"] == 1


async def test_who_may_ask(app: App) -> None:
    await Management(app, Actor("vic", [Role.VIEWER])).workers.autoscale.hint(["mail"])
    for method in ("hint", "each"):
        desk = Management(app, Actor("tim", [Role.ADMIN], tenant="acme")).workers.autoscale
        with pytest.raises(Forbidden):
            await (desk.hint(["mail"]) if method == "hint" else desk.each())


@pytest.mark.parametrize("queues", [[], ["mail"] * 101])
async def test_too_few_or_too_many_queues(app: App, queues: list[str]) -> None:
    with pytest.raises(ConfigError, match="a hint is about 1 to 100 queues"):
        await Management(app, Actor("vic", [Role.VIEWER])).workers.autoscale.hint(queues)


async def test_a_name_that_cannot_be_one(management: Management) -> None:
    with pytest.raises(InvalidOption, match="queue 'a b': use 1 to 200"):
        await management.workers.autoscale.hint(["a b"])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"least": 1}, "autoscale has only min, max"),
        ({"min": -1}, "min must be from 0"),
        ({"max": True}, "max must be from 0"),
        ({"min": 5, "max": 4}, "max must be over 0, and min (5) not over max (4)"),
        ({"max": 0, "min": 0}, "max must be over 0"),
        ({"target": 0}, "target must be from 0.1"),
        ({"busy": 1.5}, "busy must be from 0.05 to 1"),
    ],
)
def test_a_mistake_in_the_bounds_is_told(said: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        scaling_of(**said)
    assert words in str(mistake.value)
