"""What is set for the queues that a worker serves, looked up now and then: defaults for their tasks, and weights."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from taskq.ports import QueueControl, QueueSettings
from taskq.runtime.service import said

REFRESH_EVERY = 60.0
"""Seconds until a change of a queue's settings has reached every worker, at the latest: where its hint got lost."""
_UNSET = QueueSettings()
logger = logging.getLogger("taskq.worker")


class SettingsWatch:
    """Knows the settings of some queues.

    Arguments:
        control: where they are set.
        queues: of which.
    """

    def __init__(self, control: QueueControl, queues: Sequence[str]) -> None:
        self._control = control
        self._queues = queues
        self._known: Mapping[str, QueueSettings] = {}

    def of(self, queue: str) -> QueueSettings:
        """What holds for a queue, as it was when it was looked up last."""
        return self._known.get(queue, _UNSET)

    async def tick(self) -> float:
        """Look all of them up; returns the seconds to the next time."""
        try:
            found = await asyncio.gather(*(self._control.settings(queue) for queue in self._queues))
        except Exception as error:  # noqa: BLE001 - what was known last holds until the store answers again
            logger.debug("the settings of the queues could not be read: %s", said(error))
        else:
            self._known = dict(zip(self._queues, found, strict=True))
        return REFRESH_EVERY
