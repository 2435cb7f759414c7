"""The dead-letter queue: finding the tasks that were given up, starting them anew, forgetting them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from taskq import blocking
from taskq.backends import Store, opened
from taskq.config import check_identifier, is_whole, shown
from taskq.dead_answers import HOLDERS, DeadGroup, DeadGroups, DeadPage, Purge, Redrive
from taskq.dead_filter import DeadFilter
from taskq.dead_scan import Scan
from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.errors import InvalidOption, TaskNotFound
from taskq.ports import Inspector, RedriveStatus

SCAN = 10_000
"""Dead letters that one call looks at, where it is not told otherwise."""
STEP = 100
"""Tasks that are moved, or forgotten, in one step of the store."""
Which = str | Iterable[str] | DeadFilter
"""One id, several, or those that a filter means."""


class DeadLetters:
    """The tasks that were given up, of all queues. Each method has an a-twin for async code.

    Lists go from the newest to the oldest. No call looks at more than `scan` dead letters to find what a filter means:
    the answer says how many it has looked at, and where to go on.

    Every method may raise BackendUnavailable, where the store cannot be reached; the blocking ones WouldBlock, where an
    event loop runs in this thread.

    Arguments:
        store: an application, or an open backend (for the a-twins, in its own event loop).

    >>> from taskq import App
    >>> App("memory://").dead_letters.redrive(DeadFilter(name="mail.*")).moved
    0
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # ------------------------------------------------------------ async

    async def alist(
        self, filter: DeadFilter | None = None, *, limit: int = 50, cursor: str | None = None, scan: int = SCAN
    ) -> DeadPage:
        """A page of dead letters; the async twin of `list`, which says the rest.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(App("memory://").dead_letters.alist()).is_complete
        True
        """
        _check_count("limit", limit)
        looking = await self._look(filter, scan, cursor)
        letters = await looking.take(limit)
        return DeadPage(letters, looking.looked_at, looking.cursor)

    async def ashow(self, id: str) -> TaskRecord:
        """All that is known of a task that was given up; the async twin of `show`, which says the rest.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(App("memory://").dead_letters.ashow("01980000-0000-7000-8000-000000000000"))
        Traceback (most recent call last):
            ...
        taskq.errors.TaskNotFound: no record of task 01980000-0000-7000-8000-000000000000: ...
        """
        record = await (await self._inspector()).get(id)
        if record is None:
            raise TaskNotFound(f"no record of task {id}: it never existed, or its retention is over")
        if not _is_dead(record):
            raise TaskNotFound(f"task {id} is no dead letter: it is {record.state}")
        return record

    async def agroups(self, filter: DeadFilter | None = None, *, scan: int = SCAN) -> DeadGroups:
        """Dead letters counted by what went wrong; the async twin of `groups`, which says the rest.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(App("memory://").dead_letters.agroups())
        DeadGroups(groups=[], looked_at=0, is_complete=True)
        """
        looking = await self._look(filter, scan)
        groups: dict[tuple[str, str], DeadGroup] = {}
        while batch := await looking.take(STEP):
            for record in batch:
                new = DeadGroup.of(record)
                groups.setdefault((new.fingerprint, new.fingerprint or new.reason), new).add(record)
        found = sorted(groups.values(), key=lambda group: -group.count)
        return DeadGroups(found, looking.looked_at, looking.cursor is None)

    async def aredrive(self, which: Which, *, queue: str | None = None, limit: int | None = None) -> Redrive:
        """Start tasks anew that were given up; the async twin of `redrive`, which says the rest.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(App("memory://").dead_letters.aredrive(DeadFilter())).moved
        0
        """
        if queue is not None:
            check_identifier("queue", queue)
        batches = await self._batches(which, limit)
        done, holders = Redrive(), dict[str, str]()
        while ids := await batches.next(done.moved):
            answers = await batches.inspector.redrive(ids, queue)
            found = [answer.status for answer in answers]
            held = {id: one.holder for id, one in zip(ids, answers, strict=True) if one.status is RedriveStatus.HELD}
            holders.update(list(held.items())[: HOLDERS - len(holders)])
            moved, gone = found.count(RedriveStatus.MOVED), found.count(RedriveStatus.NOT_FINAL)
            done = Redrive(done.moved + moved, done.held + len(held), done.gone + gone)
        return done._replace(looked_at=batches.looked_at, holders=holders)

    async def apurge(self, which: Which, *, limit: int | None = None) -> Purge:
        """Forget tasks that were given up; the async twin of `purge`, which says the rest.

        >>> import asyncio
        >>> from taskq import App
        >>> asyncio.run(App("memory://").dead_letters.apurge(DeadFilter())).purged
        0
        """
        batches = await self._batches(which, limit)
        done = Purge()
        while ids := await batches.next(done.purged):
            dead = await batches.still_dead(ids)
            purged = await batches.inspector.discard(dead) if dead else 0
            done = Purge(done.purged + purged, done.gone + len(ids) - purged)
        return done._replace(looked_at=batches.looked_at)

    # ------------------------------------------------------------ blocking

    def list(
        self, filter: DeadFilter | None = None, *, limit: int = 50, cursor: str | None = None, scan: int = SCAN
    ) -> DeadPage:
        """A page of dead letters, the newest first.

        Arguments:
            filter: which are meant; None: all.
            limit: the most that are given.
            cursor: `next_cursor` of the page before.
            scan: the most that are looked at to find them; a page may hold fewer than `limit`, or none, and yet have a
                cursor to go on from.

        Raises:
            InvalidOption: a number is out of its range, or the cursor is none.

        >>> from taskq import App
        >>> App("memory://").dead_letters.list(DeadFilter(queue="mail"))
        DeadPage(letters=[], looked_at=0, next_cursor=None)
        """
        return blocking.run(self.alist(filter, limit=limit, cursor=cursor, scan=scan), *_names("list"))

    def show(self, id: str) -> TaskRecord:
        """All that is known of a task that was given up: DEAD, or FAILED where it says dead_letter=False.

        Raises:
            TaskNotFound: there is no record of it (any more), or it is no dead letter (any more).

        >>> from taskq import App
        >>> app = App("memory://")
        >>> app.dead_letters.show(app.enqueue("mail.send").id)
        Traceback (most recent call last):
            ...
        taskq.errors.TaskNotFound: task ... is no dead letter: it is pending
        """
        return blocking.run(self.ashow(id), *_names("show"))

    def groups(self, filter: DeadFilter | None = None, *, scan: int = SCAN) -> DeadGroups:
        """Dead letters counted by what went wrong, the most frequent first.

        Arguments:
            filter: which are meant; None: all.
            scan: the most that are looked at, of the newest.

        Raises:
            InvalidOption: `scan` is out of its range.

        >>> from taskq import App
        >>> App("memory://").dead_letters.groups().total
        0
        """
        return blocking.run(self.agroups(filter, scan=scan), *_names("groups"))

    def redrive(self, which: Which, *, queue: str | None = None, limit: int | None = None) -> Redrive:
        """Start tasks anew that were given up: they wait again, attempts count from the first, their history stays.

        A filter means dead letters that had died when the call began, however they fare meanwhile, so that it ends. By
        their ids all that have ended without success can be redriven: also what FAILED without a place in the
        dead-letter queue (dead_letter=False), was CANCELLED, or is EXPIRED.

        Arguments:
            which: an id, several, or a filter; `DeadFilter()` means all dead letters.
            queue: where they go; None: each to its own.
            limit: the most that are moved.

        Raises:
            InvalidOption: an argument cannot be what it is.
            OutcomeUnknown: the connection broke; some may have been moved. It may be said again.
            NotApplied: the queue lies in another shard of the store than the tasks.

        >>> from taskq import App
        >>> App("memory://").dead_letters.redrive("01980000-0000-7000-8000-000000000000").gone
        1
        """
        return blocking.run(self.aredrive(which, queue=queue, limit=limit), *_names("redrive"))

    def purge(self, which: Which, *, limit: int | None = None) -> Purge:
        """Forget tasks that were given up, for good: DEAD ones, by their ids FAILED ones too.

        Arguments:
            which: an id, several, or a filter; `DeadFilter()` means all dead letters that had died when it began.
            limit: the most that are forgotten.

        Raises:
            InvalidOption: an argument cannot be what it is.
            OutcomeUnknown: the connection broke; some may have been forgotten. It may be said again.

        >>> from taskq import App
        >>> App("memory://").dead_letters.purge(DeadFilter(name="mail.*"))
        Purge(purged=0, gone=0, looked_at=0)
        """
        return blocking.run(self.apurge(which, limit=limit), *_names("purge"))

    # ------------------------------------------------------------ inside

    async def _inspector(self) -> Inspector:
        return (await opened(self._store)).inspector

    async def _look(self, filter: DeadFilter | None, most: int | None, cursor: str | None = None) -> Scan:
        if most is not None:
            _check_count("scan", most)
        if not isinstance(filter, DeadFilter | None):
            raise InvalidOption(f"filter must be a DeadFilter(…), not {shown(filter)}")
        scan = Scan(await self._inspector(), (filter or DeadFilter()).resolved(datetime.now(UTC)), most)
        await scan.begin(cursor)
        return scan

    async def _batches(self, which: Which, limit: int | None) -> _Batches:
        if limit is not None:
            _check_count("limit", limit)
        if isinstance(which, DeadFilter):
            return _Batches(await self._inspector(), limit, scan=await self._look(which, None))
        if not isinstance(which, Iterable):
            raise InvalidOption(f"give an id, several, or a DeadFilter(…), not {shown(which)}")
        ids = [which] if isinstance(which, str) else list(which)
        for id in ids:
            if not isinstance(id, str):
                raise InvalidOption(f"an id must be text, not {shown(id)}")
        return _Batches(await self._inspector(), limit, ids=list(dict.fromkeys(ids)))


