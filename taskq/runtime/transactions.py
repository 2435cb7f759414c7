"""Runs that settle themselves, in a transaction with what their task does; what becomes of them at their end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Protocol, TypeVar, cast

from taskq.app import App
from taskq.config import WorkerOptions
from taskq.domain.message import Delivery
from taskq.domain.outcome import Complete, Failed, Outcome, Rejected, Settlement, Succeeded
from taskq.errors import (
    BackendUnavailable,
    ConfigError,
    LeaseLost,
    NotApplied,
    OutcomeUnknown,
    TaskqError,
    WouldBlock,
)
from taskq.ports import Backend, Capability
from taskq.ports.transactions import AsyncFrame, Frame, Isolation, SettlingBackend
from taskq.runtime.opening import seal_result
from taskq.runtime.run import Run
from taskq.runtime.service import said
from taskq.transaction import DETACHED, ELSEWHERE, Work

PATIENCE = 15.0
"""Seconds for which it is asked what became of a commit: longer than a store leaves a silent transaction open."""
FIRST_LOOK, LAST_LOOK = 0.02, 0.5
"""Seconds between two questions; they double from the first to the last."""
WRITES_COLLIDE = ("repeatable read", "serializable")
"""Levels at which a transaction cannot lock a task that was written to since it began, be it by a heartbeat."""
logger = logging.getLogger("taskq.worker")
T = TypeVar("T")


class Store(Backend, SettlingBackend, Protocol):
    """A backend with Capability.TRANSACTIONAL_SETTLE."""


class State(StrEnum):
    """How far a run's settlement by itself is."""

    OPEN = "open"
    """A transaction that completes it is being committed, or is the task's own affair."""
    DONE = "done"
    UNKNOWN = "unknown"
    """Nobody could tell whether the transaction was committed: that comes out when the lease has lapsed."""


class Transactions:
    """What the runs of one worker need to settle themselves.

    Arguments:
        app: its limits, and where it keeps results.
        options: how many connections there may be, and how long a lease is.
        store: the backend of the worker.
        accepted: told of each run that was completed so.
    """

    def __init__(
        self, app: App, options: WorkerOptions, store: Backend, accepted: Callable[[Delivery, Settlement], None]
    ) -> None:
        self.options = options
        self.max_result = app.settings.max_result
        self.accepted = accepted
        self.loop = asyncio.get_running_loop()
        self._refusal = DETACHED if app.stores.has_detached_results else ""
        if Capability.TRANSACTIONAL_SETTLE not in store.capabilities:
            self._refusal = ELSEWHERE
        else:
            self.store = cast("Store", store)
            self.lender = self.store.lender(options.transactions)

    def work_of(self, run: Run) -> Work | str:
        """What the transactions of a run need; the reason where there can be none."""
        return self._refusal or RunTransactions(self, run)


