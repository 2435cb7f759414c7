"""Shell completion: what is offered, in time and in silence, whatever the user's module or the store does."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from taskq import App, Every, TaskState
from taskq.cli import cli, completing
from taskq.cli.commands import COMPLETE
from taskq.testing.conformance.fleet import worker_info
from tests.cli.conftest import Write
from tests.cli.support import TIMEOUT, Shell, command, environment, taskq
from tests.servers import free_port


def offered(*typed: str) -> list[str]:
    """What is offered for the last of what is typed."""
    *before, last = typed
    return [item.value for item in ShellComplete(cli, {}, "taskq", COMPLETE).get_completions(before, last)]


@pytest.fixture
def store(redis_url: str) -> str:
    """A store with tasks, a schedule and a worker."""

    async def fill() -> None:
        async with App(redis_url) as app:
            for queue in ("mail", "mail.slow", "sms"):
                await app.aenqueue("job", {}, queue=queue)
            await app.schedules.aput("nightly", Every(hours=1), "job")
            backend = await app.backend()
            for number, name in enumerate(("ann", "x\x1b[2J", "a b", "$(reboot)", "a\nb")):
                await backend.registry.report(worker_info(id=f"id-{number}", name=name, tasks=("art.draw",)), 900.0)

    asyncio.run(fill())
    return redis_url


# ------------------------------------------------------------ names


def test_commands_and_options() -> None:
    assert offered("wor") == ["worker", "workers", "workflows"]
    assert "--watch" in offered("queues", "list", "--w")
    assert offered("completion", "") == ["bash", "zsh", "fish"]
    assert offered("no-such-command", "x") == []


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["queues", "show", "m"], ["mail", "mail.slow"]),
        (["queues", "pause", ""], ["mail", "mail.slow", "sms"]),
        (["tasks", "retry", "--to", "s"], ["sms"]),
        (["dlq", "list", "-q", "s"], ["sms"]),
        (["schedules", "run", ""], ["nightly"]),
        (["schedules", "put", "tick", ""], ["art.draw"]),
        (["enqueue", ""], ["art.draw"]),
        (["dlq", "list", "--reason", "ex"], ["exhausted"]),
        (["tasks", "list", "state:d"], ["state:dead"]),
        (["tasks", "list", "state:dead,e"], ["state:dead,ended", "state:dead,expired"]),
        (["tasks", "list", "priority:h"], ["priority:high"]),
        (["tasks", "list", "queue:s"], ["queue:sms"]),
        (["tasks", "list", "tag:x", "task:a"], ["task:art.draw"]),
        (["tasks", "list", "worker:an"], ["worker:ann"]),
        # bash makes words of their own of what stands before a colon, the colon, and what stands behind it
        (["tasks", "list", "state", ":"], [str(state) for state in sorted(["live", "ended", *TaskState])]),
        (["tasks", "list", "queue", ":", "s"], ["sms"]),
        (["tasks", "list", "created:>2"], []),
        (["tasks", "list", "stat"], []),
        (["tasks", "list", ":"], []),
    ],
)
def test_names(store: str, typed: list[str], expected: list[str]) -> None:
    *before, last = typed
    group, *rest = before
    at = 0 if group == "enqueue" else 1
    assert offered(group, *rest[:at], "--backend", store, *rest[at:], last) == expected


def test_only_names_are_offered_that_a_shell_and_a_terminal_take_for_names(store: str) -> None:
    ids = [f"id-{number}" for number in range(5)]
    assert offered("workers", "pause", "--backend", store, "") == ["ann", *ids]


def test_those_of_an_application_too(limited: str) -> None:
    assert offered("enqueue", "-A", limited, "") == ["free", "mail.send"]
    assert offered("limits", "show", "-A", limited, "m") == ["mail.send"]
    assert offered("queues", "show", "-A", limited, "") == ["default", "mail"]


def test_the_application_of_the_environment(limited: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_APP", limited)
    assert offered("enqueue", "") == ["free", "mail.send"]


def test_no_more_than_so_many(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "MOST", 2)
    assert offered("queues", "show", "--backend", store, "") == ["mail", "mail.slow"]


@pytest.mark.parametrize(
    "where",
    [[], ["--backend", "nonsense://x"], ["--backend", f"redis://127.0.0.1:{free_port()}/0"], ["-A", "nope:app"]],
    ids=["nowhere", "no such store", "a store that is away", "no such application"],
)
def test_where_nothing_is_known_nothing_is_offered(where: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert offered("queues", "show", *where, "") == []
    assert capfd.readouterr() == ("", "")


def test_of_a_store_that_is_away_the_names_of_the_application_are_left(limited: str) -> None:
    assert offered("queues", "show", "-A", limited, "--backend", "redis://127.0.0.1:1/0", "") == ["default", "mail"]


# ------------------------------------------------------------ as a shell asks

LOUD = """
import sys
from taskq import App
print("loud")
print("loud", file=sys.stderr)
app = App("redis://127.0.0.1:1/0")

@app.task(name="free")
def free() -> None: ...
"""


def ask(folder: Path, words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What a process answers to bash, of which the last word is to be completed."""
    asked = {COMPLETE: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), **env}
    done = subprocess.run(
        command(), cwd=folder, env=environment(asked), capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.stderr == ""
    return done


@pytest.mark.parametrize(
    ("text", "offers"),
    [
        (LOUD, "plain,free"),
        ("import sys\nsys.exit('no')", ""),
        ("raise KeyboardInterrupt", ""),
        ("import threading\nthreading.Event().wait()", ""),  # it would wait for ever
        ("def (:", ""),
    ],
    ids=["prints", "exits", "is interrupted", "hangs", "no Python"],
)
def test_whatever_a_module_does_nothing_else_is_seen(shell: Shell, write: Write, text: str, offers: str) -> None:
    write("odd.py", text)
    assert ask(shell.folder, "taskq enqueue f", TASKQ_APP="odd:app").stdout.strip() == offers


def test_a_shell_that_asks_for_nonsense_gets_nothing(shell: Shell) -> None:
    assert ask(shell.folder, "taskq wor x").stdout.strip() == ""
    assert ask(shell.folder, "taskq queues show ", COMP_CWORD="many").stdout.strip() == ""


# ------------------------------------------------------------ the script


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script(name: str) -> None:
    result = taskq("completion", name)
    assert (result.exit_code, f"{COMPLETE}={name}_complete" in result.stdout) == (0, True)
    *_, last = result.stdout.splitlines()
    assert last.startswith("# To have it always: ")
    assert f"taskq completion {name}" in last


def test_a_shell_that_is_none() -> None:
    result = taskq("completion", "tcsh")
    assert (result.exit_code, "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.stderr) == (2, True)


ASK = """
source ./script
COMP_WORDS=(./taskq queues show --backend "$1" mail.s) COMP_CWORD=5
_taskq_completion ./taskq
echo "${COMPREPLY[@]}"
complete -p taskq
"""


def test_bash_understands_it(shell: Shell, store: str) -> None:
    program = shell.folder / "taskq"
    program.write_text("#!/bin/sh\nexec " + " ".join(command('"$@"')) + "\n")
    program.chmod(0o755)
    (shell.folder / "script").write_text(shell.output("completion", "bash"))
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", store],
        cwd=shell.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.stdout.splitlines() == ["mail.slow", "complete -o nosort -F _taskq_completion taskq"], done.stderr
