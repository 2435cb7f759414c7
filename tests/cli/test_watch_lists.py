"""`--watch` of lists: on the whole of a terminal, else all of it each time, until Ctrl-C, past a store that is away."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from contextlib import aclosing

import pytest

from taskq import App
from taskq.cli.following import Away, looks
from taskq.errors import BackendUnavailable, OutcomeUnknown, TaskqError
from tests.cli.support import TIMEOUT, Shell, command, environment, taskq
from tests.cli.terminal import CTRL_C, Terminal
from tests.servers import RedisServer

LISTS = (
    *("queues list", "workers list", "tasks list", "dlq list", "schedules list"),
    *(
        "workflows list",
        "batches list",
        "jobs list",
        "queues show mail",
        "queues peek mail",
        "jobs show",
        "limits show",
    ),
)


def put(url: str, number: int = 1, name: str = "mail.send") -> list[str]:
    """Enqueue tasks; their ids."""

    async def enqueue() -> list[str]:
        async with App(url) as app:
            return [(await app.aenqueue(name, {}, queue="mail")).id for _ in range(number)]

    return asyncio.run(enqueue())


# ------------------------------------------------------------ the option


@pytest.mark.parametrize("words", [line.split() for line in LISTS], ids=" ".join)
def test_each_list_can_be_watched(words: list[str]) -> None:
    assert "--watch [DURATION]" in taskq(*words, "--help").stdout


@pytest.mark.parametrize("pace", ["0", "0.1", "fast", "nan", "inf", ""])
def test_a_pace_that_is_none(kept: str, pace: str) -> None:
    result = taskq("queues", "list", "--backend", kept, f"--watch={pace}")
    said = f"'{pace}' is no duration from 0.2 s on, such as 0.5 or 10s"
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_only_a_duration_behind_it_is_its_pace(kept: str) -> None:
    [id] = put(kept)
    asyncio.run(cancel(kept, id))
    for words in (
        ["--watch", id],
        [id, "--watch"],
        ["--watch", "0.3", id],
        ["--watch", "300ms", id],
        ["--watch", "--json", id],
    ):
        result = taskq("tasks", "show", "--backend", kept, *words)
        assert (result.exit_code, "cancelled" in result.stdout) == (0, True), result.output
    assert "unexpected extra argument (fast)" in taskq("queues", "list", "--backend", kept, "--watch", "fast").stderr


async def cancel(url: str, id: str) -> None:
    """Cancel a task."""
    async with App(url) as app:
        await app.handle(id).acancel()


def test_a_list_without_any_argument(shell: Shell, redis_url: str) -> None:
    assert shell.output("queues", "list", env={"TASKQ_BACKEND": redis_url}) == ""


# ------------------------------------------------------------ where there is no terminal


def test_a_block_for_each_look(shell: Shell, shared_url: str) -> None:
    put(shared_url, 2)
    watch = shell.start("queues", "list", "--backend", shared_url, "--watch", "0.2")
    watch.until_it_says("mail +2 ", 2)
    put(shared_url)
    watch.until_it_says("mail +3 ")
    assert watch.stop(signal.SIGINT) == 0
    blocks = [block.splitlines() for block in watch.log.strip().split("\n\n")]
    assert {(len(block), block[0].split()[0], block[1].split()[0]) for block in blocks} == {(2, "queue", "mail")}
    assert "\x1b" not in watch.log


def test_a_line_of_json_for_each_look(shell: Shell, shared_url: str) -> None:
    put(shared_url)
    watch = shell.start("tasks", "list", "--backend", shared_url, "--watch", "0.2", "--json", "state:pending")
    watch.until_it_says(r"\n", 3)
    assert watch.stop(signal.SIGINT) == 0
    found = [json.loads(line) for line in watch.log.splitlines()]
    assert {page["total"]["number"] for page in found} == {1}


def test_a_pipe_that_is_closed_ends_it_quietly(shell: Shell, redis_url: str) -> None:
    watch = shell.start("queues", "list", "--backend", redis_url, "--watch", "0.2", "--json", is_piped=True)
    assert json.loads(watch.head()) == []
    assert (watch.process.wait(60), watch.log) == (1, "")


def test_pipes_load_no_rich(shell: Shell, redis_url: str) -> None:
    put(redis_url)
    script = (
        "import sys\nfrom taskq.cli import cli\n"
        f"cli(['tasks', 'list', '--backend', {redis_url!r}], standalone_mode=False)\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run(
        [*command()[:1], "-c", script], capture_output=True, text=True, timeout=TIMEOUT, env=environment()
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_a_job_is_followed_to_its_end(kept: str) -> None:
    put(kept, 3)
    started = taskq("tasks", "cancel", "--query", "queue:mail", "--yes", "--detach", "--backend", kept, "--json")
    id = json.loads(started.stdout)["id"]
    taskq("jobs", "run", id, "--backend", kept)
    result = taskq("jobs", "show", id, "--watch", "--backend", kept)
    assert (result.exit_code, result.stdout) == (0, "cancel queue:mail: done, 3 cancelled, of 3\n")
    assert json.loads(taskq("jobs", "show", id, "--watch", "--json", "--backend", kept).stdout)["done"] == 3


def test_a_job_is_watched_while_it_goes_on(shell: Shell, redis_url: str) -> None:
    put(redis_url, 2)
    started = shell.output("tasks", "cancel", "-q", "queue:mail", "--yes", "--detach", "--json", "--backend", redis_url)
    id = json.loads(started)["id"]
    watch = shell.start("jobs", "show", id, "--watch", "0.2", "--backend", redis_url)
    watch.until_it_says("running, nothing yet, of 2")
    shell.output("jobs", "run", id, "--backend", redis_url)
    assert watch.process.wait(60) == 0
    assert watch.log.splitlines()[-1] == "cancel queue:mail: done, 2 cancelled, of 2"


# ------------------------------------------------------------ on a terminal


def test_on_a_terminal_it_is_painted_anew_and_leaves_nothing(shell: Shell, shared_url: str) -> None:
    put(shared_url, 2)
    with Terminal(shell.folder, "queues", "list", "--backend", shared_url, "--watch", "0.2") as terminal:
        terminal.until_it_says("mail +2 ")
        put(shared_url)
        terminal.until(lambda shown: bool(re.search("mail +3 .*q quit", shown, re.DOTALL)))
        terminal.type(CTRL_C)
        assert terminal.until_it_ends() == 0
        assert not re.search("Traceback|Aborted", terminal.text)
        assert terminal.is_clean


def test_the_key_q_leaves_it_and_others_do_nothing(shell: Shell, redis_url: str) -> None:
    put(redis_url)
    with Terminal(shell.folder, "tasks", "list", "--backend", redis_url, "--watch", "60") as terminal:
        terminal.until_it_says("mail.send")
        terminal.type("xyz\x1b[A\x1a")
        terminal.resize(24, 100)
        terminal.until_it_says("attempt")  # for which there was no room
        terminal.type("q")
        assert terminal.until_it_ends() == 0
        assert terminal.is_clean


def test_sigterm_gives_the_terminal_back(shell: Shell, redis_url: str) -> None:
    with Terminal(shell.folder, "queues", "list", "--backend", redis_url, "--watch") as terminal:
        terminal.until_it_says("q quit")
        terminal.process.terminate()
        assert terminal.until_it_ends() == -signal.SIGTERM
        assert terminal.is_clean


def test_a_dumb_terminal_is_not_painted_on(shell: Shell, redis_url: str) -> None:
    put(redis_url)
    with Terminal(shell.folder, "queues", "list", "--backend", redis_url, "--watch", env={"TERM": "dumb"}) as terminal:
        terminal.until_it_says("mail +1 ")
        terminal.type(CTRL_C)
        assert terminal.until_it_ends() == 0
        assert "\x1b" not in terminal.text


def once(shell: Shell, *arguments: str, **env: str) -> str:
    """What a terminal shows of a command that ends."""
    with Terminal(shell.folder, *arguments, env=env) as terminal:
        assert terminal.until_it_ends() == 0, terminal.text
        return terminal.text


def test_a_list_is_a_table_on_a_terminal(shell: Shell, redis_url: str) -> None:
    [id] = put(redis_url)
    asyncio.run(cancel(redis_url, id))
    arguments = ("tasks", "list", "--backend", redis_url)
    assert "\x1b[2mcancelled" in once(shell, *arguments)
    assert "s ago" in once(shell, *arguments)
    plain = once(shell, *arguments, TERM="dumb")
    assert "\x1b" not in plain
    assert id in plain
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", once(shell, *arguments, NO_COLOR="1"))


def test_a_long_line_is_one_line_on_a_terminal(shell: Shell, redis_url: str) -> None:
    text = "no route " * 40
    id = shell.output("enqueue", "mail.send", f'{{"text": "{text}"}}', "--backend", redis_url)
    assert text in once(shell, "tasks", "show", id, "--backend", redis_url)


def test_colours_of_words_are_those_that_are_wanted(shell: Shell, redis_url: str) -> None:
    [id] = put(redis_url)
    arguments = ("tasks", "explain", "--backend", redis_url, id)
    assert "\x1b[33mholds" in once(shell, *arguments)
    assert "\x1b" not in once(shell, *arguments, NO_COLOR="1")
    assert "\x1b" not in once(shell, *arguments, TERM="dumb")


def test_a_text_that_the_output_cannot_write_is_escaped(shell: Shell, redis_url: str) -> None:
    put(redis_url)
    shell.output("queues", "pause", "mail", "--reason", "a → b", "--backend", redis_url)
    arguments, env = ("queues", "list", "--backend", redis_url), {"PYTHONIOENCODING": "latin-1"}
    assert "a \\u2192 b" in shell.output(*arguments, env=env)
    assert "a \\u2192 b" in once(shell, *arguments, **env)


# ------------------------------------------------------------ a store that is away


async def test_a_look_whose_answer_was_lost_is_told_and_done_again() -> None:
    found: list[int | TaskqError] = [1, OutcomeUnknown("cut"), BackendUnavailable("away"), 2, OutcomeUnknown("cut")]

    async def look() -> int:
        one = found.pop(0)
        if isinstance(one, TaskqError):
            raise one
        return one

    async with aclosing(looks(look, 0.0)) as seen:
        first, cut, away, second, again = [await anext(seen) for _ in range(5)]
    assert (first, second) == (1, 2)
    assert isinstance(cut, Away)
    assert isinstance(away, Away)
    assert isinstance(again, Away)
    assert (cut.since, cut.before, str(away.error)) == (away.since, 1, "away")
    assert again.before == 2


def test_a_store_that_is_away_from_the_beginning_is_an_error(shell: Shell) -> None:
    for more in ([], ["--watch"], ["--watch", "--json"]):
        result = shell.run("queues", "list", "--backend", "redis://127.0.0.1:1/0", *more)
        assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)


def test_a_store_that_goes_away_is_told_and_found_again(shell: Shell) -> None:
    with RedisServer() as server:
        put(server.url, 2)
        arguments = ("queues", "list", "--backend", server.url, "--watch", "0.2")
        text, lines = shell.start(*arguments), shell.start(*arguments, "--json")
        with Terminal(shell.folder, *arguments) as terminal:
            terminal.until_it_says("mail +2 ")
            text.until_it_says("mail +2 ")
            lines.until_it_says('"pending": 2')
            server.kill()
            terminal.until(lambda shown: bool(re.search("The store is away since 20.*mail +2 ", shown, re.DOTALL)))
            text.until_it_says("taskq: the store is away since 20", 2)
            lines.until_it_says('{"away_since": "20', 2)
            server.restart()
            terminal.until(lambda shown: "away" not in shown and bool(re.search("mail +2 ", shown)))
            text.until_it_says("mail +2 ", len(re.findall("mail +2 ", text.log)) + 1)
            lines.until_it_says('"pending": 2', lines.log.count('"pending": 2') + 1)
            terminal.type("q")
            assert terminal.until_it_ends() == 0
            assert terminal.is_clean
        away = {json.loads(line)["away_since"] for line in lines.log.splitlines() if "away_since" in line}
        assert len(away) == 1
        assert (text.stop(signal.SIGINT), lines.stop(signal.SIGINT)) == (0, 0)
