"""Going through dead letters, newest first, over several queues: page by page, within a bound, and on from a cursor."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import dropwhile
from typing import NamedTuple

from taskq.config import shown
from taskq.dead_filter import DeadFilter, ended_at
from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.errors import InvalidOption
from taskq.ports import Inspector, TaskQuery

PAGE = 100
"""Records in one answer of the store."""
MOST_BLANKS = 100
"""Pages in one bounded look that may hold nothing new: what has been redriven leaves gaps."""


class Position(NamedTuple):
    """Where a look ended: at this record; the next ones ended before it, or in a later queue at the same instant."""

    at: datetime
    queue: str
    id: str

    def is_behind(self, record: TaskRecord) -> bool:
        """Whether a record comes before this position, and so has been seen, or is newer than the first look."""
        at = ended_at(record)
        return at > self.at or (at == self.at and record.queue < self.queue)


class Mark(NamedTuple):
    """What a cursor holds: the position, and for each queue where the page begins that it was in."""

    last: Position | None
    pages: Mapping[str, str]

    def written(self) -> str:
        """The cursor as text that a URL may hold."""
        last = None if self.last is None else [self.last.at.isoformat(), self.last.queue, self.last.id]
        return urlsafe_b64encode(json.dumps([last, dict(self.pages)], separators=(",", ":")).encode()).decode()

    @classmethod
    def read(cls, cursor: str) -> Mark:
        """Read what `written` wrote.

        Raises:
            InvalidOption: it is none.

        >>> Mark.read("nonsense")
        Traceback (most recent call last):
            ...
        taskq.errors.InvalidOption: 'nonsense' is not a cursor of an earlier page
        """
        try:
            last, pages = json.loads(urlsafe_b64decode(cursor.encode()))
            position = None if last is None else Position(datetime.fromisoformat(last[0]), str(last[1]), str(last[2]))
            mark = cls(position, {str(queue): str(page) for queue, page in pages.items()})
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            mark = None
        if mark is None or (mark.last is not None and mark.last.at.tzinfo is None):
            raise InvalidOption(f"{shown(cursor)} is not a cursor of an earlier page")
        return mark


class Scan:
    """One look at the dead letters of some queues.

    What dies while it goes on is newer than everything that it still has to see, and so is never met: neither what
    arrives, nor what was redriven and has died again.

    Arguments:
        inspector: the store.
        wanted: which are meant; resolved.
        most: dead letters to look at, beyond which it stops; None: all.
    """

    def __init__(self, inspector: Inspector, wanted: DeadFilter, most: int | None) -> None:
        self._inspector = inspector
        self._wanted = wanted
        self._most = most
        self._lanes: list[_Lane] = []
        self._last: Position | None = None
        self._is_past = False
        self.looked_at = 0

    async def begin(self, cursor: str | None = None) -> None:
        """Find the queues, and where to go on in each."""
        mark = Mark(None, {}) if cursor is None else Mark.read(cursor)
        self._last = mark.last
        queues = {self._wanted.queue} if self._wanted.queue else await self._dying() | set(mark.pages)
        first = max(1, PAGE // max(1, len(queues)))
        self._lanes = [_Lane(queue, mark.pages.get(queue), mark.last, first) for queue in sorted(queues)]

    async def _dying(self) -> set[str]:
        counts = await self._inspector.counts()
        return {queue for queue, states in counts.items() if states.get(TaskState.DEAD)}

    async def take(self, limit: int) -> list[TaskRecord]:
        """The next ones that are meant; fewer where the bound, or the end, is reached."""
        taken: list[TaskRecord] = []
        while len(taken) < limit and (record := await self._next()) is not None:
            if self._wanted.takes(record):
                taken.append(record)
        return taken

    async def _next(self) -> TaskRecord | None:
        """The next one of all queues."""
        if self._is_past or (self._most is not None and self.looked_at >= self._most):
            return None
        for lane in self._lanes:
            if not await lane.fill(self._inspector, None if self._most is None else MOST_BLANKS):
                return None
        heads = [lane for lane in self._lanes if lane.records]
        if not heads:
            return None
        # The queue's name decides between equal instants, so that the order is the same in the next look.
        newest = max(heads, key=lambda lane: ended_at(lane.records[0]))
        record = newest.records.popleft()
        if self._wanted.is_before(record):
            self._is_past = True  # and all that follow
            return None
        self._last = Position(ended_at(record), newest.queue, record.id)
        self.looked_at += 1
        return record

    @property
    def cursor(self) -> str | None:
        """Where to go on; None where there is nothing left to see."""
        left = [lane for lane in self._lanes if not lane.is_over]
        if self._is_past or not left:
            return None
        return Mark(self._last, {lane.queue: lane.place for lane in left if lane.place is not None}).written()


class _Lane:
    """The dead letters of one queue, from a page on.

    Arguments:
        queue: its name.
        place: where its page begins, in the words of the store; None: at the newest.
        last: where the look before ended.
        step: records in the first page; few, where there are many queues.
    """

    def __init__(self, queue: str, place: str | None, last: Position | None, step: int) -> None:
        self.queue = queue
        self.records: deque[TaskRecord] = deque()
        self._place = self._next = place
        self._is_last_page = False
        self._last = last
        self._step = step
        self._blanks = 0

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left of it."""
        return self._is_last_page and not self.records

    @property
    def place(self) -> str | None:
        """Where the page begins that the next record is in."""
        return self._place if self.records else self._next

    async def fill(self, inspector: Inspector, most_blanks: int | None) -> bool:
        """Have the next record at hand, if there is one; False where too many pages held none."""
        while not self.records and not self._is_last_page:
            if most_blanks is not None and self._blanks >= most_blanks:
                return False
            query = TaskQuery(queue=self.queue, state=TaskState.DEAD, limit=self._step, cursor=self._next)
            page = await inspector.list(query)
            self._place, self._next = self._next, page.next_cursor
            self._is_last_page = page.next_cursor is None
            self.records.extend(self._unseen(page.records))
            self._blanks += not self.records
            self._step = PAGE
        return True

    def _unseen(self, records: Sequence[TaskRecord]) -> Sequence[TaskRecord]:
        last = self._last
        if last is None:
            return records
        for place, record in enumerate(records):
            # Found again it is the surest mark: others may have ended at the same instant.
            if record.id == last.id and ended_at(record) == last.at:
                return records[place + 1 :]
        return list(dropwhile(last.is_behind, records))
