"""Each adapter is what the ports say. A line marked `# error` is one that both type checkers refuse."""

from __future__ import annotations

from taskq.ports import (
    Annotations,
    Backend,
    BackendOptions,
    Broker,
    Clock,
    EventBus,
    Inspector,
    Maintenance,
    ResultStore,
    SystemClock,
    WorkerRegistry,
)
from taskq.ports.backend import TransactionalBackend
from taskq.testing.clock import VirtualClock
from taskq_memory import create_backend as memory
from taskq_postgres import create_backend as postgres
from taskq_redis import create_backend as redis

OPTIONS = BackendOptions()


def each_is_a_backend() -> list[Backend]:
    return [memory("memory://", OPTIONS), redis("redis://h", OPTIONS), postgres("postgres://h", OPTIONS)]


def each_has_every_port_of_its_own() -> None:
    for backend in (memory("memory://", OPTIONS), redis("redis://h", OPTIONS), postgres("postgres://h", OPTIONS)):
        broker: Broker = backend.broker
        maintenance: Maintenance = backend.maintenance
        annotations: Annotations = backend.annotations
        results: ResultStore = backend.results
        inspector: Inspector = backend.inspector
        registry: WorkerRegistry = backend.registry
        events: EventBus = backend.events
        print(broker, maintenance, annotations, results, inspector, registry, events)


def postgres_joins_a_transaction() -> TransactionalBackend:
    return postgres("postgres://h", OPTIONS)


def memory_joins_no_transaction() -> TransactionalBackend:
    return memory("memory://", OPTIONS)  # error


def clocks() -> list[Clock]:
    return [SystemClock(), VirtualClock()]


class Half:
    async def put(self, id: str, fence: int, result: bytes, retention: float) -> None: ...


def half_a_port_is_none() -> ResultStore:
    return Half()  # error
