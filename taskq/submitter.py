"""From a call to a message in a store: options, routes, identity, headers."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from taskq import blocking
from taskq.backends import Stores
from taskq.config import check_identifier, require
from taskq.context import current_or_none
from taskq.crypto import Crypto
from taskq.domain.message import DEFAULT_QUEUE, Message
from taskq.domain.workflow import Edge, OnParentFailure
from taskq.errors import CapabilityMissing, ConfigError, DuplicateTask, InvalidOption, NotApplied, OutcomeUnknown
from taskq.handle import TaskHandle
from taskq.ids import derived_id
from taskq.limits import Unique
from taskq.options import NOTHING_SAID, CallOptions, as_seconds
from taskq.ports import Backend, Capability, Enqueued, EnqueueStatus, Parent
from taskq.ports.backend import TransactionalBackend
from taskq.sending import Fullness, Send, Sending, refuse
from taskq.task import Task
from taskq.writing import ALONE, Limits, Place, Related, Writer

if TYPE_CHECKING:
    from taskq.webhooks import Webhooks

R = TypeVar("R")


class TenantRoutes(Protocol):
    """Routes that give tenants queues of their own."""

    def __call__(self, name: str, /, *, tenant: str) -> str | None:
        """The queue of a task by its name and the tenant of the call, "" for none; None: these routes say nothing."""
        ...


Routes = Mapping[str, str] | Callable[[str], str | None] | TenantRoutes
"""Task name, or pattern as in fnmatch, → queue; or a function from the name to the queue or None, which is told the
tenant of the call too where it has a parameter `tenant`."""

_Alike = tuple[Task[..., Any], str, Backend, Crypto | None, tuple[Callable[..., Any], ...]]
"""What a writer is made from: the task, its queue, the store, the keys, the hooks."""


class StoreSubmitter:
    """Enqueues the tasks of one application (see taskq.task.Submitter).

    Arguments:
        stores: where they go.
        namespace: part of the ids that are derived from idempotency keys.
        max_payload: the most bytes that encoded arguments may take.
        routes: which task goes to which queue, where neither the call nor the task says so.
        hooks: gives the `on_enqueue` hooks of the application's middleware.
        tasks: all tasks of the application.
        webhooks: how they are called; None: as the environment says.
    """

    def __init__(
        self,
        stores: Stores,
        namespace: str,
        max_payload: int,
        routes: Routes,
        hooks: Callable[[], tuple[Callable[..., Any], ...]],
        tasks: Iterable[Task[..., Any]] = (),
        webhooks: Webhooks | None = None,
    ) -> None:
        self._stores = stores
        self.namespace = namespace
        self._max_payload = max_payload
        self._routes = routes
        self._routes_tenants = callable(routes) and takes_tenant(routes)
        self._hooks = hooks
        self._tasks = tasks
        self._webhooks = webhooks or _webhooks_of_environment()
        self._fullness = Fullness()
        # By task, of calls that ask for nothing: they are alike as long as nothing changes around them.
        self._writers: dict[str, tuple[_Alike, Writer]] = {}

    async def submit(
        self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions, *, atomic: bool = False, flow: str = ""
    ) -> list[TaskHandle[R]]:
        """Enqueue one task for each payload, a batch a call to the store.

        Arguments:
            flow: the batch of which they are members; then any that is refused raises, however many there are.

        Raises:
            OutcomeUnknown: something went wrong after batches before were stored; it says how many tasks.
        """
        if atomic and call.connection is None:
            self._check_batch(task, len(payloads), call)
        writer = self._writer(task, call, Related(flow) if flow else ALONE)
        sending = Sending(writer, payloads, self._way(writer, self._send, call, atomic=atomic))
        try:
            answers = await sending.run(as_seconds(call.block))
        except (NotApplied, OutcomeUnknown) as error:
            raise sending.partly(task.name, error) from error
        if flow or len(answers) == 1:
            self._refuse_duplicates(task, sending.ids, answers)
        return self._handles(task, writer.place.queue, answers, refuse_any=atomic or bool(flow))

    async def submit_members(self, calls: Sequence[tuple[Task[..., Any], bytes]], flow: str) -> None:
        """Enqueue calls of several tasks as members of a batch, in their order, whatever their tasks and options.

        Raises:
            TaskqError: the first that was refused; those before it are stored, and perhaps some behind it.
        """
        related, writers = Related(flow), dict[int, Writer]()
        for start in range(0, len(calls), step := self._stores.step):
            some = calls[start : start + step]
            messages: list[Message] = []
            for task, payload in some:
                writer = writers.get(id(task)) or self._writer(task, task.call_options, related)
                writers[id(task)] = writer
                messages += writer.messages([payload])[0]
            for (task, _), message, answer in zip(some, messages, await self.way.send(messages), strict=True):
                self._refuse_duplicates(task, [message.id], [answer])
                refuse(task.name, answer)
                self._fullness.note(message.queue, [answer])

    def _check_batch(self, task: Task[..., Any], count: int, call: CallOptions) -> None:
        """Refuse more tasks than every store keeps all or none of; a webhook's call is one too."""
        has_url = call.on_complete_url is not None
        most = self._stores.batch // (2 if has_url else 1)
        if count > most:
            what = " with on_complete_url" if has_url else ""
            raise InvalidOption(f"{task.name}: atomic=True is for at most {most} tasks{what}, not for {count}")

    def _send(self, call: CallOptions, *, atomic: bool) -> Send:
        """What sends messages to where the call says: the store, or the caller's own transaction."""

        async def send(messages: Sequence[Message]) -> list[Enqueued]:
            if call.connection is not None:
                answers = list(await self._transactional().aenqueue_in(call.connection, messages, atomic=atomic))
            else:
                broker = (await self._stores.trusted_backend()).broker
                answers = await broker.enqueue(messages, parent=self._parent(), atomic=atomic)
            self._stores.submitted.note(messages, answers)
            return answers

        return Send(send, None if call.connection is not None else self._stores.step)

    def _way(self, writer: Writer, way: Callable[..., Send], call: CallOptions, *, atomic: bool) -> Send:
        """The way of a call, on which each task takes along the call of its webhook, where it has one."""
        plain = way(call, atomic=atomic)
        if call.on_complete_url is None:
            return plain
        from taskq.pairing import Pairing  # as few use it, `import taskq` does without it
        from taskq.webhook_task import NAME, payload_of

        url, place = call.on_complete_url, writer.place
        # Who may not read what the task is given may not read where its end is told either.
        encrypt = writer.encrypts or None
        own = self._writer(self.webhook_task, CallOptions(queue=place.queue, tenant=call.tenant, encrypt=encrypt))

        def beside(message: Message) -> Message:
            id = derived_id(place.shard, place.namespace, NAME, message.id)
            return own.message(
                id, payload_of(url, message.id), Related(parents=(Edge(message.id, OnParentFailure.RUN),))
            )

        return Pairing(way(call, atomic=True), plain, beside, is_atomic=atomic).way

    @cached_property
    def webhook_task(self) -> Task[..., int]:
        """What calls webhooks."""
        from taskq.webhook_task import NAME, OPTIONS, WebhookCaller

        return Task(NAME, WebhookCaller(self._stores, self._webhooks).run, OPTIONS, self)

    def submit_inside(
        self, task: Task[..., R], payloads: Sequence[bytes], call: CallOptions, *, atomic: bool = False
    ) -> list[TaskHandle[R]]:
        """Enqueue inside the transaction of a blocking connection."""
        backend = self._transactional()

        def way(call: CallOptions, *, atomic: bool) -> Send:
            async def send(messages: Sequence[Message]) -> list[Enqueued]:
                answers = list(backend.enqueue_in(call.connection, messages, atomic=atomic))
                self._stores.submitted.note(messages, answers)
                return answers

            return Send(send, None)

        # Nothing in it waits: there is no loop to wait in.
        writer = self._writer(task, call)
        sending = Sending(writer, payloads, self._way(writer, way, call, atomic=atomic))
        answers = blocking.at_once(sending.run(None), f"{task.name}: the statement would wait")
        if len(answers) == 1:
            self._refuse_duplicates(task, sending.ids, answers)
        return self._handles(task, writer.place.queue, answers, refuse_any=atomic)

    def written(
        self,
        task: Task[..., Any],
        payload: bytes,
        call: CallOptions,
        id_in: Callable[[int], str],
        related: Related | None = None,
        *,
        is_derived: bool = False,
    ) -> Message:
        """The message of a call, for somebody else to send.

        Arguments:
            id_in: gives its id in the shard where it is to be kept.
            related: what it has to do with others.
            is_derived: whether the id may come again.
        """
        writer = self._writer(task, call)
        return writer.message(id_in(writer.place.shard), payload, related, is_derived=is_derived)

    @property
    def way(self) -> Send:
        """What sends messages that were written; the run of a task that does so must hold its lease."""
        return self._send(NOTHING_SAID, atomic=False)

    def _writer(self, task: Task[..., Any], call: CallOptions, related: Related = ALONE) -> Writer:
        queue = call.queue or self.queue_of(task, call.tenant)
        alike = (task, queue, self._stores.root, self.crypto_for(task, call), self._hooks())
        if call is not NOTHING_SAID or not task.terms.are_none or related is not ALONE:
            return self._new_writer(task, call, related, *alike[1:])
        known = self._writers.get(task.name)
        if known is None or known[0] != alike:
            known = self._writers[task.name] = (alike, self._new_writer(task, call, ALONE, *alike[1:]))
        return known[1]

    def _new_writer(
        self,
        task: Task[..., Any],
        call: CallOptions,
        related: Related,
        queue: str,
        root: Backend,
        crypto: Crypto | None,
        hooks: tuple[Callable[..., Any], ...],
    ) -> Writer:
        place = Place(self.namespace, queue, root.shard_of(queue))
        is_counted = not task.terms.are_none or call.unique_key is not None
        if is_counted and Capability.LIMITS_SPAN_QUEUES not in root.capabilities:
            self._check_shard(task, queue, place.shard, call.tenant)
        limits = Limits(self._max_payload, self._stores.has_detached_results)
        return Writer(task, call, place, crypto, hooks, limits, related)

    def _check_shard(self, task: Task[..., Any], queue: str, shard: int, tenant: str) -> None:
        """Limits and unique keys are kept in a shard: all queues of tasks that share such must lie in the same.

        Of a task that is not known here nobody knows where it is at home.
        """
        is_strange = task.function is stands_for_unknown and task.terms.are_none
        sharing = () if is_strange else (task, *self._sharing(task))
        for other in sharing:
            home = self.queue_of(other, tenant if other.terms.are_by_tenant else "")
            if self._stores.root.shard_of(home) != shard:
                raise CapabilityMissing(
                    f"{other.name} has limits or a unique key, which this store keeps where its queue {home!r} lies: "
                    f"queue {queue!r} of {task.name} lies in another shard"
                )

    def _sharing(self, task: Task[..., Any]) -> Iterable[Task[..., Any]]:
        names = task.terms.shared_names
        return (other for other in self._tasks if names and names & other.terms.shared_names)

    def _transactional(self) -> TransactionalBackend:
        backend = self._stores.root
        if Capability.TRANSACTIONAL_ENQUEUE not in backend.capabilities:
            raise CapabilityMissing("options(connection=…) needs the Postgres backend: its tasks live in your database")
        return cast("TransactionalBackend", backend)

    def crypto_for(self, task: Task[..., Any], call: CallOptions) -> Crypto | None:
        """The keys to encrypt with, None where the task is not to be.

        Raises:
            ConfigError: it is to be, and there are none.
        """
        crypto = self._stores.crypto
        if crypto is not None:
            return crypto if crypto.wants(call.encrypt, task.declared.encrypt) else None
        if call.encrypt if call.encrypt is not None else task.declared.encrypt:
            how = "give App(settings=Settings(crypto=Crypto(…))), or set TASKQ_CRYPTO__KEYS__<id>"
            raise ConfigError(f"{task.name} is to be encrypted, and there is no key: {how}")
        return None

    @property
    def stores(self) -> Stores:
        """Where the tasks go."""
        return self._stores

    @property
    def crypto(self) -> Crypto | None:
        """The keys of the application, None where it has none."""
        return self._stores.crypto

    def redirect(self, url: str) -> None:
        """Enqueue into the store at `url` from now on, as the worker does whose child this process is."""
        self._stores.url = url

    def queue_of(self, task: Task[..., Any], tenant: str = "") -> str:
        """The queue that calls of a task go to which name none."""
        return task.declared.queue or self._route(task.name, tenant) or DEFAULT_QUEUE

    def _route(self, name: str, tenant: str) -> str | None:
        if not callable(self._routes):
            return self._matching(self._routes, name)
        try:
            routes: Callable[..., str | None] = self._routes
            queue = routes(name, tenant=tenant) if self._routes_tenants else routes(name)
        except Exception as error:
            raise InvalidOption(f"the function of the routes raised {type(error).__name__} for {name}") from error
        return None if queue is None else check_identifier("queue", queue)

    @staticmethod
    def _matching(routes: Mapping[str, str], name: str) -> str | None:
        if not routes:
            return None
        if name in routes:
            return routes[name]
        return next((queue for pattern, queue in routes.items() if fnmatch.fnmatchcase(name, pattern)), None)

    def _parent(self) -> Parent | None:
        context = current_or_none()
        # The run of another application's task lives in another store, which knows nothing of this one.
        if context is None or context.origin is not self:
            return None
        return Parent(context.id, context.fence, context.worker_id)

    @staticmethod
    def _refuse_duplicates(task: Task[..., Any], ids: Sequence[str], answers: Sequence[Enqueued]) -> None:
        """Raise where a task asks for that: one of its own id is only said again, and no duplicate."""
        unique = task.terms.unique
        if isinstance(unique, Unique) and unique.on_duplicate == "raise":
            for answer, id in zip(answers, ids, strict=True):
                if answer.status is EnqueueStatus.DUPLICATE and answer.id != id:
                    raise DuplicateTask(task.name, answer.id)

    def _handles(
        self, task: Task[..., R], queue: str, answers: Sequence[Enqueued], *, refuse_any: bool = False
    ) -> list[TaskHandle[R]]:
        for answer in answers:
            if refuse_any or len(answers) == 1 or answer.status is EnqueueStatus.STALE_PARENT:
                refuse(task.name, answer)
        self._fullness.note(queue, answers)
        codec = None if task.function is stands_for_unknown else task.codec
        return [TaskHandle(answer.id, self._stores, codec, answer.status) for answer in answers]


def takes_tenant(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `tenant`.

    >>> takes_tenant(lambda name: None), takes_tenant(lambda name, tenant: None), takes_tenant(dict.get)
    (False, True, False)
    """
    from inspect import signature  # most applications have no such function

    try:
        return "tenant" in signature(function).parameters
    except (TypeError, ValueError):  # its own code does not tell
        return False


def checked_routes(routes: Routes | None) -> Routes:
    """The routes of an application.

    Raises:
        ConfigError: they are neither a mapping of names nor a function.
        InvalidOption: the name of a queue cannot be one.
    """
    if routes is None or callable(routes):
        return routes or {}
    given: object = routes
    are_names = isinstance(given, Mapping) and all(isinstance(name, str) for name in given)
    require(are_names, "routes must be a mapping of task names to queues, or a function", given)
    for queue in routes.values():
        check_identifier("queue", queue)
    return routes


def _webhooks_of_environment() -> Webhooks | None:
    if not any(name.startswith("TASKQ_WEBHOOKS__") for name in os.environ):
        return None
    from taskq.webhooks import webhooks_from_environment  # as few use it, `import taskq` does without it

    return webhooks_from_environment()


def stands_for_unknown(**payload: Any) -> Any:
    """Stands for a function that only the workers know."""
