"""From the outcome of a run to its settlement, with the retry policy that holds for it."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from taskq.domain import outcome as domain
from taskq.domain.outcome import Crashed, Failed, Outcome, Rejected, Settlement, Succeeded
from taskq.domain.record import DeadReason, Failure
from taskq.domain.retry import DEFAULT_RETRY, LONGEST, RetryStrategy, from_dict
from taskq.errors import NotApplied
from taskq.runtime.run import Run
from taskq.runtime.service import said

LEAST_SNOOZE = 0.1
"""Seconds for which a task is put off at the least: one that asks for none, again and again, must not spin."""
logger = logging.getLogger("taskq.worker")


def verdict(run: Run, outcome: Outcome) -> Settlement:
    """Decide what becomes of a task whose run has ended; a retry strategy that raises buries it, and loses it never."""
    if isinstance(outcome, Succeeded):  # which no policy has a say in
        return domain.settle(run.delivery, outcome, DEFAULT_RETRY, random.random)
    try:
        age = run.age(time.monotonic())
        return _within_time(domain.settle(run.delivery, outcome, _policy(run), random.random, age))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
        logger.error("the retry strategy of %s failed: %s", run.delivery.name, said(error))
        failure = Failure(type(error).__name__, f"the retry strategy failed: {error}")
        return domain.settle(run.delivery, Rejected(failure, DeadReason.EXHAUSTED), DEFAULT_RETRY, random.random)


def checked(outcome: object) -> Outcome:
    """What a middleware gave; a failure in its place where that cannot be settled.

    >>> checked(None).failure.message
    'an around_run of a middleware gave NoneType: it must return what call_next() gave it'
    >>> checked(Failed("no such user")).failure.message
    'an around_run of a middleware gave Failed with str for a failure: it must be a Failure with texts'
    """
    given = type(outcome).__name__
    if not isinstance(outcome, Outcome):
        text = f"{given}: it must return what call_next() gave it"
    elif isinstance(outcome, Failed | Rejected | Crashed) and not _is_text(outcome.failure):
        text = f"{given} with {type(outcome.failure).__name__} for a failure: it must be a Failure with texts"
    else:
        return outcome
    return Failed(Failure("MiddlewareError", f"an around_run of a middleware gave {text}"))


def _is_text(failure: object) -> bool:
    return isinstance(failure, Failure) and all(isinstance(text, str) for text in astuple(failure))


def _policy(run: Run) -> RetryStrategy:
    """The retry policy that holds: what the call says, else the task, else the queue, else the usual one."""
    if not hasattr(run, "headers"):
        return DEFAULT_RETRY
    declared = run.task.declared.retry
    said_by_call = _from_plain(run.headers.retry, f"the retry policy given with task {run.delivery.id}")
    if said_by_call is not None or declared is not None:
        return said_by_call or declared or DEFAULT_RETRY
    return _from_plain(run.settings.retry, f"the retry policy of queue {run.delivery.queue}") or DEFAULT_RETRY


def _from_plain(data: Mapping[str, Any] | None, what: str) -> RetryStrategy | None:
    if data is None:
        return None
    try:
        return from_dict(data)
    except NotApplied:
        logger.warning("%s is invalid; the next one is used", what)
        return None


def _within_time(settlement: Settlement) -> Settlement:
    """The settlement with a delay that every store can hold: a task and a strategy may ask for any.

    Raises:
        TypeError, ValueError: it asks for something that is no number.
    """
    if not isinstance(settlement, domain.Retry | domain.Snooze):
        return settlement
    if math.isnan(settlement.delay):
        raise ValueError("a delay of nan seconds")
    least = LEAST_SNOOZE if isinstance(settlement, domain.Snooze) else 0.0
    return settlement._replace(delay=min(max(settlement.delay, least), LONGEST))
