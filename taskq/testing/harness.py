"""Tests of a user's own tasks: the memory backend, a virtual clock, no worker, no sleeping."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, Self
from weakref import WeakSet

import msgspec

from taskq import blocking
from taskq.app import App
from taskq.backends import Stores, create_backend
from taskq.context import TaskContext, current_context
from taskq.domain import outcome as domain
from taskq.domain.envelope import unseal
from taskq.domain.message import Delivery, Message, Priority
from taskq.domain.outcome import Failed, Outcome, Succeeded, Unknown
from taskq.domain.record import Failure, Progress
from taskq.domain.retry import DEFAULT_RETRY, RetryStrategy, from_dict
from taskq.errors import ConfigError
from taskq.handle import TaskHandle
from taskq.headers import Headers, decode_headers
from taskq.inputs import Output, fill
from taskq.lifespan import life_of
from taskq.middleware import CallNext
from taskq.ports import (
    Backend,
    BackendOptions,
    Fetched,
    QueueSettings,
    Settled,
)
from taskq.runtime.beat import Beat
from taskq.runtime.cache import cache_id, may_be_cached, recall, remember
from taskq.runtime.declaring import Declaring
from taskq.runtime.failures import outcome_of, result_of, undecodable
from taskq.runtime.opening import UNREADABLE, lacking, open_call, plain_payload_of, seal_outcome
from taskq.runtime.parents import given_by_parents, needs_parents
from taskq.runtime.resuming import checkpoint_of, may_resume, seal_checkpoint
from taskq.runtime.run import timeout_of
from taskq.runtime.soft_loop import SoftTimed
from taskq.runtime.verdict import checked
from taskq.schedule_book import scheduler_of
from taskq.task import Task
from taskq.testing.ahead import Ahead
from taskq.testing.clock import VirtualClock, checked_start, span_from
from taskq.testing.observed import ObservedFlows, ObservedScheduler, Pool, Recorder
from taskq.testing.webhooks import CalledWebhook, recording_task
from taskq.webhook_task import NAME as WEBHOOK

WORKER = "harness"
LEASE = 3600.0
MOST_RUNS = 10_000
"""Runs in one call, beyond what was enqueued before, after which the tasks are taken to go on for ever."""
ROUNDING = 1e-6
"""Seconds by which an instant that was reckoned in two ways may differ."""
LEAST_STEP = 1e-6
"""Seconds by which the clock goes on where something is due at once and cannot happen."""
_lent: WeakSet[Stores] = WeakSet()
"""The stores of applications for which a harness stands in."""


class EnqueuedTask(NamedTuple):
    """A task that was enqueued."""

    handle: TaskHandle[Any]
    name: str
    kwargs: dict[str, Any]
    """Its arguments by name, as plain JSON data; what is the result of another task is an Output of that name."""
    message: Message

    @property
    def queue(self) -> str:
        """The queue that it went to."""
        return self.message.queue

    @property
    def priority(self) -> Priority:
        """Its priority."""
        return Priority(self.message.priority)


class EnqueuedTasks(list[EnqueuedTask]):
    """The tasks that were enqueued, oldest first."""

    def one(self) -> EnqueuedTask:
        """The only one.

        Raises:
            AssertionError: there are none, or several.
        """
        assert len(self) == 1, f"{len(self)} tasks were enqueued, not one: {[task.name for task in self]}"
        return self[0]


class Harness:
    """Runs the tasks of an application step by step, under a clock that only the test turns.

    While it is open the application's tasks go to a memory backend of the harness's own. Every task runs in the test's
    own event loop, one after the other, whatever its executor. A timeout is one of real seconds, as in a worker, and
    ends what awaits. Blocking code that enqueues, such as a view of Flask, is called from the test by
    `await asyncio.to_thread(view)`.

    Arguments:
        app: the application.
        start: what the clock shows at first, aware, of 1970 or later; None: midnight UTC of 1 January 2026.

    Attributes:
        clock: the store's clock.
        webhooks: the calls of webhooks so far, oldest first; nobody is called.

    One may be open for an application at a time; another one is refused with a ConfigError.

    >>> import asyncio
    >>> from taskq import App, Fixed
    >>> app = App("redis://never.reached.example")
    >>> @app.task(name="greet", retry=Fixed(60))
    ... async def greet(ctx: TaskContext, who: str) -> str:
    ...     if ctx.attempt == 1:
    ...         raise ConnectionError
    ...     return f"hello {who}"
    >>> async def test() -> str:
    ...     async with Harness(app) as harness:
    ...         handle = await greet.aenqueue("you")
    ...         assert harness.enqueued(greet).one().kwargs == {"who": "you"}
    ...         await harness.run_until_idle()
    ...         await harness.advance(minutes=1)
    ...         return await handle.aresult(0)
    >>> asyncio.run(test())
    'hello you'
    """

    def __init__(self, app: App, *, start: datetime | None = None) -> None:
        self.app = app
        self.clock = VirtualClock() if start is None else VirtualClock(checked_start(start))
        self._stack = AsyncExitStack()
        self._has_begun = self._is_open = False
        self._messages: list[Message] = []
        self._claims = 0
        self._next_due: float | None = None
        self._queues: set[str] = set()
        self._state: Any = None
        self._backend: Backend
        self._scheduler: ObservedScheduler
        self._ahead: Ahead
        self._beat = Beat(app)
        self.webhooks: list[CalledWebhook] = []
        self._webhook_task = recording_task(app, self.webhooks)

    async def __aenter__(self) -> Self:
        # What one of two harnesses lets pass, a beat of the other's store would fire, and never come to an end.
        if self.app.stores in _lent:
            raise ConfigError("a harness of this application is open already: close it before another one begins")
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._stack = stack.pop_all()
        self._has_begun = self._is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        await self._stack.aclose()

    @property
    def now(self) -> datetime:
        """The instant that its clock shows, in UTC; `datetime.now()` goes on telling the real time."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def enqueued(self, task: Task[..., Any] | str | None = None) -> EnqueuedTasks:
        """The tasks that were enqueued since the harness was opened, of one name or of all."""
        _check(self._has_begun)
        # A member may have ended otherwise than by a run: it was cancelled, or has expired.
        blocking.at_once(self._flows.note(), "the store of a harness is in memory")
        name = task.name if isinstance(task, Task) else task
        return EnqueuedTasks(self._describe(m) for m in self._messages if name in (None, m.name))

    async def run_until_idle(self) -> int:
        """Run what is ready, and what that makes ready, until nothing is; returns how many runs there were."""
        _check(self._is_open)
        runs, most = 0, len(self._messages) + MOST_RUNS
        while deliveries := await self._claim():
            for delivery in deliveries:
                await self._run(delivery)
                runs += 1
                assert runs <= most, f"after {runs} runs tasks are still ready: they enqueue each other for ever"
        return runs

    async def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> int:
        """Let time pass: schedules fire, and what becomes due runs, each at its own instant.

        Returns:
            How many runs there were.

        Raises:
            InvalidOption: what is given is no number, or all of it together lies behind, or beyond the calendar.
        """
        left = span_from(self.clock.now(), seconds=seconds, minutes=minutes, hours=hours, days=days)
        until = self.clock.now() + left
        runs = await self.run_until_idle()
        while (left := until - self.clock.now()) > 0:
            fires_in = (await self._scheduler.claim_due(0)).next_due
            due = [self._next_due, fires_in, *await self._ahead.seconds(self._queues)]
            step = min([left, *(max(seconds, LEAST_STEP) for seconds in due if seconds is not None)])
            fires = fires_in is not None and fires_in <= step + ROUNDING
            self.clock.advance(max(step, fires_in) if fires and fires_in is not None else step)
            while await self._backend.maintenance.expire():
                pass
            if fires:
                while await self._beat.tick() == 0:
                    pass
            runs += await self.run_until_idle()
        while await self._backend.maintenance.prune():
            pass
        return runs

    # ------------------------------------------------------------ inside

    async def _open(self, stack: AsyncExitStack) -> None:
        stores = self.app.stores
        _lent.add(stores)
        stack.callback(_lent.discard, stores)
        for noted in (self._messages, self._queues, self.webhooks):
            noted.clear()
        options = BackendOptions(namespace=self.app.namespace, clock=self.clock)
        self._backend = await stack.enter_async_context(create_backend("memory://", options))
        recorder = Recorder(self._backend.broker, self._messages, self._queues)
        self._scheduler = ObservedScheduler(scheduler_of(self._backend), recorder)
        self._flows = ObservedFlows(self._backend, recorder)
        self._ahead = Ahead(self._backend, self._messages, self.clock)
        stack.enter_context(stores.using(Pool(self._backend, recorder, self._scheduler, self._flows)))
        declaring = Declaring(self.app, self.clock.monotonic)
        declaring.check()
        await declaring.tick()
        self._state = await stack.enter_async_context(life_of(self.app))

    async def _claim(self) -> Sequence[Delivery]:
        fetched = await self._fetch()
        # A callback for which there was no room may have found some meanwhile.
        while not fetched.deliveries and await self._backend.maintenance.relay() > 0:
            fetched = await self._fetch()
        self._next_due = fetched.next_due
        return fetched.deliveries

    async def _fetch(self) -> Fetched:
        self._claims += 1
        await self._flows.note()
        queues = sorted(self._queues)
        request = str(self._claims)
        return await self._backend.broker.fetch(queues, 1, worker=WORKER, lease=LEASE, request_id=request)

    async def _run(self, delivery: Delivery) -> None:
        task = self._webhook_task if delivery.name == WEBHOOK else self.app.tasks.find(delivery.name)
        policy: RetryStrategy = DEFAULT_RETRY
        outcome: Outcome = Unknown()
        if task is not None:
            payload, headers = unseal(delivery.id, delivery.name, delivery.body)
            said = decode_headers(headers)
            queue = await self._backend.queues.settings(delivery.queue)
            policy = _policy(said.retry, task.declared.retry, queue.retry)
            outcome = lacking(task, said, payload) or await self._attempt(task, delivery, said, payload, queue)
        settlement = domain.settle(delivery, outcome, policy, random.random, delivery.age)
        await self._backend.broker.settle([Settled(delivery, settlement)])
        await self._flows.note()
        for hook in self.app.middleware.on_settled:
            hook(delivery, settlement)

    async def _attempt(
        self, task: Task[..., Any], delivery: Delivery, said: Headers, payload: bytes, queue: QueueSettings
    ) -> Outcome:
        run, timeout = _Run(delivery, self._backend), timeout_of(said.timeout, task.declared.timeout, queue.timeout)
        deadline = None if timeout is None else datetime.now(UTC) + timedelta(seconds=timeout)
        about: dict[str, Any] = {"metadata": said.metadata, "deadline": deadline, "flow": said.flow, "node": said.node}
        about |= {"trace": said.trace, "correlation_id": said.correlation}
        context = TaskContext(delivery, run, state=self._state, origin=task.submitter, **about)
        try:
            if needs_parents(task, said):
                payload, context.parent_results = await given_by_parents(self.app, task, delivery.id, said, payload)
            if may_resume(task, delivery):
                context.last_checkpoint = await checkpoint_of(self.app, task, delivery.id)
        except UNREADABLE as error:
            return undecodable(error)
        inner: CallNext = partial(_call, task, context, said, payload, timeout, queue.soft_timeout)
        if may_be_cached(task, said):
            inner = partial(_recalled, self.app, task, delivery.tenant, payload, inner)
        call = self.app.middleware.wrap(context, inner)
        token, inline = current_context.set(context), blocking.inline.set(True)
        try:
            outcome = seal_outcome(task, delivery, said, checked(await call()))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or _is_cancelled():
                raise
            outcome = outcome_of(task, error)
        finally:
            current_context.reset(token)
            blocking.inline.reset(inline)
        await run.write(partial(seal_checkpoint, task, delivery.id, said))
        return outcome

    def _describe(self, message: Message) -> EnqueuedTask:
        sealed, headers = unseal(message.id, message.name, message.body)
        crypto, said = self.app.stores.crypto, decode_headers(headers)
        payload = plain_payload_of(crypto, message.id, message.name, said, sealed)
        task = self.app.tasks.find(message.name)
        handle = TaskHandle(message.id, self.app.stores, task.codec if task else None)
        kwargs: dict[str, Any] = msgspec.json.decode(payload)
        parents: list[Output[Any]] = [
            Output(name) for name in said.parents or [edge.parent for edge in message.parents]
        ]
        kwargs |= {name: fill(name, kwargs[name], parents) for name in said.inputs}
        return EnqueuedTask(handle, message.name, kwargs, message)


