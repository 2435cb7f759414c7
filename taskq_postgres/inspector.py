"""Looking at a Postgres store, and acting on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Any

from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.ports import Page, QueueConfig, TaskQuery
from taskq_postgres.hints import Hints
from taskq_postgres.record import CODES, STATES, is_id, plain, to_record
from taskq_postgres.store import Row, Store, new_token

PURGE_STEP = 1000
"""Tasks that one statement purges at most."""
_RUNNING_CODE = 100
_LAST_PLACE = 2**63 - 1


class PostgresInspector:
    """See taskq.ports.Inspector."""

    def __init__(self, store: Store, hints: Hints) -> None:
        self._store = store
        self._hints = hints

    async def get(self, id: str) -> TaskRecord | None:
        """All that is known of a task."""
        if not is_id(id):
            return None
        rows = await self._store.run("get", (id,), reads=True)
        return to_record(rows[0]) if rows else None

    async def list(self, query: TaskQuery) -> Page:
        """A page of tasks, the newest first."""
        name, parameters = _listing(query)
        rows = await self._store.run(name, parameters, reads=True)
        page = rows[: query.limit]
        cursor = _cursor(page[-1]) if len(rows) > query.limit else None
        return Page([to_record(row) for row in page], cursor)

    async def counts(self) -> Mapping[str, Mapping[TaskState, int]]:
        """How many tasks each queue has in each state: counted, in index order, at each call."""
        counts: dict[str, dict[TaskState, int]] = defaultdict(dict)
        rows = await self._store.run("counts", reads=True)
        running = {queue: count for queue, code, count in rows if code == _RUNNING_CODE}
        for queue, code, count in rows:
            state = TaskState.RUNNING if code == _RUNNING_CODE else STATES[code]
            number = count - running.get(queue, 0) if state is TaskState.PENDING else count
            if number > 0:
                counts[queue][state] = number
        return counts

    async def peek(self, queue: str, limit: int = 10) -> Sequence[TaskRecord]:
        """The tasks that the next claims would take."""
        rows = await self._store.run("peek", {"queue": queue, "limit": limit}, reads=True)
        return [to_record(row) for row in rows]

    async def pause(self, queue: str, reason: str = "", until: datetime | None = None) -> None:
        """Hand out no task of this queue."""
        await self._store.run("pause", (queue, plain(reason), None if until is None else until.timestamp()))

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        await self._store.run("resume", (queue,))
        self._hints.tell("q", [queue])

    async def configure(self, queue: str, config: QueueConfig) -> None:
        """Change what is set for a queue."""
        await self._store.run("configure", (queue, config.max_finished))

    async def purge(self, queue: str, limit: int = 1000) -> int:
        """Cancel waiting tasks of a queue."""
        purged = 0
        while purged < limit:
            step = min(limit - purged, PURGE_STEP)
            ended = await self._store.value("purge", (queue, step, new_token()))
            self._hints.ended(ended)
            purged += len(ended)
            if len(ended) < step:
                break
        return purged

    async def redrive(self, ids: Sequence[str]) -> Sequence[bool]:
        """Give tasks that failed another life."""
        # The rows are locked in the order of their ids, so that no two calls wait for each other.
        order = sorted((place for place in range(len(ids)) if is_id(ids[place])), key=ids.__getitem__)
        if not order:
            return [False] * len(ids)
        moved: Sequence[bool] = await self._store.value("redrive", ([ids[place] for place in order], new_token()))
        if any(moved):
            self._hints.tell("a", [""])
        answers = dict(zip(order, moved, strict=True))
        return [answers.get(place, False) for place in range(len(ids))]


def _listing(query: TaskQuery) -> tuple[str, Any]:
    """The statement for a page, and its parameters; one row more than the page tells whether there is another."""
    first, place = _below(query.cursor)
    limit = query.limit + 1
    if query.state is TaskState.PENDING:
        return "list_pending", {"queue": query.queue, "below": place, "limit": limit}
    if query.state is TaskState.RUNNING:
        return "list_running", (query.queue, int(min(first, _LAST_PLACE)), place, limit)
    code = CODES[query.state]
    name = "list_waiting" if code < 10 else "list_dead" if query.state is TaskState.DEAD else "list_finished"
    return name, (query.queue, code, first, place, limit)


def _below(cursor: str | None) -> tuple[float, int]:
    if cursor is None:
        return inf, _LAST_PLACE
    first, place = cursor.split("_")
    return float(first), int(place)


def _cursor(row: Row) -> str:
    """The place of a row in its list: its last two columns."""
    return f"{row[-2]!r}_{row[-1]}"
