"""The bundle of ports that one store offers, with what it can and cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from taskq.domain.message import Message
from taskq.ports.annotations import Annotations
from taskq.ports.broker import Broker, Enqueued
from taskq.ports.clock import Clock, SystemClock
from taskq.ports.diagnosis import Diagnosis
from taskq.ports.documents import Documents
from taskq.ports.events import EventBus
from taskq.ports.flows import Flows
from taskq.ports.inspector import Inspector
from taskq.ports.journal import Journal
from taskq.ports.maintenance import Maintenance
from taskq.ports.metrics import MetricsStore
from taskq.ports.overrides import Overrides
from taskq.ports.queues import QueueControl
from taskq.ports.registry import WorkerRegistry
from taskq.ports.results import ResultStore
from taskq.ports.scheduler import Scheduler
from taskq.ports.search import Search
from taskq.ports.tenants import Tenants


class Capability(StrEnum):
    """What not every backend can do; each declares its own."""

    TRANSACTIONAL_ENQUEUE = "transactional enqueue"
    """Tasks enqueued inside the caller's own database transaction."""
    TRANSACTIONAL_SETTLE = "transactional settle"
    """Tasks completed inside a transaction of their own, with what they did (see taskq.ports.transactions)."""
    SCHEDULES = "schedules"
    SHARED = "shared"
    """Processes other than the one that opened it can reach the store."""
    LIMITS_SPAN_QUEUES = "limits span queues"
    """A limit, or a unique key, is counted together over all queues; else over those of one shard."""
    VIRTUAL_TIME = "virtual time"
    """The store's clock is the injected one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """What a backend is opened with."""

    namespace: str = "default"
    """Keeps applications apart that share a store."""
    durability: str = "process"
    """What an acknowledged task survives: "process", "disk" or "replica"."""
    pool_size: int = 4
    """The most connections that this backend opens, those for waiting and listening apart."""
    connect_timeout: float = 5.0
    command_timeout: float = 10.0
    """Seconds after which a command without a reply counts as a lost connection."""
    retry_for: float = 30.0
    """Seconds for which an operation is repeated over a lost connection before its caller is told."""
    batch: int = 100
    """Tasks in one round trip to the store."""
    clock: Clock = field(default_factory=SystemClock)
    """For backends with Capability.VIRTUAL_TIME."""


class Backend(Protocol):
    """One store, opened: an async context manager that bundles the ports.

    A backend belongs to the event loop in which it was opened.
    """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this backend can do beyond what each must."""
        ...

    @property
    def broker(self) -> Broker: ...
    @property
    def maintenance(self) -> Maintenance: ...
    @property
    def annotations(self) -> Annotations: ...
    @property
    def results(self) -> ResultStore: ...
    @property
    def inspector(self) -> Inspector: ...
    @property
    def queues(self) -> QueueControl: ...
    @property
    def registry(self) -> WorkerRegistry: ...
    @property
    def events(self) -> EventBus: ...
    @property
    def scheduler(self) -> Scheduler | None: ...
    @property
    def flows(self) -> Flows: ...
    @property
    def documents(self) -> Documents: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def search(self) -> Search: ...
    @property
    def metrics(self) -> MetricsStore: ...
    @property
    def tenants(self) -> Tenants: ...
    @property
    def diagnosis(self) -> Diagnosis: ...
    @property
    def overrides(self) -> Overrides: ...

    def shard_of(self, queue: str) -> int:
        """The shard that holds a queue: the last byte of the ids of its tasks (0 where there is one shard)."""
        ...

    def clone(self) -> Self:
        """Another backend on the same store, not opened yet, for another event loop or thread."""
        ...

    async def check(self) -> list[str]:
        """Look whether the store is fit to be trusted; returns warnings, a sentence each.

        Raises:
            UnsafeStore: it would lose acknowledged tasks as it is configured.
            SchemaMismatch: its schema is missing, too old or too new.
            BackendUnavailable: it cannot be reached.
        """
        ...

    async def migrate(self) -> list[str]:
        """Bring the store's schema up to date; returns the steps that were taken."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class TransactionalBackend(Protocol):
    """What a backend with Capability.TRANSACTIONAL_ENQUEUE can do beside; it need not be open for it."""

    def enqueue_in(self, connection: Any, messages: Sequence[Message], *, atomic: bool = False) -> Sequence[Enqueued]:
        """Store messages inside the transaction of the caller's connection or session.

        Nothing is committed, repeated or rolled back here: the transaction is the caller's.

        Arguments:
            connection: a connection or session of a library that the backend knows.
            messages: new tasks, or repetitions of such.
            atomic: all or none, as for Broker.enqueue.

        Raises:
            ConfigError: the backend does not know it, it is asynchronous, or it is in no transaction.
        """
        ...

    async def aenqueue_in(
        self, connection: Any, messages: Sequence[Message], *, atomic: bool = False
    ) -> Sequence[Enqueued]:
        """The same for an asynchronous connection or session."""
        ...


@runtime_checkable
class ErasableBackend(Protocol):
    """What a backend can do beside whose namespaces can be taken away whole."""

    async def erase(self) -> None:
        """Forget all of this namespace, for good: tasks, settings, schedules, documents and journals.

        Nobody may use the namespace meanwhile, nor this backend afterwards. Safe to say twice.
        """
        ...
