"""Tests of a user's own tasks: the memory backend, a virtual clock, no worker, no sleeping."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, Self

import msgspec

from taskq import blocking
from taskq.app import App
from taskq.backends import create_backend
from taskq.context import TaskContext, current_context
from taskq.domain import outcome as domain
from taskq.domain.envelope import unseal
from taskq.domain.message import Delivery, Message, Priority
from taskq.domain.outcome import Failed, Outcome, Succeeded, Unknown
from taskq.domain.record import Failure, Progress
from taskq.domain.retry import DEFAULT_RETRY, RetryStrategy, from_dict
from taskq.handle import TaskHandle
from taskq.headers import Headers, decode_headers
from taskq.lifespan import life_of
from taskq.middleware import CallNext
from taskq.ports import (
    Backend,
    BackendOptions,
    Broker,
    Enqueued,
    EnqueueStatus,
    Fetched,
    Parent,
    QueueSettings,
    Settled,
)
from taskq.runtime.cache import cache_id, may_be_cached, recall, remember
from taskq.runtime.failures import outcome_of, result_of, undecodable
from taskq.runtime.opening import UNREADABLE, lacking, open_call, plain_payload_of, seal_outcome
from taskq.runtime.run import timeout_of
from taskq.runtime.soft_loop import SoftTimed
from taskq.runtime.verdict import checked
from taskq.task import Task
from taskq.testing.clock import VirtualClock

WORKER = "harness"
LEASE = 3600.0
MOST_RUNS = 10_000
"""Runs in one call after which the tasks are taken to enqueue or retry each other for ever."""


class EnqueuedTask(NamedTuple):
    """A task that was enqueued."""

    handle: TaskHandle[Any]
    name: str
    kwargs: dict[str, Any]
    """Its arguments by name, as plain JSON data."""
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

    def __init__(self, app: App) -> None:
        self.app = app
        self.clock = VirtualClock()
        self._stack = AsyncExitStack()
        self._messages: list[Message] = []
        self._claims = 0
        self._queues: set[str] = set()
        self._state: Any = None
        self._backend: Backend

    async def __aenter__(self) -> Self:
        options = BackendOptions(namespace=self.app.namespace, clock=self.clock)
        opened = await self._stack.enter_async_context(create_backend("memory://", options))
        self._backend = opened
        pool = _Pool(opened, _Recorder(opened.broker, self._messages, self._queues))
        self._stack.enter_context(self.app.stores.using(pool))
        self._state = await self._stack.enter_async_context(life_of(self.app))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def enqueued(self, task: Task[..., Any] | str | None = None) -> EnqueuedTasks:
        """The tasks that were enqueued since the harness was opened, of one name or of all."""
        name = task.name if isinstance(task, Task) else task
        return EnqueuedTasks(self._describe(m) for m in self._messages if name in (None, m.name))

    async def run_until_idle(self) -> int:
        """Run what is ready, and what that makes ready, until nothing is; returns how many runs there were."""
        runs = 0
        while deliveries := await self._claim():
            for delivery in deliveries:
                await self._run(delivery)
                runs += 1
                assert runs <= MOST_RUNS, f"after {runs} runs tasks are still ready: they enqueue each other for ever"
        return runs

    async def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> int:
        """Let time pass, running at its own instant whatever becomes due; returns how many runs there were."""
        left = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days).total_seconds()
        runs = await self.run_until_idle()
        while left > 0:
            due = (await self._fetch(limit=0)).next_due
            step = left if due is None else min(left, max(due, 0.001))
            self.clock.advance(step)
            left -= step
            await self._backend.maintenance.expire()
            runs += await self.run_until_idle()
        return runs

    # ------------------------------------------------------------ inside

    async def _claim(self) -> Sequence[Delivery]:
        return (await self._fetch(limit=1)).deliveries

    async def _fetch(self, limit: int) -> Fetched:
        self._claims += 1
        queues = sorted(self._queues)
        request = str(self._claims)
        return await self._backend.broker.fetch(queues, limit, worker=WORKER, lease=LEASE, request_id=request)

    async def _run(self, delivery: Delivery) -> None:
        task = self.app.tasks.find(delivery.name)
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
        for hook in self.app.middleware.on_settled:
            hook(delivery, settlement)

    async def _attempt(
        self, task: Task[..., Any], delivery: Delivery, said: Headers, payload: bytes, queue: QueueSettings
    ) -> Outcome:
        run = _Run(delivery, self._backend)
        context = TaskContext(delivery, run, metadata=said.metadata, state=self._state, origin=task.submitter)
        inner: CallNext = partial(_call, task, context, said, payload, queue)
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
        await run.write()
        return outcome

    def _describe(self, message: Message) -> EnqueuedTask:
        sealed, headers = unseal(message.id, message.name, message.body)
        crypto, said = self.app.stores.crypto, decode_headers(headers)
        payload = plain_payload_of(crypto, message.id, message.name, said, sealed)
        task = self.app.tasks.find(message.name)
        handle = TaskHandle(message.id, self.app.stores, task.codec if task else None)
        return EnqueuedTask(handle, message.name, msgspec.json.decode(payload), message)


def _policy(call: dict[str, Any] | None, task: RetryStrategy | None, queue: dict[str, Any] | None) -> RetryStrategy:
    if call is not None:
        return from_dict(call)
    return task or (DEFAULT_RETRY if queue is None else from_dict(queue))


async def _call(
    task: Task[..., Any], context: TaskContext, said: Headers, payload: bytes, queue: QueueSettings
) -> Outcome:
    try:
        args, kwargs = task.codec.inject(*open_call(task, context.id, said, payload), context)
    except UNREADABLE as error:
        return undecodable(error)
    timeout = timeout_of(said.timeout, task.declared.timeout, queue.timeout)
    softs = (said.soft_timeout, task.declared.soft_timeout, queue.soft_timeout)
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

    def is_cancelled(self) -> bool:
        return False

    def report(self, progress: Progress) -> None:
        self._progress = progress

    async def write(self) -> None:
        if self._progress is not None:
            await self._backend.annotations.progress(self._delivery, self._progress)


class _Recorder:
    """A broker that notes what was stored: no duplicate, nothing that was refused, and the newest arguments."""

    def __init__(self, broker: Broker, messages: list[Message], queues: set[str]) -> None:
        self._broker = broker
        self._messages = messages
        self._queues = queues

    async def enqueue(
        self, messages: Sequence[Message], *, parent: Parent | None = None, atomic: bool = False
    ) -> list[Enqueued]:
        answers = await self._broker.enqueue(messages, parent=parent, atomic=atomic)
        created = [m for m, answer in zip(messages, answers, strict=True) if answer.status is EnqueueStatus.CREATED]
        self._messages += created
        for newer, answer in zip(messages, answers, strict=True):
            if answer.status is EnqueueStatus.REPLACED:
                self._messages[:] = [m._replace(body=newer.body) if m.id == newer.id else m for m in self._messages]
        self._queues.update(message.queue for message in created)
        return answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


class _Observed:
    """A backend whose broker is observed."""

    def __init__(self, backend: Backend, broker: _Recorder) -> None:
        self._backend = backend
        self.broker = broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _Pool:
    """Stands for the application's own stores while a harness is open."""

    def __init__(self, backend: Backend, broker: _Recorder) -> None:
        self.url = "memory://"
        self.root: Any = _Observed(backend, broker)

    async def get(self) -> Any:
        return self.root

    async def close(self) -> None:
        """The harness closes it."""
