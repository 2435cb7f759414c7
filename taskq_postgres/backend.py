"""The bundle of ports on Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from taskq.domain.message import Delivery, Message
from taskq.ports import BackendOptions, Capability, Enqueued
from taskq_postgres import durability, migrate, transaction
from taskq_postgres.annotations import PostgresAnnotations
from taskq_postgres.broker import CHUNK, PostgresBroker
from taskq_postgres.diagnosis import PostgresDiagnosis
from taskq_postgres.documents import PostgresDocuments
from taskq_postgres.events import PostgresEvents
from taskq_postgres.flows import PostgresFlows
from taskq_postgres.hints import Hints
from taskq_postgres.inspector import PostgresInspector
from taskq_postgres.journal import PostgresJournal
from taskq_postgres.lending import PostgresLender
from taskq_postgres.maintenance import PostgresMaintenance
from taskq_postgres.metrics import PostgresMetrics
from taskq_postgres.overrides import PostgresOverrides
from taskq_postgres.queues import PostgresQueues
from taskq_postgres.record import plain
from taskq_postgres.registry import PostgresRegistry
from taskq_postgres.results import PostgresResults
from taskq_postgres.roomy import Roomy
from taskq_postgres.scheduler import PostgresScheduler
from taskq_postgres.search import PostgresSearch
from taskq_postgres.store import Store
from taskq_postgres.tenants import PostgresTenants
from taskq_postgres.url import Target


class PostgresBackend:
    """See taskq.ports.Backend. What goes beyond the ports: TransactionalBackend and SettlingBackend."""

    capabilities = frozenset(
        {
            Capability.SHARED,
            Capability.TRANSACTIONAL_ENQUEUE,
            Capability.TRANSACTIONAL_SETTLE,
            Capability.LIMITS_SPAN_QUEUES,
            Capability.SCHEDULES,
        }
    )

    def __init__(self, target: Target, options: BackendOptions) -> None:
        self._target = target
        self._options = options
        self.batch = max(CHUNK, options.batch)
        """Tasks in one statement."""
        self._store = store = Store(target, options)
        self._hints = hints = Hints(store)
        self.broker = PostgresBroker(store, hints, roomy := Roomy())
        self.flows = PostgresFlows(store, hints)
        self.maintenance = PostgresMaintenance(store, hints, self.flows)
        self.annotations = PostgresAnnotations(store)
        self.results = PostgresResults(store, hints)
        self.inspector = PostgresInspector(store, hints)
        self.queues = PostgresQueues(store, hints, roomy)
        self.scheduler = PostgresScheduler(store)
        self.documents = PostgresDocuments(store)
        self.journal = PostgresJournal(store)
        self.metrics = PostgresMetrics(store)
        self.tenants = PostgresTenants(store)
        self.diagnosis = PostgresDiagnosis(store)
        self.overrides = PostgresOverrides(store)
        self.search = PostgresSearch(store)
        self.registry = PostgresRegistry(store)
        self.events = PostgresEvents(store, hints)
        self._lenders: list[PostgresLender] = []

    def shard_of(self, queue: str) -> int:
        """There is one shard."""
        return 0

    def clone(self) -> PostgresBackend:
        """Another backend on the same store, not opened yet."""
        return PostgresBackend(self._target, self._options)

    async def check(self) -> list[str]:
        """Look whether the store is fit to be trusted; returns warnings."""
        await migrate.check(self._store)
        return durability.look(dict(await self._store.run("settings", reads=True)), self._options.durability)

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; returns the steps that were taken."""
        return await self._store.repeat(lambda: migrate.migrate(self._store.pool, self._target.schema))

    def migration_sql(self, from_version: int = 0) -> str:
        """The SQL of the migrations after `from_version`, for those who run their own."""
        return migrate.sql(self._target.schema, from_version)

    async def erase(self) -> None:
        """Forget all of this namespace: its schema is dropped."""
        await self._store.repeat(lambda: migrate.erase(self._store.pool, self._target.schema))

    def enqueue_in(self, connection: Any, messages: Sequence[Message], *, atomic: bool = False) -> list[Enqueued]:
        """Put tasks into the caller's own transaction: they exist if and when it commits.

        Arguments:
            connection: a psycopg connection or cursor, a SQLAlchemy Connection or Session, or a Django connection.
            messages: a few; each travels as text.
            atomic: all or none.

        Never commits, opens no savepoint, tries once: the transaction is the caller's. Workers hear of the tasks with
        its commit.
        """
        return transaction.enqueue(self._target.schema, connection, messages, atomic=atomic)

    async def aenqueue_in(
        self, connection: Any, messages: Sequence[Message], *, atomic: bool = False
    ) -> list[Enqueued]:
        """The same for asynchronous connections: psycopg, asyncpg, SQLAlchemy AsyncConnection and AsyncSession."""
        return await transaction.aenqueue(self._target.schema, connection, messages, atomic=atomic)

    def lender(self, most: int) -> PostgresLender:
        """Lends connections to tasks; they are closed with this backend."""
        self._lenders.append(PostgresLender(self._store, self._completion, most))
        return self._lenders[-1]

    def is_async(self, connection: Any) -> bool:
        """Whether a connection or session is an asynchronous one."""
        return transaction.is_async(connection)

    def complete_in(self, connection: Any, delivery: Delivery, result: bytes) -> None:
        """Complete a run inside the caller's own transaction."""
        transaction.complete(connection, self._completion(delivery, result))

    async def acomplete_in(self, connection: Any, delivery: Delivery, result: bytes) -> None:
        """The same for an asynchronous connection."""
        await transaction.acomplete(connection, self._completion(delivery, result))

    async def is_settled(self, delivery: Delivery) -> bool | None:
        """Whether a run is settled, None while somebody holds its task."""
        run = (delivery.id, delivery.fence, plain(delivery.worker))
        answer: bool | None = await self._store.value("is_settled", run, reads=True)
        return answer

    def completed(self, delivery: Delivery) -> None:
        """A run of this worker was completed in a transaction."""
        self.broker.completed(delivery)

    def _completion(self, delivery: Delivery, result: bytes) -> transaction.Completion:
        is_awaited = self._hints.is_awaited(delivery.id)
        return transaction.Completion(self._target.schema, delivery, result, is_awaited, self._options.command_timeout)

    def hint(self, *queues: str) -> None:
        """Tell workers that there may be work in these queues, after a commit of the caller's."""
        self._hints.tell("q", queues)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for lender in self._lenders:
            await lender.close()
        await self._hints.close()
        await self._store.pool.close()
