"""The tasks that a query may mean, one after the other: those that live by state and queue, then those that have ended.

What the store has an index for it is asked for; the rest of a query is for whoever takes what comes.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from taskq.config import shown
from taskq.domain.query import Operator, Query, is_pattern
from taskq.domain.record import TaskRecord
from taskq.domain.spans import parse_duration, parse_instant
from taskq.domain.state import FINAL, TaskState
from taskq.errors import InvalidOption
from taskq.ports import Backend, EndedQuery, Key, Place, TaskQuery

LIVING = (TaskState.RUNNING, TaskState.RETRYING, TaskState.PENDING, TaskState.SCHEDULED, TaskState.BLOCKED)
"""The states of tasks that have not ended, in the order of their sections."""
KEYS: Mapping[str, Key] = {
    "fingerprint": Key.FINGERPRINT,
    "tag": Key.TAG,
    "error": Key.ERROR,
    "tenant": Key.TENANT,
    "task": Key.NAME,
}
"""The fields for which a store has an index, those first that as a rule mean fewer tasks."""
MOST_VALUES = 20
"""Values of one field that are asked for by themselves; of more, all are looked at."""
_BY_ID, _ENDED = "ids", "ended"
_LAST = datetime.max.replace(tzinfo=UTC)


class Mark(NamedTuple):
    """Where a walk stands."""

    section: str = ""
    """A state, _BY_ID or _ENDED."""
    queue: str = ""
    page: str | None = None
    """A cursor of the store."""
    last: str = ""
    """The id of the newest task that was handed out behind it, or the place of one that has ended."""

    def written(self) -> str:
        """The mark as text that a URL may hold."""
        return urlsafe_b64encode(json.dumps(self, separators=(",", ":")).encode()).decode()

    @classmethod
    def read(cls, cursor: str | None) -> Mark:
        """Read what `written` wrote.

        Raises:
            InvalidOption: it is none.

        >>> Mark.read(Mark("running", "mail").written())
        Mark(section='running', queue='mail', page=None, last='')
        """
        if cursor is None:
            return cls()
        try:
            section, queue, page, last = json.loads(urlsafe_b64decode(cursor.encode()))
            return cls(str(section), str(queue), None if page is None else str(page), str(last))
        except (ValueError, TypeError, RecursionError):
            raise InvalidOption(f"{shown(cursor)} is not a cursor of an earlier page") from None

    @property
    def place(self) -> Place | None:
        """Where to go on among those that have ended."""
        if self.section != _ENDED or not self.last:
            return None
        text, _, id = self.last.partition(" ")
        try:
            return Place(parse_instant(text), id)
        except ValueError:
            raise InvalidOption(f"{shown(self.last)} is not a cursor of an earlier page") from None


@dataclass
class Walk:
    """One look through the store, from a mark on.

    Arguments:
        backend: the store.
        query: what is meant; the parts for which there is an index decide what is looked at.
        now: by which durations of the query are counted.
        mark: where to begin.
        step: tasks in one answer of the store.
    """

    backend: Backend
    query: Query
    now: datetime
    mark: Mark
    step: int
    notes: dict[str, None] = field(default_factory=dict)
    """What a page has left out, in words."""

    async def tasks(self) -> AsyncIterator[tuple[Mark, TaskRecord]]:
        """Tasks, each with the mark behind it."""
        ids = self.query.exactly("id")
        flows = self.query.exactly("workflow")
        if ids is not None:
            async for found in self._named(sorted(ids)):
                yield found
        elif flows is not None:
            for flow in sorted(flow for flow in flows if flow >= self.mark.queue):
                async for found in self._members(flow):
                    yield found
        else:
            async for found in self._everywhere():
                yield found

    # ------------------------------------------------------------ by id

    async def _named(self, ids: Sequence[str]) -> AsyncIterator[tuple[Mark, TaskRecord]]:
        rest = [id for id in ids if id > self.mark.last]
        for record in await self.backend.inspector.get_many(rest):
            if record is not None:
                yield Mark(_BY_ID, last=record.id), record

    async def _members(self, flow: str) -> AsyncIterator[tuple[Mark, TaskRecord]]:
        mark = self.mark if self.mark.queue == flow else Mark(_BY_ID, flow)
        while True:
            page = await self.backend.flows.members(flow, self.step, mark.page)
            records = await self.backend.inspector.get_many(_behind(page.ids, mark.last))
            for record in records:
                if record is not None:
                    yield mark._replace(last=record.id), record
            if page.next_cursor is None:
                return
            mark = Mark(_BY_ID, flow, page.next_cursor)

    # ------------------------------------------------------------ by state and queue

    async def _everywhere(self) -> AsyncIterator[tuple[Mark, TaskRecord]]:
        named = self.query.exactly("queue")
        there = await self.backend.inspector.counts()
        queues = sorted(there if named is None else named & there.keys())
        states = self.query.states
        sections = [*(state for state in LIVING if state in states), *([_ENDED] if states & FINAL else [])]
        begun = sections.index(self.mark.section) if self.mark.section in sections else 0
        for section in sections[begun:]:
            if section == _ENDED:
                async for found in self._ended(queues, [state for state in FINAL if state in states]):
                    yield found
                return
            for queue in queues:
                if section != self.mark.section or queue >= self.mark.queue:
                    async for found in self._living(TaskState(section), queue):
                        yield found

    async def _living(self, state: TaskState, queue: str) -> AsyncIterator[tuple[Mark, TaskRecord]]:
        here = (self.mark.section, self.mark.queue) == (state, queue)
        cursor = self.mark.page if here else None
        while True:
            page = await self.backend.inspector.list(
                TaskQuery(queue=queue, state=state, limit=self.step, cursor=cursor)
            )
            for record, behind in zip(page.records, page.cursors, strict=True):
                yield Mark(state, queue, behind), record
            cursor = page.next_cursor
            if cursor is None:
                return

    # ------------------------------------------------------------ those that have ended

    async def _ended(
        self, queues: Sequence[str], states: Sequence[TaskState]
    ) -> AsyncIterator[tuple[Mark, TaskRecord]]:
        since, until, _ = times(self.query, self.now)
        asked = EndedQuery(states=states, since=since, until=until, before=self.mark.place, limit=self.step)
        by_key = await self._by_key(asked)
        sources = [replace(asked, queues=queues)] if by_key is None else by_key
        last = None
        async for record in _merged([self._pages(source) for source in sources]):
            if record.id != last and record.completed_at is not None:  # one may have several of the tags
                last = record.id
                yield Mark(_ENDED, last=f"{record.completed_at.isoformat()} {record.id}"), record

    async def _pages(self, query: EndedQuery) -> AsyncIterator[TaskRecord]:
        while True:
            found = await self.backend.search.ended(query)
            if found.since is not None:
                self.notes[f"of those that ended before {found.since:%Y-%m-%d %H:%M:%S %Z}, the index knows none"] = (
                    None
                )
            if found.until is not None:
                self.notes[f"the index has still to take in what ended after {found.until:%H:%M:%S %Z}"] = None
            for record in found.records:
                yield record
            if found.next_place is None:
                return
            query = replace(query, before=found.next_place)

    async def _by_key(self, asked: EndedQuery) -> list[EndedQuery] | None:
        """What to ask the index for, of the field that means the fewest tasks; None where the query names none."""
        best: tuple[int, list[EndedQuery]] | None = None
        for name, key in KEYS.items():
            values = await self._values(name, key)
            if values is None:
                continue
            queries = [replace(asked, key=key, value=value) for value in sorted(values)]
            number = sum([(await self.backend.search.count(query, 1000)).number for query in queries])
            if best is None or number < best[0]:
                best = number, queries
            if number < self.step:
                break
        return None if best is None else best[1]

    async def _values(self, name: str, key: Key) -> frozenset[str] | None:
        """The values of which a task must have one; those of a pattern are looked up."""
        exact = self.query.exactly(name)
        if exact is not None:
            return exact if len(exact) <= MOST_VALUES and "" not in exact else None
        patterns = [
            value
            for term in self.query.terms
            if term.field == name and not term.is_negated and len(term.values) == 1
            for value in term.values
            if is_pattern(value)
        ]
        prefixes = [pattern.replace("?", "*").partition("*")[0] for pattern in patterns]
        prefix = max(prefixes, key=len, default="")
        if not prefix:
            return None
        values, is_whole = await self.backend.search.values(key, prefix, MOST_VALUES + 1)
        return frozenset(values) if is_whole and len(values) <= MOST_VALUES else None


def times(query: Query, now: datetime) -> tuple[datetime | None, datetime | None, bool]:
    """Between which instants a query has tasks end, and whether that is all that it says of it.

    Arguments:
        query: what is meant.
        now: by which durations are counted.
    """
    since: datetime | None = None
    until: datetime | None = None
    is_whole = True
    for term in query.terms:
        if term.field != "ended":
            continue
        is_later = term.operator in (Operator.ABOVE, Operator.AT_LEAST)
        try:
            instant = now - parse_duration(term.values[0])
            is_later = not is_later  # longer ago is earlier
        except ValueError:
            instant = parse_instant(term.values[0])
        except OverflowError:
            instant = None
        if instant is None or term.is_negated:
            is_whole = False
            continue
        # Both bounds hold what ended at them or later: of a microsecond there is nothing between.
        has_it = is_later is (term.operator in (Operator.AT_LEAST, Operator.AT_MOST))
        bound = instant if has_it or instant >= _LAST else instant + timedelta.resolution
        if is_later:
            since = bound if since is None else max(since, bound)
        else:
            until = bound if until is None else min(until, bound)
    return since, until, is_whole


async def _merged(sources: Sequence[AsyncIterator[TaskRecord]]) -> AsyncIterator[TaskRecord]:
    """The records of several sources, each the newest end first, as one."""
    heads = [(await anext(source, None), source) for source in sources]
    while waiting := [(record, source) for record, source in heads if record is not None]:
        record, source = max(waiting, key=lambda head: (head[0].completed_at, head[0].id))
        yield record
        heads = [(await anext(source, None) if one is source else head, one) for head, one in heads]


def _behind(ids: Sequence[str], last: str) -> Sequence[str]:
    """Those after one that was handed out; all where it is not among them."""
    return ids[list(ids).index(last) + 1 :] if last in ids else ids
