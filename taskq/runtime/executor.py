"""Runs deliveries: on the loop, in threads, in processes; and hands each outcome to the settler."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from taskq.app import App
from taskq.config import WorkerOptions
from taskq.context import TaskContext, current_context
from taskq.domain import outcome as domain
from taskq.domain.envelope import unseal
from taskq.domain.message import Delivery
from taskq.domain.outcome import CancelledRun, Failed, Interrupted, Outcome, Settlement, Succeeded, Unknown
from taskq.domain.record import Failure
from taskq.errors import CorruptRecord
from taskq.headers import decode_headers
from taskq.middleware import CallNext
from taskq.ports import Inspector, QueueSettings
from taskq.runtime import calls
from taskq.runtime.detached import keep_result
from taskq.runtime.failures import outcome_of, result_of, undecodable
from taskq.runtime.opening import UNREADABLE, lacking, late_limits, open_call, seal_outcome
from taskq.runtime.resuming import prepared
from taskq.runtime.run import Run, StopReason
from taskq.runtime.slots import SOLITUDE, Slots
from taskq.runtime.strangers import Strangers
from taskq.runtime.threads import Raised, ThreadPool
from taskq.runtime.unresponsive import Unresponsive
from taskq.runtime.verdict import checked, verdict
from taskq.runtime.wire import Begun, Kept, Progressed
from taskq.transaction import ELSEWHERE, Work

if TYPE_CHECKING:
    from taskq.runtime.processes import Children

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
        last_word: writes what a run reported last.
        inspector: knows the history of tasks.
        settings: what is set for a queue.
        state: what the application's lifespan yielded.
        work_of: what the transactions of a run need, or why there can be none.
    """

    def __init__(
        self,
        app: App,
        options: WorkerOptions,
        settle: Settle,
        unsettled: Callable[[], int],
        last_word: Callable[[Run], Awaitable[None]],
        inspector: Inspector,
        settings: Callable[[str], QueueSettings],
        state: Any = None,
        work_of: Callable[[Run], Work | str] = lambda run: ELSEWHERE,
    ) -> None:
        self._app = app
        self._settle = settle
        self._unsettled = unsettled
        self._last_word = last_word
        self._settings = settings
        self._state = state
        self._work_of = work_of
        self._threads: ThreadPool | None = None
        self._children: Children | None = None
        self._options = options
        self.is_closing = False
        """Set while the worker stops or drains: what is still handed in goes straight back."""
        self.slots = Slots(options, self._begin, self._is_alone, self._put_off)
        self._strangers = Strangers(settle, inspector)
        self.runs: dict[str, Run] = {}
        """Everything held here: waiting for a slot, or running."""
        self.unresponsive = Unresponsive()
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
            task = self._app.tasks.find(delivery.name)
            if task is None:
                self._strangers.take(delivery, Unknown())
                continue
            run = Run(delivery, claimed_at, task, self._settings(delivery.queue))
            self.runs[delivery.id] = run
            refusal = self._prepare(run)
            if refusal is not None:
                self._end(run, refusal)
            elif run.task.terms.has_limits and (late := late_limits(run)):
                self._leave(run, domain.Release(late))
            else:
                self.slots.take(run)
        self.slots.widen()

    def _prepare(self, run: Run) -> Outcome | None:
        """Open the record; an outcome where that cannot be done, or the task not be run here."""
        delivery = run.delivery
        try:
            run.payload, run.sealed_headers = unseal(delivery.id, delivery.name, delivery.body)
            run.headers = decode_headers(run.sealed_headers)
        except (CorruptRecord, ValueError) as error:
            return undecodable(error)
        return lacking(run.task, run.headers, run.payload)

    def _begin(self, run: Run) -> bool:
        """A slot is free: start the run in it; False where its lease has lapsed while it waited."""
        now = time.monotonic()
        if now > (run.renewed_at or run.claimed_at) + self._options.lease:
            # Given back, and not forgotten: if nobody has noticed, the task is ready again at once.
            self._leave(run, domain.Release())
            return False
        run.started_at = now
        timeout = run.timeout
        if timeout is not None:
            # A child tells when it is ready to begin; until then the clock runs for its start.
            run.deadline = now + timeout + (START_UP if run.task.executor == "process" else 0.0)
        # Not by the loop's factory: one that starts tasks eagerly would end the run before it has its slot.
        run.handle = asyncio.Task(self._run(run), loop=asyncio.get_running_loop())
        return True

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
        self._leave(suspect, domain.Snooze(SOLITUDE))

    def _leave(self, run: Run, settlement: Settlement) -> None:
        """Part with a run that has not begun and has no slot."""
        run.is_over = True
        self.runs.pop(run.delivery.id, None)
        self._settle(run.delivery, settlement)
        self.freed.set()

    # ------------------------------------------------------------ running

    async def _run(self, run: Run) -> None:
        run.has_begun = True
        context = self._context(run)
        current_context.set(context)
        call: CallNext = prepared(self._app, run, context, partial(self._call, run, context))
        try:
            if self._app.middleware.around_run:
                outcome = checked(await self._app.middleware.wrap(context, call)())
            else:
                outcome = await call()
            outcome = seal_outcome(run.task, run.delivery, run.headers, outcome)
        except asyncio.CancelledError as error:
            outcome = self._why_stopped(run) if run.stop_reason is not None else outcome_of(run.task, error)
        except BaseException as error:  # noqa: BLE001 - a middleware raised; SystemExit too ends only the run
            outcome = self._after(run, outcome_of(run.task, error))
        if run.has_word and run.stop_reason is not StopReason.LOST:
            with contextlib.suppress(asyncio.CancelledError):  # what the run came to stands
                await self._last_word(run)
        if run.own is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await run.own.find_out(outcome)
        self._end(run, outcome)

    async def _call(self, run: Run, context: TaskContext) -> Outcome:
        """Run the task's function where it belongs, and turn whatever happens into an outcome."""
        task = run.task
        if run.stop_reason is not None:  # told so while a middleware had it, which nobody breaks off for a thread
            return self._why_stopped(run)
        if task.executor == "process":
            return await self._call_child(run)
        try:
            args, kwargs = task.codec.inject(*open_call(task, run.delivery.id, run.headers, run.payload), context)
        except UNREADABLE as error:
            return undecodable(error)
        except BaseException as error:  # noqa: BLE001 - an argument's own code may raise anything
            return outcome_of(task, error)
        try:
            if task.executor == "async":
                value = await calls.on_loop(run, task.function(*args, **kwargs))
            else:
                value = await self._call_thread(run, partial(task.function, *args, **kwargs))
                if run.is_aware:
                    # It looked, saw that it should end, and returned: that is how a thread stops, not a result.
                    return self._why_stopped(run)
            return await keep_result(self._app, run, result_of(task, value))
        except asyncio.CancelledError:
            if run.stop_reason is None:
                raise  # a middleware's own timeout, perhaps
            return self._why_stopped(run)
        except Raised as raised:
            return self._after(run, outcome_of(task, raised.error))
        except BaseException as error:  # noqa: BLE001 - SystemExit and MemoryError end the run, not the worker
            return self._after(run, outcome_of(task, error))

    async def _call_thread(self, run: Run, function: Callable[[], Any]) -> Any:
        if self._threads is None:
            self._threads = ThreadPool(self._options.threads)
        return await calls.in_thread(self._threads, run, function)

    async def _call_child(self, run: Run) -> Outcome:
        if self._children is None:
            from taskq.runtime.processes import Children  # loaded only by workers that meet a process task

            self._children = Children(self._app.tasks, self._app.url, self._app.assumed, self._reported)
        outcome = await self._children.run(run)
        if isinstance(outcome, Succeeded):
            return await keep_result(self._app, run, outcome)
        return self._after(run, outcome)

    def _reported(self, report: Begun | Progressed | Kept) -> None:
        run = self.runs.get(report.id)
        if run is None or run.delivery.fence != report.fence:
            return
        if isinstance(report, Begun):
            run.deadline = None if run.timeout is None else time.monotonic() + run.timeout
        elif isinstance(report, Progressed):
            run.report(report.progress)
        else:
            run.keep(report.checkpoint)

    def _context(self, run: Run) -> TaskContext:
        deadline = None
        if run.deadline is not None:
            deadline = datetime.now(UTC) + timedelta(seconds=run.deadline - time.monotonic())
        return TaskContext(
            run.delivery, run, metadata=run.headers.metadata, deadline=deadline, state=self._state,
            work=self._work_of(run), origin=run.task.submitter, flow=run.headers.flow, node=run.headers.node,
            trace=run.headers.trace, correlation_id=run.headers.correlation,
        )  # fmt: skip

    # ------------------------------------------------------------ ending

    def _after(self, run: Run, outcome: Outcome) -> Outcome:
        """What was raised after the run was told to stop is only its way of stopping."""
        if run.stop_reason in (StopReason.CANCEL, StopReason.SHUTDOWN, StopReason.LOST):
            return self._why_stopped(run)
        return outcome

    def _why_stopped(self, run: Run) -> Outcome:
        match run.stop_reason:
            case StopReason.TIMEOUT:
                return Failed(Failure("TaskTimeout", f"it ran longer than its timeout of {run.timeout:g} s"))
            case StopReason.CANCEL:
                return CancelledRun()
            case _:
                return Interrupted()

    def _end(self, run: Run, outcome: Outcome) -> None:
        """Decide, once, what becomes of the task."""
        if run.is_over:
            return
        run.is_over = True
        self.runs.pop(run.delivery.id, None)
        try:
            if run.own is not None:
                run.own.conclude()
            elif run.stop_reason is not StopReason.LOST:
                if isinstance(outcome, Unknown):
                    self._strangers.take(run.delivery, outcome)
                else:
                    self._settle(run.delivery, verdict(run, outcome))
        finally:
            self.slots.give_back(run)
            self.freed.set()

    # ------------------------------------------------------------ stopping runs

    def stop_run(self, run: Run, reason: StopReason) -> None:
        """Tell a run to end; one that has not begun ends at once."""
        if run.stop_reason is not None or run.is_over:
            return
        if reason is StopReason.LOST and run.own is not None and run.own.outlasts_lease:
            return
        run.stop_reason = reason
        run.stopped_at = time.monotonic()
        if run.started_at is None:
            self.slots.withdraw(run)
            self._end(run, self._why_stopped(run))
        elif run.handle is not None and not run.has_begun:
            run.handle.cancel()
            self._end(run, self._why_stopped(run))
        elif run.handle is not None and run.task.executor != "thread":
            run.handle.cancel()

    def stop_all(self, reason: StopReason) -> None:
        """Tell every run to end."""
        for run in tuple(self.runs.values()):
            self.stop_run(run, reason)

    def stop_ids(self, ids: Iterable[str], reason: StopReason, fences: Mapping[str, int] | None = None) -> None:
        """Tell the runs of these ids to end; with `fences`, only those with that fence."""
        for id in ids:
            run = self.runs.get(id)
            if run is not None and (fences is None or fences.get(id) == run.delivery.fence):
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
        self.unresponsive.add(run)
        self._end(run, self._why_stopped(run))

    def give_up_all(self) -> None:
        """Decide for every run as it stands: the process ends."""
        for run in tuple(self.runs.values()):
            self._end(run, self._why_stopped(run))

    @property
    def stuck_threads(self) -> int:
        """Threads that were given up and still run."""
        return 0 if self._threads is None else self._threads.stuck

    def release_waiting(self, older_than: float) -> None:
        """Give back what has waited for a slot since before `older_than` (monotonic seconds)."""
        for run in self.slots.waiting_since_before(older_than):
            self.stop_run(run, StopReason.SHUTDOWN)

    def release_all_waiting(self) -> None:
        """Give back whatever has not begun, suspects too."""
        for run in tuple(self.runs.values()):
            if run.started_at is None:
                self.stop_run(run, StopReason.SHUTDOWN)

    async def drain(self, timeout: float) -> bool:
        """Wait until nothing runs, at most `timeout` seconds; whether nothing does."""
        end = time.monotonic() + timeout
        lookups = self._strangers.lookups
        while (self.runs or lookups) and (left := end - time.monotonic()) > 0:
            handles = [*lookups, *(run.handle for run in self.runs.values() if run.handle is not None)]
            if handles:
                await asyncio.wait(handles, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(min(left, 0.01))
        return not self.runs and not lookups

    def close(self) -> None:
        """Let the threads and the children end."""
        if self._threads is not None:
            self._threads.close()
        if self._children is not None:
            self._children.close()
