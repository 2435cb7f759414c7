"""What the heartbeat asks about, and what its answers mean for the runs; called in the heartbeat's own thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from taskq.domain.message import Delivery
from taskq.ports import Extension
from taskq.runtime.executor import Executor
from taskq.runtime.run import StopReason
from taskq.runtime.settler import Settler


class Leases:
    """The leases of everything that a worker holds.

    Arguments:
        executor: holds what waits and runs.
        settler: holds what the store has not been told of yet.
    """

    def __init__(self, executor: Executor, settler: Settler) -> None:
        self._executor = executor
        self._settler = settler
        self._loop = asyncio.get_running_loop()

    def held(self) -> list[Delivery]:
        """What is held, copied in one step of the interpreter: the loop's thread goes on changing it.

        A run past its hard timeout is left out: a worker that cannot end it must not keep its lease alive. Of one task
        only the newest run is named, since answers name tasks.
        """
        now = time.monotonic()
        held = {delivery.id: delivery for delivery in self._settler.held.copy().values()}
        for run in list(self._executor.runs.values()):
            if run.may_be_extended(now):
                held[run.delivery.id] = run.delivery
        return list(held.values())

    def extended(self, asked: Sequence[Delivery], extension: Extension, asked_at: float) -> None:
        """Take in an answer.

        Arguments:
            asked: what was asked about; the same task may be held with another fence by now.
            extension: the answer.
            asked_at: the monotonic second from before the question.
        """
        fences = {delivery.id: delivery.fence for delivery in asked}
        # Noted here and not in the loop, which may have been blocked for longer than a lease.
        for run in list(self._executor.runs.values()):
            id = run.delivery.id
            if id not in extension.lost and fences.get(id) == run.delivery.fence:
                run.renewed_at = asked_at
        stop = self._executor.stop_ids
        if extension.lost:
            self._loop.call_soon_threadsafe(stop, extension.lost, StopReason.LOST, fences)
        if extension.cancel_wanted:
            self._loop.call_soon_threadsafe(stop, extension.cancel_wanted, StopReason.CANCEL, fences)