def _check(is_open: bool) -> None:
    if not is_open:
        raise ConfigError("the harness is not open: async with Harness(app) as harness: …")


def _policy(call: dict[str, Any] | None, task: RetryStrategy | None, queue: dict[str, Any] | None) -> RetryStrategy:
    if call is not None:
        return from_dict(call)
    return task or (DEFAULT_RETRY if queue is None else from_dict(queue))


async def _call(
    task: Task[..., Any],
    context: TaskContext,
    said: Headers,
    payload: bytes,
    timeout: float | None,
    soft_of_queue: float | None,
) -> Outcome:
    try:
        args, kwargs = task.codec.inject(*open_call(task, context.id, said, payload), context)
    except UNREADABLE as error:
        return undecodable(error)
    softs = (said.soft_timeout, task.declared.soft_timeout, soft_of_queue)
    soft = next((one for one in softs if one is not None), None)
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            value = task.function(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await (SoftTimed(value, soft) if soft and inspect.iscoroutine(value) else value)
        return result_of(task, value)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or _is_cancelled():
            raise  # it is the test that ends, and not the task
        if limit.expired():
            return Failed(Failure("TaskTimeout", f"it ran longer than its timeout of {timeout:g} s"))
        return outcome_of(task, error)


async def _recalled(app: App, task: Task[..., Any], tenant: str, payload: bytes, call: CallNext) -> Outcome:
    """The outcome of a task whose results are cached."""
    id = cache_id(app.namespace, task, tenant, payload)
    found = await recall(app, id)
    outcome = await call() if found is None else Succeeded(found)
    if found is None and isinstance(outcome, Succeeded):
        await remember(app, id, outcome.result, task.declared.cache or 0.0)
    return outcome


def _is_cancelled() -> bool:
    test = asyncio.current_task()
    return test is not None and test.cancelling() > 0


class _Run:
    """What a context needs of its run."""

    def __init__(self, delivery: Delivery, backend: Backend) -> None:
        self._delivery = delivery
        self._backend = backend
        self._progress: Progress | None = None
        self._checkpoint: bytes | None = None

    def is_cancelled(self) -> bool:
        return False

    def report(self, progress: Progress) -> None:
        self._progress = progress

    def keep(self, checkpoint: bytes) -> None:
        self._checkpoint = checkpoint

    async def write(self, seal: Callable[[bytes], bytes]) -> None:
        if self._checkpoint is not None:
            await self._backend.annotations.checkpoint(self._delivery, seal(self._checkpoint))
        if self._progress is not None:
            await self._backend.annotations.progress(self._delivery, self._progress)
