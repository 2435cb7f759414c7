"""Wrong usage, and stores that cannot be used: one clear line, the right exit status, no traceback, no password."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click import Context

from taskq.cli import cli
from taskq.cli.commands import says_lost_output
from tests.cli.support import TIMEOUT, Shell, command, environment, taskq
from tests.servers import RedisServer, free_port
from tests.servers.postgres import create_database, drop_database

SECRET = "hunter-2"
WORKERS = (["worker"], ["worker", "-P", "0"], ["dev", "--no-reload"])
"""The commands that run tasks, each in its own way."""
FULL = Path("/dev/full")
"""Takes no byte: what a disk that is full does."""
Write = Callable[[str, str], None]


def complaint(shell: Shell, status: int, *arguments: str, **more: str) -> str:
    """Run a command that is refused; returns the one line that it says."""
    result = shell.run(*arguments, env=more)
    assert result.returncode == status, (result.stdout, result.stderr)
    assert SECRET not in result.stdout + result.stderr
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("taskq: ")
    return line


def traceback(shell: Shell, *arguments: str) -> str:
    """Run a command that is refused, as somebody does who wants to see the traceback; returns it."""
    result = subprocess.run(
        command(*arguments),
        cwd=shell.folder,
        env=environment({"TASKQ_DEBUG": "1"}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 2
    assert "Traceback" in result.stderr
    return result.stderr


def test_version_and_help(shell: Shell) -> None:
    assert shell.output("--version").startswith("taskq, version ")
    for option in ("-h", "--help"):
        assert "worker" in shell.output(option)
    looking = ("tasks", "dlq", "queues", "schedules", "workflows", "batches", "limits", "top", "completion")
    for name in ("worker", "beat", "enqueue", *looking, "migrate", "doctor", "dev"):
        assert "Usage: taskq" in shell.output(name, "-h")


def test_the_help_lists_each_command_once_by_what_it_is_for() -> None:
    titles, listed = [], []
    for line in taskq("--help").stdout.partition("Show this message and exit.")[2].splitlines():
        if line.endswith(":") and not line.startswith(" "):
            titles.append(line.removesuffix(":"))
        elif line.startswith("  ") and not line.startswith("   "):
            listed.append(line.split()[0])
    assert titles == ["Look", "Look and act", "Run", "Set up"]
    assert sorted(listed) == cli.list_commands(Context(cli))
    assert listed[0] == "top"


def test_a_misspelt_command_is_named_with_the_nearest(shell: Shell) -> None:
    result = shell.run("wroker")
    assert result.returncode == 2
    assert "Did you mean worker?" in result.stderr


BAD_APPS = {
    "no form": ("tasks-app", "is not of the form module:app"),
    "a path": ("./tasks.py:app", "is not of the form module:app"),
    "empty": (":", "is not of the form module:app"),
    "no module": ("nope:app", "there is no module 'nope'"),
    "no submodule": ("nope.tasks:app", "there is no module 'nope.tasks'"),
    "no attribute": ("tasks:application", "has no App named 'application': it has tasks:app"),
    "not an App": ("tasks:add", "has no App named 'add'"),
    "no App at all": ("empty:app", "it has no App"),
    "raises": ("raises:app", "importing raises failed: ZeroDivisionError"),
    "exits": ("exits:app", "ended the program (sys.exit)"),
    "syntax": ("syntax:app", "importing syntax failed: SyntaxError"),
    "needs another": ("needs:app", "importing needs failed: No module named 'numpyy'"),
    "circular": ("circle:app", "importing circle failed: ImportError"),
}


@pytest.mark.parametrize("name", BAD_APPS)
def test_a_wrong_application(shell: Shell, write: Write, name: str) -> None:
    write("empty.py", "x = 1\n")
    write("raises.py", "x = 1 / 0\n")
    write("exits.py", "import sys\nsys.exit(0)\n")
    write("syntax.py", "def (:\n")
    write("needs.py", "import numpyy\n")
    write("circle.py", "from round import b\na = 1\n")
    write("round.py", "from circle import a\nb = 1\n")
    path, expected = BAD_APPS[name]
    assert expected in complaint(shell, 2, "worker", "-A", path)


@pytest.mark.parametrize("arguments", [["dev", "--no-reload"], ["enqueue", "tasks.add"], ["doctor"], ["migrate"]])
def test_a_wrong_application_of_another_command(shell: Shell, arguments: list[str]) -> None:
    assert "there is no module 'nope'" in complaint(shell, 2, *arguments, "-A", "nope:app")


def test_where_a_module_fails_is_said(shell: Shell, write: Write) -> None:
    write("raises.py", "\n\nx = 1 / 0\n")
    assert "raises.py:3" in complaint(shell, 2, "worker", "-A", "raises:app")


PLACES = {
    "an unknown option": ("from taskq import App\napp = App()\n@app.task(quue='x')\ndef f(): ...\n", "wrong.py:3"),
    "a wrong option": ("from taskq import App\napp = App()\n\n\n@app.task(timeout=-1)\ndef f(): ...\n", "wrong.py:5"),
    "an argument of the application": ("from taskq import App\n\napp = App(123)\n", "wrong.py:3"),
    "in the standard library": ("import json\nx = json.loads('{')\n", "wrong.py:2"),
    "a syntax error": ("x = 1\n\ndef (:\n", "wrong.py:3"),
    "a syntax error elsewhere": ("import broken\n", "broken.py:2"),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_place_of_a_mistake_is_the_user_s_own(shell: Shell, write: Write, name: str) -> None:
    text, place = PLACES[name]
    write("wrong.py", text)
    write("broken.py", "x = 1\ny = = 2\n")
    line = complaint(shell, 2, "doctor", "-A", "wrong:app")
    assert line.endswith(f"/site/{place})"), line


def test_a_module_alone_will_do_where_it_has_one_app(shell: Shell, write: Write) -> None:
    assert "no luck" not in shell.output("doctor", "-A", "tasks")
    write("two.py", "from taskq import App\na = App()\nb = App()\n")
    line = complaint(shell, 2, "worker", "-A", "two")
    assert "two:a" in line
    assert "two:b" in line


def test_without_an_application_the_command_says_what_is_missing(shell: Shell) -> None:
    result = shell.run("worker")
    assert result.returncode == 2
    assert "'-A' / '--app'" in result.stderr
    assert "which store?" in complaint(shell, 2, "doctor")


OPTIONS = {
    "weight": (["-Q", "a=x"], "the weight of a must be a number"),
    "no weight": (["-Q", "a=0"], "weight of queue a"),
    "queue": (["-Q", "a b"], "queue 'a b'"),
    "no queue": (["-Q", ""], "-Q '': a queue without a name"),
    "concurrency": (["-c", "0"], "concurrency must be a whole number from 1"),
    "much concurrency": (["-c", "1000000"], "concurrency must be a whole number from 1"),
    "threads": (["--threads", "0"], "threads must be a whole number from 1"),
    "lease": (["--lease", "0"], "lease must be over 0"),
    "endless lease": (["--lease", "2d"], "lease must be over 0 and at most"),
    "weight without end": (["-Q", "a=inf"], "weight of queue a"),
    "shutdown": (["--shutdown-timeout", "0"], "shutdown_timeout"),
    "max tasks": (["--max-tasks", "0"], "max_tasks"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_of_the_worker(shell: Shell, name: str) -> None:
    arguments, expected = OPTIONS[name]
    assert expected in complaint(shell, 2, "worker", "-A", "tasks:app", *arguments)


PAYLOADS = {
    "no JSON": "{x: 1}",
    "no object": "[1, 2]",
    "missing": '{"x": 1}',
    "wrong type": '{"x": "one", "y": 2}',
    "unknown": '{"x": 1, "y": 2, "z": 3}',
    "deep": "[" * 100_000,
    "NaN": '{"x": NaN, "y": 1}',
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_wrong_arguments_of_a_task(shell: Shell, name: str) -> None:
    result = shell.run("enqueue", "-A", "tasks:app", "tasks.add", "-", stdin=PAYLOADS[name])
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)


def test_wrong_arguments_on_the_command_line(shell: Shell) -> None:
    assert "are not JSON" in complaint(shell, 2, "enqueue", "-A", "tasks:app", "tasks.add", "{bad")


def test_a_wrong_option_of_a_call(shell: Shell) -> None:
    enqueue = ("enqueue", "-A", "tasks:app", "--backend", "memory://?snapshot=tasks", "tasks.add", '{"x": 1, "y": 2}')
    assert "delay" in complaint(shell, 2, *enqueue, "--delay", "600w")
    assert "delay or eta, not both" in complaint(shell, 2, *enqueue, "--delay", "1m", "--eta", "2030-01-02T03:04Z")
    assert "queue" in complaint(shell, 2, *enqueue, "--queue", "a b")
    assert "idempotency_key" in complaint(shell, 2, *enqueue, "--idempotency-key", "k" * 300)
    assert "unique_key" in complaint(shell, 2, *enqueue, "--unique-key", "")
    assert "block" in complaint(shell, 2, *enqueue, "--block", "600w")
    assert "retry policy 'fixed'" in complaint(shell, 2, *enqueue, "--retry", '{"strategy": "fixed", "delays": 1}')
    assert "it is not JSON" in shell.run(*enqueue, "--retry", "fixed").stderr
    assert "it must be a JSON object" in shell.run(*enqueue, "--retry", "[]").stderr
    assert "task 'a b'" in complaint(shell, 2, *enqueue[:5], "a b")


def test_an_unknown_backend_is_named_without_its_password(shell: Shell) -> None:
    line = complaint(shell, 2, "migrate", "--backend", f"http://me:{SECRET}@host/0")
    assert "http://me:***@host/0" in line
    for user in ("me", ""):
        line = complaint(shell, 2, "migrate", TASKQ_BACKEND=f"redsi://{user}:{SECRET}@host/0")
        assert f"redsi://{user}:***@host/0" in line


# ------------------------------------------------------------ stores that cannot be used


@pytest.fixture(params=["redis", "postgresql"])
def away_url(request: pytest.FixtureRequest) -> str:
    """The URL of a store of each kind that is away."""
    return f"{request.param}://me:{SECRET}@127.0.0.1:{free_port()}/0"


def test_a_worker_does_not_start_on_a_store_that_is_away(shell: Shell, away_url: str) -> None:
    for arguments in WORKERS:
        assert "127.0.0.1" in complaint(shell, 2, *arguments, "-A", "tasks:app", "--backend", away_url)


def test_doctor_says_that_a_store_is_away(shell: Shell, away_url: str) -> None:
    result = shell.run("doctor", "-A", "tasks:app", "--backend", away_url)
    assert result.returncode == 1
    assert SECRET not in result.stdout + result.stderr
    assert result.stdout.startswith("fault ")


def test_a_command_that_does_one_thing_does_not_wait_for_a_store_that_is_away(shell: Shell, away_url: str) -> None:
    migrate = [] if away_url.startswith("redis:") else [["migrate"]]  # Redis has no schema
    show = ["tasks", "show", "01a2023d-cd31-76db-bb05-271426e0fb00"]
    for arguments in (show, ["enqueue", "tasks.add"], *migrate):
        assert "127.0.0.1" in complaint(shell, 1, *arguments, "--backend", away_url)


def test_a_url_that_cannot_be_read_shows_no_password(shell: Shell) -> None:
    line = complaint(shell, 2, "doctor", "--backend", f"redis://me:{SECRET}@[::1")
    assert "the host of the redis:// URL cannot be read" in line
    line = complaint(shell, 2, "enqueue", "-A", "tasks:app", "tasks.add", TASKQ_BACKEND=f"redis://:{SECRET}[@h")
    assert "the host of the redis:// URL cannot be read" in line


def test_a_password_in_the_query_is_hidden(shell: Shell) -> None:
    complaint(shell, 2, "migrate", "--backend", f"http://host/x?password={SECRET}")


@pytest.fixture
def bare_postgres_url(postgres_admin_url: str) -> Iterator[str]:
    """URL of a database that nobody has migrated."""
    url = create_database(postgres_admin_url)
    yield url
    drop_database(postgres_admin_url, url)


def test_a_database_without_our_schema(shell: Shell, bare_postgres_url: str) -> None:
    store = ("-A", "tasks:app", "--backend", bare_postgres_url)
    for status, arguments in (
        *((2, [*arguments, *store]) for arguments in WORKERS),
        (1, ["enqueue", *store, "tasks.add", '{"x": 1, "y": 2}']),
        (1, ["tasks", "show", *store, "01a2023d-cd31-76db-bb05-271426e0fb00"]),
    ):
        assert "taskq migrate" in complaint(shell, status, *arguments)
    doctor = shell.run("doctor", *store)
    assert (doctor.returncode, "taskq migrate" in doctor.stdout) == (1, True)
    assert "migrations were applied" in shell.output("migrate", *store)
    assert shell.output("migrate", *store) == "the schema is up to date"
    assert shell.run("doctor", *store).returncode == 0


def test_a_redis_that_may_evict_tasks(shell: Shell) -> None:
    with RedisServer(config={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as server:
        for arguments in WORKERS:
            line = complaint(shell, 2, *arguments, "-A", "tasks:app", "--backend", server.url)
            assert "maxmemory-policy noeviction" in line
        doctor = shell.run("doctor", "--backend", server.url)
        assert (doctor.returncode, "noeviction" in doctor.stdout) == (1, True)


def test_a_store_without_a_schema_has_no_sql(shell: Shell) -> None:
    assert "no SQL" in complaint(shell, 1, "migrate", "--sql", "--backend", "memory://")


def test_the_sql_of_the_migrations_is_printed_for_those_who_run_their_own(shell: Shell) -> None:
    script = shell.output("migrate", "--sql", "--backend", "postgresql://nobody.listens.example/db")
    assert "create table" in script
    assert "commit;" in script


def test_a_store_that_is_gone_when_the_command_ends_is_refused(shell: Shell) -> None:
    line = complaint(shell, 2, "enqueue", "tasks.add", '{"x": 1, "y": 2}', "--backend", "memory://")
    assert "is gone when this command ends" in line


# ------------------------------------------------------------ lifespans

LIFESPAN = """
from contextlib import asynccontextmanager
from taskq import App

