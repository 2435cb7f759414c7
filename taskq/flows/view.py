"""What has become of workflows and batches, and steering them."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import dataclass

from taskq import blocking
from taskq.backends import Stores
from taskq.config import is_whole, shown
from taskq.domain.flow import FlowRecord, FlowState, Tally
from taskq.domain.record import TaskRecord
from taskq.errors import InvalidOption, ResultTimeout, TaskNotFound, TaskqError
from taskq.flows.members import PAGE, hint_at_cancel, records_of, retry_members
from taskq.following import check_reason, check_timeout
from taskq.ids import is_id

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
"""Seconds between two looks whether it has ended."""


@dataclass(frozen=True, slots=True)
class FlowProgress:
    """How far a workflow or a batch is."""

    total: int
    pending: int
    """Those that have not ended."""
    completed: int
    failed: int
    """FAILED, DEAD or EXPIRED."""
    cancelled: int

    @property
    def fraction(self) -> float:
        """How much of it has ended, from 0 to 1."""
        return 1.0 if self.total == 0 else 1 - self.pending / self.total

    @classmethod
    def of(cls, tally: Tally) -> FlowProgress:
        """From what a store has counted."""
        return cls(tally.total, tally.pending, tally.completed, tally.failed, tally.cancelled)


class FlowView:
    """A workflow or a batch, wherever it is. Each method has an a-twin for async code.

    Every method may raise BackendUnavailable, where the store cannot be reached; the blocking ones WouldBlock, where an
    event loop runs in this thread.

    Attributes:
        id: its id, a UUID in text form.
    """

    def __init__(self, id: str, stores: Stores) -> None:
        self.id = id
        self._stores = stores

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    async def ainfo(self) -> FlowRecord:
        """All that the store knows of it.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        record = await (await self._stores.backend()).flows.get(self.id)
        if record is None:
            raise TaskNotFound(f"no record of workflow or batch {self.id}: it never existed, or its retention is over")
        return record

    def info(self) -> FlowRecord:
        """All that the store knows of it.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        return blocking.run(self.ainfo(), "info()", "ainfo()")

    async def astatus(self) -> FlowState:
        """Where it is."""
        return (await self.ainfo()).state

    def status(self) -> FlowState:
        """Where it is."""
        return blocking.run(self.astatus(), "status()", "astatus()")

    async def aprogress(self) -> FlowProgress:
        """How far it is; the same few reads, however many tasks it has."""
        return FlowProgress.of((await self.ainfo()).tally)

    def progress(self) -> FlowProgress:
        """How far it is; the same few reads, however many tasks it has."""
        return blocking.run(self.aprogress(), "progress()", "aprogress()")

    async def await_(self, timeout: float | None = None) -> FlowState:
        """Wait until all its tasks have ended: the a-twin of `wait`, as `await` is a keyword.

        It is looked at now and then, after a second at the latest.

        Arguments:
            timeout: seconds; None waits for ever.

        Returns:
            The final state.

        Raises:
            InvalidOption: the timeout is no number of seconds.
            ResultTimeout: it has not ended by then; it goes on.
            TaskNotFound: no record of it (any more).
        """
        check_timeout(timeout)
        deadline, pause = None if timeout is None else time.monotonic() + timeout, FIRST_PAUSE
        while not (record := await self.ainfo()).is_over:
            left = math.inf if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise ResultTimeout(f"{record.kind} {self.id} has not ended within {timeout} s; it goes on")
            await asyncio.sleep(min(pause, left))
            pause = min(LONGEST_PAUSE, 1.5 * pause)
        return record.state

    def wait(self, timeout: float | None = None) -> FlowState:
        """Wait until all its tasks have ended; see `await_`."""
        return blocking.run(self.await_(timeout), "wait()", "await_()")

    async def acancel(self, reason: str = "") -> bool:
        """Cancel all tasks that have not ended: at once those that wait; of those that run the workers are told.

        Arguments:
            reason: why, for people; it is kept in the record of each.

        Returns:
            False where it had ended already, or no record of it is left.

        Raises:
            InvalidOption: the reason is no text.
        """
        check_reason(reason)
        backend = await self._stores.backend()
        is_cancelled = await backend.flows.cancel(self.id, reason)
        if is_cancelled:
            with suppress(TaskqError):  # only hints: the requests are kept already
                await hint_at_cancel(backend, self.id)
        return is_cancelled

    def cancel(self, reason: str = "") -> bool:
        """Cancel all tasks that have not ended; see `acancel`."""
        return blocking.run(self.acancel(reason), "cancel()", "acancel()")

    async def aretry(self, *, only_failed: bool = False) -> int:
        """Start anew all tasks that have ended otherwise than COMPLETED, each behind those for which it waits.

        Arguments:
            only_failed: not those that were cancelled, or failed because others had.

        Returns:
            How many.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        await self.ainfo()
        return await retry_members(await self._stores.backend(), self.id, only_failed=only_failed)

    def retry(self, *, only_failed: bool = False) -> int:
        """Start anew all tasks that have ended otherwise than COMPLETED; see `aretry`."""
        return blocking.run(self.aretry(only_failed=only_failed), "retry()", "aretry()")

    async def afailed(self, limit: int = PAGE) -> list[TaskRecord]:
        """Up to `limit` of the tasks that have ended otherwise than COMPLETED.

        Raises:
            InvalidOption: the limit is no whole number of at least 1.
            TaskNotFound: no record of it (any more).
        """
        if not is_whole(limit) or limit < 1:
            raise InvalidOption(f"limit must be a whole number from 1, not {shown(limit)}")
        await self.ainfo()
        backend = await self._stores.backend()
        page = await backend.flows.members(self.id, limit, failed=True)
        return await records_of(backend, page.ids)

    def failed(self, limit: int = PAGE) -> list[TaskRecord]:
        """Up to `limit` of the tasks that have ended otherwise than COMPLETED."""
        return blocking.run(self.afailed(limit), "failed()", "afailed()")


def checked_id(id: object, kind: str) -> str:
    """The id of a workflow or a batch.

    Raises:
        InvalidOption: it cannot be one.
    """
    if not is_id(id):
        hint = "; ctx.flow is '' in a task that belongs to none" if id == "" else ""
        raise InvalidOption(f"the id of a {kind} must be a UUID in text form, not {shown(id)}{hint}")
    return id
