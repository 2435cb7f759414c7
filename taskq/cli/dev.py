"""`taskq dev`: a worker in this process on the memory backend, started anew when a file changes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import click

from taskq.app import App
from taskq.backends import redact
from taskq.cli.commands import WRONG_USAGE, app_option, backend_option, load_app, look_at_store, run, says_errors
from taskq.cli.configured import NAMED, given_arguments, join_of, start_logs, with_arguments
from taskq.cli.probing import probe_keys, probe_options, showing_as
from taskq.config import WorkerOptions
from taskq.configuration import Configuration
from taskq.management.errands import errands_of
from taskq.runtime.process import Showing
from taskq.runtime.signals import Hangup
from taskq.variables import DEV_PROCESS

_MEMORY = "memory://"
LONGEST_LINE = 4 * 1024 * 1024


@click.command()
@app_option()
@backend_option
@probe_options
@click.option("--reload/--no-reload", default=True, show_default=True, help="Start anew when a file changes.")
@says_errors(WRONG_USAGE)
def dev(app_path: str, url: str | None, reload: bool, **shown: Any) -> None:
    """Run a worker for every queue of the application, in one process, and have its schedules fire.

    It works in memory, whatever store the application names, unless --backend or TASKQ_BACKEND gives another. What
    waits in memory survives a reload. Lines that are typed are enqueued: `NAME {"argument": "value"}`.
    """
    arguments = given_arguments({**NAMED, **probe_keys("worker")})
    found = with_arguments(arguments)
    start_logs(found, "console", "DEBUG", warns=DEV_PROCESS not in os.environ)
    url = url or _store_of_environment(found)
    memory = os.environ.get(DEV_PROCESS, _MEMORY)
    if not reload or memory != _MEMORY:
        from taskq.runtime.process import leave
        from taskq.runtime.supervisor import DISMISSED

        known = threading.enumerate()
        app = load_app(app_path, memory if url in (None, "", _MEMORY) else url)
        options = WorkerOptions() if found is None else found.worker_options
        showing = showing_as(found, "worker", **shown)
        status = run(_work(app, options, join_of(found, arguments), found, showing))
        leave(0 if status == DISMISSED else status, known)
    from taskq.cli.reload import run_and_reload

    with tempfile.TemporaryDirectory(prefix="taskq-dev-") as folder:
        os.environ[DEV_PROCESS] = f"{_MEMORY}?snapshot={folder}/tasks"
        raise SystemExit(run_and_reload([sys.executable, "-m", "taskq", *sys.argv[1:]]))


def _store_of_environment(found: Configuration | None) -> str | None:
    """What a variable says; the store that a file names is the one of the deployment, and not for trying things."""
    if found is not None and found.origin("backend.url").kind == "environment":
        return found.sections.backend.url
    return os.environ.get("TASKQ_BACKEND")


async def _work(
    app: App,
    options: WorkerOptions,
    join: Callable[[Any], Hangup] | None,
    found: Configuration | None,
    showing: Showing | None,
) -> int:
    from taskq.runtime.process import serve

    await look_at_store(app)
    queues = dict.fromkeys(task.queue for task in app.tasks) or {"default": None}
    names = ", ".join(sorted(task.name for task in app.tasks)) or "none"
    place = "in memory" if app.url.startswith(_MEMORY) else f"on {redact(app.url)}"
    click.echo(f"{place}, tasks: {names}\ntype NAME {{JSON}} to enqueue one, Ctrl-C to end", err=True)
    # In the background of a terminal there is nothing to read, which is no reason to be stopped.
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    # A thread, because reading in the event loop would make the terminal non-blocking, also for the shell behind it.
    typing = threading.Thread(target=_enqueue_lines, args=(app, asyncio.get_running_loop()), daemon=True)
    typing.start()
    return await serve(
        app, replace(options, queues=queues, beat=True), join, showing, errands=errands_of(app, found, tells=False)
    )


def _enqueue_lines(app: App, loop: asyncio.AbstractEventLoop) -> None:
    """Enqueue what is typed; a line that cannot be is answered with the reason."""
    for text in _typed():
        answer = _enqueue_line(app, text)
        try:
            click.echo(asyncio.run_coroutine_threadsafe(answer, loop).result(), err=True)
        except (RuntimeError, CancelledError):  # the worker has ended meanwhile
            answer.close()
            return


def _typed() -> Iterator[str]:
    """Each line of standard input that holds something."""
    try:
        # Not sys.stdin: its lock, held by a thread that reads, would trouble the end of the interpreter.
        with open(sys.stdin.fileno(), "rb", closefd=False) as lines:
            while line := lines.readline(LONGEST_LINE):
                if text := line.decode("utf-8", "replace").strip():
                    yield text
    except (OSError, ValueError, AttributeError):  # standard input is closed, or another's
        return


async def _enqueue_line(app: App, text: str) -> str:
    """Enqueue a task as it was typed; returns what to say of it."""
    name, _, payload = text.partition(" ")
    try:
        arguments: dict[str, Any] = json.loads(payload or "{}")
        handle = await app.aenqueue(name, arguments)
    except Exception as error:  # noqa: BLE001 - a mistake in what was typed, or in the application's own middleware
        return f"not enqueued: {error}"
    return f"enqueued {handle.id}"
