"""`taskq dlq`: what it prints, what it asks, and what it leaves alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from taskq import App, Failure, TaskState, Unique
from taskq.domain.envelope import seal
from taskq.domain.message import Message
from taskq.domain.outcome import Bury
from taskq.ids import new_id
from tests.cli.support import Shell, taskq
from tests.servers import wait_until
from tests.unit.support import BROKEN, buried, claim, settle

Burying = Callable[..., str]


@pytest.fixture
def bury(kept: str) -> Burying:
    """Put a dead letter into the store; returns its id."""

    def bury(*arguments: Any, **options: Any) -> str:
        async def put() -> str:
            async with App(kept) as app:
                return await buried(app, *arguments, **options)

        return asyncio.run(put())

    return bury


def counts(kept: str) -> dict[str, int]:
    """How many tasks of each state the store has."""

    async def look() -> dict[str, int]:
        async with App(kept) as app:
            found = (await (await app.backend()).inspector.counts()).values()
        return {state: sum(one.get(state, 0) for one in found) for state in TaskState if any(state in o for o in found)}

    return asyncio.run(look())


def told(*arguments: str) -> Any:
    """What a command tells in JSON."""
    result = taskq(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# ------------------------------------------------------------ looking


def test_a_list(kept: str, bury: Burying) -> None:
    ids = [bury("mail.send"), bury("sms.send", queue="sms", reason="poison")]
    found = told("dlq", "list", "--backend", kept)
    assert ([one["id"] for one in found["letters"]], found["is_complete"]) == (ids[::-1], True)
    assert found["letters"][0]["reason"] == "poison"
    lines = taskq("dlq", "list", "--backend", kept).stdout.splitlines()
    assert lines[0].split() == ["id", "died", "queue", "name", "reason", "failure"]
    assert [line.split()[0] for line in lines[1:]] == ids[::-1]
    assert "ConnectionError: no route to host" in lines[1]


def test_an_empty_list_prints_nothing(kept: str) -> None:
    result = taskq("dlq", "list", "--backend", kept)
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("filters", "number"),
    [
        (["--name", "sms.*"], 1),
        (["--queue", "sms"], 1),
        (["--reason", "unknown-task"], 1),
        (["--error", "ConnectionError"], 2),
        (["--fingerprint", BROKEN.fingerprint], 2),
        (["--since", "2h"], 3),
        (["--since", "2020-01-01"], 3),
        (["--until", "2h"], 0),
        (["--since", "1d", "--name", "mail.*", "--error", "KeyError"], 1),
    ],
)
def test_filters(kept: str, bury: Burying, filters: list[str], number: int) -> None:
    bury("mail.send")
    bury("mail.read", failure=Failure("KeyError", "'x'", "", "f2"))
    bury("sms.send", queue="sms", reason="unknown task")
    assert len(told("dlq", "list", "--backend", kept, *filters)["letters"]) == number


def test_a_list_goes_on_from_its_cursor(kept: str, bury: Burying) -> None:
    ids = [bury() for _ in range(3)]
    first = taskq("dlq", "list", "--backend", kept, "--limit", "2")
    assert len(first.stdout.splitlines()) == 3
    cursor = first.stderr.split()[-1]
    [rest] = told("dlq", "list", "--backend", kept, "--cursor", cursor)["letters"]
    assert rest["id"] == ids[0]


def test_groups(kept: str, bury: Burying) -> None:
    bury("mail.read", failure=Failure("KeyError", "'x'", "", "f2"))
    bury("mail.send")
    newest = bury("sms.send", queue="sms")
    found = told("dlq", "groups", "--backend", kept)
    often, seldom = found["groups"]
    assert (often["count"], often["example"], often["queues"]) == (2, newest, ["default", "sms"])
    assert (seldom["fingerprint"], seldom["names"]) == ("f2", ["mail.read"])
    lines = taskq("dlq", "groups", "--backend", kept).stdout.splitlines()
    assert lines[1].split()[:2] == ["2", BROKEN.fingerprint]
    partly = taskq("dlq", "groups", "--backend", kept, "--scan", "1")
    assert "only the newest 1 were looked at" in partly.stderr


def test_show_tells_each_run_and_never_the_payload_unasked(kept: str, bury: Burying) -> None:
    failure = Failure("ValueError", "no luck", 'Traceback:\n  File "a.py"\nValueError: no \x1b[2Jluck', "f")
    id = bury(payload={"secret": "hunter-2"}, metadata={"who": "hunter-3"}, failure=failure)
    text = taskq("dlq", "show", "--backend", kept, id).stdout
    assert "reason        exhausted" in text
    assert '    File "a.py"' in text.replace("      File", "    File")
    assert "hunter" not in text
    assert "\x1b" not in text
    assert "hunter" not in json.dumps(told("dlq", "show", "--backend", kept, id))
    assert '"hunter-2"' in taskq("dlq", "show", "--backend", kept, id, "--payload").stdout
    assert told("dlq", "show", "--backend", kept, id, "--payload")["headers"]["metadata"] == {"who": "hunter-3"}


@pytest.mark.parametrize(
    ("payload", "headers"),
    [(b"nonsense", b""), (b"\xff", b""), (b"[" * 5000, b""), (b"{}", b"nonsense"), (b"{}", b"[]")],
    ids=["no JSON", "no text", "nested", "headers", "list of headers"],
)
def test_what_nobody_can_read_is_shown_all_the_same(kept: str, payload: bytes, headers: bytes) -> None:
    id = new_id(0)

    async def bury() -> None:
        async with App(kept) as app:
            message = Message(id, "mail.send", seal(id, "mail.send", payload, headers))
            await (await app.backend()).broker.enqueue([message])
            await settle(app, await claim(app), Bury("undecodable", BROKEN))

    asyncio.run(bury())
    [letter] = told("dlq", "list", "--backend", kept)["letters"]
    assert letter["id"] == told("dlq", "show", "--backend", kept, id, "--payload")["id"] == id
    assert "undecodable" in taskq("dlq", "show", "--backend", kept, id, "--payload").stdout
    assert told("tasks", "show", "--backend", kept, id)["state"] == "dead"


def test_show_of_what_is_no_dead_letter(kept: str, bury: Burying) -> None:
    id = taskq("enqueue", "--backend", kept, "mail.send").stdout.strip()
    for wrong, said in ((id, "is no dead letter: it is pending"), ("no-such", "no record of task no-such")):
        result = taskq("dlq", "show", "--backend", kept, wrong)
        assert (result.exit_code, said in result.stderr) == (1, True), result.stderr


# ------------------------------------------------------------ acting


def test_retry_of_ids_does_not_ask(kept: str, bury: Burying) -> None:
    ids = [bury(), bury(dead_letter=False)]
    result = taskq("dlq", "retry", "--backend", kept, *ids, "--to", "again")
    assert (result.exit_code, result.stdout) == (0, "2 were started anew\n")
    assert told("queues", "show", "again", "--backend", kept)["counts"] == {"pending": 2}


def test_ids_that_are_gone_fail_the_command(kept: str, bury: Burying) -> None:
    id = bury()
    for verb in ("retry", "purge"):
        result = taskq("dlq", verb, "--backend", kept, "no-such", "--yes")
        assert (result.exit_code, "1 are no dead letters" in result.stderr) == (1, True), result.output
    assert taskq("dlq", "retry", "--backend", kept, id).exit_code == 0
    assert taskq("dlq", "retry", "--backend", kept, id).exit_code == 1


def test_forgetting_asks_also_for_ids(kept: str, bury: Burying) -> None:
    ids = [bury(), bury()]
    refused = taskq("dlq", "purge", "--backend", kept, ids[0], ids[0], input="n\n")
    assert (refused.exit_code, "forget 1 dead letter?" in refused.stderr) == (1, True), refused.output
    assert counts(kept) == {"dead": 2}
    result = taskq("dlq", "purge", "--backend", kept, *ids, input="y\n")
    assert (result.exit_code, "forget 2 dead letters?" in result.stderr) == (0, True), result.output


def test_a_held_key_is_told(kept: str, bury: Burying) -> None:
    async def hold() -> str:
        async with App(kept) as app:

            @app.task(name="report", unique=Unique())
            def report() -> None: ...

            await buried(app, "report")
            return (await report.aenqueue()).id

    holder = asyncio.run(hold())
    result = taskq("dlq", "retry", "--backend", kept, "--all", "--yes")
    assert (result.exit_code, result.stdout) == (0, "0 were started anew\n")
    assert f"stays dead: task {holder} holds its unique key" in result.stderr


@pytest.mark.parametrize(("verb", "left"), [("retry", {"dead": 1, "pending": 2}), ("purge", {"dead": 1})])
def test_acting_by_a_filter_asks_with_the_number(kept: str, bury: Burying, verb: str, left: dict[str, int]) -> None:
    for name in ("mail.send", "mail.send", "sms.send"):
        bury(name)
    act = ("dlq", verb, "--backend", kept, "--name", "mail.*")
    refused = taskq(*act, input="n\n")
    assert (refused.exit_code, "2 dead letters?" in refused.stderr) == (1, True), refused.output
    unheard = taskq(*act, input="")
    assert unheard.exit_code == 1
    assert counts(kept) == {"dead": 3}
    assert taskq(*act, input="y\n").exit_code == 0
    assert counts(kept) == left
    assert taskq(*act).exit_code == 0  # there is nothing to ask for


@pytest.mark.parametrize("verb", ["retry", "purge"])
def test_a_rehearsal_changes_nothing(kept: str, bury: Burying, verb: str) -> None:
    ids = [bury(), bury("sms.send")]
    result = taskq("dlq", verb, "--backend", kept, "--all", "--dry-run")
    assert (result.exit_code, result.stdout.splitlines()[-1].split()[-1]) == (0, "2"), result.output
    assert BROKEN.fingerprint in result.stdout
    limited = taskq("dlq", verb, "--backend", kept, "--all", "--dry-run", "--limit", "1")
    assert limited.stdout.splitlines()[-1].split()[-1] == "1"
    assert taskq("dlq", verb, "--backend", kept, *ids, "--dry-run").stdout.split()[-1] == "2"
    assert told("dlq", verb, "--backend", kept, *ids, "--dry-run", "--limit", "1") == {"number": 1}
    plain = told("dlq", verb, "--backend", kept, "--all", "--dry-run")
    assert (plain["number"], plain["is_complete"]) == (2, True)
    assert [group["fingerprint"] for group in plain["groups"]] == [BROKEN.fingerprint]
    assert counts(kept) == {"dead": 2}


def test_a_limit_and_json(kept: str, bury: Burying) -> None:
    for _ in range(3):
        bury()
    done = told("dlq", "retry", "--backend", kept, "--all", "--yes", "--limit", "2")
    assert (done["moved"], done["held"], done["gone"]) == (2, 0, 0)
    assert told("dlq", "purge", "--backend", kept, "--all", "--yes") == {"purged": 1, "gone": 0, "looked_at": 1}


@pytest.mark.parametrize("verb", ["retry", "purge"])
def test_everything_is_meant_only_by_name(kept: str, bury: Burying, verb: str) -> None:
    id = bury()
    for arguments, said in (
        ([], "which dead letters? Give IDs, filters"),
        (["--yes"], "or --all"),
        ([id, "--name", "x"], "give IDs, or filters, not both"),
        ([id, "--all"], "give IDs, or filters, not both"),
    ):
        result = taskq("dlq", verb, "--backend", kept, *arguments)
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert counts(kept) == {"dead": 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--since", "yesterday"], "'yesterday' is no instant, such as"),
        (["purge", "--until", "20260101"], "'20260101' may be a date or seconds: write 2026-01-01, or 20260101s"),
        (["list", "--reason", "posion"], "did you mean 'poison'"),
        (["list", "--queue", "a b"], "queue 'a b'"),
        (["list", "--since", "1h", "--until", "2h"], "must be before until"),
        (["list", "--cursor", "x"], "'x' is not a cursor"),
        (["list", "--limit", "0"], "--limit"),
        (["purge", "--since", "-1h", "--yes"], "'-1h' is no instant"),
        (["retry", "x", "--to", "a b"], "queue 'a b'"),
    ],
)
def test_wrong_usage(kept: str, arguments: list[str], said: str) -> None:
    result = taskq("dlq", arguments[0], "--backend", kept, *arguments[1:])
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_a_plain_memory_is_refused() -> None:
    for command in (["dlq", "list"], ["queues", "list"]):
        result = taskq(*command, "--backend", "memory://")
        assert (result.exit_code, "is gone when this command ends" in result.stderr) == (2, True)


def test_dead_letters_of_a_worker_on_shared_stores(shell: Shell, shared_url: str) -> None:
    here = ("-A", "tasks:app", "--backend", shared_url)
    worker = shell.start("worker", *here)
    for _ in range(2):
        shell.output("enqueue", *here, "tasks.fail", '{"secret": "s"}')

    def is_dead() -> bool:
        return len(json.loads(shell.output("dlq", "list", *here, "--json"))["letters"]) == 2

    wait_until(is_dead, "both are dead")
    assert worker.stop() == 0
    [group] = json.loads(shell.output("dlq", "groups", *here, "--json"))["groups"]
    trace = shell.output("dlq", "show", *here, group["example"])
    assert "ValueError" in trace
    done = json.loads(shell.output("dlq", "retry", *here, "--fingerprint", group["fingerprint"], "--yes", "--json"))
    assert done["moved"] == 2
    assert shell.output("dlq", "purge", *here, "--all", "--yes") == "0 were forgotten"
