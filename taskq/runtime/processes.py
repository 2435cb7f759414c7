"""The process pool: children that can be killed, forked from a clean server and never from a process with threads."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from multiprocessing.context import BaseContext
from signal import Signals
from typing import Any

from pebble import ProcessExpired, ProcessPool

from taskq.domain.outcome import Crashed, Outcome
from taskq.domain.record import Failure, Progress
from taskq.runtime import child
from taskq.runtime.child import Assignment

ReportTo = Callable[[tuple[str, int], Progress | None], None]


class ChildPool:
    """Runs assignments, one in each child; a run can be killed without harm to the others.

    Making one takes long enough to be done in a thread; `loop` is the event loop that it works for.
    """

    def __init__(self, size: int, report: ReportTo, preload: tuple[str, ...], loop: asyncio.AbstractEventLoop) -> None:
        self.size = size
        self._loop = loop
        context = _context()
        self._reports = context.SimpleQueue()
        self._report = report
        self._pool = ProcessPool(
            max_workers=size, initializer=child.start, initargs=(self._reports, preload), context=context
        )
        self._reader = threading.Thread(target=self._read, name="taskq-progress", daemon=True)
        self._reader.start()

    def submit(self, assignment: Assignment) -> tuple[asyncio.Future[Outcome | None], Callable[[], None]]:
        """Run an assignment.

        Returns:
            A future of its outcome, None where it was killed; and what kills it.
        """
        ended: asyncio.Future[Outcome | None] = self._loop.create_future()
        future = self._pool.schedule(child.run, args=[assignment])

        def tell(done: Any) -> None:
            outcome = _outcome(done)
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_resolve, ended, outcome)

        future.add_done_callback(tell)
        return ended, future.cancel

    def close(self) -> None:
        """Kill the children."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()
        self._reports.put(None)
        self._reader.join()
        self._reports.close()

    def _read(self) -> None:
        while (report := self._reports.get()) is not None:
            key, said = report
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._report, key, None if said is None else Progress(*said))


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
            return f"killed by {Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit status {code}"
