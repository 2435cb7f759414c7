"""`taskq dev`: a worker in this process on the memory backend, started anew when a file changes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
from typing import Any

import click

from taskq.app import App
from taskq.cli.commands import WRONG_USAGE, app_option, backend_option, load_app, look_at_store, run, says_errors
from taskq.config import WorkerOptions
from taskq.errors import TaskqError
from taskq.telemetry import logs

_IN_CHILD = "TASKQ_DEV_PROCESS"
LONGEST_LINE = 4 * 1024 * 1024


@click.command()
@app_option()
@backend_option
@click.option("--reload/--no-reload", default=True, show_default=True, help="Start anew when a file changes.")
@says_errors(WRONG_USAGE)
def dev(app_path: str, url: str | None, reload: bool) -> None:
    """Run a worker for every queue of the application, in one process, in memory unless told otherwise.

    Lines that are typed are enqueued: `NAME {"argument": "value"}`. What waits in memory survives a reload.
    """
    logs.configure("console", "DEBUG")
    if not reload or _IN_CHILD in os.environ:
        from taskq.runtime.process import leave

        known = threading.enumerate()
        leave(run(_work(load_app(app_path, url))), known)
    from taskq.cli.reload import run_and_reload

    with tempfile.TemporaryDirectory(prefix="taskq-dev-") as folder:
        os.environ[_IN_CHILD] = "1"
        os.environ.setdefault("TASKQ_BACKEND", f"memory://?snapshot={folder}/tasks")
        raise SystemExit(run_and_reload([sys.executable, "-m", "taskq", *sys.argv[1:]]))


async def _work(app: App) -> int:
    from taskq.runtime.process import serve

    await look_at_store(app)
    queues = dict.fromkeys((task.queue for task in app.tasks), 1.0) or {"default": 1.0}
    names = ", ".join(sorted(task.name for task in app.tasks)) or "none"
    click.echo(f"tasks: {names}\ntype NAME {{JSON}} to enqueue one, Ctrl-C to end", err=True)
    typing = asyncio.create_task(_enqueue_lines(app))
    try:
        return await serve(app, WorkerOptions(queues=queues))
    finally:
        typing.cancel()


async def _enqueue_lines(app: App) -> None:
    """Enqueue what is typed; a line that cannot be is answered with the reason."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    try:
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except (OSError, ValueError):  # standard input is a file, or closed
        return
    while line := await reader.readline():
        if text := line.decode("utf-8", "replace").strip():
            click.echo(await _enqueue_line(app, text), err=True)


async def _enqueue_line(app: App, text: str) -> str:
    """Enqueue a task as it was typed; returns what to say of it."""
    name, _, payload = text.partition(" ")
    try:
        arguments: dict[str, Any] = json.loads(payload or "{}")
        handle = await app.aenqueue(name, arguments)
    except (TaskqError, ValueError, TypeError, RecursionError) as error:
        return f"not enqueued: {error}"
    return f"enqueued {handle.id}"
