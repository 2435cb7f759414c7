"""The bundle of ports on the memory store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from types import TracebackType
from typing import Self

from taskq.ports import BackendOptions, Capability
from taskq_memory.annotations import MemoryAnnotations
from taskq_memory.broker import MemoryBroker
from taskq_memory.diagnosis import MemoryDiagnosis
from taskq_memory.documents import MemoryDocuments
from taskq_memory.events import MemoryEvents
from taskq_memory.flows import MemoryFlows
from taskq_memory.inspector import MemoryInspector
from taskq_memory.journal import MemoryJournal
from taskq_memory.maintenance import MemoryMaintenance
from taskq_memory.metrics import MemoryMetrics
from taskq_memory.overrides import MemoryOverrides
from taskq_memory.queues import MemoryQueues
from taskq_memory.registry import MemoryRegistry
from taskq_memory.results import MemoryResults
from taskq_memory.scheduler import MemoryScheduler
from taskq_memory.search import MemorySearch
from taskq_memory.snapshot import SnapshotFile
from taskq_memory.store import Store
from taskq_memory.tenants import MemoryTenants

logger = logging.getLogger("taskq.memory")
SNAPSHOT_EVERY = 5.0
"""Seconds between two snapshots, if something has changed."""


class MemoryBackend:
    """See taskq.ports.Backend. Clones share the store, from any thread."""

    capabilities = frozenset({Capability.VIRTUAL_TIME, Capability.LIMITS_SPAN_QUEUES, Capability.SCHEDULES})

    def __init__(
        self,
        store: Store,
        options: BackendOptions,
        snapshot: SnapshotFile | None = None,
        registry: MemoryRegistry | None = None,
    ) -> None:
        self._store = store
        self._options = options
        self._snapshot = snapshot
        self._saving: asyncio.Task[None] | None = None
        self.broker = MemoryBroker(store, options)
        self.maintenance = MemoryMaintenance(store)
        self.annotations = MemoryAnnotations(store)
        self.results = MemoryResults(store)
        self.inspector = MemoryInspector(store)
        self.queues = MemoryQueues(store)
        self.scheduler = MemoryScheduler(store)
        self.flows = MemoryFlows(store)
        self.documents = MemoryDocuments(store)
        self.journal = MemoryJournal(store)
        self.search = MemorySearch(store)
        self.metrics = MemoryMetrics(store)
        self.tenants = MemoryTenants(store)
        self.diagnosis = MemoryDiagnosis(store)
        self.overrides = MemoryOverrides(store)
        self.registry = registry or MemoryRegistry(store)
        self.events = MemoryEvents(store)

    def shard_of(self, queue: str) -> int:
        """There is one shard."""
        return 0

    def clone(self) -> Self:
        """Another backend on the same store."""
        return type(self)(self._store, self._options, self._snapshot, self.registry)

    async def check(self) -> list[str]:
        """Say whether a snapshot was damaged."""
        return [] if self._snapshot is None else list(self._snapshot.warnings)

    async def migrate(self) -> list[str]:
        """There is no schema."""
        return []

    async def __aenter__(self) -> Self:
        if self._snapshot is not None:
            self._snapshot.load()
            self._saving = asyncio.create_task(self._save_now_and_then(self._snapshot))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._saving is not None and self._snapshot is not None:
            self._saving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._saving
            self._snapshot.save()

    async def _save_now_and_then(self, snapshot: SnapshotFile) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_EVERY)
            try:
                await asyncio.to_thread(snapshot.save)
            except OSError as error:
                # A disk that is full now may have room later, and the tasks are all here still.
                logger.warning("the snapshot could not be written; it is tried again: %s", error)