class RunTransactions:
    """See taskq.transaction.Work, and taskq.runtime.run.OwnSettlement."""

    def __init__(self, shared: Transactions, run: Run) -> None:
        self._shared = shared
        self._run = run
        self._has_frame = False
        self._state = State.OPEN
        self._result = b""

    # ------------------------------------------------------------ transactions on a connection that is lent

    def begin(self, isolation: Isolation | None) -> Frame:
        """Begin a transaction in a thread."""
        if _running_loop() is not None:
            raise WouldBlock("`with ctx.transaction()` would block the event loop here: write `async with`")
        with self._entering():
            frame = self._shared.lender.begin(isolation)
            if isolation in WRITES_COLLIDE:
                try:
                    self._ask(self._rest())
                except BaseException:
                    frame.rollback()
                    raise
        return frame

    async def abegin(self, isolation: Isolation | None) -> AsyncFrame:
        """Begin a transaction in the worker's event loop."""
        if _running_loop() is not self._shared.loop:
            raise ConfigError("`async with ctx.transaction()` is for async tasks: in a thread write `with`")
        with self._entering():
            frame = await self._shared.lender.abegin(isolation)
            if isolation in WRITES_COLLIDE:
                try:
                    await self._rest()
                except BaseException:
                    await _undisturbed(frame.rollback())
                    raise
        return frame

    def end(self, frame: Frame, result: bytes | None) -> None:
        """Commit, and complete the run where there is a result."""
        with self._leaving():
            if result is None:
                frame.commit()
                return
            try:
                with self._settling(result):
                    frame.commit(self._run.delivery, result)
            except OutcomeUnknown as error:
                self._decide(self._ask(self._look()), error)

    async def aend(self, frame: AsyncFrame, result: bytes | None) -> None:
        """The same; whoever cancels the task waits for it."""
        with self._leaving():
            await _undisturbed(self._aend(frame, result))

    async def _aend(self, frame: AsyncFrame, result: bytes | None) -> None:
        if result is None:
            await frame.commit()
            return
        try:
            with self._settling(result):
                await frame.commit(self._run.delivery, result)
        except OutcomeUnknown as error:
            self._decide(await self._look(), error)

    def undo(self, frame: Frame) -> None:
        """Roll back."""
        with self._leaving():
            frame.rollback()

    async def aundo(self, frame: AsyncFrame) -> None:
        """The same; whoever cancels the task waits for it."""
        with self._leaving():
            await _undisturbed(frame.rollback())

    # ------------------------------------------------------------ completing

    def encode(self, result: object) -> bytes:
        """A result as JSON, where this run may still be completed with one.

        Whether a transaction of the task's own was committed, so that another one comes too late, the store knows.
        """
        if self._state is not State.OPEN:
            raise NotApplied("this run was completed before: complete() is called once")
        encoded, limit = self._run.task.codec.encode_result(result), self._shared.max_result
        if len(encoded) > limit:
            raise NotApplied(
                f"the result takes {len(encoded):,} bytes, over max_result ({limit:,}): store it elsewhere"
            )
        return seal_result(self._run.task, self._run.delivery, self._run.headers, encoded)

    def is_async(self, connection: Any) -> bool:
        """Whether this is an asynchronous connection."""
        return self._shared.store.is_async(connection)

    def complete_in(self, connection: Any, result: bytes) -> None:
        """Complete the run in the task's own transaction; whether that is committed comes out at the end of the run."""
        with self._settling(result, is_done=False):
            self._shared.store.complete_in(connection, self._run.delivery, result)

    async def acomplete_in(self, connection: Any, result: bytes) -> None:
        """The same."""
        with self._settling(result, is_done=False):
            await self._shared.store.acomplete_in(connection, self._run.delivery, result)

    # ------------------------------------------------------------ at the end of the run

    @property
    def is_decided(self) -> bool:
        """Whether the store need not be told of this run any more."""
        return self._state is not State.OPEN

    @property
    def outlasts_lease(self) -> bool:
        """Whether a lost lease is no reason to end the run: its transaction tells, or has told, who was the newest."""
        return self._state is not State.UNKNOWN

    async def find_out(self, outcome: Outcome) -> None:
        """Learn whether a transaction of the task's own was committed; if not, the run ends like any other."""
        if self._state is State.OPEN:
            is_settled = await self._look()
            if is_settled is False:
                self._run.own = None
                if isinstance(outcome, Succeeded):
                    _log(logging.WARNING, self._run, "completed itself, but did not commit: what it returned counts")
                return
            self._state = State.DONE if is_settled else State.UNKNOWN
        if self._state is State.DONE:
            self._note_ignored(outcome)

    def conclude(self) -> None:
        """The run is over: tell of its completion."""
        delivery = self._run.delivery
        if self._state is State.DONE:
            self._shared.store.completed(delivery)
            self._shared.accepted(delivery, Complete(self._result))
        else:
            _log(logging.WARNING, self._run, "may have completed itself, nobody knows: it is left to its lease")

    def _note_ignored(self, outcome: Outcome) -> None:
        match outcome:
            case Failed(failure) | Rejected(failure):
                text = f"failed with {failure.type} after it had completed itself, and stays completed"
                _log(logging.WARNING, self._run, text)
            case Succeeded(result) if result == self._result:
                pass
            case _:
                _log(logging.DEBUG, self._run, "had completed itself: how it ended counts for nothing")

    # ------------------------------------------------------------ inside

    @contextmanager
    def _entering(self) -> Iterator[None]:
        """One transaction at a time: tasks that hold one and wait for another would wait for each other."""
        if self._has_frame:
            raise NotApplied("a ctx.transaction() of this task is open already: end it first, or use its connection")
        self._has_frame = True
        try:
            yield
        except BaseException:
            self._leave()
            raise

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._has_frame = False
        self._run.rests_until = 0.0

    @contextmanager
    def _settling(self, result: bytes, *, is_done: bool = True) -> Iterator[None]:
        """The run is nobody else's to settle meanwhile, and afterwards, unless it is certain that this has failed."""
        before = self._result, self._run.own
        self._result, self._run.own = result, self
        try:
            yield
        except OutcomeUnknown:
            raise
        except BaseException:
            self._result, self._run.own = before
            raise
        if is_done:
            self._state = State.DONE

    def _decide(self, is_settled: bool | None, error: OutcomeUnknown) -> None:
        """Make up our mind about a commit that broke in the middle."""
        if is_settled is None:
            self._state = State.UNKNOWN
            raise OutcomeUnknown(f"{error}; the task is left to its lease") from error
        if not is_settled:
            self._run.own = None
            raise BackendUnavailable(f"{error}; nothing was changed") from error
        self._state = State.DONE

    async def _look(self) -> bool | None:
        """Ask the store whether this run is settled; None where it cannot be told in time."""
        end, pause = time.monotonic() + PATIENCE, FIRST_LOOK
        while True:
            try:
                answer = await self._shared.store.is_settled(self._run.delivery)
            except TaskqError as error:
                _log(logging.WARNING, self._run, f"nobody can tell whether it was completed: {said(error)}")
                return None
            if answer is not None or time.monotonic() > end:
                return answer
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)

    async def _rest(self) -> None:
        """Extend the lease, and have nobody here write to the task for a while: it would fail the transaction.

        Said before the first statement of the transaction, which is what it sees the database as of.
        """
        asked_at, options, run = time.monotonic(), self._shared.options, self._run
        extension = await self._shared.store.broker.extend([run.delivery], options.lease)
        if run.delivery.id in extension.lost:
            raise LeaseLost(f"run {run.delivery.fence} of task {run.delivery.id} is no longer its newest")
        run.renewed_at = asked_at
        # A heartbeat later the lease holds for one more.
        run.rests_until = asked_at + options.lease - 2 * options.heartbeat

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Have the worker's loop answer a thread."""
        return asyncio.run_coroutine_threadsafe(question, self._shared.loop).result()


async def _undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Wait for what must not be broken off in the middle; a cancellation comes afterwards."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # so that nobody misses it
    raise cancellation


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _log(level: int, run: Run, text: str) -> None:
    logger.log(level, "task %s (%s) %s", run.delivery.id, run.delivery.name, text)
