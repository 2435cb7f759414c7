"""From the outcome of a run to its settlement, with the retry policy that holds for it."""

from __future__ import annotations

import logging
import math
import random
import time

from taskq.domain import outcome as domain
from taskq.domain.outcome import Outcome, Rejected, Settlement
from taskq.domain.record import DeadReason, Failure
from taskq.domain.retry import DEFAULT_RETRY, LONGEST, RetryStrategy, from_dict
from taskq.errors import NotApplied
from taskq.runtime.run import Run
from taskq.runtime.service import said

logger = logging.getLogger("taskq.worker")


def verdict(run: Run, outcome: Outcome) -> Settlement:
    """Decide what becomes of a task whose run has ended; a retry strategy that raises buries it, and loses it never."""
    try:
        age = run.age(time.monotonic())
        return _within_time(domain.settle(run.delivery, outcome, _policy(run), random.random, age))
    except Exception as error:  # noqa: BLE001 - see above
        logger.error("the retry strategy of %s failed: %s", run.delivery.name, said(error))
        failure = Failure(type(error).__name__, f"the retry strategy failed: {error}")
        return domain.settle(run.delivery, Rejected(failure, DeadReason.EXHAUSTED), DEFAULT_RETRY, random.random)


def _policy(run: Run) -> RetryStrategy:
    if not hasattr(run, "headers"):
        return DEFAULT_RETRY
    if run.headers.retry is not None:
        try:
            return from_dict(run.headers.retry)
        except NotApplied:
            logger.warning("the retry policy given with task %s is invalid; its own is used", run.delivery.id)
    return run.task.declared.retry


def _within_time(settlement: Settlement) -> Settlement:
    """The settlement with a delay that every store can hold: a task and a strategy may ask for any.

    Raises:
        TypeError, ValueError: it asks for something that is no number.
    """
    if not isinstance(settlement, domain.Retry | domain.Snooze):
        return settlement
    if math.isnan(settlement.delay):
        raise ValueError("a delay of nan seconds")
    return settlement._replace(delay=min(max(settlement.delay, 0.0), LONGEST))
