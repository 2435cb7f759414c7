"""Deliveries of a name that this worker does not know: put off for a while, since a deployment is the usual cause."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from taskq.domain.message import Delivery
from taskq.domain.outcome import Settlement, Unknown, may_have_been_unknown_for_long, settle, unknown_in_a_row
from taskq.domain.retry import DEFAULT_RETRY
from taskq.ports import Inspector

WARN_EVERY = 60.0
"""Seconds between two warnings of the same name."""
MOST_NAMES = 1000
logger = logging.getLogger("taskq.worker")


class Strangers:
    """Decides what becomes of deliveries whose name is unknown.

    Arguments:
        decide: takes each decision.
        inspector: knows how often a task was put off already.
    """

    def __init__(self, decide: Callable[[Delivery, Settlement], None], inspector: Inspector) -> None:
        self._decide = decide
        self._inspector = inspector
        self._warned_at: dict[str, float] = {}
        self.lookups: set[asyncio.Task[None]] = set()
        """Those under way, each about one delivery that is not settled yet."""

    def take(self, delivery: Delivery) -> None:
        """Put off, or bury, one delivery."""
        self._warn(delivery)
        if not may_have_been_unknown_for_long(delivery):
            self._settle(delivery, Unknown())
            return
        lookup = asyncio.create_task(self._look_back(delivery))
        self.lookups.add(lookup)
        lookup.add_done_callback(self.lookups.discard)

    async def _look_back(self, delivery: Delivery) -> None:
        try:
            record = await self._inspector.get(delivery.id)
        except Exception:  # noqa: BLE001 - once more, rather than a grave on no evidence
            self._settle(delivery, Unknown(times=0))
        else:
            self._settle(delivery, Unknown(times=0 if record is None else unknown_in_a_row(record.attempts)))

    def _settle(self, delivery: Delivery, outcome: Unknown) -> None:
        self._decide(delivery, settle(delivery, outcome, DEFAULT_RETRY, random.random, delivery.age))

    def _warn(self, delivery: Delivery) -> None:
        now = time.monotonic()
        if now - self._warned_at.get(delivery.name, -WARN_EVERY) < WARN_EVERY:
            return
        if len(self._warned_at) >= MOST_NAMES:
            self._warned_at.clear()
        self._warned_at[delivery.name] = now
        logger.warning(
            "no task named %r is known here (is its module imported by the application?): task %s and others of that "
            "name are put off, and buried after ten minutes",
            *(delivery.name, delivery.id),
            extra={"taskq": {"task_id": delivery.id, "task": delivery.name, "worker_id": delivery.worker}},
        )
