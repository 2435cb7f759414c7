"""`taskq limits`: how the limits of a task stand, with and without the arguments that they count by."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from taskq.cli.commands import load_app
from taskq.domain.outcome import Fail
from tests.cli.support import taskq
from tests.unit.support import BROKEN, claim, settle


def told(limited: str, *arguments: str) -> list[Any]:
    """What `limits show` tells in JSON."""
    result = taskq("limits", "show", "-A", limited, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[Any] = json.loads(result.stdout)
    return found


def test_limits_that_nobody_has_used(limited: str) -> None:
    breaker, slots, rate = told(limited, "mail.send")
    assert (breaker["kind"], breaker["status"], breaker["since"]) == ("breaker", "closed", None)
    assert (slots["kind"], slots["holders"], slots["limit"]["limit"]) == ("concurrency", [], 2)
    assert (rate["kind"], rate["tokens"], rate["share"]) == ("rate", 5.0, 1.0)
    result = taskq("limits", "show", "-A", limited, "mail.send")
    assert "5.0 tokens" in result.stdout
    assert "closed" in result.stdout
    assert "one counts by the arguments of a run" in result.stderr


def test_limits_in_use_and_reset(limited: str) -> None:
    app = load_app(limited)

    async def use() -> str:
        async with app:
            send = app.tasks.get("mail.send")
            for number in range(3):
                await send.aenqueue(f"{number}@b.c")
            runs = await claim(app, "mail")
            for _ in range(2):
                failing = await claim(app, "mail")
                await settle(app, failing, Fail("exhausted", BROKEN))
            return runs.id

    runs = asyncio.run(use())
    breaker, slots, rate = told(limited, "mail.send")
    assert breaker["status"] == "open"
    assert breaker["since"] is not None
    assert slots["holders"] == [runs]
    assert 2.0 <= rate["tokens"] < 3.0
    text = taskq("limits", "show", "-A", limited, "mail.send").stdout
    assert "open since 20" in text
    assert f"1 run: {runs}" in text
    assert taskq("limits", "reset", "-A", limited, "mail.send").stdout == (
        "reset: b:mail.send, c:mail.send, r:mail.send\n"
    )
    breaker, slots, rate = told(limited, "mail.send")
    assert (breaker["status"], slots["holders"], rate["tokens"]) == ("closed", [runs], 5.0)


def test_limits_that_count_by_arguments(limited: str) -> None:
    app = load_app(limited)

    async def use() -> None:
        async with app:
            await app.tasks.get("mail.send").aenqueue("a@b.c")
            await claim(app, "mail")

    asyncio.run(use())
    [*_, used] = told(limited, "mail.send", "--key", '{"to": "a@b.c"}')
    [*_, other] = told(limited, "mail.send", "--key", '{"to": "d@e.f"}')
    assert used["tokens"] < 1.0
    assert other["tokens"] == 1.0
    done = taskq("limits", "reset", "-A", limited, "mail.send", "--key", '{"to": "a@b.c"}', "--json")
    assert used["gate"] in json.loads(done.stdout)["reset"]
    [*_, used] = told(limited, "mail.send", "--key", '{"to": "a@b.c"}')
    assert used["tokens"] == 1.0


def test_a_task_without_limits(limited: str) -> None:
    result = taskq("limits", "show", "-A", limited, "free")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "taskq: free has no limits\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mail.sned"], "no task named 'mail.sned' is registered; did you mean mail.send?"),
        (["mail.send", "--key", "{"], "not JSON"),
        (["mail.send", "--key", "[1]"], "must be a JSON object"),
        (["mail.send", "--key", "{}"], "parameter to"),
        (["mail.send", "--tenant", "a b"], "tenant 'a b'"),
        (["mail.send", "--queue", "a b"], "queue 'a b'"),
    ],
)
def test_wrong_usage(limited: str, arguments: list[str], said: str) -> None:
    result = taskq("limits", "show", "-A", limited, *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_an_application_is_needed(kept: str) -> None:
    result = taskq("limits", "show", "--backend", kept, "mail.send")
    assert (result.exit_code, "'-A' / '--app'" in result.stderr) == (2, True)
