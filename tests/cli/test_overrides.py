"""`taskq limits set`, `recall`, `overrides`: what an operator types at night."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.support import taskq


def act(limited: str, *arguments: str) -> str:
    """Run `limits …`, which succeeds."""
    result = taskq("limits", arguments[0], "-A", limited, *arguments[1:])
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def shown(limited: str, *arguments: str) -> dict[str, Any]:
    """What holds, by gate, as `limits show` tells it."""
    gauges = json.loads(act(limited, "show", "mail.send", "--json", *arguments))
    return {gauge["gate"]: gauge["override"] for gauge in gauges}


def test_it_is_set_shown_listed_and_taken_back(limited: str) -> None:
    said = act(limited, "set", "mail.send", "--concurrency", "0", "--for", "2h", "--reason", "the relay is away")
    assert said.startswith("c:mail.send: 0 at once until 20")
    assert said.endswith(": the relay is away")
    assert act(limited, "set", "mail.send", "--breaker", "open") == "b:mail.send: held open"
    told = act(limited, "set", "mail.send", "--gate", "r:mail.send", "--rate", "50/s", "--burst", "9", "--json")
    assert json.loads(told)["per_second"] == 50.0
    held = shown(limited)
    assert held["c:mail.send"]["limit"] == 0
    assert held["b:mail.send"]["is_open"] is True
    assert held["r:mail.send"]["burst"] == 9.0
    lines = act(limited, "overrides").splitlines()
    assert [line.split()[0] for line in lines] == ["gate", "b:mail.send", "c:mail.send", "r:mail.send"]
    assert "50/s, burst 9" in act(limited, "show", "mail.send")
    assert act(limited, "recall", "mail.send", "--gate", "b:mail.send") == "recalled: b:mail.send"
    assert act(limited, "recall", "mail.send") == "recalled: c:mail.send, r:mail.send"
    assert act(limited, "recall", "mail.send") == "recalled: none"
    assert json.loads(act(limited, "overrides", "--json")) == []
    assert set(shown(limited).values()) == {None}


def test_of_a_limit_by_keys_one_key_or_all(limited: str) -> None:
    key = ("--key", '{"to": "a@b.c"}')
    assert act(limited, "set", "mail.send", "--gate", "r:mail.send:*", "--rate", "2/m").startswith("r:mail.send:*: ")
    [gate] = [gate for gate in shown(limited, *key) if gate.startswith("r:mail.send:")]
    assert shown(limited, *key)[gate]["gate"] == "r:mail.send:*"
    act(limited, "set", "mail.send", "--gate", gate, "--rate", "3/m")
    assert shown(limited, *key)[gate]["gate"] == gate
    assert shown(limited)["r:mail.send"] is None
    assert act(limited, "recall", "mail.send", *key) == f"recalled: {gate}"
    assert act(limited, "recall", "mail.send") == "recalled: r:mail.send:*"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mail.send"], "give one of --rate (with --burst), --concurrency and --breaker"),
        (["mail.send", "--rate", "1/s", "--concurrency", "1"], "give one of --rate"),
        (["mail.send", "--concurrency", "1", "--burst", "2"], "give one of --rate"),
        (["mail.send", "--rate", "1/s"], "has several of that kind: say which with --gate: r:mail.send, r:mail.send:*"),
        (["mail.send", "--gate", "r:other", "--rate", "1/s"], "mail.send has no gate r:other; it has b:mail.send, c:"),
        (["mail.send", "--gate", "c:mail.send", "--rate", "1/s"], "mail.send has no rate that could be overridden"),
        (["mail.send", "--concurrency", "-1"], "limit must be a whole number from 0 to 1,000,000, not -1"),
        (["mail.send", "--concurrency", "1", "--for", "soon"], "'soon' is no duration"),
        (["mail.send", "--gate", "r:mail.send", "--rate", "fast"], "a rate must be like"),
        (["free", "--concurrency", "1"], "free has no concurrency that could be overridden: its code says none"),
        (["nope", "--concurrency", "1"], "no task named 'nope' is registered"),
        (["mail.send", "--concurrency", "1", "--queue", "a b"], "queue 'a b'"),
        (["mail.send", "--concurrency", "1", "--tenant", "a b"], "tenant 'a b'"),
    ],
)
def test_wrong_usage(limited: str, arguments: list[str], said: str) -> None:
    result = taskq("limits", "set", "-A", limited, *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
