"""Looking at a Postgres store, and acting on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.errors import InvalidOption
from taskq.ports import Page, Redriven, RedriveStatus, TaskQuery
from taskq_postgres.hints import Hints
from taskq_postgres.record import BY_PRIORITY, CAME_IN, CODES, STATES, is_id, plain, to_record
from taskq_postgres.search import SUMMED_UP
from taskq_postgres.store import Row, Store, new_token

PURGE_STEP = 1000
"""Tasks that one statement purges at most."""
_MANY_CHANGES = 10_000
"""Changes of the counts that who looks at them sums up: workers do so too, where there are any."""
_RUNNING_CODE = 100
_LAST_PLACE = 2**63 - 1


class PostgresInspector:
    """See taskq.ports.Inspector."""

    def __init__(self, store: Store, hints: Hints) -> None:
        self._store = store
        self._hints = hints

    async def get(self, id: str) -> TaskRecord | None:
        """All that is known of a task."""
        return (await self.get_many([id]))[0]

    async def get_many(self, ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """All that is known of some tasks."""
        wanted = [id for id in ids if is_id(id)]
        rows = await self._store.run("get", (wanted,), reads=True) if wanted else []
        records = {record.id: record for record in map(to_record, rows)}
        return [records.get(id) for id in ids]

    async def list(self, query: TaskQuery) -> Page:
        """A page of tasks, the newest first."""
        name, parameters = _listing(query)
        rows = await self._store.run(name, parameters, reads=True)
        page = rows[: query.limit]
        cursor = _cursor(page[-1]) if len(rows) > query.limit else None
        return Page([to_record(row) for row in page], cursor, [_cursor(row) for row in page])

    async def counts(self) -> Mapping[str, Mapping[TaskState, int]]:
        """How many tasks each queue has in each state: what statements have counted, summed up where it is much."""
        counts: dict[str, dict[TaskState, int]] = defaultdict(dict)
        rows = await self._store.run("counts", reads=True)
        if sum(row[3] for row in rows) > _MANY_CHANGES:
            await self._store.run("sum_up", (SUMMED_UP,))
        running = {queue: count for queue, code, count, _ in rows if code == _RUNNING_CODE}
        for queue, code, count, _ in rows:
            if code != CAME_IN:
                state = TaskState.RUNNING if code == _RUNNING_CODE else STATES[0 if code in BY_PRIORITY else code]
                counts[queue][state] = counts[queue].get(state, 0) + count
        for queue, number in running.items():
            counts[queue][TaskState.PENDING] = counts[queue].get(TaskState.PENDING, 0) - number
        return {queue: some for queue, found in counts.items() if (some := {s: n for s, n in found.items() if n > 0})}

    async def peek(self, queue: str, limit: int = 10) -> Sequence[TaskRecord]:
        """The tasks that the next claims would take."""
        rows = await self._store.run("peek", {"queue": queue, "limit": limit}, reads=True)
        return [to_record(row) for row in rows]

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

    async def redrive(self, ids: Sequence[str], queue: str | None = None) -> Sequence[Redriven]:
        """Give tasks that failed another life."""
        known = [id for id in ids if is_id(id)]
        if not known:
            return [_redriven("not final")] * len(ids)
        given = (known, queue if queue is None else plain(queue), new_token())
        answers: Sequence[str] = await self._store.value("redrive", given)
        if "moved" in answers:
            self._hints.tell("a", [""])
        found = iter(answers)
        return [_redriven(next(found) if is_id(id) else "not final") for id in ids]

    async def holder(self, queue: str, unique: UniqueKey) -> str | None:
        """The task that holds a unique key."""
        rows = await self._store.run("holder", (plain(unique.key),), reads=True)
        return rows[0][0] if rows else None

    async def discard(self, ids: Sequence[str]) -> int:
        """Forget tasks that have ended."""
        known = sorted(set(filter(is_id, ids)))
        return int(await self._store.value("discard", (known, new_token()))) if known else 0


def _redriven(answer: str) -> Redriven:
    if answer in ("moved", "not final"):
        return Redriven(RedriveStatus(answer))
    return Redriven(RedriveStatus.HELD, answer)


def _listing(query: TaskQuery) -> tuple[str, Any]:
    """The statement for a page, and its parameters; one row more than the page tells whether there is another."""
    first, place = _below(query.cursor)
    limit = query.limit + 1
    if query.state is TaskState.PENDING:
        return "list_pending", {"queue": query.queue, "below": place, "limit": limit}
    if query.state is TaskState.RUNNING:
        return "list_running", (query.queue, int(min(first, _LAST_PLACE)), place, limit)
    code = CODES[query.state]
    if query.state is TaskState.BLOCKED:
        return "list_blocked", (query.queue, code, first, place, limit)
    name = "list_waiting" if code < 10 else "list_dead" if query.state is TaskState.DEAD else "list_finished"
    return name, (query.queue, code, first, place, limit)


def _below(cursor: str | None) -> tuple[float, int]:
    if cursor is None:
        return inf, _LAST_PLACE
    try:
        first, place = cursor.split("_")
        return float(first), int(place)
    except ValueError:
        raise InvalidOption(f"{cursor!r} is not a cursor of an earlier page") from None


def _cursor(row: Row) -> str:
    """The place of a row in its list: its last two columns."""
    return f"{row[-2]!r}_{row[-1]}"
