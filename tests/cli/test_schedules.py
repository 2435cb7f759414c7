"""`taskq schedules …`: what is printed, what is changed, and what is refused."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from taskq import App, Every
from taskq.runtime.declaring import Declaring
from tests.cli.support import taskq

NAMED = ("tick", "job")


def act(url: str, *arguments: str, input: str | None = None) -> Any:
    """What a command prints as JSON."""
    result = taskq("schedules", *arguments, "--backend", url, "--json", input=input)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def text(url: str, *arguments: str) -> str:
    """What a command prints for people."""
    result = taskq("schedules", *arguments, "--backend", url)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(url: str, *arguments: str) -> tuple[int, str]:
    """How a command that is refused ends."""
    result = taskq("schedules", *arguments, "--backend", url)
    return result.exit_code, result.stderr.strip()


def test_one_is_made_listed_and_shown(kept: str) -> None:
    made = act(kept, "put", *NAMED, '{"n": 1}', "--cron", "0 3 * * *", "--timezone", "Europe/Berlin", "--jitter", "5")
    assert (made["timing"], made["payload"]) == ({"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, {"n": 1})
    assert len(made["upcoming"]) == 5
    act(kept, "put", "often", "job", "-", "--every", "90s", "-q", "mail", "--priority", "high", input='{"n": 2}')
    act(kept, "put", "once", "job", "--at", "2100-01-01T00:00Z", "--misfire", "skip", "--overlap", "cancel")
    assert [one["name"] for one in act(kept, "list")] == ["often", "once", "tick"]
    lines = text(kept, "list").splitlines()
    assert [line.split()[0] for line in lines] == ["name", "often", "once", "tick"]
    assert re.search(r"^often +job +mail +every 90 s +hand +\d{4}-\S+ +-$", lines[1])
    assert re.search(r"at 2100-01-01T00:00:00\+00:00 +hand +2100-01-01T00:00:00\+00:00", lines[2])
    assert "0 3 * * * (Europe/Berlin)" in lines[3]
    shown = text(kept, "show", "once")
    assert re.search(r"^misfire  skip\noverlap  cancel$", shown, re.MULTILINE)
    assert re.search(r"^made by  hand$", shown, re.MULTILINE)


def test_one_is_changed_paused_and_forgotten(kept: str) -> None:
    act(kept, "put", *NAMED, "--every", "1h")
    changed = act(kept, "change", "tick", "--every", "2h", "--payload", '{"n": 3}', "--end", "2100-01-01T00:00Z")
    assert (changed["timing"], changed["payload"], changed["end"]) == (
        {"every": 7200},
        {"n": 3},
        "2100-01-01T00:00:00Z",
    )
    assert refused(kept, "reset", "tick") == (
        2,
        "taskq: schedule 'tick' was made by hand: there is no declaration to go back to",
    )
    paused = act(kept, "pause", "tick", "--reason", "too loud")
    assert (paused["paused_reason"], paused["next_at"]) == ("too loud", None)
    assert "paused: too loud" in text(kept, "list")
    assert re.search(r"^next     paused: too loud$", text(kept, "show", "tick"), re.MULTILINE)
    act(kept, "pause", "tick")
    assert re.search(r"^next     paused$", text(kept, "show", "tick"), re.MULTILINE)
    assert act(kept, "resume", "tick")["paused_reason"] is None
    aborted = taskq("schedules", "remove", "tick", "--backend", kept, input="n\n")
    assert (aborted.exit_code, "forget the schedule tick of job? [y/N]" in aborted.stderr) == (1, True)
    assert text(kept, "remove", "tick", "--yes") == "tick is forgotten\n"
    assert act(kept, "list") == []
    assert text(kept, "list") == ""


def test_what_code_declares_is_changed_and_taken_back(kept: str) -> None:
    app = App(kept)

    @app.task(name="job")
    def job() -> None: ...

    app.periodic(Every(hours=1), task=job)

    async def declare() -> None:
        async with app:
            await Declaring(app, lambda: 0.0).tick()

    asyncio.run(declare())
    assert act(kept, "change", "job", "--jitter", "5")["changed"] == ["jitter"]
    assert re.search(r"^made by  code, changed: jitter$", text(kept, "show", "job"), re.MULTILINE)
    assert "code, changed: jitter" in text(kept, "list")
    taken_back = act(kept, "reset", "job")
    assert (taken_back["changed"], taken_back["jitter"]) == ([], 0)


def test_a_task_that_the_application_does_not_know_is_told_of(kept: str, limited: str) -> None:
    known, strange = (
        taskq("schedules", "put", "tick", name, "--every", "1h", "-A", limited, "--json") for name in ("free", "fred")
    )
    assert (known.exit_code, known.stderr) == (0, "")
    assert (strange.exit_code, json.loads(strange.stdout)["task"]) == (0, "fred")
    said = "taskq: note: in this application no task named 'fred' is registered; did you mean free?\n"
    assert strange.stderr == said
    assert taskq("schedules", "put", "tick", "fred", "--every", "1h", "--backend", kept).stderr == ""


def test_one_fires_at_once(kept: str) -> None:
    act(kept, "put", *NAMED, "--at", "2100-01-01T00:00Z")
    id = text(kept, "run", "tick").strip()
    assert json.loads(taskq("tasks", "show", "--backend", kept, id, "--json").stdout)["name"] == "job"
    again = act(kept, "run", "tick")["id"]
    shown = text(kept, "show", "tick")
    assert re.search(rf"^-    +\S+  {id}\n-    +\S+  {again}$", shown, re.MULTILINE)
    assert [fired["id"] for fired in act(kept, "show", "tick")["fired"]] == [id, again]
    assert act(kept, "remove", "tick", input="y\n") == {"removed": "tick"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("put", *NAMED), 'taskq: when? Give --cron "0 3 * * *", --every 30s or --at 2030-01-02T03:04'),
        (("put", *NAMED, "--every", "1s", "--cron", "@daily"), "taskq: give one of --cron, --every and --at"),
        (("put", *NAMED, "--every", "1s", "--timezone", "UTC"), "taskq: --timezone is that of --cron"),
        (("put", *NAMED, "--cron", "@often"), "taskq: cron expression '@often' is no macro"),
        (("put", *NAMED, "[]", "--every", "1s"), "taskq: the arguments must be a JSON object"),
        (("put", *NAMED, "--cron", ""), "taskq: cron expression '' must have five fields"),
        (("put", *NAMED, "--cron", "\udcff * * * *"), "its minute is wrong"),
        (("put", *NAMED, "--cron", "@daily", "--timezone", ""), "taskq: timezone must be a name such as Europe/Berlin"),
        (("put", *NAMED, "--every", "0"), "taskq: an interval must be from 0.1 s to ten years, not 0 s"),
        (("put", *NAMED, "--every", "nan"), "'nan' is no duration"),
        (("put", *NAMED, "--every", "1s", "--jitter", "nan"), "'nan' is no duration"),
        (("put", *NAMED, "--at", "10000-01-01"), "'10000-01-01' is no instant"),
        (("put", *NAMED, "--every", "1s", "--end", "0001-01-01T00:00+14:00"), "is no instant"),
        (("put", *NAMED, "--every", "soon"), "'soon' is no duration"),
        (("put", *NAMED, "--every", "1s", "--misfire", "often"), "'often' is not one of"),
        (("change", "tick"), "taskq: nothing is to be changed: see taskq schedules change --help"),
    ],
)
def test_what_cannot_be_said(kept: str, arguments: tuple[str, ...], said: str) -> None:
    status, text = refused(kept, *arguments)
    assert status == 2
    assert said in text


@pytest.mark.parametrize(
    ("timing", "upcoming"),
    [
        (("--every", "1h", "--start", "9999-12-31T21:30Z"), ["9999-12-31T22:00:00Z", "9999-12-31T23:00:00Z"]),
        (("--every", "1h", "--start", "9999-12-31T23:30Z"), []),
        (("--cron", "59 23 31 12 *", "--start", "9998-12-31T23:59Z"), ["9998-12-31T23:59:00Z", "9999-12-31T23:59:00Z"]),
        (
            ("--cron", "0 5 * * *", "--timezone", "America/New_York", "--start", "9999-12-31T00:00Z"),
            ["9999-12-31T10:00:00Z"],
        ),
        (("--cron", "0 0 29 2 *", "--start", "9998-01-01T00:00Z"), []),
        (
            ("--at", "9999-12-31T23:59:59Z", "--jitter", "86400", "--end", "9999-12-31T23:59:59Z"),
            ["9999-12-31T23:59:59Z"],
        ),
        (("--every", "1h", "--end", "0001-01-02T00:00Z"), []),
    ],
)
def test_one_at_the_ends_of_the_calendar(kept: str, timing: tuple[str, ...], upcoming: list[str]) -> None:
    assert act(kept, "put", *NAMED, *timing)["upcoming"] == upcoming
    assert act(kept, "change", "tick", *timing)["upcoming"] == upcoming
    last_word = upcoming[0].replace("Z", "+00:00") if upcoming else "ended"
    assert last_word in text(kept, "list")
    assert last_word in text(kept, "show", "tick")


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "run", "remove", "reset"])
def test_one_that_is_not_there(kept: str, verb: str) -> None:
    act(kept, "put", *NAMED, "--every", "1h")
    assert refused(kept, verb, "tock") == (1, "taskq: there is no schedule 'tock', did you mean 'tick'?")


def test_memory_is_gone_when_a_command_ends() -> None:
    assert refused("memory://", "list")[0] == 2
