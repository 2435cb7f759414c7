"""What a worker is told in the reply to its heartbeat, and what it makes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from taskq.ports import Order, WorkerCommand, WorkerState
from taskq.runtime.parts import Parts
from taskq.runtime.profiling import Profiling

logger = logging.getLogger("taskq.worker")


class Orders:
    """Obeys.

    Arguments:
        parts: what the worker is made of; None before it has started.
        is_stopping: whether the worker stops.
        dismiss: has the worker stop for good.
        profiling: takes profiles.
    """

    def __init__(
        self,
        parts: Callable[[], Parts | None],
        is_stopping: Callable[[], bool],
        dismiss: Callable[[], None],
        profiling: Profiling,
    ) -> None:
        self._parts = parts
        self._is_stopping = is_stopping
        self._dismiss = dismiss
        self.profiling = profiling
        self._is_paused = False
        self._is_draining = False

    @property
    def holds(self) -> bool:
        """Whether the worker was told to take no tasks."""
        return self._is_paused or self._is_draining

    def state(self, running: int) -> WorkerState:
        """How a worker stands that was told to take no tasks.

        Arguments:
            running: the tasks that it holds.
        """
        if not self._is_draining:
            return WorkerState.PAUSED
        return WorkerState.DRAINING if running else WorkerState.DRAINED

    def hearing(self, loop: asyncio.AbstractEventLoop) -> Callable[[Sequence[Order]], None]:
        """Takes orders in the thread of the heartbeat, and has them obeyed.

        A profile is begun there and then: the loop of the tasks may be what is to be looked at, because it is stuck.

        Arguments:
            loop: that of the worker.
        """

        def hear(orders: Sequence[Order]) -> None:
            for order in orders:
                logger.info("told to %s", " ".join(order) if order.argument else order.command)
                if order.command is WorkerCommand.PROFILE:
                    self.profiling.begin(order.argument)
                else:
                    loop.call_soon_threadsafe(self._obey, order)

        return hear

    def _obey(self, order: Order) -> None:
        match order.command:
            case WorkerCommand.PAUSE:
                self._is_paused = True
            case WorkerCommand.DRAIN:
                self._drain()
            case WorkerCommand.RESUME:
                self._resume()
            case WorkerCommand.SHUTDOWN:
                self._dismiss()
            case WorkerCommand.LOG_LEVEL:
                _set_log_level(order.argument)

    def _drain(self) -> None:
        self._is_draining = True
        if (parts := self._parts()) is not None:
            parts.executor.is_closing = True  # also for what a claim brings that is on its way
            parts.executor.release_all_waiting()

    def _resume(self) -> None:
        self._is_paused = self._is_draining = False
        if (parts := self._parts()) is not None:
            parts.executor.is_closing = self._is_stopping()
            parts.restraint.resume()
            parts.executor.freed.set()


def _set_log_level(level: str) -> None:
    try:
        logging.getLogger("taskq").setLevel(level)
    except ValueError as error:
        logger.warning("the log level stays as it is: %s", error)
