"""Steering queues on each backend, and how limits stand there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App, Breaker, Concurrency, InvalidOption, KeepLatest, QueueFull, RateLimit, TaskState
from taskq.domain.outcome import Fail
from taskq.gauges import gauges, keyed_of, limits_of, reset
from taskq.queues import Queues
from tests.unit.support import BROKEN, claim, settle
from tests.worker.support import work


async def test_a_paused_queue_waits_and_a_resumed_one_runs(any_app: App) -> None:
    @any_app.task(name="adds", queue="mail")
    async def adds(x: int) -> int:
        return x + 1

    queues = Queues(any_app)
    await queues.apause("mail", "the relay is away", until=timedelta(hours=2))
    settings = await queues.asettings("mail")
    assert settings.paused_reason == "the relay is away"
    assert settings.paused_until is not None
    assert settings.paused_until > datetime.now(UTC) + timedelta(hours=1)
    handle = await adds.aenqueue(1)
    async with work(any_app, queues={"mail": None, "default": None}):
        # What is claimed after it would have been claimed before it.
        assert await (await adds.options(queue="default").aenqueue(2)).aresult(30) == 3
        assert await handle.astatus() is TaskState.PENDING
        await queues.aresume("mail")
        assert await handle.aresult(30) == 2
    [*_, state] = await queues.alist()
    assert (state.name, state.is_paused, state.waiting) == ("mail", False, 0)


async def test_what_is_set_holds_and_is_taken_back(any_app: App) -> None:
    queues = Queues(any_app)
    await queues.aconfigure("mail", max_size=1, rate="90/m", retry={"strategy": "none"}, timeout=5)
    settings = await queues.asettings("mail")
    assert settings.rate is not None
    assert (settings.max_size, settings.rate.per_second, settings.retry) == (1, 1.5, {"strategy": "none"})
    await any_app.aenqueue("mail.send", queue="mail")
    with pytest.raises(QueueFull):
        await any_app.aenqueue("mail.send", queue="mail")
    await queues.aconfigure("mail", max_size="default", rate="default")
    settings = await queues.asettings("mail")
    assert (settings.max_size, settings.rate, settings.timeout) == (1_000_000, None, 5.0)
    await any_app.aenqueue("mail.send", queue="mail")
    with pytest.raises(InvalidOption, match="workers must be"):
        await queues.aconfigure("mail", max_size=1, workers=0)
    assert (await queues.asettings("mail")).max_size == 1_000_000


async def test_a_soft_timeout_must_be_less_than_the_timeout_that_is_set(app: App) -> None:
    queues = Queues(app)
    await queues.aconfigure("mail", timeout=30)
    await queues.aconfigure("mail", soft_timeout=20)
    for change in ({"soft_timeout": 30}, {"timeout": 20}, {"timeout": 5, "soft_timeout": 5}):
        with pytest.raises(InvalidOption, match="soft_timeout must be less than the timeout of"):
            await queues.aconfigure("mail", **change)
    settings = await queues.asettings("mail")
    assert (settings.soft_timeout, settings.timeout) == (20, 30)
    await queues.aconfigure("mail", soft_timeout="default", timeout=5)
    await queues.aconfigure("mail", soft_timeout=50, timeout="default")


async def test_a_list_has_those_with_tasks_or_those_that_are_named(any_app: App) -> None:
    for queue, delay in (("mail", 0), ("mail", 0), ("mail", 60), ("images", 0)):
        await any_app.aenqueue("mail.send", queue=queue, delay=delay)
    found = await Queues(any_app).alist()
    assert [(state.name, state.waiting) for state in found] == [("images", 1), ("mail", 3)]
    found = await Queues(any_app).alist(["mail", "default", "mail"])
    assert [(state.name, state.waiting) for state in found] == [("default", 0), ("mail", 3)]
    assert await Queues(any_app).alist([]) == []
    assert found[1].counts == {TaskState.PENDING: 2, TaskState.SCHEDULED: 1}


async def test_a_purge_takes_what_waits(any_app: App) -> None:
    running = await any_app.aenqueue("mail.send", queue="mail")
    await claim(any_app, "mail")
    for delay in (0, 60):
        await any_app.aenqueue("mail.send", queue="mail", delay=delay)
    other = await any_app.aenqueue("mail.send")
    assert await Queues(any_app).apurge("mail") == 2
    assert await Queues(any_app).apurge("mail") == 0
    assert [await handle.astatus() for handle in (running, other)] == [TaskState.RUNNING, TaskState.PENDING]


async def test_a_purge_ends_while_tasks_arrive(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        await app.aenqueue("mail.send")
    inspector: Any = (await app.backend()).inspector
    purge = inspector.purge

    async def purge_one_and_enqueue(queue: str, limit: int) -> int:
        await app.aenqueue("mail.send")
        return int(await purge(queue, 1))

    monkeypatch.setattr(inspector, "purge", purge_one_and_enqueue)
    assert await Queues(app).apurge("default") == 3


async def test_limits_as_they_stand_and_reset(any_app: App) -> None:
    @any_app.task(
        name="send",
        queue="mail",
        concurrency=(Concurrency(2), Concurrency(1, key="to")),
        rate_limit=RateLimit("1/h", burst=5),
        breaker=Breaker(least=1, cooldown=3600),
    )
    async def send(to: str) -> None: ...

    limits = limits_of(send)
    assert keyed_of(send) == 1
    breaker, slots, rate = await gauges(any_app, "mail", limits)
    assert (breaker.status, slots.holders, rate.tokens, rate.share) == ("closed", (), 5.0, 1.0)
    for to in ("a", "b"):
        await send.aenqueue(to)
    held, failing = await claim(any_app, "mail"), await claim(any_app, "mail")
    await settle(any_app, failing, Fail("exhausted", BROKEN))
    await send.aenqueue("c")
    broker = (await any_app.backend()).broker
    assert (await broker.fetch(["mail"], 9, worker="w", lease=60, request_id="r")).deliveries == []
    breaker, slots, rate = await gauges(any_app, "mail", limits)
    assert (breaker.status, breaker.parked, slots.holders) == ("open", 1, (held.id,))
    assert breaker.since is not None
    assert rate.tokens is not None
    assert 3.0 <= rate.tokens < 4.0
    keyed = [gauge for gauge in await gauges(any_app, "mail", limits_of(send, {"to": "a"})) if gauge.holders]
    assert [gauge.holders for gauge in keyed] == [(held.id,)] * 2
    await reset(any_app, "mail", limits)
    breaker, slots, rate = await gauges(any_app, "mail", limits)
    assert (breaker.status, slots.holders, rate.tokens) == ("closed", (held.id,), 5.0)
    assert (await claim(any_app, "mail")).id != failing.id


def test_keeping_the_latest_is_a_limit_that_may_count_by_arguments() -> None:
    app = App("memory://")

    @app.task(name="a", unique=KeepLatest())
    def one(page: int) -> None: ...

    @app.task(name="b", unique=KeepLatest(key="page"))
    def each(page: int) -> None: ...

    assert (len(limits_of(one)), keyed_of(one)) == (1, 0)
    assert (len(limits_of(each)), keyed_of(each), len(limits_of(each, {"page": 1}))) == (0, 1, 1)
    assert limits_of(one) == limits_of(one, {"page": 7})


def test_limits_without_arguments_are_those_of_a_run() -> None:
    rates = (RateLimit(1, key="page"), RateLimit(2), RateLimit(3, key="page"), RateLimit(4))

    @App("memory://").task(name="draw", rate_limit=rates)
    def draw(page: int) -> None: ...

    _, two, _, four = limits_of(draw, {"page": 1})
    assert limits_of(draw) == (two, four)


@pytest.mark.parametrize("until", [datetime(2999, 1, 1), "tomorrow", 3600])  # noqa: DTZ001
async def test_arguments_that_mean_something_else_are_refused(app: App, until: Any) -> None:
    with pytest.raises(InvalidOption, match="until must be an aware datetime, or a timedelta from now"):
        await Queues(app).apause("mail", until=until)
    with pytest.raises(InvalidOption, match="until must lie ahead"):
        await Queues(app).apause("mail", until=timedelta(0))
    with pytest.raises(InvalidOption, match=r"names must be a collection of names, such as \['mail'\]"):
        await Queues(app).alist("mail")
    with pytest.raises(InvalidOption, match="the reason of a pause must be text of at most 1,000 characters, not 'xxx"):
        await Queues(app).apause("mail", 1001 * "x")
    with pytest.raises(InvalidOption, match="the reason of a pause must be text"):
        await Queues(app).apause("mail", 7)  # type: ignore[arg-type]
