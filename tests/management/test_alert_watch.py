"""Alerts that are raised and cleared on each store, once each, whoever looks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from taskq import App
from taskq.alert_rules import EmailOptions
from taskq.errors import ConfigError, NotApplied
from taskq.management import Actor, Forbidden, Management, Role
from taskq.management.alert_desk import AlertNotFound
from taskq.management.alert_watch import MOST_ACTIVE, OTHERS
from taskq.management.alerts import JOURNAL, KEPT, KIND, Alert, AlertBook, Change, Kept, document_id
from taskq.ports.events import ALERTS
from tests.management.alarms import AT_ONCE, Hands, lives, options, watch_of
from tests.unit.support import claim
from tests.worker.support import until

UNSERVED = options(no_worker=AT_ONCE)


async def age(app: App, rule: str, subject: str, by: timedelta) -> None:
    """Have an alert be older than it is."""
    book = AlertBook(await app.backend())

    def older(kept: Kept) -> Kept:
        written = None if kept.written_at is None else kept.written_at - by
        reminded = None if kept.reminded_at is None else kept.reminded_at - by
        return replace(kept, written_at=written, reminded_at=reminded)

    assert await book.change((rule, subject), older) is not None


async def test_an_alert_is_raised_and_cleared(app: App, management: Management) -> None:
    watch, _ = watch_of(app, UNSERVED)
    await app.aenqueue("mail.send", {}, queue="mail")
    await watch.tick()
    [alert] = await management.alerts.list()
    assert (alert.rule, alert.subject, alert.value, alert.bound) == ("no_worker", "mail", 1.0, 0.0)
    assert alert.text == "1 tasks are ready in mail, which no live worker serves"
    assert alert.is_active
    await watch.tick()
    assert await management.alerts.list() == [alert]
    assert await management.alerts.history() == []
    await lives(app, queues=("mail",))
    await watch.tick()
    assert await management.alerts.list() == []
    [over] = await management.alerts.history()
    assert (over.id, over.cleared_at is not None) == (alert.id, True)
    assert (await (await app.backend()).documents.list(KIND)).documents == []


async def test_raised_again_it_is_another(app: App, management: Management) -> None:
    watch, _ = watch_of(app, UNSERVED)
    await app.aenqueue("mail.send", {}, queue="mail")
    for ttl in (0.0, 900.0, 0.0):
        info = await lives(app, queues=("mail",), ttl=max(ttl, 0.001))
        if not ttl:
            await (await app.backend()).registry.forget(info.id)
        await watch.tick()
    [second] = await management.alerts.list()
    [first] = await management.alerts.history()
    assert second.id != first.id


async def test_events_tell_of_changes(app: App) -> None:
    """A listener hears what comes after it has begun, so it is raised and cleared until it is heard."""
    backend = await app.backend()
    stream = backend.events.subscribe([ALERTS])
    hearing = asyncio.ensure_future(anext(stream))
    watch, _ = watch_of(app, UNSERVED)
    await app.aenqueue("mail.send", {}, queue="mail")

    async def is_heard() -> bool:
        await watch.tick()
        await lives(app, queues=("mail",))
        await watch.tick()
        await backend.registry.forget("w1")
        return hearing.done()

    await until(is_heard, "a change is heard")
    told = json.loads(hearing.result().data)
    await stream.aclose()  # type: ignore[attr-defined]
    assert told["kind"] in ("alert.raised", "alert.cleared")
    assert (told["rule"], told["subject"]) == ("no_worker", "mail")
    assert set(told) == {"kind", *Alert.__struct_fields__}


async def test_what_must_hold_is_not_raised_before_its_time(app: App, management: Management) -> None:
    watch, _ = watch_of(app, options(no_worker={"hold_for": 600.0}))
    await app.aenqueue("mail.send", {}, queue="mail")
    for _ in range(3):
        await watch.tick()
    assert await management.alerts.list() == []


async def test_of_two_who_look_one_has_the_duty(app: App, management: Management) -> None:
    (first, _), (second, _) = watch_of(app, UNSERVED), watch_of(app, UNSERVED)
    await app.aenqueue("mail.send", {}, queue="mail")
    await asyncio.gather(first.tick(), second.tick())
    assert sorted((first.is_holder, second.is_holder)) == [False, True]
    assert len(await management.alerts.list()) == 1
    holder, other = (first, second) if first.is_holder else (second, first)
    await holder.farewell()
    await other.tick()
    assert (holder.is_holder, other.is_holder) == (False, True)
    assert len(await management.alerts.list()) == 1


async def test_two_who_both_think_it_theirs_raise_and_clear_once(app: App, management: Management) -> None:
    """The duty is a hint: a process that stood still may think that it still has it."""
    watches = [watch_of(app, UNSERVED)[0] for _ in range(3)]
    backend = await app.backend()

    async def look(number: int) -> None:
        await watches[number]._look(backend)

    await app.aenqueue("mail.send", {}, queue="mail")
    await asyncio.gather(*(look(number) for number in range(3)))
    [alert] = await management.alerts.list()
    await lives(app, queues=("mail",))
    await asyncio.gather(*(look(number) for number in range(3)))
    await look(0)
    assert [one.id for one in await management.alerts.history()] == [alert.id]
    assert (await backend.documents.list(KIND)).documents == []


async def test_only_so_many_subjects_have_an_alert(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.management.alert_watch.MOST_ACTIVE", 3)
    assert MOST_ACTIVE == 200
    watch, _ = watch_of(app, UNSERVED)
    for number in range(5):
        for _ in range(number + 1):
            await app.aenqueue("mail.send", {}, queue=f"q{number}")
    await watch.tick()
    found = {alert.subject: alert.value for alert in await management.alerts.list()}
    assert found == {"q4": 5.0, "q3": 4.0, "q2": 3.0, OTHERS: 2.0}
    await lives(app, queues=tuple(f"q{number}" for number in range(5)))
    await watch.tick()
    assert await management.alerts.list() == []


async def test_how_it_stands_is_written_now_and_then(app: App, management: Management) -> None:
    watch, _ = watch_of(app, UNSERVED)
    await app.aenqueue("mail.send", {}, queue="mail")
    await watch.tick()
    await app.aenqueue("mail.send", {}, queue="mail")
    await watch.tick()
    assert (await management.alerts.list())[0].value == 1.0
    await age(app, "no_worker", "mail", timedelta(minutes=2))
    await watch.tick()
    assert (await management.alerts.list())[0].value == 2.0


async def test_who_acknowledges_is_noted(app: App, management: Management) -> None:
    watch, _ = watch_of(app, UNSERVED)
    await app.aenqueue("mail.send", {}, queue="mail")
    await watch.tick()
    [alert] = await management.alerts.list()
    operator = Management(app, Actor("olga", [Role.OPERATOR]))
    seen = await operator.alerts.acknowledge(alert.id[:12], "the relay is away")
    assert (seen.acknowledged_by, seen.note) == ("olga", "the relay is away")
    assert (await management.alerts.acknowledge(alert.id, "me too")).acknowledged_by == "olga"
    assert await management.alerts.list() == [seen]
    [entry] = [entry async for entry in management.audit.export()]
    assert (entry.actor, entry.action) == ("olga", "alert.acknowledge")
    assert entry.on == {"alert": alert.id, "rule": "no_worker", "subject": "mail"}
    viewer = Management(app, Actor("vic", [Role.VIEWER]))
    assert len(await viewer.alerts.list()) == 1
    with pytest.raises(Forbidden, match="vic may not acknowledge alerts: that takes the role operator or admin"):
        await viewer.alerts.acknowledge(alert.id)
    for method in (viewer.alerts.list, viewer.alerts.history):
        with pytest.raises(Forbidden):
            await getattr(Management(app, Actor("tim", [Role.ADMIN], tenant="acme")).alerts, method.__name__)()
    await lives(app, queues=("mail",))
    await watch.tick()
    [over] = await management.alerts.history()
    assert over.acknowledged_by == "olga"
    with pytest.raises(AlertNotFound, match=r"no alert '.*' goes on; `taskq alerts list` shows those that do"):
        await operator.alerts.acknowledge(alert.id)


async def test_the_past_is_bounded_and_shows_each_alert_once(app: App, management: Management) -> None:
    backend = await app.backend()
    book = AlertBook(backend)
    now = alert_of("a")
    for number in range(5):
        await book.note(replace(now, id=f"a{number}", cleared_at=now.raised_at + timedelta(seconds=number)))
    await book.note(replace(now, id="a4", cleared_at=now.raised_at + timedelta(seconds=4)))
    await backend.journal.append(JOURNAL, 7, b"of a later release")
    assert [one.id for one in await management.alerts.history()] == ["a4", "a3", "a2", "a1", "a0"]
    assert [one.id for one in await management.alerts.history(2)] == ["a4", "a3"]
    assert KEPT == 1000


def alert_of(id: str, **fields: Any) -> Alert:
    """An alert that was raised some time ago."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    said = {"rule": "no_worker", "subject": "mail", "value": 1.0, "bound": 0.0, "text": "t", "since": at}
    return Alert(**{"id": id, **said, "raised_at": at, **fields})


