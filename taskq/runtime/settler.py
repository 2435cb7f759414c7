"""Tells the store what became of each run; batches form by themselves while one is on its way."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from taskq.domain.fingerprint import fingerprint
from taskq.domain.message import Delivery
from taskq.domain.outcome import Bury, Complete, Crash, Fail, Release, Retry, Settlement, Snooze, give_up
from taskq.domain.record import DeadReason, Failure
from taskq.errors import BackendUnavailable, OutcomeUnknown, SchemaMismatch, UnsafeStore
from taskq.ports import Broker, Settled, SettleStatus
from taskq.runtime.service import Backoff, said

BATCH = 200
HIGH_WATER = 2000
"""Settlements on their way, above which the worker takes no more tasks."""
STORE_IS_AWAY = (BackendUnavailable, OutcomeUnknown, SchemaMismatch, UnsafeStore)
logger = logging.getLogger("taskq.worker")


class Settler:
    """Takes decisions and applies them, a batch at a time; a lost connection only delays them.

    Arguments:
        broker: applies them.
        hooks: called with each (delivery, settlement) that the store has accepted.
    """

    def __init__(self, broker: Broker, hooks: tuple[Callable[[Delivery, Settlement], None], ...] = ()) -> None:
        self._broker = broker
        self._hooks = hooks
        self._waiting: deque[Settled] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.held: dict[tuple[str, int], Delivery] = {}
        """Decided but not yet accepted by the store: their leases are still to be extended."""
        self.settled = 0
        """Runs settled since the start."""

    @property
    def is_full(self) -> bool:
        """Whether so many wait that no more tasks should be taken."""
        return len(self._waiting) > HIGH_WATER

    def put(self, delivery: Delivery, settlement: Settlement) -> None:
        """Take a decision; never blocks."""
        named = settlement if isinstance(settlement, Complete) else _fingerprinted(settlement)
        self._waiting.append(Settled(delivery, named))
        self.held[delivery.id, delivery.fence] = delivery
        self._idle.clear()
        self._arrived.set()

    def accepted(self, delivery: Delivery, settlement: Settlement) -> None:
        """Note a decision that the store has from somebody else: the run itself, in a transaction of its task."""
        self._accepted([Settled(delivery, settlement)], [SettleStatus.APPLIED])

    async def run(self) -> None:
        """Apply decisions until cancelled."""
        while True:
            await self._arrived.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if batch:
                await self._apply(batch)
            else:
                self._arrived.clear()
                self._idle.set()

    async def _apply(self, batch: list[Settled]) -> None:
        """Tell the store, for as long as it takes."""
        backoff = Backoff()
        while batch:
            try:
                statuses = await self._broker.settle(batch)
            except Exception as error:  # noqa: BLE001 - nothing may end the settler: leases are extended meanwhile
                refused = batch if isinstance(error, STORE_IS_AWAY) else await self._apply_apart(batch)
                if refused:
                    pause = backoff.pause()
                    logger.warning("settling %d tasks failed, next try in %.1f s: %s", len(refused), pause, said(error))
                    await asyncio.sleep(pause)
                batch = refused
            else:
                self._accepted(batch, statuses)
                return

    async def _apply_apart(self, batch: list[Settled]) -> list[Settled]:
        """Tell the store one by one what it refused together: what it can never hold must not hold up the others.

        Returns:
            What it refuses even so: the fault lies not with what it is told.
        """
        refused = []
        for settled in batch:
            try:
                self._accepted([settled], await self._broker.settle([settled]))
            except STORE_IS_AWAY:
                refused.append(settled)
            except Exception as error:  # noqa: BLE001 - whatever an adapter makes of a value that it cannot store
                if not await self._bury_instead(settled.delivery, error):
                    refused.append(settled)
        return refused

    async def _bury_instead(self, delivery: Delivery, error: Exception) -> bool:
        """Give up a task whose outcome the store does not take, with a failure that says so; whether it takes that."""
        failure = Failure("OutcomeRefused", f"the store does not take the outcome of this run: {type(error).__name__}")
        settled = Settled(delivery, _fingerprinted(give_up(delivery, DeadReason.REJECTED, failure)))
        try:
            self._accepted([settled], await self._broker.settle([settled]))
        except Exception:  # noqa: BLE001 - then all of it is told again later
            return False
        return True

    async def flush(self, timeout: float) -> bool:
        """Wait until every decision is applied, at most `timeout` seconds; whether all are."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _accepted(self, batch: list[Settled], statuses: list[SettleStatus]) -> None:
        for (delivery, settlement), status in zip(batch, statuses, strict=True):
            self.held.pop((delivery.id, delivery.fence), None)
            self.settled += not isinstance(settlement, Release)
            if status in (SettleStatus.STALE, SettleStatus.GONE):
                logger.warning(
                    "task %s (%s): its lease was lost, so the outcome of this run is dropped",
                    *(delivery.id, delivery.name),
                    extra=_fields(delivery),
                )
                continue
            if not isinstance(settlement, Complete):
                _log(delivery, settlement)
            elif logger.isEnabledFor(logging.DEBUG):
                logger.debug("task %s (%s) completed", delivery.id, delivery.name, extra=_fields(delivery))
            for hook in self._hooks:
                try:
                    hook(delivery, settlement)
                except (Exception, SystemExit) as error:  # noqa: BLE001 - a hook must not undo what is settled
                    logger.error("a middleware's on_settled failed: %s", said(error))


def _fingerprinted(settlement: Settlement) -> Settlement:
    """The settlement with a fingerprint for a failure that no exception has made; those have one of their own."""
    match settlement:
        case Retry(failure=failure) | Bury(failure=failure) | Fail(failure=failure) | Crash(failure=failure):
            pass
        case Snooze(failure=Failure() as failure):
            pass
        case _:
            return settlement
    if failure.fingerprint:
        return settlement
    named = replace(failure, fingerprint=fingerprint(failure.type, failure.message))
    return settlement._replace(failure=named)


def _log(delivery: Delivery, settlement: Settlement) -> None:
    """Say what became of a run that did not complete: the kind of failure, never its message or arguments."""
    id, name = delivery.id, delivery.name
    match settlement:
        case Release() | Snooze():
            logger.debug("task %s (%s) was put back", id, name, extra=_fields(delivery))
            return
        case Retry(delay, failure):
            text = f"task {id} ({name}) failed with {failure.type}, attempt {delivery.attempt}; again in {delay:.1f} s"
        case Bury(reason, failure):
            text = f"task {id} ({name}) went to the dead-letter queue: {reason} ({failure.type})"
        case Fail(reason, failure):
            text = f"task {id} ({name}) failed for good: {reason} ({failure.type})"
        case Crash():
            text = f"task {id} ({name}) killed its process"
        case _:
            logger.info("task %s (%s): %s", id, name, type(settlement).__name__.lower(), extra=_fields(delivery))
            return
    logger.warning(text, extra=_fields(delivery))


def _fields(delivery: Delivery) -> dict[str, object]:
    return {
        "taskq": {
            "task_id": delivery.id,
            "task": delivery.name,
            "queue": delivery.queue,
            "attempt": delivery.attempt,
            "worker_id": delivery.worker,
        }
    }
