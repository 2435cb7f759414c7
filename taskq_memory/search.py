"""Finding ended tasks on the memory store: by looking at all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from taskq.domain.state import FINAL
from taskq.ports import Counted, EndedQuery, Found, Key, Place, Values
from taskq_memory.record import to_failure, to_record
from taskq_memory.rows import Task
from taskq_memory.store import Store

_VALUES: Mapping[Key, Callable[[Task], Sequence[str]]] = {
    Key.NAME: lambda task: (task.name,),
    Key.TENANT: lambda task: (task.tenant,),
    Key.TAG: lambda task: task.tags,
    Key.ERROR: lambda task: (failure.type,) if (failure := to_failure(task.failure)) else (),
    Key.FINGERPRINT: lambda task: (failure.fingerprint,) if (failure := to_failure(task.failure)) else (),
}


class MemorySearch:
    """See taskq.ports.Search."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ended(self, query: EndedQuery) -> Found:
        """A page of ended tasks."""
        with self._store.lock:
            tasks = sorted(self._meant(query), key=_place, reverse=True)
            rest = [task for task in tasks if query.before is None or _place(task) < query.before]
            page = rest[: query.limit]
            records = [to_record(task) for task in page]
        return Found(records, _place(page[-1]) if len(rest) > query.limit else None)

    async def count(self, query: EndedQuery, most: int = 10_000) -> Counted:
        """How many a query means."""
        with self._store.lock:
            query = replace(query, queues=tuple(self._store.queues)) if query.key is None else query
            number = len(self._meant(query))
        return Counted(min(number, most), number < most)

    async def values(self, key: Key, prefix: str = "", limit: int = 20) -> Values:
        """Values that ended tasks have."""
        with self._store.lock:
            ended = [task for task in self._store.tasks.values() if task.state in FINAL]
            found = {value for task in ended for value in _VALUES[key](task)}
        return Values(sorted(value for value in found if value and value.startswith(prefix))[:limit])

    async def catch_up(self, limit: int = 1000) -> int:
        """There is no index."""
        return 0

    def _meant(self, query: EndedQuery) -> list[Task]:
        return [
            task
            for task in self._store.tasks.values()
            if task.state in query.states
            and (query.since is None or query.since <= _place(task).ended_at)
            and (query.until is None or _place(task).ended_at < query.until)
            and (task.queue in query.queues if query.key is None else query.value in _VALUES[query.key](task))
        ]


def _place(task: Task) -> Place:
    return Place(datetime.fromtimestamp(task.completed_at or 0.0, UTC), task.id)