async def test_what_a_later_release_has_written_is_left_alone(app: App, management: Management) -> None:
    backend = await app.backend()
    id = document_id("no_worker", "mail")
    assert await backend.documents.put(KIND, id, b'{"other": 1}')
    await app.aenqueue("mail.send", {}, queue="mail")
    watch, _ = watch_of(app, UNSERVED)
    await watch.tick()
    assert await management.alerts.list() == []
    found = await backend.documents.get(KIND, id)
    assert found is not None
    assert found.data == b'{"other": 1}'


async def test_a_long_subject_has_an_alert_too(app: App, management: Management) -> None:
    queue = "q" * 200
    assert len(document_id("no_worker", queue)) <= 200
    await app.aenqueue("mail.send", {}, queue=queue)
    watch, _ = watch_of(app, UNSERVED)
    await watch.tick()
    assert [alert.subject for alert in await management.alerts.list()] == [queue]


async def test_a_rule_that_is_off_raises_nothing_and_lets_go(app: App, management: Management) -> None:
    await app.aenqueue("mail.send", {}, queue="mail")
    watch, _ = watch_of(app, UNSERVED)
    await watch.tick()
    assert len(await management.alerts.list()) == 1
    await watch.farewell()
    other, _ = watch_of(app, options(no_worker={**AT_ONCE, "enabled": False}))
    await other.tick()
    assert await management.alerts.list() == []


