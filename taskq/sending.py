"""Sending messages to a store: in steps, until there is room, and until the newest arguments have taken their place."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from taskq.domain.message import Message
from taskq.errors import (
    FlowOver,
    IdempotencyConflict,
    LeaseLost,
    NotApplied,
    OutcomeUnknown,
    ParentNotFound,
    QueueFull,
    QuotaExceeded,
)
from taskq.ports import Enqueued, EnqueueStatus
from taskq.writing import Writer

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between two looks whether a full queue has room."""
REPLACINGS = 20
"""Times that a newer call looks for the waiting task of its key, while each that it finds has begun meanwhile."""
_THERE = (EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.REPLACED)
logger = logging.getLogger("taskq")


class Send(NamedTuple):
    """The way to a store."""

    send: Callable[[Sequence[Message]], Awaitable[list[Enqueued]]]
    step: int | None
    """Messages in one call, None: any number."""


class Sending:
    """One call on its way.

    Arguments:
        writer: writes its messages.
        payloads: the encoded arguments, one for each task.
        way: sends messages.
    """

    def __init__(self, writer: Writer, payloads: Sequence[bytes], way: Send) -> None:
        self._writer = writer
        self._payloads = payloads
        self._way = way
        self._messages: list[Message] = []
        self._headers: list[bytes] = []
        self._answers: list[Enqueued] = []

    async def run(self, block: float | None) -> list[Enqueued]:
        """Send them all.

        Arguments:
            block: seconds to wait for room in a full queue; None: not at all.
        """
        self._messages, self._headers = self._writer.messages(self._payloads)
        count, step = len(self._messages), self._way.step
        if step is None or count <= step:
            self._answers = await self._way.send(self._messages) if count else []
        else:
            for start in range(0, count, step):
                self._answers += await self._way.send(self._messages[start : start + step])
                self._check_lease(self._answers[-1:])
        if self._writer.replaces:
            await self._replace()
        if block is not None:
            await self._wait_for_room(block)
            if self._writer.replaces:
                await self._replace()  # another may have come while this one waited
        if count > 1:
            self._check_lease(self._answers)
        return self._answers

    @property
    def ids(self) -> list[str]:
        """The ids under which they were sent."""
        return [message.id for message in self._messages]

    def partly(self, name: str, error: NotApplied | OutcomeUnknown) -> NotApplied | OutcomeUnknown:
        """The error as it is true of the whole call: "nothing happened" may be true of its last step alone."""
        stored, total = self._stored, len(self._messages)
        if stored == 0:
            return error
        step = min(self._way.step or total, total - stored)
        perhaps = "then" if isinstance(error, NotApplied) else f"and perhaps some of the next {step}"
        text = f"{name}: {stored:,} of {total:,} tasks were stored, {perhaps}: {error}"
        return OutcomeUnknown(text, stored=stored)

    @property
    def _stored(self) -> int:
        """How many are there for certain: neither what has found no room, nor what is still to replace another."""
        answered = zip(self._messages, self._answers, strict=False)
        return sum(self._is_stored(message, answer) for message, answer in answered)

    def _is_stored(self, message: Message, answer: Enqueued) -> bool:
        is_to_replace = self._writer.replaces and answer.id != message.id
        return answer.status in _THERE and not (is_to_replace and answer.status is EnqueueStatus.DUPLICATE)

    def _check_lease(self, answers: Sequence[Enqueued]) -> None:
        """Raise where the run that enqueues has lost its lease after some were stored; before, the answers say it."""
        if any(answer.status is EnqueueStatus.STALE_PARENT for answer in answers) and (stored := self._stored):
            raise LeaseLost(_stale(self._messages[0].name, f"{stored:,} of {len(self._messages):,} were stored"))

    async def _replace(self) -> None:
        """Where another task waits under the key, have it take the newer arguments; one that has begun never does."""
        for place, answer in enumerate(self._answers):
            for _ in range(REPLACINGS):
                if answer.status is not EnqueueStatus.DUPLICATE or answer.id == self._messages[place].id:
                    break
                payload, headers = self._payloads[place], self._headers[place]
                [answer] = await self._way.send([self._writer.replacement(answer.id, payload, headers)])
                if answer.status is EnqueueStatus.DUPLICATE:
                    [answer] = await self._way.send([self._messages[place]])
            self._answers[place] = answer

    async def _wait_for_room(self, block: float) -> None:
        end, pause = time.monotonic() + block, FIRST_PAUSE
        while full := [n for n, answer in enumerate(self._answers) if answer.status is EnqueueStatus.FULL]:
            left = end - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(pause, left))
            pause = min(LONGEST_PAUSE, pause * 2)
            answers = await self._way.send([self._messages[n] for n in full])
            for place, answer in zip(full, answers, strict=True):
                self._answers[place] = answer


class Fullness:
    """Gives warning, once, when a queue passes its warning level."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def note(self, queue: str, answers: Sequence[Enqueued]) -> None:
        """Look at the answers of a call."""
        fills = [answer.fill for answer in answers if answer.fill is not None]
        if fills and queue not in self._warned:
            self._warned.add(queue)
            logger.warning("queue %s holds %d tasks of at most %d", queue, fills[-1].depth, fills[-1].limit)
        elif not fills and queue in self._warned and any(answer.status is EnqueueStatus.CREATED for answer in answers):
            self._warned.discard(queue)


def refuse(name: str, answer: Enqueued) -> None:
    """Raise what an answer means to the caller, if it is a refusal."""
    match answer.status:
        case EnqueueStatus.CONFLICT:
            raise IdempotencyConflict(f"{name}: this idempotency key was used before with other arguments")
        case EnqueueStatus.FULL:
            depth, limit = answer.fill or (None, None)
            raise QueueFull(name, depth, limit)
        case EnqueueStatus.STALE_PARENT:
            raise LeaseLost(_stale(name, "nothing was stored"))
        case EnqueueStatus.OVER_QUOTA:
            raise QuotaExceeded(f"{name}: its tenant has as many tasks that are not over, or bytes of them, as it may")
        case EnqueueStatus.NO_PARENT:
            raise ParentNotFound(f"{name}: it is to wait for task {answer.id}, of which there is no record")
        case EnqueueStatus.FLOW_OVER:
            over = "it has ended, was cancelled, or is not known"
            raise FlowOver(f"{name}: its workflow or batch takes no more tasks: {over}")
        case EnqueueStatus.CREATED | EnqueueStatus.DUPLICATE | EnqueueStatus.REPLACED:
            pass


def _stale(name: str, what: str) -> str:
    return f"{name}: the task that enqueues it has lost its lease; {what}"
