"""The thread pool: threads that can be given up, because a thread cannot be killed."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

Job = Callable[[], Any]


class _Call:
    __slots__ = ("context", "future", "has_ended", "is_abandoned", "job")

    def __init__(self, job: Job, context: contextvars.Context, future: asyncio.Future[Any]) -> None:
        self.job = job
        self.context = context
        self.future = future
        self.has_ended = False
        self.is_abandoned = False


class ThreadPool:
    """Runs jobs in daemon threads, and tells the event loop of their ends a batch at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.stuck = 0
        """Threads that were given up and have not come back."""
        self._jobs: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0
        self._loop = asyncio.get_running_loop()
        self._ended: deque[tuple[_Call, Any, BaseException | None]] = deque()
        self._is_told = False
        self._lock = threading.Lock()
        self._calls: dict[asyncio.Future[Any], _Call] = {}

    def submit(self, job: Job) -> asyncio.Future[Any]:
        """Run a job in a copy of this context; its result or exception comes by the future."""
        future: asyncio.Future[Any] = self._loop.create_future()
        call = _Call(job, contextvars.copy_context(), future)
        self._calls[future] = call
        self._busy += 1
        if self._busy > self._threads:
            self._add_thread()
        self._jobs.put(call)
        return future

    def abandon(self, future: asyncio.Future[Any]) -> None:
        """Give up a job that does not end: another thread takes its place."""
        call = self._calls.pop(future, None)
        if call is None:
            return
        with self._lock:
            call.is_abandoned = not call.has_ended
        if call.is_abandoned:
            self.stuck += 1
            self._busy -= 1
            self._threads -= 1
        else:  # its thread has come back, which the loop has not heard yet
            future.cancel()

    def close(self) -> None:
        """Let the threads end; those that are stuck end with the process."""
        for _ in range(self._threads + self.stuck):
            self._jobs.put(None)

    def _add_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"taskq-task-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (call := self._jobs.get()) is not None:
            result, error = None, None
            try:
                result = call.context.run(call.job)
            except BaseException as raised:  # noqa: BLE001 - SystemExit too is the task's own affair
                error = raised
            if self._tell(call, result, error):
                return
            del call, result, error

    def _tell(self, call: _Call, result: Any, error: BaseException | None) -> bool:
        """Hand the end of a job to the loop; whether this thread was given up meanwhile, and must end."""
        with self._lock:
            call.has_ended = True
            self._ended.append((call, result, error))
            if not self._is_told:
                self._is_told = True
                try:
                    self._loop.call_soon_threadsafe(self._collect)
                except RuntimeError:  # the loop is closed: the process ends
                    return True
        return call.is_abandoned

    def _collect(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, deque()
            self._is_told = False
        for call, result, error in ended:
            if call.is_abandoned:
                self.stuck -= 1
                continue
            self._busy -= 1
            self._calls.pop(call.future, None)
            if call.future.done():
                continue
            if error is not None:
                call.future.set_exception(Raised(error))
            else:
                call.future.set_result(result)


class Raised(Exception):
    """Carries any exception through a future, which refuses StopIteration and treats SystemExit on its own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error
