"""Process tasks: children that can be killed, forked from a clean server and never from a process with threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from multiprocessing.context import BaseContext
from typing import Any

from pebble import ProcessExpired, ProcessPool
from pebble.common.types import CONSTS

from taskq.domain.outcome import Crashed, Interrupted, Outcome
from taskq.domain.record import Failure
from taskq.registry import importable_module
from taskq.runtime import child
from taskq.runtime.child import Assignment, Setup
from taskq.runtime.reports import Begun, Progressed, Reports
from taskq.runtime.run import Run
from taskq.task import Task

logger = logging.getLogger("taskq.worker")
# The pool ends a child with SIGTERM, which it ignores (see child.start), and after so many seconds with SIGKILL.
CONSTS.term_timeout = 0.05


class Children:
    """Runs process tasks, one in each child; a run can be killed without harm to the others.

    Arguments:
        size: how many children there may be.
        tasks: their modules are imported by each child as it starts.
        url: of the worker's store.
        report: told of each run that it begins, and how far it is.
    """

    def __init__(
        self,
        size: int,
        tasks: Iterable[Task[..., Any]],
        url: str,
        report: Callable[[Begun | Progressed], None],
    ) -> None:
        self._size = size
        functions = (task.function for task in tasks if task.executor == "process")
        self._preload = tuple(sorted({importable_module(function.__module__) for function in functions}))
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._report = report
        self._pids: dict[tuple[str, int], int] = {}
        self._reports = Reports(self._take)
        self._pool: asyncio.Task[Any] | None = None

    async def run(self, run: Run) -> Outcome | None:
        """Run a task in a child; None where it was killed because somebody had stopped the run."""
        function = run.task.function
        module = importable_module(function.__module__)
        assignment = Assignment(
            module, function.__qualname__, tuple(run.delivery), run.payload, run.sealed_headers, run.timeout
        )
        pool = await self._open()
        try:
            future = pool.schedule(child.run, args=[assignment])
        except RuntimeError as error:
            # Something killed what the children come from. Whoever comes next gets a pool that works.
            logger.error("the pool of child processes is broken and is made anew: %s", error)
            self._pool = None
            await asyncio.to_thread(_stop, pool)
            return Interrupted()
        ended: asyncio.Future[Outcome | None] = self._loop.create_future()
        future.add_done_callback(lambda done: self._tell(ended, _outcome(done)))
        key = (run.delivery.id, run.delivery.fence)
        ended.add_done_callback(lambda ended: self._clear_up(key, ended))
        try:
            # Shielded: what kills the child is `future.cancel`, and its end is heard of by itself.
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            future.cancel()
            raise

    def close(self) -> None:
        """Kill the children."""
        self._reports.close()
        if self._pool is not None and self._pool.done() and not self._pool.cancelled():
            _stop(self._pool.result())

    async def _open(self) -> Any:
        """The pool; making it takes long enough to be done in a thread, once for all who wait for it."""
        if self._pool is None or (self._pool.done() and self._pool.exception() is not None):
            self._pool = asyncio.create_task(asyncio.to_thread(self._make))
        return await asyncio.shield(self._pool)

    def _make(self) -> Any:
        return ProcessPool(
            max_workers=self._size,
            initializer=child.start,
            initargs=(Setup(self._reports.outbox, self._preload, _log_levels(), self._url),),
            context=_context(),
        )

    def _take(self, report: Begun | Progressed) -> None:
        if isinstance(report, Begun):
            self._pids[report.id, report.fence] = report.pid
        self._report(report)

    def _clear_up(self, key: tuple[str, int], ended: asyncio.Future[Outcome | None]) -> None:
        """After a run: hear its last reports; where its child was killed, end what the task had started too."""
        self._reports.read()
        pid = self._pids.pop(key, None)
        if pid is not None and (ended.result() is None or isinstance(ended.result(), Crashed)):
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)

    def _tell(self, ended: asyncio.Future[Outcome | None], outcome: Outcome | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(_resolve, ended, outcome)


def _log_levels() -> tuple[int, int]:
    return logging.root.getEffectiveLevel(), logging.getLogger("taskq").getEffectiveLevel()


def _stop(pool: Any) -> None:
    pool.stop()
    pool.join()


def _context() -> BaseContext:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if hasattr(context, "set_forkserver_preload"):
        context.set_forkserver_preload(["taskq.runtime.child"])
    return context


def _resolve(ended: asyncio.Future[Outcome | None], outcome: Outcome | None) -> None:
    if not ended.done():
        ended.set_result(outcome)


def _outcome(done: Any) -> Outcome | None:
    try:
        outcome: Outcome = done.result()
    except (CancelledError, asyncio.CancelledError):
        return None
    except ProcessExpired as error:
        return Crashed(Failure("ProcessCrashed", f"the process of the task died: {_exit(error.exitcode)}"))
    except Exception as error:  # noqa: BLE001 - whatever the pool could not do
        return Crashed(Failure(type(error).__name__, f"the process of the task could not run it: {error}"))
    return outcome


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit status {code}"
