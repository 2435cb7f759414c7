"""Deliveries for which this worker lacks something: put off for a while, since a deployment is the usual cause."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress

from taskq.domain.message import Delivery
from taskq.domain.outcome import Settlement, Unknown, may_have_been_unknown_for_long, settle, unknown_in_a_row
from taskq.domain.retry import DEFAULT_RETRY
from taskq.ports import Inspector

WARN_EVERY = 60.0
"""Seconds between two warnings of the same lack of the same name."""
MOST_NAMES = 1000
logger = logging.getLogger("taskq.worker")


class Strangers:
    """Decides what becomes of deliveries whose name, version or key is unknown.

    Arguments:
        decide: takes each decision.
        inspector: knows how often a task was put off already.
    """

    def __init__(self, decide: Callable[[Delivery, Settlement], None], inspector: Inspector) -> None:
        self._decide = decide
        self._inspector = inspector
        self._warned_at: dict[tuple[str, str], float] = {}
        self.lookups: set[asyncio.Task[None]] = set()
        """Those under way, each about one delivery that is not settled yet."""

    def take(self, delivery: Delivery, unknown: Unknown) -> None:
        """Put off, or bury, one delivery."""
        self._warn(delivery, unknown)
        if not may_have_been_unknown_for_long(delivery, unknown.lack):
            self._settle(delivery, unknown)
            return
        lookup = asyncio.create_task(self._look_back(delivery, unknown))
        self.lookups.add(lookup)
        lookup.add_done_callback(self.lookups.discard)

    async def _look_back(self, delivery: Delivery, unknown: Unknown) -> None:
        times = 0
        with suppress(Exception):  # once more, rather than a grave on no evidence
            record = await self._inspector.get(delivery.id)
            times = 0 if record is None else unknown_in_a_row(record.attempts, unknown.lack)
        self._settle(delivery, unknown._replace(times=times))

    def _settle(self, delivery: Delivery, outcome: Unknown) -> None:
        self._decide(delivery, settle(delivery, outcome, DEFAULT_RETRY, random.random, delivery.age))

    def _warn(self, delivery: Delivery, unknown: Unknown) -> None:
        now, key = time.monotonic(), (delivery.name, unknown.lack.kind)
        if now - self._warned_at.get(key, -WARN_EVERY) < WARN_EVERY:
            return
        if len(self._warned_at) >= MOST_NAMES:
            self._warned_at.clear()
        self._warned_at[key] = now
        what = unknown.what or f"task named {delivery.name!r}"
        hint = "" if unknown.what else " (is its module imported by the application?)"
        logger.warning(
            "no %s is known here%s: task %s and others like it are put off, and buried after %s",
            *(what, hint, delivery.id, unknown.lack.span),
            extra={"taskq": {"task_id": delivery.id, "task": delivery.name, "worker_id": delivery.worker}},
        )