@asynccontextmanager
async def lifespan(app):
    raise ValueError("no such host")
    yield

app = App("memory://?snapshot=tasks", lifespan=lifespan)
"""


@pytest.mark.parametrize("arguments", [["worker", "-P", "0"], ["worker", "-P", "2"], ["dev", "--no-reload"]])
def test_a_lifespan_that_raises_is_said_in_one_line(shell: Shell, write: Write, arguments: list[str]) -> None:
    write("wrong.py", LIFESPAN)
    result = shell.run(*arguments, "-A", "wrong:app", "--backend", "memory://?snapshot=tasks")
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("taskq: ")]
    assert lines
    for line in lines:
        assert line.startswith("taskq: the lifespan raised ValueError: no such host (")
        assert line.endswith("/site/wrong.py:7)")


@pytest.mark.parametrize("processes", ["0", "1"])
def test_the_traceback_of_a_lifespan_is_shown_to_those_who_ask_for_it(
    shell: Shell, write: Write, processes: str
) -> None:
    write("wrong.py", LIFESPAN)
    assert 'raise ValueError("no such host")' in traceback(shell, "worker", "-P", processes, "-A", "wrong:app")


# ------------------------------------------------------------ terminals


def test_output_into_a_closed_pipe(shell: Shell) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        command("doctor", "-A", "tasks:app"),
        cwd=shell.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
    )
    os.close(write_end)
    assert "Traceback" not in process.stderr
    assert "BrokenPipe" not in process.stderr


@pytest.mark.parametrize("env", [{"PYTHONUNBUFFERED": "1"}, {"PYTHONUNBUFFERED": ""}], ids=["unbuffered", "buffered"])
@pytest.mark.parametrize(
    "arguments",
    [["doctor", "-A", "tasks:app"], ["schedules", "list", "--json"], ["worker", "-h"], ["--version"]],
    ids=lambda arguments: arguments[0],
)
def test_output_onto_a_full_disk_is_said_in_one_line(shell: Shell, arguments: list[str], env: dict[str, str]) -> None:
    with FULL.open("w") as full:
        process = subprocess.run(
            command(*arguments),
            cwd=shell.folder,
            env=environment({"TASKQ_BACKEND": "memory://?snapshot=tasks", **env}),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT,
        )
    assert process.stderr == "taskq: cannot write to standard output: No space left on device\n"
    assert process.returncode == 1


def test_another_error_of_the_system_is_not_taken_for_one_of_the_output() -> None:
    with pytest.raises(FileNotFoundError), says_lost_output():
        Path("/nowhere/at/all").read_text()


@pytest.mark.parametrize(
    "env",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"LC_ALL": "C"}, {"COLUMNS": "20"}, {"PYTHONIOENCODING": "ascii"}],
    ids=lambda env: next(iter(env)),
)
def test_any_terminal_will_do(shell: Shell, env: dict[str, str]) -> None:
    for arguments in (["worker", "-h"], ["enqueue", "-h"], ["doctor", "-A", "tasks:app"]):
        assert "\x1b" not in shell.output(*arguments, env=env)


def test_a_traceback_is_shown_to_those_who_ask_for_one(shell: Shell) -> None:
    assert "there is no module 'nope'" in traceback(shell, "worker", "-A", "nope:app")
