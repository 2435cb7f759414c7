"""The bundle of ports on Redis."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from hiredis import ReplyError

from taskq.errors import BackendUnavailable
from taskq.ports import BackendOptions, Capability
from taskq_redis import checks
from taskq_redis.annotations import RedisAnnotations
from taskq_redis.broker import RedisBroker
from taskq_redis.diagnosis import RedisDiagnosis
from taskq_redis.documents import RedisDocuments
from taskq_redis.errors import ConnectionLost, map_error
from taskq_redis.events import RedisEvents
from taskq_redis.flows import RedisFlows
from taskq_redis.inspector import RedisInspector
from taskq_redis.journal import RedisJournal
from taskq_redis.listening import Listening
from taskq_redis.maintenance import RedisMaintenance
from taskq_redis.metrics import RedisMetrics
from taskq_redis.overrides import RedisOverrides
from taskq_redis.queues import RedisQueues
from taskq_redis.registry import RedisRegistry
from taskq_redis.results import RedisResults
from taskq_redis.scheduler import RedisScheduler
from taskq_redis.search import RedisSearch
from taskq_redis.store import Store
from taskq_redis.tenants import RedisTenants
from taskq_redis.urls import Target, parse


class RedisBackend:
    """See taskq.ports.Backend. Connections are opened when they are needed."""

    def __init__(self, target: Target, options: BackendOptions) -> None:
        checks.check_durability_name(options)
        self._target = target
        self._options = options
        self._store = Store(target, options)
        self._listening = Listening(self._store)
        self.broker = RedisBroker(self._store)
        self.maintenance = RedisMaintenance(self._store, self.broker.joins)
        self.annotations = RedisAnnotations(self._store)
        self.results = RedisResults(self._store, self._listening)
        self.inspector = RedisInspector(self._store, self.broker.joins)
        self.queues = RedisQueues(self._store)
        self.scheduler = RedisScheduler(self._store)
        self.flows = RedisFlows(self._store, self.broker.joins)
        self.documents = RedisDocuments(self._store)
        self.journal = RedisJournal(self._store)
        self.metrics = RedisMetrics(self._store)
        self.tenants = RedisTenants(self._store)
        self.diagnosis = RedisDiagnosis(self._store)
        self.overrides = RedisOverrides(self._store)
        self.search = RedisSearch(self._store, self.inspector.get_many)
        self.registry = RedisRegistry(self._store)
        self.events = RedisEvents(self._store, self._listening)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""
        alone = {Capability.LIMITS_SPAN_QUEUES} if len(self._store.shards) == 1 else set()
        return frozenset({Capability.SHARED, Capability.SCHEDULES} | alone)

    def shard_of(self, queue: str) -> int:
        """The shard that holds a queue."""
        return self._store.shard_of(queue)

    def clone(self) -> Self:
        """Another backend on the same store, not opened yet, with connections of its own."""
        return type(self)(self._target, self._options)

    async def check(self) -> list[str]:
        """Look whether each server that holds a shard is fit to be trusted."""
        warnings: list[str] = []
        for keys in self._store.keys:
            try:
                connection = await self._store.transport.open(keys.slot)
            except ConnectionLost as lost:
                raise BackendUnavailable(f"check: Redis could not be reached ({lost})") from None
            where = f"Redis at {connection.address}"
            try:
                facts, has_config = await checks.look(connection, self._options.command_timeout)
            except (ConnectionLost, ReplyError) as error:
                raise map_error(error, f"check of {where}", was_sent=False) from None
            finally:
                connection.close()
            found = checks.judge(facts, has_config, self._options, where)
            warnings += [warning for warning in found if warning not in warnings]
        await self.migrate()
        for shard in self._store.shards:
            await self._store.recognise(shard)
        return warnings

    async def migrate(self) -> list[str]:
        """There is no schema: only how the store is laid out is written, or compared with the URL."""
        for shard in self._store.shards:
            await self._store.epoch(shard)
        return []

    async def erase(self) -> None:
        """Forget all of this namespace: its keys are looked for among all keys of the server, in small steps."""
        for keys in self._store.keys:
            await self._store.transport.erase(keys)

    async def __aenter__(self) -> Self:
        self._store.reopen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._listening.close()
        # The store first: it tells those who wait whether what they asked for may have happened.
        await self._store.close()
        await self.broker.close()


def create_backend(url: str, options: BackendOptions) -> RedisBackend:
    """A backend for a Redis URL, not opened yet.

    Raises:
        ConfigError: the URL or an option is wrong.
    """
    return RedisBackend(parse(url), options)
