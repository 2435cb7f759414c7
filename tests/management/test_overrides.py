"""Overrides of limits and breakers: who may, what is noted, and what cannot be asked for; on each store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskq import App, Breaker, Concurrency, RateLimit
from taskq.domain.overrides import Override
from taskq.errors import InvalidOption, NotApplied
from taskq.gauges import limits_of
from taskq.management import Actor, Forbidden, Management, Role
from taskq.management import limits as desks
from tests.unit.support import claim


@pytest.fixture
def send(app: App) -> Any:
    @app.task(
        name="mail.send",
        queue="mail",
        concurrency=(Concurrency(5), Concurrency(5, key="to")),
        rate_limit=(RateLimit("600/s", burst=50), RateLimit("600/s", burst=50, name="relay")),
        breaker=Breaker(),
    )
    def send(to: str) -> None: ...

    return send


def test_gates_are_named_as_overrides_of_all_keys_are(send: Any) -> None:
    assert send.terms.gates() == ("b:mail.send", "c:mail.send", "c:mail.send:*", "r:mail.send", "r:relay")
    met = [limit.gate.rpartition(":")[0] + ":*" for limit in limits_of(send, {"to": "a"})]
    assert "c:mail.send:*" in met


async def test_what_is_said_holds_and_is_noted(app: App, management: Management, send: Any) -> None:
    desk = management.limits
    ids = [(await send.aenqueue(f"{number}@b.c")).id for number in range(4)]
    await desk.concurrency("mail", "c:mail.send", 1, reason="the relay is slow", lasting=timedelta(hours=1))
    assert (await claim(app, "mail")).id == ids[0]
    broker = (await app.backend()).broker
    fetched = await broker.fetch(["mail"], 5, worker="w2", lease=30.0, request_id="r2")
    assert not fetched.deliveries
    text = (await management.tasks.explain(ids[1])).sentence
    assert text.startswith("1 of 1 slots of mail.send are taken")
    [held] = await desk.overrides()
    assert (held.gate, held.limit, held.reason) == ("c:mail.send", 1, "the relay is slow")
    assert held.until is not None
    [entry] = (await management.audit.newest())[:1]
    assert (entry.action, entry.on) == ("limits.override", {"queue": "mail", "gate": "c:mail.send"})
    assert entry.before is None
    assert entry.after is not None
    assert (entry.after["limit"], entry.after["reason"]) == (1, "the relay is slow")
    await desk.concurrency("mail", "c:mail.send", 3)
    [entry] = (await management.audit.newest())[:1]
    assert entry.before is not None
    assert entry.before["limit"] == 1
    gauge = next(each for each in await desk.gauges("mail", limits_of(send)) if each.limit.gate == "c:mail.send")
    assert (gauge.limit.limit, gauge.holders) == (3, (ids[0],))  # type: ignore[union-attr]
    assert await desk.recall("mail", "c:mail.send")
    assert not await desk.recall("mail", "c:mail.send")
    assert await desk.overrides() == []
    fetched = await broker.fetch(["mail"], 5, worker="w2", lease=30.0, request_id="r3")
    assert [each.id for each in fetched.deliveries] == ids[1:]


async def test_a_breaker_is_held_open_and_says_so(app: App, management: Management, send: Any) -> None:
    handle = await send.aenqueue("a@b.c")
    await management.limits.breaker("mail", "b:mail.send", is_open=True, reason="it is down")
    fetched = await (await app.backend()).broker.fetch(["mail"], 5, worker="w", lease=30.0, request_id="r")
    assert not fetched.deliveries
    explained = await management.tasks.explain(handle.id)
    assert explained.sentence == "the breaker of mail.send is held open by an operator: it is down"
    await management.limits.breaker("mail", "b:mail.send", is_open=False, lasting=timedelta(minutes=5))
    texts = [check.text for check in (await management.tasks.explain(handle.id)).checks]
    assert any(text.startswith("the breaker of mail.send is held closed by an operator until 20") for text in texts)
    assert (await claim(app, "mail")).id == handle.id


async def test_another_rate(app: App, management: Management, send: Any) -> None:
    ids = [(await send.aenqueue(f"{number}@b.c")).id for number in range(3)]
    override = await management.limits.rate("mail", "r:relay", 0.001)
    assert override == Override("r:relay", per_second=0.001, burst=1.0)
    broker = (await app.backend()).broker
    fetched = await broker.fetch(["mail"], 5, worker="w", lease=30.0, request_id="r1")
    assert [each.id for each in fetched.deliveries] == ids[:1]
    gauge = next(each for each in await management.limits.gauges("mail", limits_of(send)) if each.kind == "rate")
    assert gauge.limit.gate == "r:mail.send"
    assert "the rate of relay, 0.001/s, lets one start in" in (await management.tasks.explain(ids[1])).sentence


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (
            lambda desk: desk.rate("mail", "c:printer", 1.0),
            "c:printer is the gate of a concurrency limit, not of a rate",
        ),
        (
            lambda desk: desk.rate("mail", "r:mail.send", 0),
            "per_second must be from one start in ten years to a million",
        ),
        (lambda desk: desk.rate("mail", "r:mail.send", 1, 0.5), "burst must be from 1 to a thousand million, not 0.5"),
        (lambda desk: desk.concurrency("mail", "c:printer", -1), "limit must be a whole number from 0 to 1,000,000"),
        (lambda desk: desk.concurrency("mail", "c:printer", 1.5), "limit must be a whole number from 0 to 1,000,000"),
        (
            lambda desk: desk.concurrency("mail", "printer", 1),
            "a gate is named like r:mail.send, c:printer or b:mail.send",
        ),
        (lambda desk: desk.concurrency("mail", 7, 1), "a gate is named like"),
        (
            lambda desk: desk.rate("mail", "r:queue:mail", 1),
            "is set for the queue itself: change it with `taskq queues",
        ),
        (lambda desk: desk.concurrency("a b", "c:printer", 1), "queue 'a b'"),
        (lambda desk: desk.concurrency("mail", "c:printer", 1, lasting=timedelta(0)), "lasting must be over 0"),
        (lambda desk: desk.concurrency("mail", "c:printer", 1, reason="a\nb"), "reason must be at most 200 printable"),
        (lambda desk: desk.recall("mail", "x"), "a gate is named like"),
    ],
)
async def test_what_cannot_be_asked_for(call: Any, complaint: str) -> None:
    async with App("memory://") as app:
        management = Management(app, Actor("ann", [Role.ADMIN]))
        with pytest.raises(InvalidOption, match=complaint.replace("(", r"\(")):
            await call(management.limits)
        assert await management.audit.newest() == []


async def test_they_are_bounded_and_not_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "MOST_OVERRIDES", 2)
    async with App("memory://") as app:
        desk = Management(app, Actor("ann", [Role.OPERATOR])).limits
        for name in ("a", "b", "b"):
            await desk.concurrency("mail", f"c:{name}", 1)
        with pytest.raises(NotApplied, match="2 overrides hold already"):
            await desk.concurrency("mail", "c:c", 1)
        viewer = Management(app, Actor("vic", [Role.VIEWER])).limits
        assert len(await viewer.overrides()) == 2
        with pytest.raises(Forbidden):
            await viewer.concurrency("mail", "c:a", 1)
        with pytest.raises(Forbidden):
            await viewer.recall("mail", "c:a")
        bound = Management(app, Actor("bob", [Role.OPERATOR], tenant="acme")).limits
        with pytest.raises(Forbidden):
            await bound.breaker("mail", "b:a", is_open=True)


async def test_those_of_a_snapshot_are_there_again(tmp_path: Any) -> None:
    url = f"memory://?snapshot={tmp_path / 'kept'}"
    async with App(url) as app:
        await Management(app, Actor("ann", [Role.ADMIN])).limits.concurrency("mail", "c:a", 3)
    async with App(url) as app:
        assert await (await app.backend()).overrides.all() == [Override("c:a", limit=3)]
