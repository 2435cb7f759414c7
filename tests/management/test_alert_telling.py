"""Alerts that are told by webhook and by mail: at least once, and with an id by which a receiver knows repeats."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest

from taskq import App
from taskq.alert_rules import AlertOptions, EmailOptions, WebhookOptions, bounds_of
from taskq.errors import BackendUnavailable, ConfigError
from taskq.management import Management
from taskq.management.alert_telling import FIRST_PAUSE, AlertTeller
from taskq.management.alert_watch import AlertWatch
from taskq.management.alerts import AlertBook
from taskq.webhooks import verify
from tests.hooks import SECRET, HookServer, answer
from tests.management.alarms import AT_ONCE, Hands, hook, lives, mail, options, untold, watch_of
from tests.management.conftest import ADMIN
from tests.management.mails import MailServer
from tests.management.test_alert_watch import age


async def test_a_webhook_is_told_of_both_changes(hooked: App, hooks: HookServer) -> None:
    watch, teller = watch_of(hooked, hook(hooks))
    await watch.tick()
    [alert] = await Management(hooked, ADMIN).alerts.list()
    await teller.tick()
    await teller.tick()
    [request] = hooks.received
    assert verify([SECRET], request.headers, request.body) == f"{alert.id}.raised"
    assert request.headers["authorization"] == "Bearer hush"
    told = json.loads(request.body)
    assert (told["type"], told["data"]["rule"], told["data"]["subject"]) == ("alert.raised", "no_worker", "mail")
    assert told["data"]["id"] == alert.id
    assert await untold(hooked) == []
    await lives(hooked, queues=("mail",))
    await watch.tick()
    await teller.tick()
    assert json.loads(hooks.received[1].body)["type"] == "alert.cleared"
    await watch.tick()
    assert [one.id for one in await Management(hooked, ADMIN).alerts.history()] == [alert.id]
    assert len(hooks.received) == 2


async def test_a_webhook_that_fails_is_called_again(
    hooked: App, hooks: HookServer, caplog: pytest.LogCaptureFixture
) -> None:
    hands = Hands()
    hooks.answers = [answer(500), answer(503)]
    watch, teller = watch_of(hooked, hook(hooks), hands)
    await watch.tick()
    await teller.tick()
    await teller.tick()
    assert len(hooks.received) == 1, "it is not called before its pause is over"
    assert "alerts cannot be told by webhook, next try in 5 s: 127.0.0.1 has answered 500" in caplog.text
    assert "hush" not in caplog.text
    hands.seconds += FIRST_PAUSE
    await teller.tick()
    hands.seconds += FIRST_PAUSE
    await teller.tick()
    assert len(hooks.received) == 2, "each pause is longer than the last"
    hands.seconds += FIRST_PAUSE
    await teller.tick()
    assert len(hooks.received) == 3
    assert len({request.headers["webhook-id"] for request in hooks.received}) == 1
    assert await untold(hooked) == []


async def test_who_dies_before_telling_has_left_word(hooked: App, hooks: HookServer) -> None:
    first, _ = watch_of(hooked, hook(hooks))
    await first.tick()
    await first.farewell()
    second, teller = watch_of(hooked, hook(hooks))
    await second.tick()
    await teller.tick()
    assert [json.loads(request.body)["type"] for request in hooks.received] == ["alert.raised"]


async def test_who_dies_before_noting_it_has_it_told_twice_under_one_id(
    hooked: App, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, teller = watch_of(hooked, hook(hooks))
    await first.tick()

    async def dies(*_: object) -> None:
        raise BackendUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(AlertBook, "change", dies)
        await teller.tick()
        await teller.tick()
    assert len(hooks.received) == 1, "who has told it knows"
    await first.farewell()
    await teller.farewell()
    second, other = watch_of(hooked, hook(hooks))
    await second.tick()
    await other.tick()
    ids = [request.headers["webhook-id"] for request in hooks.received]
    assert (len(ids), len(set(ids))) == (2, 1)


async def test_changes_of_a_time_are_one_mail(hooked: App, mails: MailServer) -> None:
    await hooked.aenqueue("mail.send", {}, queue="web")
    watch, teller = watch_of(hooked, mail(mails))
    await watch.tick()
    await teller.tick()
    [received] = mails.received
    assert mails.recipients == ["a@example.com", "b@example.com"]
    assert (received["From"], received["Subject"]) == ("taskq@example.com", "[taskq] 2 alerts: 2 raised")
    body = received.get_content()
    assert "1 tasks are ready in mail, which no live worker serves" in body
    assert "raised no_worker web" in body
    assert await untold(hooked) == []
    await lives(hooked, queues=("mail",))
    await watch.tick()
    await teller.tick()
    subject = "[taskq] cleared no_worker: 1 tasks are ready in mail, which no live worker serves"
    assert mails.received[1]["Subject"] == subject


async def test_a_mail_that_is_refused_is_sent_again(
    hooked: App, mails: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    hands, mails.refusals = Hands(), 1
    watch, teller = watch_of(hooked, mail(mails), hands)
    await watch.tick()
    await teller.tick()
    assert (mails.received, "hush" in caplog.text) == ([], False)
    assert "127.0.0.1 has answered 451" in caplog.text
    hands.seconds += FIRST_PAUSE
    await teller.tick()
    assert len(mails.received) == 1


async def test_a_server_that_is_away_holds_up_nobody(hooked: App, hooks: HookServer) -> None:
    email = EmailOptions(host="127.0.0.1", port=1, sender="a@b.c", to=("d@e.f",), tls="none")
    watch, teller = watch_of(hooked, hook(hooks, email=email))
    await watch.tick()
    await teller.tick()
    assert len(hooks.received) == 1
    [left] = await untold(hooked)
    assert left.endswith(".raised")


async def test_an_alert_that_nobody_acknowledges_is_told_again(hooked: App, hooks: HookServer) -> None:
    watch, teller = watch_of(hooked, hook(hooks, remind_after=3600.0))
    await watch.tick()
    await teller.tick()
    for hours, number in ((0.5, 1), (0.6, 2)):
        await age(hooked, "no_worker", "mail", timedelta(hours=hours))
        await watch.tick()
        await teller.tick()
        assert len(hooks.received) == number
    assert json.loads(hooks.received[1].body)["type"] == "alert.reminded"
    management = Management(hooked, ADMIN)
    await management.alerts.acknowledge((await management.alerts.list())[0].id)
    await age(hooked, "no_worker", "mail", timedelta(hours=9))
    await watch.tick()
    await teller.tick()
    assert len(hooks.received) == 2


async def test_what_is_acknowledged_is_not_told_any_more(hooked: App, hooks: HookServer) -> None:
    watch, teller = watch_of(hooked, hook(hooks))
    await watch.tick()
    management = Management(hooked, ADMIN)
    await management.alerts.acknowledge((await management.alerts.list())[0].id)
    await watch.tick()
    await teller.tick()
    assert hooks.received == []
    await lives(hooked, queues=("mail",))
    await watch.tick()
    await teller.tick()
    assert [json.loads(request.body)["type"] for request in hooks.received] == ["alert.cleared"]


async def test_what_was_in_vain_for_a_day_is_given_up(
    hooked: App, hooks: HookServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.management.alert_telling.GIVEN_UP", timedelta(0))
    hooks.answers = [answer(500)]
    watch, teller = watch_of(hooked, hook(hooks))
    await watch.tick()
    await teller.tick()
    assert "nobody could be told by webhook for a day" in caplog.text
    assert await untold(hooked) == []


async def test_the_log_tells_too(hooked: App, caplog: pytest.LogCaptureFixture) -> None:
    watch, _ = watch_of(hooked, options(no_worker=AT_ONCE))
    with caplog.at_level(logging.INFO, "taskq.alerts"):
        await watch.tick()
        await lives(hooked, queues=("mail",))
        await watch.tick()
    noted = [record for record in caplog.records if record.name == "taskq.alerts"]
    messages = [(one.levelname, one.getMessage()) for one in noted if one.getMessage().startswith("alert ")]
    text = "no_worker: 1 tasks are ready in mail, which no live worker serves"
    assert messages == [("WARNING", f"alert raised {text}"), ("INFO", f"alert cleared {text}")]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WebhookOptions("ftp://example.com/hush"), "alerts.webhook.url must begin with https:// or http://"),
        (lambda: WebhookOptions("https://e.com", {"a b": "hush"}), "alerts.webhook.headers: 'a b' must be"),
        (lambda: WebhookOptions("https://e.com", {"a": "hush\r\nb: c"}), "alerts.webhook.headers: 'a' must be"),
        (lambda: WebhookOptions("https://e.com", {"Webhook-Id": "1"}), "Webhook-Id is written by taskq: leave it out"),
        (lambda: EmailOptions(host="", sender="a@b.c", to=("d@e.f",)), "alerts.email.host must be a host name"),
        (lambda: EmailOptions(host="h", sender="a", to=("d@e.f",)), "alerts.email.from must be an address"),
        (lambda: EmailOptions(host="h", sender="a@b.c", to=("d@e.f\r\nX: y",)), "alerts.email.to must be an address"),
        (lambda: EmailOptions(host="h", sender="a@b.c", to=()), "alerts.email.to must have 1 to 100 addresses"),
        (lambda: EmailOptions(host="h", sender="a@b.c", to=("d@e.f",), port=0), "alerts.email.port must be from 1"),
        (lambda: EmailOptions(host="h", sender="a@b.c", to=("d@e.f",), user="u"), "user and password go together"),
        (
            lambda: EmailOptions(host="h", sender="a@b.c", to=("d@e.f",), user="u", password="hush", tls="none"),
            "a password is sent only over TLS",
        ),
        (lambda: bounds_of("oldest", above=1), "alerts.rules has only queue_behind"),
        (lambda: bounds_of("oldest_age", over=1), "alerts.rules.oldest_age has only above, hold"),
        (lambda: bounds_of("oldest_age", above=-1), "alerts.rules.oldest_age.above must be from 0"),
        (lambda: bounds_of("oldest_age", hold_for="soon"), "alerts.rules.oldest_age.hold_for must be from 0"),
        (lambda: bounds_of("oldest_age", enabled="yes"), "alerts.rules.oldest_age.enabled must be True or False"),
        (lambda: bounds_of("oldest_age", queues="mail"), "alerts.rules.oldest_age.queues must be a list"),
        (lambda: bounds_of("store_slow", queues=["mail"]), "alerts.rules.store_slow is about no queue"),
        (lambda: AlertOptions(rules={"oldest": bounds_of("oldest_age")}), "alerts.rules has only queue_behind"),
        (lambda: AlertOptions(remind_after=1.0), "alerts.remind_after must be from 60"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_options_is_told(make: object, words: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        make()  # type: ignore[operator]
    assert words in str(mistake.value)
    assert "hush" not in str(mistake.value)


def test_no_secret_is_shown() -> None:
    webhook = WebhookOptions("https://e.com/hush", {"authorization": "hush"})
    email = EmailOptions(host="h", sender="a@b.c", to=("d@e.f",), user="u", password="hush")
    assert "hush" not in repr(AlertOptions(webhook=webhook, email=email))


def test_a_webhook_needs_a_secret_and_its_port(hooks: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no secret to sign with: set TASKQ_WEBHOOKS__SECRETS"):
        AlertTeller(App("memory://"), hook(hooks))
    monkeypatch.setenv("TASKQ_WEBHOOKS__SECRETS", SECRET)
    with pytest.raises(ConfigError, match="is not one of those that are allowed"):
        AlertTeller(App("memory://"), hook(hooks))


def test_a_watch_says_what_it_is() -> None:
    assert isinstance(watch_of(App("memory://"), AlertOptions())[0], AlertWatch)