async def test_a_rule_may_be_for_some_queues(app: App, management: Management) -> None:
    for queue in ("mail", "web"):
        await app.aenqueue("mail.send", {}, queue=queue)
    watch, _ = watch_of(app, options(no_worker={**AT_ONCE, "queues": ["web"]}))
    await watch.tick()
    assert [alert.subject for alert in await management.alerts.list()] == ["web"]


def test_the_rules_as_they_hold(management: Management) -> None:
    rules = management.alerts.rules(options(oldest_age={"above": 7.0}))
    assert rules["oldest_age"].above == 7.0  # type: ignore[index]
    assert not rules["no_worker"].enabled  # type: ignore[index]
    assert {str(rule) for rule in management.alerts.rules()} == set(map(str, rules))


async def test_a_notice_is_written_with_what_it_tells_of(app: App) -> None:
    email = EmailOptions(host="127.0.0.1", sender="a@b.c", to=("d@e.f",), tls="none")
    watch, _ = watch_of(app, options(no_worker=AT_ONCE, email=email))
    await app.aenqueue("mail.send", {}, queue="mail")
    await watch.tick()
    document = await (await app.backend()).documents.get(KIND, document_id("no_worker", "mail"))
    assert document is not None
    kept = msgspec.json.decode(document.data, type=Kept)
    [notice] = kept.untold
    assert (notice.id, notice.change, notice.channels) == (f"{kept.alert.id}.raised", Change.RAISED, ("email",))
    assert notice.alert == kept.alert


async def test_a_task_that_runs_is_not_ready(app: App, management: Management) -> None:
    await app.aenqueue("mail.send", {})
    await claim(app)
    watch, _ = watch_of(app, UNSERVED, Hands())
    await watch.tick()
    assert await management.alerts.list() == []


async def test_an_id_that_several_have_is_refused(app: App, management: Management) -> None:
    watch, _ = watch_of(app, UNSERVED)
    for queue in ("mail", "web"):
        await app.aenqueue("mail.send", {}, queue=queue)
    await watch.tick()
    with pytest.raises(NotApplied, match="2 alerts begin with '0': give more of the id"):
        await management.alerts.acknowledge("0")
    with pytest.raises(AlertNotFound):
        await management.alerts.acknowledge("")
    with pytest.raises(ConfigError, match="a note must have at most 500 characters"):
        await management.alerts.acknowledge("0", "x" * 501)
    with pytest.raises(ConfigError, match="limit must be from 1 to 1,000"):
        await management.alerts.history(0)


async def test_an_alert_that_is_over_meanwhile_is_not_acknowledged(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, _ = watch_of(app, UNSERVED)
    await app.aenqueue("mail.send", {}, queue="mail")
    await watch.tick()
    [alert] = await management.alerts.list()
    await lives(app, queues=("mail",))
    act = management.alerts.act

    @contextlib.asynccontextmanager
    async def slowly(*said: Any, **more: Any) -> AsyncIterator[Any]:
        async with act(*said, **more) as backend:
            await watch.tick()
            yield backend

    monkeypatch.setattr(management.alerts, "act", slowly)
    with pytest.raises(AlertNotFound, match=f"alert {alert.id} is over by now"):
        await management.alerts.acknowledge(alert.id)
    assert [entry.action for entry in await management.audit.newest()] == [
        "alert.acknowledge.failed",
        "alert.acknowledge",
    ]
