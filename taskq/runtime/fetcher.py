"""Claims tasks: as many as there is room for, and waits quietly where there are none."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import uuid4

from taskq.config import WorkerOptions
from taskq.domain.routing import QueueOrder
from taskq.ports import Broker, Fetched
from taskq.runtime.executor import Executor
from taskq.runtime.latency import Latency
from taskq.runtime.pace import Pace
from taskq.runtime.service import Backoff, said, wait_for

LINGER = 0.002
"""Seconds to let a few more slots come free before a claim for very few, while the queue is known not to be empty."""
LONGEST_PAUSE = 1.0
"""Seconds after which a worker looks again whether its rate lets it claim: the rate may have been changed meanwhile."""
FREE_HINTS = 8
"""Hints in a row that may lead to nothing before the worker takes pauses: many workers are woken for few tasks."""
logger = logging.getLogger("taskq.worker")


class Fetcher:
    """Feeds the executor.

    Arguments:
        broker: hands out tasks.
        executor: takes them.
        options: queues, weights, lease and poll.
        worker: the random id of this start.
        is_held_back: whether no task should be taken now (paused, under pressure, too much to settle).
        weight_of: what is set for a queue to which the worker was given no weight.
        pace: says how many may be claimed by the worker's own rate.
        latency: is told how long claims take.
    """

    def __init__(
        self,
        broker: Broker,
        executor: Executor,
        options: WorkerOptions,
        worker: str,
        is_held_back: Callable[[], bool],
        weight_of: Callable[[str], float | None],
        pace: Pace,
        latency: Latency,
    ) -> None:
        self._broker = broker
        self._executor = executor
        self._options = options
        self._worker = worker
        self._is_held_back = is_held_back
        self._weight_of = weight_of
        self._pace = pace
        self._latency = latency
        self._weights = self._wanted_weights()
        self._order = QueueOrder(self._weights)
        self._backlog = False
        self._is_hinted = False
        self._vain = 0
        """Hints in a row that led to nothing."""
        self.stop = asyncio.Event()
        self.has_claimed = False
        """Whether the store has answered a claim yet."""
        self.refusal: BaseException | None = None
        """Why the newest claim, of all its queues at once, was not answered."""

    @property
    def is_healthy(self) -> bool:
        """Whether the store has answered the newest claim; from any thread."""
        return self.has_claimed and self.refusal is None

    async def run(self) -> None:
        """Claim and wait, claim and wait, until `stop` is set."""
        backoff = Backoff()
        request_id = uuid4().hex
        while not self.stop.is_set():
            room = await self._room()
            if room == 0:
                continue
            try:
                # The same request id until the claim is answered: a claim whose reply was lost hands out the same
                # tasks again.
                asked_at = time.monotonic()
                fetched = await self._claim(room, request_id)
                self._note_answer()  # here, for it may be long until the next one
                request_id = uuid4().hex
                self._pace.spend(len(fetched.deliveries))
                self._executor.accept(fetched.deliveries, asked_at)
                self._backlog = len(fetched.deliveries) >= room
                if fetched.deliveries:
                    self._vain, self._is_hinted = 0, False
                else:
                    await self._calm()
                    self._is_hinted = await self._wait(fetched.next_due)
                backoff.reset()
            except Exception as error:  # noqa: BLE001 - whatever an adapter raises must not end the worker
                self._note_refusal(error)
                await wait_for(self.stop, backoff.pause())

    def retune(self, options: WorkerOptions) -> None:
        """Other weights of the same queues, from the next claim on."""
        self._options = options

    async def _room(self) -> int:
        """How many tasks to ask for; waits where there is no room."""
        self._executor.freed.clear()
        room = 0 if self._is_held_back() else self._executor.slots.room()
        if room == 0:
            # The pause bounds how late the end of a pause or of pressure is noticed.
            await self._either(self._executor.freed.wait(), 0.1)
            return 0
        if self._backlog and room < self._options.concurrency // 8:
            await wait_for(self.stop, LINGER)
            room = self._executor.slots.room()
        allowed = self._pace.allowed()
        if allowed == 0:
            await wait_for(self.stop, min(self._pace.pause(), LONGEST_PAUSE))
        return min(room, allowed)

    async def _claim(self, room: int, request_id: str) -> Fetched:
        queues, lease = self._next_queues(), self._options.lease
        with self._latency.timed():
            return await self._broker.fetch(queues, room, worker=self._worker, lease=lease, request_id=request_id)

    def _next_queues(self) -> Sequence[str]:
        """The queues in the order of this claim, by their weights as they are now."""
        weights = self._wanted_weights()
        if weights != self._weights:
            self._weights, self._order = weights, QueueOrder(weights)
        return self._order.next()

    def _wanted_weights(self) -> dict[str, float]:
        given = self._options.queues.items()
        return {queue: weight or self._weight_of(queue) or 1.0 for queue, weight in given}

    async def _wait(self, next_due: float | None) -> bool:
        """Wait for a hint, but no longer than until the next task is due, or the poll; whether a hint came."""
        poll = self._options.poll * random.uniform(0.9, 1.0)
        timeout = poll if next_due is None else min(poll, next_due + 0.001)
        return bool(await self._either(self._broker.wait(list(self._options.queues), timeout), timeout + 1.0))

    async def _calm(self) -> None:
        """Pause, longer each time, while hints lead to nothing: whatever gives them must not keep a worker spinning."""
        self._vain = self._vain + 1 if self._is_hinted else 0
        if self._vain > FREE_HINTS:
            await wait_for(self.stop, min(0.5, 0.001 * 2.0 ** min(self._vain - FREE_HINTS, 10)))

    async def _either(self, waiting: Coroutine[Any, Any, bool], timeout: float) -> bool | None:
        """Wait for `waiting` or for `stop`, whichever comes first; what `waiting` gave, None where it did not end."""
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self.stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return tasks[0].result() if tasks[0] in done else None

    def _note_answer(self) -> None:
        if self.refusal is not None:
            logger.info("the store answers again")
        self.has_claimed, self.refusal = True, None

    def _note_refusal(self, error: BaseException) -> None:
        log = logger.warning if self.refusal is None else logger.debug
        log("the store does not answer; running tasks go on, and the worker tries again: %s", said(error))
        self.refusal = error