class _Batches:
    """The ids of what was asked for, a few at a time."""

    def __init__(
        self, inspector: Inspector, limit: int | None, *, ids: Sequence[str] = (), scan: Scan | None = None
    ) -> None:
        self.inspector = inspector
        self._limit = limit
        self._ids = ids
        self._scan = scan
        self._taken = 0

    async def next(self, done: int) -> list[str]:
        """The ids of the next step, none at the end.

        Arguments:
            done: how many of those before have counted for the limit.
        """
        room = STEP if self._limit is None else min(STEP, self._limit - done)
        if self._scan is not None:
            return [record.id for record in await self._scan.take(room)]
        ids = self._ids[self._taken : self._taken + room]
        self._taken += len(ids)
        return list(ids)

    async def still_dead(self, ids: Sequence[str]) -> list[str]:
        """Those that were given up; of what a scan has found just now nothing more is asked."""
        if self._scan is not None:
            return list(ids)
        records = await self.inspector.get_many(ids)
        return [record.id for record in records if record is not None and _is_dead(record)]

    @property
    def looked_at(self) -> int:
        """Tasks that were looked at."""
        return self._taken if self._scan is None else self._scan.looked_at


def _is_dead(record: TaskRecord) -> bool:
    return record.state in (TaskState.DEAD, TaskState.FAILED)


def _check_count(option: str, value: object) -> None:
    if not (is_whole(value) and value >= 1):
        raise InvalidOption(f"{option} must be a whole number over 0, not {shown(value)}")


def _names(method: str) -> tuple[str, str]:
    return f"dead_letters.{method}()", f"dead_letters.a{method}()"


__all__ = ["SCAN", "DeadFilter", "DeadGroup", "DeadGroups", "DeadLetters", "DeadPage", "Purge", "Redrive"]
