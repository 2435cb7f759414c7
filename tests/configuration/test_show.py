"""Every value with who said it; no secret in any of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from taskq.configuration.live import LIVE, differences, is_live
from taskq.configuration.show import text_of, values
from tests.configuration.conftest import Read

SECRETS = """
backend: redis://u:hunter2@h:1/0?password=hunter2
auth:
  jwt_secret: hunter2hunter2-pQ7w9sX2mK4vT8yB1nR5cJ3hL6gF0dZA
  jwks_url: https://u:hunter2@login/keys?token=hunter2
crypto:
  keys: {k1: aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMjEyMzQ=}
  digest_key: aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMjEyMzQ=
webhooks: {secrets: [whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMjEyMzQ=]}
alerts:
  webhook: {url: "https://hooks/T0/hunter2?x=hunter2", headers: {authorization: Bearer hunter2}}
  email: {host: h, user: u, password: hunter2, from: a@b.c, to: [a@b.c]}
"""
HIDDEN = ("hunter2", "aHVudGVyMmh1bnRlcjJo", "pQ7w9sX2")


def test_secrets_are_masked(read: Read) -> None:
    found = read(SECRETS)
    everything = [json.dumps([value.shown for value in values(found)]), *map(text_of, values(found))]
    everything += [repr(found), repr(found.sections), repr(found.assumed), repr(found.app()), str(values(found))]
    for text in everything:
        assert not any(secret in text for secret in HIDDEN), text
    shown = {value.key: value.shown for value in values(found)}
    assert shown["backend.url"] == "redis://u:***@h:1/0?password=***"
    assert shown["alerts.webhook.url"] == "https://hooks/***"
    assert shown["crypto.keys.k1"] == shown["auth.jwt_secret"] == shown["alerts.webhook.headers.authorization"] == "***"
    assert shown["webhooks.secrets"] == ["***"]


def test_a_secret_that_has_changed_is_not_shown(read: Read) -> None:
    before, after = read(SECRETS), read(SECRETS.replace("hunter2", "hunter3"))
    lines = [str(change) for change in differences(before, after)]
    assert "auth.jwt_secret has changed, which needs a restart" in lines
    assert "alerts.email.password has changed, which needs a restart" in lines
    assert not any("hunter" in line for line in lines)


def test_one_section(read: Read) -> None:
    found = read("queues: {mail: {workers: 3}, slow: {}}")
    keys = {value.key for value in values(found, "scheduler")}
    assert keys == {"scheduler.metrics_port", "scheduler.health_file", "scheduler.tick"}
    assert {value.key.split(".")[1] for value in values(found, "queues")} == {"mail", "slow"}
    assert {value.key.split(".")[1] for value in values(found, "queues.mail")} == {"mail"}
    assert values(found, "work") == []


def test_values_as_people_read_them(read: Read) -> None:
    found = read("worker: {queues: 'high=3,low', rate: 90/m, lease: 1m}\nauth: {roles: {ops: operator}}")
    shown = {value.key: text_of(value) for value in values(found)}
    assert shown["worker.queues"] == "high=3,low"
    assert shown["worker.rate"] == "1.5/s"
    assert (shown["worker.lease"], shown["worker.threads"], shown["worker.beat"]) == ("60", "-", "false")
    assert (shown["webhooks.ports"], shown["auth.roles"]) == ("[80, 443]", '{"ops": "operator"}')


def test_what_takes_effect_without_a_restart(read: Read) -> None:
    before = read("worker: {rate: 50/s, concurrency: 100, queues: 'a,b'}\nqueues: {mail: {workers: 2}}")
    after = read("worker: {rate: 80/s, concurrency: 50, queues: 'a=2,b'}\nqueues: {slow: {workers: 3}}")
    lines = [str(change) for change in differences(before, after)]
    assert "worker.rate: 50/s → 80/s" in lines
    assert "worker.concurrency: 100 → 50 needs a restart" in lines
    assert "worker.queues: a,b → a=2,b" in lines
    assert "queues.mail.workers: 2 → nothing" in lines
    assert "queues.slow.workers: nothing → 3" in lines
    [queues] = [change for change in differences(before, read("worker: {queues: a}")) if change.key == "worker.queues"]
    assert str(queues) == "worker.queues: a,b → a needs a restart"
    assert differences(after, after) == []


def test_the_page_has_the_same_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    table = page[page.index("| at once | |") :].partition("\n\n")[0]
    keys = [key for row in table.splitlines() for key in re.findall(r"`([\w.*]+)`", row.split("|")[1])]
    assert set(keys) == set(LIVE)


def test_the_keys_of_the_table_are_known(read: Read) -> None:
    keys = [value.key for value in values(read("queues: {mail: {}}"))]
    assert all(any(is_live(key) and (key == pattern or "*" in pattern) for key in keys) for pattern in LIVE)
    assert not is_live("backend.url")
