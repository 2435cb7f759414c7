"""What the configuration takes of alerts, a beat takes too: each key, with values at and beyond its bounds."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from taskq import App
from taskq.assumed import assuming
from taskq.configuration import Configuration, WrongConfiguration
from taskq.configuration.alerts import Alerts
from taskq.configuration.shape import all_keys
from taskq.domain.alerts import OF_QUEUES, Rule
from taskq.management.errands import errands_of
from tests.configuration.conftest import Read
from tests.configuration.test_defaults import PAGE
from tests.hooks import SECRET

TIMES = (0, "0s", 0.5, 59, "1m", 604_800, 604_801, "8d", -1, "soon", True)
EMAIL: Mapping[str, Any] = {"host": "mail.example.com", "from": "a@example.com", "to": ["b@example.com"]}
WEBHOOK: Mapping[str, Any] = {"url": "https://hooks.example.com/taskq"}
RULE: Mapping[str, Sequence[Any]] = {
    "enabled": (True, False, "perhaps"),
    "above": (0, 0.01, 1e12, 2e12, -1, "much", True),
    "for": TIMES,
    "clear_after": TIMES,
    "queues": ([], ["mail"], ["mail", "high"], "mail,high", ["a b"], 7),
}
KEYS: Mapping[str, Sequence[Any]] = {
    "enabled": (True, False, "perhaps"),
    "remind_after": (*TIMES, 60, 14_400),
    **{f"rules.{rule}.{key}": values for rule in Rule for key, values in RULE.items()},
    "webhook.url": (
        *("https://e.com", "http://e.com:80/a?b=c", "https://e.com:8443", "https://e.com:0", "https://e.com:99999"),
        *("https://", "ftp://e.com", "//e.com", "https://a b.com", "https://user:secret@e.com", "https://e.com/a b", 7),
    ),
    "webhook.headers": (
        {},
        {"authorization": "Bearer x"},
        {"a b": "x"},
        {"Host": "x"},
        {"webhook-id": "x"},
        {"a": "é"},
    ),
    "email.host": ("mail", "10.0.0.1", "", "a b", "é"),
    "email.port": (1, 25, 65_535, 0, 65_536, "smtp"),
    "email.user": ("me", ""),
    "email.password": ("", "secret"),
    "email.from": ("a@b.c", "a@b", "a@", "@b", "abc", "a b@c.d", "é@b.c", ""),
    "email.to": (["a@b.c"], "a@b.c,d@e.f", ["a@"], [], [""], ["a@b.c"] * 101, ["a b@c.d"]),
    "email.tls": ("starttls", "tls", "none", "ssl"),
}
"""By key, what somebody may write."""
TAKEN = {"remind_after": 0, "rules.oldest_age.for": 0, "rules.oldest_age.clear_after": 0, "rules.oldest_age.above": 0}
"""What a beat takes, and the configuration once refused."""


def cases() -> Iterator[Any]:
    """Each key with each value."""
    for key, values in KEYS.items():
        for value in values:
            yield pytest.param(key, value, id=f"{key}={str(value)[:40]}")


def said_of(key: str, value: object, **more: Any) -> str:
    """The text of a file in which a key of the alerts has a value."""
    alerts: dict[str, Any] = {"email": dict(EMAIL), "webhook": dict(WEBHOOK), **more}
    section = alerts
    *path, last = key.split(".")
    for name in path:
        section = section.setdefault(name, {})
    section[last] = value
    return json.dumps({"alerts": alerts, "webhooks": {"secrets": [SECRET]}})


def begins(found: Configuration) -> None:
    """Have a beat do what it does about alerts, once."""

    async def once() -> None:
        async with App("memory://") as app:
            errands = errands_of(app, found)
            for name, tick in errands.ticks:
                if name == "looking for alerts":
                    await tick()

    with assuming(found.assumed):
        asyncio.run(once())


@pytest.mark.parametrize(("key", "value"), list(cases()))
def test_what_is_accepted_starts_a_beat(read: Read, key: str, value: object) -> None:
    try:
        found = read(said_of(key, value))
    except WrongConfiguration:
        return
    begins(found)


@pytest.mark.parametrize(("key", "value"), list(TAKEN.items()))
def test_what_a_beat_takes_is_accepted(read: Read, key: str, value: object) -> None:
    begins(read(said_of(key, value)))


def test_every_key_has_a_case() -> None:
    """Those that there are, and those that the page names."""
    keys = {".".join(path) for path in all_keys(Alerts)}
    assert keys - {"rules", "webhook", "email"} - {f"rules.{rule}" for rule in Rule} == set(KEYS)
    section = re.split(r"\n(?=\w)", PAGE.read_text().partition("\nalerts:\n")[2])[0]
    named = set(re.findall(r"(?:^|[{#,]) *(\w+): ", section, re.MULTILINE))
    assert {key.rpartition(".")[2] for key in KEYS} | {"rules", "webhook", "email", "authorization", *Rule} >= named
    assert {key.rpartition(".")[2] for key in KEYS} <= named


def test_what_holds_is_what_was_said(read: Read) -> None:
    found = read("alerts: {remind_after: 0, rules: {no_worker: {for: 5s, clear_after: 0, queues: [mail]}}}")
    options = found.sections.alerts.options
    bounds = options.bounds(Rule.NO_WORKER)
    assert (options.remind_after, bounds.hold_for, bounds.clear_after, bounds.queues) == (0.0, 5.0, 0.0, ("mail",))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "alerts:\n  rules:\n    oldest_age:\n      for: 8d",
            "taskq.yaml:4: alerts.rules.oldest_age.for: for must be from 0 to 604,800 seconds, not 691200.0",
        ),
        (
            "alerts:\n  rules:\n    oldest_age:\n      above: -1",
            "taskq.yaml:4: alerts.rules.oldest_age.above: above must be from 0 to a million millions, not -1.0",
        ),
        (
            "alerts:\n  rules:\n    store_slow:\n      queues: [mail]",
            "taskq.yaml:4: alerts.rules.store_slow: is about no queue: it must have no queues, not ['mail']",
        ),
        (
            "alerts:\n  remind_after: 5s",
            "taskq.yaml:2: alerts.remind_after: must be from 60 to 604,800 seconds, or 0 for never, not 5.0",
        ),
        (
            "alerts:\n  webhook:\n    url: ftp://e.com",
            "taskq.yaml:3: alerts.webhook.url: must begin with https:// or http://",
        ),
        (
            "alerts:\n  email:\n    host: h\n    from: a\n    to: [a@b.c]",
            "taskq.yaml:4: alerts.email.from: must be an address such as ops@example.com, not 'a'",
        ),
        (
            "alerts:\n  email: {host: h, from: a@b.c, to: [a@b.c], user: me}",
            "taskq.yaml:2: alerts.email: user and password go together",
        ),
    ],
)
def test_a_refusal_is_the_owners(wrong: Callable[..., list[str]], text: str, line: str) -> None:
    assert wrong(text) == [line]


def test_a_webhook_keeps_to_the_ports_that_are_allowed(wrong: Callable[..., list[str]], read: Read) -> None:
    [line] = wrong(said_of("webhook.url", "https://e.com:8443"))
    assert "alerts.webhook.url" in line
    assert "8443" in line
    text = json.loads(said_of("webhook.url", "https://e.com:8443"))
    text["webhooks"]["ports"] = [8443]
    begins(read(json.dumps(text)))


def test_rules_of_queues_alone_are_for_some_queues(wrong: Callable[..., list[str]], read: Read) -> None:
    for rule in Rule:
        text = json.dumps({"alerts": {"rules": {rule: {"queues": ["mail"]}}}})
        if rule in OF_QUEUES:
            read(text)
        else:
            assert len(wrong(text)) == 1
