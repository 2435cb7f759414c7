"""Whether the store is still one that this release can work on: it may be migrated, or put back, meanwhile."""

from __future__ import annotations

import logging

from taskq.errors import SchemaMismatch, TaskqError, UnsafeStore
from taskq.ports import Backend
from taskq.runtime.service import said

EVERY, AGAIN = 120.0, 10.0
"""Seconds between two looks: while it is fit, and while it is not, or is away."""
logger = logging.getLogger("taskq.worker")


class Fitness:
    """Looks now and then, for claims alone do not tell: a schema of which a part is missing may still hand out tasks.

    Arguments:
        backend: the store, which was looked at when the worker started.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._has_begun = False
        self.trouble: TaskqError | None = None
        """Why it is not fit."""

    async def tick(self) -> float:
        """Look, but for the first time, which was the start; returns the seconds to the next one."""
        if not self._has_begun:
            self._has_begun = True
            return EVERY
        try:
            await self._backend.check()
        except (SchemaMismatch, UnsafeStore) as error:
            if self.trouble is None:
                logger.error("the store is not fit to be worked on: %s", error)
            self.trouble = error
        except TaskqError as error:  # it is away, which the claims tell
            logger.debug("the store could not be looked at: %s", said(error))
            return AGAIN
        else:
            if self.trouble is not None:
                logger.info("the store is fit to be worked on again")
            self.trouble = None
        return EVERY if self.trouble is None else AGAIN
