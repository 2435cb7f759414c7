"""Runs deliveries: on the loop, in threads, in processes; and hands each outcome to the settler."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from taskq import blocking
from taskq.app import App
from taskq.config import WorkerOptions
from taskq.context import TaskContext, current_context
from taskq.domain import outcome as domain
from taskq.domain.envelope import unseal
from taskq.domain.message import Delivery
from taskq.domain.outcome import CancelledRun, Failed, Interrupted, Outcome, Settlement, Succeeded, Unknown
from taskq.domain.record import Failure, Progress
from taskq.errors import CorruptRecord, InvalidPayload
from taskq.headers import decode_headers
from taskq.registry import importable_module
from taskq.runtime.child import Assignment
from taskq.runtime.failures import outcome_of, result_of, undecodable
from taskq.runtime.run import Run, StopReason
from taskq.runtime.slots import SOLITUDE, Slots
from taskq.runtime.threads import Raised, ThreadPool
from taskq.runtime.verdict import verdict
from taskq.task import Task

START_UP = 60.0
"""Seconds that a child process may take to start and import before its task begins."""
GRACE = 5.0
"""Seconds that a run gets to end by itself after it was told to; then its slot is given up."""
logger = logging.getLogger("taskq.worker")

Settle = Callable[[Delivery, Settlement], None]


class Executor:
    """Holds the deliveries of this worker from their claim until their settlement is decided.

    Arguments:
        app: where task names are looked up.
        options: how many of each kind may run at once.
        settle: takes each decision.
        unsettled: how many decisions the store has not accepted yet.
        state: what the application's lifespan yielded.
    """

    def __init__(
        self, app: App, options: WorkerOptions, settle: Settle, unsettled: Callable[[], int], state: Any = None
    ) -> None:
        self._app = app
        self._settle = settle
        self._unsettled = unsettled
        self._state = state
        self._threads: ThreadPool | None = None
        self._children: Any = None
        self._options = options
        self.is_closing = False
        """Set when the worker stops: what is still handed in goes straight back."""
        self._opening_children = asyncio.Lock()
        self.slots = Slots(options, self._begin, self._is_alone, self._put_off)
        self.runs: dict[str, Run] = {}
        """Everything held here: waiting for a slot, or running."""
        self.freed = asyncio.Event()
        """Set whenever there may be room for more."""

    # ------------------------------------------------------------ taking in

    def accept(self, deliveries: Iterable[Delivery], claimed_at: float) -> None:
        """Take deliveries that were claimed; `claimed_at` is the monotonic time before the claim was asked for."""
        for delivery in deliveries:
            if self.is_closing:
                self._settle(delivery, domain.Release())
                continue
            held = self.runs.get(delivery.id)
            if held is not None:
                # A worker never starts an id that it already holds: its own older run, whose lease was lost, must
                # end first.
                if held.delivery.fence != delivery.fence:
                    self.stop_run(held, StopReason.LOST)
                    self._settle(delivery, domain.Snooze(1.0))
                continue
            run = Run(delivery, claimed_at)
            self.runs[delivery.id] = run
            refusal = self._prepare(run)
            if refusal is None:
                self.slots.take(run)
            else:
                self._end(run, refusal)
        self.slots.widen()

    def _prepare(self, run: Run) -> Outcome | None:
        """Find the task and open the record; an outcome where that cannot be done."""
        delivery = run.delivery
        task = self._app.tasks.find(delivery.name)
        if task is None:
            return Unknown()
        run.task = task
        try:
            run.payload, headers = unseal(delivery.id, delivery.name, delivery.body)
            run.headers = decode_headers(headers)
        except CorruptRecord as error:
            return undecodable(error)
        return None

    def _begin(self, run: Run) -> None:
        """A slot is free: start the run in it."""
        now = time.monotonic()
        run.started_at = now
        if now > (run.renewed_at or run.claimed_at) + self._options.lease:
            self._drop(run)
            return
        timeout = run.timeout
        if timeout is not None:
            # A child tells when it is ready to begin; until then the clock runs for its start.
            run.deadline = now + timeout + (START_UP if run.task.executor == "process" else 0.0)
        run.handle = asyncio.get_running_loop().create_task(self._run(run))

    def _is_alone(self, suspect: Run) -> bool:
        """Whether nobody who began lately shares a death of this process with the suspect.

        Who waits for a slot is given back; who has run for long is not waited for.
        """
        now = time.monotonic()
        is_alone = self._unsettled() == 0
        for run in tuple(self.runs.values()):
            if run is suspect:
                continue
            if run.started_at is None:
                self.stop_run(run, StopReason.SHUTDOWN)
                is_alone = False
            elif now - run.started_at < SOLITUDE:
                is_alone = False
        return is_alone

    def _put_off(self, suspect: Run) -> None:
        """Let another worker have a suspect, or this one later."""
        suspect.is_over = True
        self.runs.pop(suspect.delivery.id, None)
        self._settle(suspect.delivery, domain.Snooze(SOLITUDE))
        self.freed.set()

    # ------------------------------------------------------------ running

    async def _run(self, run: Run) -> None:
        context = self._context(run)
        current_context.set(context)
        try:
            if self._app.middleware.around_run:
                outcome = await self._app.middleware.wrap(context, lambda: self._call(run, context))()
            else:
                outcome = await self._call(run, context)
        except asyncio.CancelledError:
            outcome = self._why_stopped(run)
        except BaseException as error:  # noqa: BLE001 - a middleware raised; SystemExit too ends only the run
            outcome = outcome_of(run.task, error)
        self._end(run, outcome)

    async def _call(self, run: Run, context: TaskContext) -> Outcome:
        """Run the task's function where it belongs, and turn whatever happens into an outcome."""
        task = run.task
        if task.executor == "process":
            return await self._call_child(run)
        try:
            args, kwargs = task.codec.inject(*task.codec.decode(run.payload), context)
        except InvalidPayload as error:
            return undecodable(error)
        try:
            if task.executor == "async":
                value = await task.function(*args, **kwargs)
            else:
                value = await self._call_thread(run, task, args, kwargs)
                if run.is_aware:
                    # It looked, saw that it should end, and returned: that is how a thread stops, not a result.
                    return self._why_stopped(run)
            return await self._keep_result(run, result_of(task, value))
        except asyncio.CancelledError:
            return self._why_stopped(run)
        except Raised as raised:
            return self._after(run, outcome_of(task, raised.error))
        except BaseException as error:  # noqa: BLE001 - SystemExit and MemoryError end the run, not the worker
            return self._after(run, outcome_of(task, error))

    async def _keep_result(self, run: Run, outcome: Outcome) -> Outcome:
        """Where results live on another backend they are written there first, under this run's fence."""
        if not isinstance(outcome, Succeeded):
            return outcome
        result, limit = outcome.result, self._app.settings.max_result
        if len(result) > limit:
            text = f"the result takes {len(result):,} bytes, over max_result ({limit:,}): store it elsewhere"
            return Failed(Failure("ResultTooLarge", text))
        detached = await self._app.stores.detached_results() if self._app.stores.has_detached_results else None
        if detached is None:
            return outcome
        retention = run.task.declared.retention
        await detached.put(run.delivery.id, run.delivery.fence, result, retention)
        return Succeeded(b"null")

    async def _call_thread(self, run: Run, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._threads is None:
            self._threads = ThreadPool(self._options.threads)
        loop = asyncio.get_running_loop()

        def job() -> Any:
            blocking.worker_loop.set(loop)
            return task.function(*args, **kwargs)

        future = self._threads.submit(job)
        try:
            # Shielded: a thread cannot be cancelled, only asked (ctx.cancelled) and, after a grace, given up.
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._threads.abandon(future)
            raise

    async def _call_child(self, run: Run) -> Outcome:
        children = await self._open_children()
        function = run.task.function
        headers = _sealed_headers(run)
        module = importable_module(function.__module__)
        assignment = Assignment(module, function.__qualname__, tuple(run.delivery), run.payload, headers, run.timeout)
        ended, kill = children.submit(assignment)
        try:
            outcome = await asyncio.shield(ended)
        except asyncio.CancelledError:
            kill()
            raise
        if outcome is None:
            return self._why_stopped(run)
        if isinstance(outcome, Succeeded):
            return await self._keep_result(run, outcome)
        return self._after(run, outcome)

    async def _open_children(self) -> Any:
        async with self._opening_children:
            if self._children is None:
                from taskq.runtime.processes import ChildPool  # loaded only by workers that meet a process task

                of_processes = (task.function for task in self._app.tasks if task.executor == "process")
                preload = tuple(sorted({importable_module(function.__module__) for function in of_processes}))
                loop = asyncio.get_running_loop()
                self._children = await asyncio.to_thread(
                    ChildPool, self._options.processes, self._reported, preload, loop
                )
            return self._children

    def _reported(self, key: tuple[str, int], progress: Progress | None) -> None:
        """A child says how far it is; None: it begins."""
        run = self.runs.get(key[0])
        if run is None or run.delivery.fence != key[1]:
            return
        if progress is not None:
            run.report(progress)
        elif run.timeout is not None:
            run.deadline = time.monotonic() + run.timeout

    def _context(self, run: Run) -> TaskContext:
        deadline = None
        if run.deadline is not None:
            deadline = datetime.now(UTC) + timedelta(seconds=run.deadline - time.monotonic())
        metadata = run.headers.metadata
        return TaskContext(
            run.delivery, run, deadline=deadline, metadata=metadata, state=self._state, origin=run.task.submitter
        )

    # ------------------------------------------------------------ ending

    def _after(self, run: Run, outcome: Outcome) -> Outcome:
        """What the task raised after it was told to stop is only its way of stopping."""
        if run.stop_reason in (StopReason.CANCEL, StopReason.SHUTDOWN, StopReason.LOST):
            return self._why_stopped(run)
        return outcome

    def _why_stopped(self, run: Run) -> Outcome:
        match run.stop_reason:
            case StopReason.TIMEOUT:
                return Failed(Failure("TaskTimeout", f"it ran longer than its timeout of {run.timeout:g} s"))
            case StopReason.CANCEL:
                return CancelledRun()
            case StopReason.SHUTDOWN | StopReason.LOST:
                return Interrupted()
            case None:
                return Failed(
                    Failure("CancelledError", "the task cancelled itself: a CancelledError left its function")
                )

    def _end(self, run: Run, outcome: Outcome) -> None:
        """Decide, once, what becomes of the task."""
        if run.is_over:
            return
        run.is_over = True
        self.runs.pop(run.delivery.id, None)
        if run.stop_reason is not StopReason.LOST:
            self._settle(run.delivery, verdict(run, outcome))
        self.slots.give_back(run)
        self.freed.set()

    def _drop(self, run: Run) -> None:
        """Forget a run whose lease has lapsed before it began: another worker has it, or will."""
        run.is_over = True
        self.runs.pop(run.delivery.id, None)
        self.slots.give_back(run)
        self.freed.set()

    # ------------------------------------------------------------ stopping runs

    def stop_run(self, run: Run, reason: StopReason) -> None:
        """Tell a run to end; one that has not begun ends at once."""
        if run.stop_reason is not None or run.is_over:
            return
        run.stop_reason = reason
        run.stopped_at = time.monotonic()
        if run.started_at is None:
            self.slots.withdraw(run)
            self._end(run, self._why_stopped(run))
        elif run.handle is not None and run.task.executor != "thread":
            run.handle.cancel()

    def stop_ids(self, ids: Iterable[str], reason: StopReason) -> None:
        """Tell the runs of these ids to end."""
        for id in ids:
            if (run := self.runs.get(id)) is not None:
                self.stop_run(run, reason)

    def watch(self, now: float) -> None:
        """End runs over their timeout, and give up those that were told to end and do not."""
        for run in tuple(self.runs.values()):
            if run.deadline is not None and run.stop_reason is None and now >= run.deadline:
                self.stop_run(run, StopReason.TIMEOUT)
            if run.stop_reason is not None and run.started_at is not None and now >= run.stopped_at + GRACE:
                self._give_up(run)

    def _give_up(self, run: Run) -> None:
        logger.error(
            "task %s (%s) does not end %g s after its %s; its slot is given up",
            *(run.delivery.id, run.delivery.name, GRACE, run.stop_reason),
        )
        if run.handle is not None:
            run.handle.cancel()
        self._end(run, self._why_stopped(run))

    def give_up_all(self) -> None:
        """Decide for every run as it stands: the process ends."""
        for run in tuple(self.runs.values()):
            self._end(run, self._why_stopped(run))

    @property
    def stuck_threads(self) -> int:
        """Threads that were given up and still run."""
        return 0 if self._threads is None else self._threads.stuck

    def release_waiting(self, older_than: float) -> Sequence[Run]:
        """Give back what has waited for a slot since before `older_than` (monotonic seconds)."""
        waiting = self.slots.waiting_since_before(older_than)
        for run in waiting:
            self.stop_run(run, StopReason.SHUTDOWN)
        return waiting

    async def drain(self, timeout: float) -> bool:
        """Wait until nothing runs, at most `timeout` seconds; whether nothing does."""
        end = time.monotonic() + timeout
        while self.runs and (left := end - time.monotonic()) > 0:
            handles = [run.handle for run in self.runs.values() if run.handle is not None]
            await asyncio.wait(handles, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return not self.runs

    def close(self) -> None:
        """Let the threads and the children end."""
        if self._threads is not None:
            self._threads.close()
        if self._children is not None:
            self._children.close()


def _sealed_headers(run: Run) -> bytes:
    return unseal(run.delivery.id, run.delivery.name, run.delivery.body)[1]
