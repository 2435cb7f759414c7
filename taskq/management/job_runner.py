"""Goes on with jobs whose runner has died, or that nobody has begun."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from taskq.app import App
from taskq.errors import NotApplied, TaskqError
from taskq.management.access import Actor, Role
from taskq.management.jobs import JobDesk, JobNotFound
from taskq.runtime.service import said

EVERY = 15.0
"""Seconds between two looks for jobs that wait: whoever has made one runs it, unless it has died."""
GRACE = timedelta(seconds=10)
"""How old a job must be: who has made it is likely about to run it."""
logger = logging.getLogger("taskq.jobs")


class JobRunner:
    """Runs one job at a time, whichever waits.

    Arguments:
        app: whose store it is.
        name: by which it is known.
        now: the time; that of this process.
    """

    def __init__(self, app: App, name: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._desk = JobDesk(app, Actor(name, [Role.ADMIN]))
        self._now = now

    async def tick(self) -> float:
        """Run what waits; returns the seconds to the next time."""
        for id in await self._desk.waiting():
            try:
                if self._now() - (await self._desk.get(id)).created_at >= GRACE:
                    job = await self._desk.run(id)
                    logger.info("job %s (%s) is %s after %d tasks", id, job.action, job.state, job.done)
            except (NotApplied, JobNotFound) as error:  # somebody else was first, or goes on with it
                logger.debug("job %s: %s", id, said(error))
            except TaskqError as error:
                logger.warning("job %s is left for another try: %s", id, said(error))
        return EVERY * random.uniform(0.8, 1.2)
