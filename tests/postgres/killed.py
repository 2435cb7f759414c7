"""A worker for a process of its own, which is killed at a step of a task's transaction: its URL, the step."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from taskq import App, TaskContext
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker
from taskq_postgres.frames import AsyncFrame, Frame
from tests.postgres.effects import IMPATIENT, INSERT

STEPS = ("before it", "begun", "done", "noted", "before the settlement", "before the commit", "after the commit")


def application(url: str, step: Callable[[str], None]) -> App:
    """The application; `step` is told where its tasks are."""
    app = App(url)

    @app.task(name="async")
    async def in_the_loop(ctx: TaskContext) -> str:
        step("before it")
        async with ctx.transaction() as tx:
            step("begun")
            await tx.connection.execute(INSERT, ("once",))
            step("done")
            await tx.complete("both")
            step("noted")
        step("after the commit")
        return "ignored"

    @app.task(name="thread")
    def in_a_thread(ctx: TaskContext) -> str:
        step("before it")
        with ctx.transaction() as tx:
            step("begun")
            tx.connection.execute(INSERT, ("once",))
            step("done")
            tx.complete("both")
            step("noted")
        step("after the commit")
        return "ignored"

    return app


def watch(step: Callable[[str], None]) -> None:
    """Have the frames tell of the steps that no line of the task is between."""
    for kind in (AsyncFrame, Frame):
        for name, before in (("_complete", "before the settlement"), ("_commit", "before the commit")):
            setattr(kind, name, _told(getattr(kind, name), before, step))


def _told(method: Callable[..., Any], before: str, step: Callable[[str], None]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        step(before)
        return method(*args)

    return call


def main(url: str, last: str) -> None:
    """Work until a task comes to the step `last`."""

    def step(name: str) -> None:
        if name == last:
            os.kill(os.getpid(), signal.SIGKILL)

    watch(step)
    asyncio.run(Worker(application(url, step), WorkerOptions(**IMPATIENT)).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
