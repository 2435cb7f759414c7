"""Batches: many tasks that are counted together, with callbacks when they are through."""

from __future__ import annotations

import threading
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from types import TracebackType
from typing import Any, ParamSpec, Self

import msgspec

from taskq import blocking
from taskq.config import is_label, shown
from taskq.context import current_or_none
from taskq.domain.flow import Callback, FlowKind
from taskq.domain.message import DEFAULT_QUEUE, Message
from taskq.errors import ConfigError, FlowOver, InvalidOption, TaskqError
from taskq.flows.messages import checked_metadata
from taskq.flows.starting import WorkflowMethods
from taskq.flows.view import FlowView, checked_id
from taskq.ids import new_id
from taskq.inputs import outputs_in
from taskq.options import CallOptions
from taskq.ports import NewFlow
from taskq.signatures import Signature
from taskq.submitter import StoreSubmitter
from taskq.task import Item, Task
from taskq.writing import Related

P = ParamSpec("P")
_Waiting = tuple[Task[..., Any], bytes]
_OF_NO_CALLBACK = ("idempotency_key", "unique_key", "connection", "depends_on", "block", "on_complete_url")
"""Options of a call that mean nothing where it is the store that makes it, later, or that would have it lost."""


class Batch(FlowView):
    """Tasks that are counted together, with callbacks; `app.batch(…)` gives one.

    In its block, `with` or `async with`, tasks are sent in steps; at the end of the block it is closed: from then on
    nobody adds to it but its own tasks. A block that raises cancels it, and so does one in which a task could not be
    stored, even where it goes on.

    >>> from taskq import App
    >>> app = App("memory://")
    >>> @app.task(name="load")
    ... def load(row: int) -> None: ...
    >>> @app.task(name="done")
    ... def done() -> None: ...
    >>> with app.batch(on_success=done.s()) as batch:
    ...     for row in range(3):
    ...         batch.enqueue(load, row)
    >>> batch.progress().total, batch.status().value
    (3, 'running')
    """

    def __init__(self, id: str, submitter: StoreSubmitter, new: NewFlow | None = None) -> None:
        super().__init__(id, submitter.stores)
        self._submitter = submitter
        self._new = new
        self._is_open = False
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()  # threads may share the block: what one adds while another sends is not lost
        self._lost: BaseException | None = None
        """Why some tasks of the block are not in the store."""

    # ------------------------------------------------------------ adding

    async def aenqueue(self, task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Add a task; for code that runs in an event loop.

        In the block of the batch it is sent with others, at the end of the block at the latest.

        Arguments:
            task: what is called, with its options.
            args, kwargs: as the function takes them.

        Raises:
            FlowOver: the batch has ended, was cancelled, or is not known; or another of its block could not be stored.
            QueueFull: the queue has no room; what was sent before is there.
            InvalidOption: an option that a member cannot have.
            ConfigError: it is no task of this application.
            TaskqError: for the rest see Task.aenqueue.
        """
        await self._add([(task, self._checked(task).codec.encode(args, kwargs))])

    def enqueue(self, task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Add a task; for code without an event loop. See `aenqueue`."""
        # Also where nothing is to be sent yet: else only the last of many would be refused.
        blocking.check(*_names("enqueue"))
        waiting = [(task, self._checked(task).codec.encode(args, kwargs))]
        if not self._is_open:
            self._run(self._check_kind(), "enqueue")
        if self._takes(waiting):
            self._run(self._send(), "enqueue")

    async def aenqueue_many(self, task: Task[..., Any], items: Iterable[Item]) -> None:
        """Add a task for each item; for code that runs in an event loop. For the rest see `aenqueue`.

        Arguments:
            items: for each task a tuple of positional arguments, or a mapping by name.
        """
        await self._add([(task, payload) for payload in self._checked(task).payloads(items)])

    def enqueue_many(self, task: Task[..., Any], items: Iterable[Item]) -> None:
        """Add a task for each item; for code without an event loop. See `aenqueue_many`."""
        self._run(self.aenqueue_many(task, items), "enqueue_many")

    async def acancel(self, reason: str = "") -> bool:
        """Cancel all tasks that have not ended; in the block also those that were not sent yet.

        Returns, and raises: see FlowView.acancel.
        """
        is_cancelled = await super().acancel(reason)
        with self._lock:
            self._waiting = []
        return is_cancelled

    async def aclose(self) -> None:
        """Have no more tasks come but from its own: what the end of its block does.

        It is for a batch that was left open, because its process has died in the block or the store was away at its
        end: else it never ends, and its callbacks do not come. What was not stored by then is missing.

        Raises:
            TaskNotFound: no record of it (any more).
        """
        await self.ainfo()
        await self._check_kind()
        await (await self._stores.backend()).flows.close(self.id)

    def close(self) -> None:
        """Have no more tasks come but from its own; see `aclose`."""
        self._run(self.aclose(), "close")

    def _checked(self, task: object) -> Task[..., Any]:
        if self._new is not None:
            raise ConfigError("tasks are added within the block of a new batch: with app.batch(…) as batch: …")
        if not isinstance(task, Task):
            how = "batch.enqueue(task, its arguments…)"
            raise ConfigError(f"what is added to a batch is a task of the application, {how}, not {shown(task)}")
        _check_home(self._submitter, task, "a task of its batch")
        if task.call_options.connection is not None:
            raise InvalidOption(
                f"{task.name}: a task of a batch cannot be enqueued with connection=…: it is sent later, with others; "
                "enqueue a task in your transaction that makes the batch"
            )
        return task

    async def _check_kind(self) -> None:
        """Refuse a workflow, to which its own tasks add in another way: what they add has names in it."""
        context = current_or_none()
        if self._is_open or (context is not None and context.flow == self.id and not context.node):
            return
        record = await (await self._stores.backend()).flows.get(self.id)
        if record is not None and record.kind is not FlowKind.BATCH:
            how = "its own tasks add to it, while they run, by app.find_workflow(ctx.flow).add(…)"
            raise ConfigError(f"{self.id} is a workflow: {how}")

    async def _add(self, tasks: Sequence[_Waiting]) -> None:
        await self._check_kind()
        if self._takes(tasks):
            await self._send()

    def _takes(self, tasks: Sequence[_Waiting]) -> bool:
        """Keep tasks to be sent; returns whether it is time to."""
        if self._is_open and self._lost is not None:
            raise _incomplete("the batch takes no more tasks: one before could not be stored", self._lost)
        with self._lock:
            self._waiting += tasks
            return not self._is_open or len(self._waiting) >= self._submitter.stores.step

    async def _send(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        try:
            for apart, calls in groupby(waiting, key=_alone):
                if apart is None:
                    await self._submitter.submit_members(list(calls), self.id)
                else:
                    for payloads in _at_once(apart, [payload for _, payload in calls]):
                        await self._submitter.submit(apart, payloads, apart.call_options, flow=self.id)
        except BaseException as error:
            self._lost = error
            raise

    # ------------------------------------------------------------ its block

    async def __aenter__(self) -> Self:
        if self._new is None:
            raise ConfigError("the block of a batch is that of app.batch(…), which makes a new one")
        await (await self._stores.trusted_backend()).flows.create(self._new)
        self._is_open, self._new = True, None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        if error is not None:
            await self._give_up(error)
            return
        if self._lost is None:
            try:
                await self._send()
            except BaseException as refusal:
                await self._give_up(refusal)
                raise
        if self._lost is not None:
            await self._give_up(self._lost)
            raise _incomplete("the batch was cancelled: not all of its tasks could be stored", self._lost)
        await (await self._stores.backend()).flows.close(self.id)

    async def _give_up(self, error: BaseException) -> None:
        self._waiting = []
        try:
            flows = (await self._stores.backend()).flows
            await flows.cancel(self.id, f"the block of the batch raised {type(error).__name__}")
        except TaskqError as another:  # what has gone wrong first is what the caller is to see
            how = f"app.find_batch({self.id!r}).cancel()"
            error.add_note(f"the batch is still open, as it could not be cancelled ({another}): {how}")

    def __enter__(self) -> Self:
        self._run(self.__aenter__(), "block")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run(self.__aexit__(kind, error, traceback), "block")

    @staticmethod
    def _run(coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
        return blocking.run(coroutine, *_names(name))


class FlowMethods(WorkflowMethods):
    """What an application does with workflows and batches."""

    def batch(
        self,
        *,
        on_success: Signature[Any] | None = None,
        on_failure: Signature[Any] | None = None,
        on_complete: Signature[Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        name: str = "batch",
    ) -> Batch:
        """A new batch, to be used as a block.

        Arguments:
            on_success: enqueued when all its tasks have completed.
            on_failure: enqueued when the first of them has ended otherwise; not once the batch was cancelled.
            on_complete: enqueued when all have ended. Each of the three once, whatever is retried later; in them
                `ctx.flow` is the id of the batch.
            metadata: JSON, kept with the batch, and given to the callbacks that have none of their own.
            name: for people.

        Raises:
            InvalidPayload: an argument of a callback does not fit.
            InvalidOption: the name cannot be one, the metadata is no mapping that can be written as JSON, or an option
                that a callback cannot have.
            ConfigError: a callback is no signature of a task of this application.

        >>> from taskq import App
        >>> app = App("memory://")
        >>> @app.task(name="load")
        ... def load(row: int) -> None: ...
        >>> with app.batch(name="import") as batch:
        ...     batch.enqueue_many(load, [(1,), (2,)])
        >>> batch.progress().pending
        2
        """
        if not is_label(name):
            raise InvalidOption(f"the name of a batch must have 1 to 255 printable characters, not {shown(name)}")
        submitter = self._submitter
        id = new_id(submitter.stores.root.shard_of(DEFAULT_QUEUE))
        given = {Callback.SUCCESS: on_success, Callback.FAILURE: on_failure, Callback.COMPLETE: on_complete}
        spec = msgspec.json.encode({"metadata": checked_metadata(f"batch {name}", metadata)})
        callbacks = {
            each: _callback(submitter, each, signature, id, metadata)
            for each, signature in given.items()
            if signature is not None
        }
        return Batch(id, submitter, NewFlow(id, FlowKind.BATCH, name, spec, callbacks))

    def find_batch(self, id: str) -> Batch:
        """The batch of an id; nothing is asked of the store. A task of it adds to it so: `app.find_batch(ctx.flow)`.

        Raises:
            InvalidOption: that is no id: that of a task which belongs to no batch is "".

        >>> from taskq import App
        >>> App("memory://").find_batch("01980000-0000-7000-8000-000000000000")
        Batch('01980000-0000-7000-8000-000000000000')
        """
        return Batch(checked_id(id, "batch"), self._submitter)


def _callback(
    submitter: StoreSubmitter,
    when: Callback,
    given: object,
    flow: str,
    metadata: Mapping[str, Any] | None,
) -> Message:
    """The message of a callback."""
    what = f"on_{when} of a batch"
    if not isinstance(given, Signature) or not isinstance(given.task, Task):
        raise ConfigError(f"{what} is a call that is written down, task.s(its arguments…), not {shown(given)}")
    task, named = given.task, dict(given.kwargs or {})
    _check_home(submitter, task, what)
    if outputs_in([*given.args, named]):
        raise ConfigError(f"{what}: {task.name} cannot take the output of a workflow's task")
    _check_options(task, task.call_options, what)
    if metadata and task.call_options.metadata is None:
        task = task.options(metadata=metadata)
    payload = task.codec.encode(given.args, named)
    return submitter.written(task, payload, task.call_options, new_id, Related(about=flow))


def _check_options(task: Task[..., Any], call: CallOptions, what: str) -> None:
    """Refuse options that would be forgotten: it is the store that enqueues a callback, once, when it has room."""
    if task.terms.unique is not None:
        raise InvalidOption(
            f"{what}: {task.name} has a unique key, and would be lost where another task holds it: "
            "give a task that enqueues it"
        )
    said = [option for option in _OF_NO_CALLBACK if getattr(call, option) not in (None, ())]
    if isinstance(call.expires, datetime):
        said.append("expires as an instant")  # it counts from when the callback is enqueued, which nobody knows
    if said:
        raise InvalidOption(f"{what}: {task.name} cannot have {', '.join(said)}: the store enqueues it, when it is due")


def _check_home(submitter: StoreSubmitter, task: Task[..., Any], what: str) -> None:
    """Refuse a task that the workers of this application do not know."""
    if task.submitter is not submitter:
        raise ConfigError(f"{what}: {task.name} is a task of another App: give a task of the App that has the batch")


def _alone(call: _Waiting) -> Task[..., Any] | None:
    """The task of a call that is sent with no others: it waits for room, replaces what waits, or takes one along."""
    task, _ = call
    said = task.call_options
    replaces = task.terms.replaces and said.unique_key is None
    return task if replaces or said.block is not None or said.on_complete_url is not None else None


def _at_once(task: Task[..., Any], payloads: list[bytes]) -> list[list[bytes]]:
    """Payloads of one task as they are sent."""
    return [payloads] if task.call_options.idempotency_key is None else [[payload] for payload in payloads]


def _names(name: str) -> tuple[str, str]:
    """A blocking call, and what to write instead of it where a loop runs."""
    if name == "block":
        return "with app.batch(…)", "async with app.batch(…)"
    return f"batch.{name}()", f"batch.a{name}(…)"


def _incomplete(what: str, why: BaseException) -> FlowOver:
    error = FlowOver(f"{what}: {type(why).__name__}: {why}")
    error.__cause__ = why
    return error
