"""`taskq top`: what it says of a store, once, in lines of JSON, and on the whole of a terminal."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import App, TaskState
from taskq.cli import top
from taskq.cli.table import Line, Table, Tone, plain_lines
from taskq.cli.top import Board, plain
from taskq.management import Look, Overview
from taskq.management.overview_desk import OverviewDesk
from taskq.ports import QueueSettings, Standing, WorkerInfo, WorkerState
from taskq.testing.conformance.fleet import worker_info
from tests.cli.support import Shell, taskq
from tests.cli.terminal import CTRL_C, Terminal
from tests.servers import RedisServer
from tests.unit.support import claim

NOW = 1_700_000_000.0


def put(url: str, queue: str, number: int, running: int = 0) -> None:
    """Enqueue tasks, and have some of them run."""

    async def enqueue() -> None:
        async with App(url) as app:
            for _ in range(number):
                await app.aenqueue("mail.send", {}, queue=queue)
            for _ in range(running):
                await claim(app, queue)

    asyncio.run(enqueue())


def report(url: str, **fields: Any) -> None:
    """Be a worker that reports."""

    async def tell() -> None:
        async with App(url) as app:
            await (await app.backend()).registry.report(worker_info(pressure="", unresponsive=(), **fields), 900.0)

    asyncio.run(tell())


# ------------------------------------------------------------ what is shown


def of(before: Look | None = None, **fields: Any) -> Overview:
    """What a look tells."""
    return Overview.of(before, replace(Look(at=0.0, seen_at=NOW), **fields))


def queue_rows(overview: Overview, *keys: str) -> list[tuple[object, ...]]:
    """The rows of the queues, after some keys were pressed."""
    board = Board()
    for key in keys:
        board.keys[key]()
    tables = [part for part in board.view(overview) if isinstance(part, Table)]
    return [tuple(row) for row in tables[0].rows]


def standings(**oldest: float | None) -> dict[str, Standing]:
    """Queues in which so many tasks are ready as their names have letters."""
    return {name: Standing(0, (0, len(name), 0, 0), age) for name, age in oldest.items()}


def test_queues_are_sorted_by_what_is_pressed() -> None:
    before = Look(at=0.0, seen_at=NOW)
    found = standings(aaa=5.0, b=None, cc=9.0, dd=1.0)
    now = replace(before, at=10.0, standings={**found, "b": Standing(70, (0, 1, 0, 0), None)})
    overview = Overview.of(before, now)

    def names(*keys: str) -> str:
        return " ".join(str(row[0]) for row in queue_rows(overview, *keys))

    assert names() == "aaa b cc dd"
    assert names("r") == "aaa cc dd b"
    assert names("o") == "cc aaa dd b"
    assert names("a") == "b aaa cc dd"
    assert names("a", "n") == "aaa b cc dd"
    assert [row[0] for row in queue_rows(of(standings=found), "a")] == ["aaa", "b", "cc", "dd"]  # without rates


def test_the_legend_says_what_they_are_sorted_by() -> None:
    board = Board()
    board.keys["o"]()
    assert board.legend() == "queues by oldest: n name  r ready  o oldest  a arrivals"


def test_a_queue() -> None:
    counts = {"mail": {TaskState.PENDING: 9, TaskState.SCHEDULED: 1, TaskState.BLOCKED: 1, TaskState.DEAD: 3}}
    full = QueueSettings(max_size=10, paused_reason="why")
    fields: dict[str, Any] = {"counts": counts, "settings": {"mail": full}}
    [row] = queue_rows(of(standings={"mail": Standing(9, (4, 3, 2, 0), None)}, **fields))
    assert row[1:3] == (9, "0/2/3/4")
    assert row[-4:] == (2, 3, 0, "paused: why; 110% full")
    paused = {"mail": QueueSettings(paused_reason="")}
    assert queue_rows(of(counts=counts, settings=paused))[0][-1] == "paused"
    assert queue_rows(of(counts=counts))[0][-1] is None


@pytest.mark.parametrize(("ready", "words"), [(20, "20 s"), (60, "never"), (0, None)])
def test_when_a_queue_is_through(ready: int, words: str | None) -> None:
    before = Look(at=0.0, seen_at=NOW, standings={"mail": Standing(0, (0, 40, 0, 0), None)})
    overview = of(before, at=20.0, standings={"mail": Standing(0, (0, ready, 0, 0), None)})
    assert queue_rows(overview)[0][6] == words


def lines(overview: Overview) -> list[str]:
    """All that is shown."""
    return plain_lines(Board().view(overview))


def worker(**fields: Any) -> WorkerInfo:
    """A worker that is well."""
    return worker_info(**{"pressure": "", "unresponsive": (), "seen_at": NOW, **fields})


def test_workers() -> None:
    pressed = worker(id="w1", name="ann", state=WorkerState.PRESSED, pressure="memory", unresponsive=("a", "b"))
    text = lines(of(workers=[pressed, worker(id="w2", name="bob", seen_at=NOW - 25)]))
    assert text[0] == "Worker bob has not reported for 25 s. And 2 more are wrong."
    ann, bob = text[4:6]
    assert re.split("  +", ann) == [
        "ann",
        "w1",
        "under pressure",
        "3/8",
        "0.0 s",
        "default,mail",
        "memory; cannot end 2",
    ]
    assert re.split("  +", bob) == ["bob", "w2", "busy", "3/8", "25 s", "default,mail", "-"]


def test_the_first_line_says_whether_all_is_well() -> None:
    first, *_ = Board().view(of())
    assert first == Line("All queues keep up; nothing waits.", Tone.GOOD)
    first, *_ = Board().view(of(workers=[worker(unresponsive=("a",))]))
    assert isinstance(first, Line)
    assert first.tone is Tone.BAD


def test_no_more_is_shown_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "MOST", 2)
    workers = [worker(id=str(number), queues=()) for number in range(1_002)]
    text = lines(of(standings=standings(a=None, b=None, c=None), workers=workers, has_all_running=False))
    assert [line for line in text if line.startswith("and ")] == ["and 1 more", "and 1,000 more"]
    assert text[-1] == "not all that runs was looked at"


def test_the_totals_have_rates_once_there_are_two_looks() -> None:
    before = Look(at=0.0, seen_at=NOW)
    assert lines(Overview.of(None, before))[1] == "0 running  0 ready  0 later  0 dead"
    now = replace(
        before, at=10.0, standings={"mail": Standing(25, (0, 0, 0, 0), None)}, counts={"mail": {TaskState.DEAD: 5}}
    )
    assert (
        lines(Overview.of(before, now))[1]
        == "0 running  0 ready  0 later  5 dead  2.5/s arrive  2.0/s done  0.5/s fail"
    )


def test_hostile_names_are_shown_and_not_obeyed() -> None:
    text = "\n".join(lines(of(workers=[worker(name="\x1b[2J", queues=("\x07",))])))
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_json_has_all_of_it() -> None:
    told = json.loads(json.dumps(plain(of(standings=standings(mail=3.0), workers=[worker(id="w1")]))))
    assert set(told) == {"at", "totals", "queues", "workers", "runs", "has_all_runs", "troubles", "sentence"}
    [queue], [one] = told["queues"], told["workers"]
    assert (queue["name"], queue["ready"], queue["oldest"], queue["rates"], queue["to_drain"]) == (
        "mail",
        4,
        3.0,
        None,
        None,
    )
    assert (one["id"], one["state"], one["slots"]) == ("w1", "busy", 8)
    assert told["at"] == datetime.fromtimestamp(NOW, UTC).isoformat().replace("+00:00", "Z")


# ------------------------------------------------------------ the command


def test_once(shared_url: str) -> None:
    put(shared_url, "mail", 3, running=1)
    report(shared_url, name="ann", queues=("mail",))
    result = taskq("top", "--backend", shared_url, "--once", "--every", "0.2")
    assert (result.exit_code, result.stderr) == (0, "")
    sentence, totals, *_ = result.stdout.splitlines()
    assert re.fullmatch(r"All queues keep up; the oldest task waits \d+\.\d s\.", sentence)
    assert totals == "1 running  2 ready  0 later  0 dead  0.0/s arrive  0.0/s done  0.0/s fail"
    assert "q quit" not in result.stdout
    told = json.loads(taskq("top", "--backend", shared_url, "--once", "--every", "0.2", "--json").stdout)
    assert (told["totals"]["ready"], [run["name"] for run in told["runs"]]) == (2, ["mail.send"])
    assert told["totals"]["rates"]["arrived"] == 0.0


def test_a_line_of_json_for_each_look(shell: Shell, shared_url: str) -> None:
    put(shared_url, "mail", 1)
    watch = shell.start("top", "--backend", shared_url, "--every", "0.2", "--json")
    watch.until_it_says("sentence", 2)
    put(shared_url, "mail", 20)
    watch.until_it_says(r'"ready": 21')
    assert watch.stop(signal.SIGINT) == 0
    first, *_, last = [json.loads(line) for line in watch.log.splitlines()]
    assert (first["totals"]["ready"], first["totals"]["rates"]) == (1, None)
    assert last["totals"]["rates"]["arrived"] > 0
    assert last["queues"][0]["rates"] == last["totals"]["rates"]


def test_on_a_terminal_of_any_size(shell: Shell, redis_url: str) -> None:
    for number in range(30):
        put(redis_url, f"queue-{number:02}", 1)
    put(redis_url, "mail", 5, running=5)
    report(redis_url, name="ann", queues=("mail",))
    with Terminal(shell.folder, "top", "--backend", redis_url, "--every", "0.2") as terminal:
        terminal.until(lambda shown: "done" in shown and "q quit" in shown)
        shown = terminal.screen.splitlines()
        assert len(shown) <= 24
        assert max(map(len, shown)) <= 80
        assert shown[0].startswith("No worker serves queue-00; 1 task is ready. And 29 more are wrong.")
        for word in ("^mail ", r"and \d+ more", "^ann ", "^mail.send "):
            assert re.search(word, terminal.screen, re.MULTILINE), terminal.screen
        terminal.resize(60, 120)
        terminal.until(lambda shown: "queue-29" in shown and "q quit" in shown)
        terminal.resize(10, 30)
        terminal.until(lambda shown: "and 31 more" in shown)
        terminal.type("o")
        terminal.resize(50, 100)
        terminal.until(lambda shown: "queues by oldest" in shown)
        terminal.type("q")
        assert terminal.until_it_ends() == 0
        assert terminal.is_clean


def test_ctrl_c_leaves_it(shell: Shell, redis_url: str) -> None:
    with Terminal(shell.folder, "top", "--backend", redis_url) as terminal:
        terminal.until_it_says("nothing waits")
        terminal.type(CTRL_C)
        assert terminal.until_it_ends() == 0
        assert not re.search("Traceback|Aborted", terminal.text)
        assert terminal.is_clean


def test_a_store_that_goes_away_is_told_and_found_again(shell: Shell) -> None:
    with RedisServer() as server:
        put(server.url, "mail", 2)
        once = shell.start("top", "--backend", server.url, "--once", "--every", "30")
        with Terminal(shell.folder, "top", "--backend", server.url, "--every", "0.2") as terminal:
            terminal.until(lambda shown: "2 ready" in shown and "done" in shown)
            server.kill()
            terminal.until(lambda shown: shown.startswith("The store is away since 20") and "2 ready" in shown)
            server.restart()
            terminal.until(
                lambda shown: shown.startswith("No worker lives; 2 tasks are ready in mail.") and "q quit" in shown
            )
            terminal.type("q")
            assert terminal.until_it_ends() == 0
        assert once.stop(signal.SIGINT) == 1


def test_where_it_is_away_at_the_second_look_once_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer() as server:
        glance = OverviewDesk.glance

        async def look_and_kill(desk: OverviewDesk) -> Look:
            found = await glance(desk)
            server.kill()
            return found

        monkeypatch.setattr(OverviewDesk, "glance", look_and_kill)
        result = taskq("top", "--backend", server.url, "--once", "--every", "0.2")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--backend", "redis://127.0.0.1:1/0"], 1, "127.0.0.1:1"),
        (["--backend", "memory://"], 2, "is gone when this command ends"),
        ([], 2, "which store?"),
        (["--backend", "redis://127.0.0.1:1/0", "--every", "0.1"], 2, "'0.1' is no duration from 0.2 s on"),
        (["--backend", "redis://127.0.0.1:1/0", "--every", "nan"], 2, "'nan' is no duration from 0.2 s on"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], status: int, said: str) -> None:
    for more in ([], ["--once"], ["--json"]):
        result = taskq("top", *arguments, *more)
        assert (result.exit_code, said in result.stderr, result.stdout) == (status, True, "")
