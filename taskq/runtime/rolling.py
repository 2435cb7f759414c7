"""The figures of the fleet: one process at a time looks at the store and rolls up what all have left."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from taskq.errors import TaskqError
from taskq.ports import Backend
from taskq.rollups import AT_ONCE, Moment, roll_up, trim, write_moments
from taskq.runtime.duty import Duty
from taskq.runtime.service import said
from taskq.runtime.survey import Survey, frame_of, survey

DUTY = "figures"
EVERY, QUIET = 2.0, 30.0
"""Seconds between two looks: while there is something to tell, and while nothing changes. An idle fleet is quiet."""
TELL_EVERY = 60.0
"""Seconds after which what has not changed is told again."""
ASK_EVERY = 10.0
"""Seconds after which a process asks whether the duty is its own now."""
HELD = 60.0
"""Seconds for which it is: longer than QUIET."""
TRIM_EVERY = 600.0
logger = logging.getLogger("taskq.metrics")


class Rolling:
    """Takes the duty where nobody has it, and does it.

    Arguments:
        backend: gives the open store.
        holder: random for each start of a process.
        now: the seconds of a clock that never goes back.
    """

    def __init__(
        self, backend: Callable[[], Awaitable[Backend]], holder: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._duty = Duty(DUTY, holder, HELD, backend)
        self._now = now
        self._ask_at = 0.0
        self._trim_at = 0.0
        self._before: Survey | None = None
        self._told_at = 0.0
        self._is_quiet = False
        """Whether nothing had changed at the last look."""

    async def tick(self) -> float:
        """Do the duty, if it is ours; returns the seconds to the next time."""
        try:
            if not await self._holds():
                return ASK_EVERY * random.uniform(0.8, 1.2)
            return await self._do(await self._backend())
        except TaskqError as error:  # others say that the store is away
            logger.debug("the figures of the fleet: %s", said(error))
            return ASK_EVERY

    @property
    def is_holder(self) -> bool:
        """Whether the duty is ours."""
        return self._duty.is_held

    async def farewell(self) -> None:
        """Leave the duty to another at once."""
        await self._duty.leave()

    async def _holds(self) -> bool:
        now = self._now()
        if not self._duty.is_held or now >= self._ask_at:
            self._ask_at = now + ASK_EVERY
            if not await self._duty.take():
                self._before = None
        return self._duty.is_held

    async def _stands_still(self, backend: Backend) -> bool:
        """Whether, after a look at which nothing had changed, no task has moved: then little else has."""
        before = self._before
        return self._is_quiet and before is not None and await backend.inspector.counts() == before.counts

    async def _do(self, backend: Backend) -> float:
        now = self._now()
        if now - self._told_at < TELL_EVERY and await self._stands_still(backend):
            return QUIET
        found = await survey(backend)
        frame, is_busy = frame_of(found, self._before), True
        if self._before is not None and frame_of(self._before, self._before) == frame:
            is_busy = False
        self._before, self._is_quiet = found, not is_busy
        if not is_busy and now - self._told_at < TELL_EVERY:
            return QUIET
        self._told_at = now
        await backend.metrics.leave(uuid4().hex, write_moments([Moment(0.0, frame)]))
        while (rolled := await roll_up(backend.metrics)).taken:
            if now >= self._trim_at:
                self._trim_at = now + TRIM_EVERY
                await trim(backend.metrics, rolled.newest)
            if rolled.taken < AT_ONCE:
                break
            is_busy = True
        return EVERY if is_busy else QUIET
