"""`taskq keys`: what it prints, and that the key is shown once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import App
from taskq.management import Actor, Keys
from tests.cli.support import Shell, taskq


def told(*arguments: str) -> Any:
    """What a command tells in JSON."""
    result = taskq("keys", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def verified(url: str, text: str) -> Actor | None:
    """Who asks with a key."""

    async def ask() -> Actor | None:
        async with App(url) as app:
            return await Keys(app).verify(text)

    return asyncio.run(ask())


def test_a_key_is_made_listed_and_revoked_on_each_store(shell: Shell, shared_url: str) -> None:
    store = ("--backend", shared_url)
    text = shell.output("keys", "create", "ci", "--role", "submitter", "--role", "viewer", *store)
    actor = verified(shared_url, text)
    assert actor is not None
    assert actor.roles == {"submitter", "viewer"}
    shown = shell.output("keys", "list", *store)
    assert text[:11] in shown
    assert text[12:] not in shown
    assert "was revoked at 20" in shell.output("keys", "revoke", text[3:11], *store)
    assert verified(shared_url, text) is None
    assert "revoked" in shell.output("keys", "list", *store)
    actions = [entry["action"] for entry in json.loads(shell.output("audit", "list", "--json", *store))]
    assert actions == ["key.revoke", "key.create"]


def test_the_key_stands_alone_on_standard_output(kept: str) -> None:
    result = taskq("keys", "create", "ci", "--role", "viewer", "--backend", kept)
    [text] = result.stdout.splitlines()
    assert verified(kept, text) is not None
    assert result.stderr == f"the key {text[:11]} of ci; it is not shown again:\n"


def test_what_is_said_of_a_key(kept: str) -> None:
    options = ("--role", "operator", "--tenant", "acme", "--no-payloads", "--expires", "90d")
    made = told("create", "ci", *options, "--backend", kept)
    text = made.pop("key")
    actor = verified(kept, text)
    assert actor is not None
    assert (actor.tenant, actor.payloads) == ("acme", False)
    assert (made["prefix"], made["state"], made["revoked_at"], made["used_at"]) == (text[:11], "valid", None, None)
    assert (made["roles"], made["tenant"], made["payloads"]) == (["operator"], "acme", False)
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left < timedelta(days=90)
    assert told("list", "--backend", kept) == [made]
    revoked = told("revoke", made["prefix"], "--backend", kept)
    assert revoked == {**made, "state": "revoked", "revoked_at": revoked["revoked_at"]}
    line = taskq("keys", "list", "--backend", kept).stdout.splitlines()[1].split()
    assert line[:6] == [made["prefix"], "ci", "operator", "acme", "no", "revoked"]


@pytest.mark.parametrize(
    ("options", "sees"),
    [(["--role", "viewer"], False), (["--role", "viewer", "--payloads"], True), (["--role", "admin"], True)],
)
def test_whether_a_key_sees_payloads_is_told(kept: str, options: list[str], sees: bool) -> None:
    assert told("create", "ci", *options, "--backend", kept)["payloads"] is sees


def test_the_end_may_be_an_instant(kept: str) -> None:
    made = told("create", "ci", "--role", "viewer", "--expires", "2100-01-02T03:04Z", "--backend", kept)
    assert made["expires_at"] == "2100-01-02T03:04:00Z"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["create", "ci"], 2, "Missing option '--role'"),
        (["create", "--role", "viewer"], 2, "Missing argument 'NAME'"),
        (["create", "ci", "--role", "producer"], 2, "'producer' is not one of 'viewer', 'submitter'"),
        (["create", "ci", "--role", "viewer", "--tenant", "a b"], 2, "taskq: tenant 'a b': use"),
        (["create", "ci", "--role", "viewer", "--expires", "0s"], 2, "taskq: a key must expire later than now"),
        (["create", "ci", "--role", "viewer", "--expires", "soon"], 2, "'soon' is no instant"),
        (["create", "", "--role", "viewer"], 2, "taskq: the name of a key must have 1 to 100 printable characters"),
        (["create", "a\tb", "--role", "viewer"], 2, "taskq: the name of a key must have 1 to 100 printable"),
        (["revoke", "aaaaaaaa"], 1, "taskq: there is no key aaaaaaaa; `taskq keys list` shows"),
        (["revoke", "hush-hush"], 1, "taskq: that names no key: give its id"),
    ],
)
def test_what_is_wrong_is_said(kept: str, arguments: list[str], status: int, said: str) -> None:
    result = taskq("keys", *arguments, "--backend", kept)
    assert (result.exit_code, said in result.stderr) == (status, True), result.stderr
    assert result.stdout == ""
    assert "hush" not in result.stderr
    assert told("list", "--backend", kept) == []


def test_a_store_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_BACKEND", raising=False)
    monkeypatch.delenv("TASKQ_APP", raising=False)
    assert "which store?" in taskq("keys", "list").stderr
    refused = taskq("keys", "create", "ci", "--role", "viewer", "--backend", "memory://")
    assert (refused.exit_code, "is gone when this command ends" in refused.stderr) == (2, True)
    away = taskq("keys", "list", "--backend", "redis://127.0.0.1:1/0")
    assert (away.exit_code, len(away.stderr.splitlines())) == (1, 1)
