"""`taskq queues`: looking, pausing, setting, purging."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.support import taskq


def told(kept: str, *arguments: str) -> Any:
    """What a command tells in JSON."""
    result = taskq("queues", *arguments, "--backend", kept, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def act(kept: str, *arguments: str, input: str | None = None) -> str:
    """Run a command that succeeds; what it prints."""
    result = taskq("queues", *arguments, "--backend", kept, input=input)
    assert result.exit_code == 0, result.output
    return result.output


def put(kept: str, queue: str, *options: str) -> str:
    """Enqueue a task; its id."""
    return taskq("enqueue", "--backend", kept, "mail.send", "--queue", queue, *options).stdout.strip()


def test_a_list(kept: str) -> None:
    put(kept, "mail")
    put(kept, "mail", "--delay", "60")
    put(kept, "sms")
    act(kept, "pause", "sms", "--reason", "the gateway is away")
    act(kept, "set", "mail", "workers=3", "rate=90/m", "max_size=10")
    mail, sms = told(kept, "list")
    assert (mail["name"], mail["counts"]) == ("mail", {"pending": 1, "scheduled": 1})
    assert (mail["settings"]["max_size"], mail["settings"]["rate"]) == (10, {"per_second": 1.5, "burst": 1.0})
    assert (sms["is_paused"], sms["settings"]["paused_reason"]) == (True, "the gateway is away")
    lines = [line.split("  ") for line in act(kept, "list").splitlines()]
    head, mail_line, sms_line = ([cell.strip() for cell in line if cell] for line in lines)
    assert head == [
        "queue",
        "pending",
        "scheduled",
        "retrying",
        "running",
        "dead",
        "paused",
        "max_size",
        "workers",
        "rate",
    ]
    assert mail_line == ["mail", "1", "1", "0", "0", "0", "-", "10", "3", "1.5/s"]
    assert "yes: the gateway is away" in sms_line


def test_a_list_has_the_queues_of_the_application_too(limited: str) -> None:
    found = json.loads(taskq("queues", "list", "-A", limited, "--json").stdout)
    assert [state["name"] for state in found] == ["default", "mail"]


def test_a_pause_that_ends_by_itself(kept: str) -> None:
    act(kept, "pause", "mail", "--for", "2h")
    assert told(kept, "show", "mail")["settings"]["paused_until"] is not None
    assert "until 2999-01-01T00:00:00" in act(kept, "pause", "mail", "--until", "2999-01-01T00:00Z", "--reason", "why")
    act(kept, "resume", "mail")
    assert told(kept, "show", "mail")["is_paused"] is False


def test_what_is_set_is_shown_and_taken_back(kept: str) -> None:
    retry = '{"strategy": "fixed", "delay": 5}'
    given = ["max_size=7", "warn_at=0.5", "max_finished=9", "workers=5", "rate=100/s", "weight=3", "timeout=30"]
    text = act(kept, "set", "mail", *given, "soft_timeout=25", "expires=60", f"retry={retry}")
    for line in ("max_size      7  (set)", "rate          100/s  (set)", "weight        3.0  (set)"):
        assert line in text
    settings = told(kept, "show", "mail")["settings"]
    assert (settings["retry"], settings["workers"], settings["soft_timeout"]) == (json.loads(retry), 5, 25.0)
    text = act(kept, "set", "mail", *(f"{pair.partition('=')[0]}=default" for pair in (*given, "retry=")))
    assert "max_size      1000000\n" in text
    left = {key: value for key, value in told(kept, "show", "mail")["settings"].items() if value is not None}
    assert left == {
        "max_finished": 100_000,
        "max_size": 1_000_000,
        "warn_at": 0.8,
        "soft_timeout": 25.0,
        "expires": 60.0,
    }


def test_peek_shows_what_is_next_without_its_payload(kept: str) -> None:
    later = put(kept, "mail")
    first = put(kept, "mail", "--priority", "high")
    assert [one["id"] for one in told(kept, "peek", "mail")] == [first, later]
    assert [line.split()[0] for line in act(kept, "peek", "mail", "--limit", "1").splitlines()] == ["id", first]


def test_a_purge_wants_the_name_typed(kept: str) -> None:
    put(kept, "mail")
    put(kept, "mail", "--delay", "60")
    refused = taskq("queues", "purge", "mail", "--backend", kept, input="yes\n")
    assert (refused.exit_code, "'yes' is not 'mail'" in refused.stderr) == (1, True)
    assert "2 were cancelled" in act(kept, "purge", "mail", input="mail\n")
    put(kept, "mail")
    assert told(kept, "purge", "mail", "--yes") == {"purged": 1}
    assert told(kept, "purge", "mail") == {"purged": 0}


def test_a_name_that_may_be_misspelt_is_told(kept: str, limited: str) -> None:
    put(kept, "default")
    result = taskq("queues", "pause", "mial", "-A", limited)
    assert (result.exit_code, "no task is in the queue mial yet; did you mean mail?" in result.stderr) == (0, True)
    assert taskq("queues", "pause", "mail", "-A", limited).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "mail"], "Missing argument"),
        (["set", "mail", "workers"], "'workers' is not of the form KEY=VALUE"),
        (["set", "mail", "workers="], "'workers=' is not of the form KEY=VALUE"),
        (["set", "mail", "workers=1", "workers=2"], "workers is given twice"),
        (["set", "mail", "max_sise=1"], "there is no setting 'max_sise', did you mean 'max_size'?"),
        (["set", "mail", "max_sise=1", "workers=0"], "workers must be a whole number from 1 to 1,000,000, not 0"),
        (["set", "mail", "queue=mail"], "there is no setting 'queue'"),
        (["set", "mail", "self=1"], "there is no setting 'self'"),
        (["set", "mail", "rate=fast"], 'a rate must be like "100/m"'),
        (["set", "mail", "workers=null"], "workers must be a whole number from 1 to 1,000,000, not 'null'"),
        (["set", "mail", "workers=deflt"], "(did you mean 'default'?)"),
        (["set", "a b", "workers=1"], "queue 'a b'"),
        (["pause", "mail", "--for", "soon"], "'soon' is no duration"),
        (["pause", "mail", "--for", "99999999d"], "until must lie within the calendar, not 99999999 days"),
        (["pause", "mail", "--until", "soon"], "'soon' is no instant"),
        (["pause", "mail", "--until", "2001-01-01"], "until must lie ahead"),
        (["pause", "mail", "--for", "1h", "--until", "2999-01-01"], "give --until or --for, not both"),
        (["peek", "a b"], "queue 'a b'"),
        (["show", "a b"], "queue 'a b'"),
        (["purge", "a b"], "queue 'a b'"),
    ],
)
def test_wrong_usage(kept: str, arguments: list[str], said: str) -> None:
    result = taskq("queues", *arguments, "--backend", kept)
    assert (result.exit_code, said in result.stderr) == (2, True), result.output
