"""Finding and counting tasks, each within a bound: the answer says how far it looked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskq.domain.envelope import unseal
from taskq.domain.matching import has_metadata, matches
from taskq.domain.query import Query, Term, is_pattern, parse
from taskq.domain.record import TaskRecord
from taskq.domain.state import FINAL
from taskq.errors import CorruptRecord
from taskq.headers import decode_headers
from taskq.management.access import Actor
from taskq.management.walk import KEYS, Mark, Walk, times
from taskq.ports import Backend, EndedQuery

SCAN = 10_000
"""Tasks that one look goes through, where it is not told otherwise."""
MOST = 10_000
"""Up to this number tasks are counted; from then on there are at least so many."""
STEP = 200
"""Tasks in one answer of the store, where most are perhaps not meant."""


class TaskPage(NamedTuple):
    """Some tasks: those that live by state and queue, then those that have ended, the last end first."""

    records: Sequence[TaskRecord]
    looked_at: int
    """How many were looked at to find them."""
    next_cursor: str | None = None
    """Where to go on; None where all have been looked at."""
    notes: Sequence[str] = ()
    """What the index does not know, a sentence each."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to look at."""
        return self.next_cursor is None


class Count(NamedTuple):
    """How many tasks are meant."""

    number: int
    is_exact: bool
    """False: at least so many."""

    def __str__(self) -> str:
        return f"{self.number:,}" if self.is_exact else f"at least {self.number:,}"


def read_query(text: str, actor: Actor) -> Query:
    """A query, of which an actor who is bound to a tenant means only its tasks.

    Raises:
        QueryError: it cannot be read.
    """
    query = parse(text)
    if not actor.tenant:
        return query
    return query._replace(terms=(*query.terms, Term("tenant", (actor.tenant,))))


async def find(backend: Backend, query: Query, limit: int, cursor: str | None, scan: int = SCAN) -> TaskPage:
    """A page of the tasks that a query means.

    Arguments:
        backend: the store.
        query: what is meant.
        limit: the most to hand out.
        cursor: where to go on, of an earlier page.
        scan: the most to look at.

    Raises:
        InvalidOption: the cursor is none.
    """
    now = datetime.now(UTC)
    walk = Walk(backend, query, now, Mark.read(cursor), min(limit, STEP) if _is_sure(query) else STEP)
    needs_metadata = has_metadata(query)
    records: list[TaskRecord] = []
    looked_at, reached = 0, None
    tasks = walk.tasks()
    while len(records) < limit and looked_at < scan:
        found = await anext(tasks, None)
        if found is None:
            return TaskPage(records, looked_at, None, tuple(walk.notes))
        reached, record = found
        looked_at += 1
        if matches(query, record, now, metadata_of(record) if needs_metadata else {}):
            records.append(record)
    is_over = await anext(tasks, None) is None
    return TaskPage(records, looked_at, None if is_over or reached is None else reached.written(), tuple(walk.notes))


async def count(backend: Backend, query: Query) -> Count:
    """How many tasks a query means: read off counters or an index where that can be, else counted as far as MOST.

    Arguments:
        backend: the store.
        query: what is meant.
    """
    if _is_sure(query, {"state", "queue"}):
        counts = await backend.inspector.counts()
        queues = query.exactly("queue")
        found = (counts.get(queue, {}) for queue in (counts if queues is None else queues))
        return Count(sum(states.get(state, 0) for states in found for state in query.states), True)
    since, until, is_whole = times(query, datetime.now(UTC))
    ended = query._replace(terms=tuple(term for term in query.terms if term.field != "ended"))
    if query.states <= FINAL and is_whole:
        asked = EndedQuery(states=tuple(query.states), since=since, until=until)
        if _is_sure(ended, {"state"}):
            return Count(*await backend.search.count(asked, MOST))
        for name, key in KEYS.items():
            value = _only(ended, name)
            if value and _is_sure(ended, {"state", name}):
                return Count(*await backend.search.count(replace(asked, key=key, value=value), MOST))
    page = await find(backend, query, MOST, None, SCAN)
    return Count(len(page.records), page.is_complete and not page.notes)


def _only(query: Query, field: str) -> str | None:
    """The value of a field of which a query has one term, with one value."""
    values = [value for term in query.terms if term.field == field for value in term.values]
    return values[0] if len(values) == 1 else None


def masked(record: TaskRecord) -> TaskRecord:
    """A record without what its caller and its runs have said, but for its metadata."""
    return replace(record, body=b"", result=None, checkpoint=None, progress=None, logs=())


def metadata_of(record: TaskRecord) -> Mapping[str, Any]:
    """What a task's caller said of it beside the arguments; {} where its record is damaged."""
    try:
        return decode_headers(unseal(record.id, record.name, record.body)[1]).metadata
    except CorruptRecord:
        return {}


def _is_sure(query: Query, fields: Collection[str] = ("state", "queue", "id", "workflow")) -> bool:
    """Whether each term is one of these fields, and names its values: then all that a walk comes upon is meant."""
    return all(
        term.field == "state"
        or (term.field in fields and not term.is_negated and not any(map(is_pattern, term.values)))
        for term in query.terms
    )
