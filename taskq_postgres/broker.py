"""The hot path on Postgres: each call is one statement, a function of the schema."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from taskq.domain.limits import pack_limits
from taskq.domain.message import Delivery, Message
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.routing import AGING
from taskq.ports import (
    CancelStatus,
    Enqueued,
    Extension,
    Fetched,
    Parent,
    Settled,
    SettleStatus,
)
from taskq_postgres.cursors import Cursors
from taskq_postgres.hints import Hints, Mailbox
from taskq_postgres.holdings import Holdings
from taskq_postgres.intake import columns, enqueued, misled, put_in, refuse_unstorable, seconds
from taskq_postgres.record import is_id, plain, to_delivery
from taskq_postgres.roomy import Roomy
from taskq_postgres.store import Row, Store, new_token

CHUNK = 1000
"""Tasks in one round trip; beyond that a larger one gains nothing."""
POLL = 1.0
"""Seconds between two looks of an idle worker that cannot listen."""
FIRST_POLL = 0.01
MOST_WORKERS = 1000

_SETTLED = (SettleStatus.APPLIED, SettleStatus.REPEATED, SettleStatus.STALE, SettleStatus.GONE)
_CANCELLED = (CancelStatus.CANCELLED, CancelStatus.REQUESTED, CancelStatus.FINAL, CancelStatus.UNKNOWN)
_KINDS: dict[type[Settlement], int] = {
    kind: code for code, kind in enumerate((Complete, Retry, Snooze, Release, Bury, Fail, Cancel, Crash))
}
_THROTTLED = 8


class PostgresBroker:
    """See taskq.ports.Broker."""

    def __init__(self, store: Store, hints: Hints, roomy: Roomy) -> None:
        self._store = store
        self._hints = hints
        self._roomy = roomy
        self._mail = Mailbox(hints)
        self._cursors = Cursors()
        self._holdings = Holdings()
        self._chunk = max(CHUNK, store.options.batch)
        self._drained: set[str] = set()
        self._counted: set[str] = set()
        # queues that may run only so many of their tasks: others may wait for the end of each
        self._newest: dict[str, tuple[str, int, bool]] = {}
        # of each worker: its newest request, its number, and whether that request took nothing
        self._poll = FIRST_POLL

    # ------------------------------------------------------------ enqueue

    async def enqueue(
        self, messages: Sequence[Message], *, parent: Parent | None = None, atomic: bool = False
    ) -> list[Enqueued]:
        """Store messages."""
        refuse_unstorable(messages)
        answers: list[Enqueued] = []
        run = (None, None, None) if parent is None else (parent.id, parent.fence, plain(parent.worker))
        for start in range(0, len(messages), self._chunk):
            chunk = messages[start : start + self._chunk]
            told = await self._enqueue_chunk(chunk, run, atomic=atomic)
            while again := misled(chunk, told):
                put_in(told, again, await self._enqueue_chunk([chunk[place] for place in again], run, atomic=atomic))
            answers += told
        return answers

    async def _enqueue_chunk(self, chunk: Sequence[Message], run: tuple[Any, ...], *, atomic: bool) -> list[Enqueued]:
        queues = {message.queue for message in chunk}
        asked_at, looks = monotonic(), not self._roomy.are(queues)
        letters = await self._store.value("enqueue", (*columns(chunk), *run, atomic, looks))
        if looks and letters is None:
            self._roomy.note(queues, asked_at)
        if not letters or "c" in letters.partition("\n")[0]:
            self._hint(queues)
        return enqueued(chunk, letters)

    # ------------------------------------------------------------ fetch

    async def fetch(
        self, queues: Sequence[str], limit: int, *, worker: str, lease: float, request_id: str, aging: float = AGING
    ) -> Fetched:
        """Claim up to `limit` tasks."""
        newest, number, is_empty = self._newest.get(worker, ("", 0, False))
        if newest == request_id and is_empty:
            return Fetched(())
        older = 0 if newest == request_id else number
        queues = list(dict.fromkeys(queues))
        self._mail.open()
        self._mail.clear(queues)
        look = self._cursors.begin(queues)
        rows = await self._store.run(
            "fetch", (queues, limit, worker, request_id, float(lease), float(aging), look.after, older)
        )
        last = rows.pop()
        rows.sort(key=_place)
        deliveries = [to_delivery(row) for row in rows]
        taken = ((row[4], row[5], row[16]) for row in rows if row[17])
        if self._cursors.end(look, taken, is_full=len(rows) >= limit):
            self._drained.update(queues)
        else:
            self._drained.difference_update(queues)
        self._counted.difference_update(queues)
        self._counted.update(last[20] or ())
        self._holdings.claimed(worker, last[16], deliveries)
        self._remember(worker, request_id, last[16], is_empty=not deliveries)
        self._poll = FIRST_POLL if deliveries else self._poll
        self._hints.ended(last[19] or ())
        return Fetched(deliveries, last[18])

    def _remember(self, worker: str, request_id: str, number: int, *, is_empty: bool) -> None:
        """Note a worker's newest request: the store's number tells which of two that went out at once was later."""
        if number >= self._newest.get(worker, ("", 0, False))[1]:
            if len(self._newest) > MOST_WORKERS:
                self._newest.clear()
            self._newest[worker] = (request_id, number, is_empty)

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Wait until there may be work."""
        self._mail.open()
        if not self._drained.issuperset(queues) and await self._is_ready(queues):
            return True
        is_listening = self._store.target.is_listening
        end = monotonic() + timeout
        while (left := end - monotonic()) > 0:
            hint = await self._mail.wait(queues, left if is_listening else min(left, self._poll))
            if hint == "q":
                return True
            has_time = not is_listening and left > self._poll
            if (hint or has_time) and await self._is_ready(queues):
                return True
            self._poll = min(self._poll * 2, POLL)
        return False

    async def _is_ready(self, queues: Sequence[str]) -> bool:
        is_ready = bool(await self._store.value("wait", (list(queues),), reads=True))
        if is_ready:
            self._cursors.look_back()
        return is_ready

    # ------------------------------------------------------------ settle

    async def settle(self, settled: Sequence[Settled]) -> list[SettleStatus]:
        """Apply settlements."""
        statuses = [SettleStatus.APPLIED] * len(settled)
        left = list(range(len(settled)))
        while left:
            # Of two settlements of one task the second waits for the next call.
            first = {settled[index].delivery.id: index for index in reversed(left)}
            now = sorted(first.values())[: self._chunk]
            for index, status in zip(now, await self._settle_chunk([settled[i] for i in now]), strict=True):
                statuses[index] = status
            taken = set(now)
            left = [index for index in left if index not in taken]
        return statuses

    async def _settle_chunk(self, chunk: Sequence[Settled]) -> list[SettleStatus]:
        worker = chunk[0].delivery.worker
        # The rows are locked in the order of their ids, so that no two calls wait for each other.
        order = sorted(range(len(chunk)), key=lambda index: chunk[index].delivery.id)
        ordered = [chunk[index] for index in order]
        through = self._holdings.through(worker)
        codes = await self._store.value("settle", (*_settle_columns(ordered), plain(worker), through))
        self._holdings.forget(worker, through)
        self._holdings.settled(item.delivery for item in chunk)
        self._tell_of(chunk)
        if codes is None:
            return [SettleStatus.APPLIED] * len(chunk)
        statuses = [SettleStatus.APPLIED] * len(chunk)
        for index, code in zip(order, codes, strict=True):
            statuses[index] = _SETTLED[code]
        return statuses

    def _tell_of(self, chunk: Sequence[Settled]) -> None:
        self._hints.ended(item.delivery.id for item in chunk)
        # What waits for its time is worth a look too: who looks learns when that is.
        again = Release | Crash | Retry | Snooze
        if back := {i.delivery.queue for i in chunk if self._waits_for(i.delivery) or isinstance(i.settlement, again)}:
            self._hint(back)

    def _waits_for(self, delivery: Delivery) -> bool:
        """Whether others may wait for the end of a run."""
        return delivery.is_limited or delivery.queue in self._counted

    def completed(self, delivery: Delivery) -> None:
        """A run of this worker was completed elsewhere: in a transaction of its task."""
        self._holdings.settled([delivery])
        self._hints.ended([delivery.id])
        if self._waits_for(delivery):
            self._hint([delivery.queue])

    # ------------------------------------------------------------ extend, cancel

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> Extension:
        """Extend leases."""
        lost: set[str] = set()
        wanted: set[str] = set()
        ordered = sorted(deliveries, key=_id)
        for start in range(0, len(ordered), self._chunk):
            chunk = ordered[start : start + self._chunk]
            fences, workers = [held.fence for held in chunk], [plain(held.worker) for held in chunk]
            [row] = await self._store.run("extend", ([held.id for held in chunk], fences, workers, float(lease)))
            lost.update(row[0] or ())
            wanted.update(row[1] or ())
        return Extension(frozenset(lost), frozenset(wanted))

    async def cancel(self, ids: Sequence[str], reason: str = "") -> list[CancelStatus]:
        """Cancel tasks."""
        ordered = sorted(filter(is_id, ids))
        if not ordered:
            return [CancelStatus.UNKNOWN] * len(ids)
        codes = await self._store.value("cancel", (ordered, plain(reason), new_token()))
        # The first of two for one id says what happened.
        answers = dict(reversed(list(zip(ordered, codes, strict=True))))
        self._hints.ended(ordered)
        return [_CANCELLED[answers[id]] if id in answers else CancelStatus.UNKNOWN for id in ids]

    # ------------------------------------------------------------ inside

    def _hint(self, queues: Any) -> None:
        self._hints.tell("q", set(queues))


def _settle_columns(ordered: Sequence[Settled]) -> tuple[list[Any], ...]:
    settlements = [item.settlement for item in ordered]
    failures = [getattr(settlement, "failure", None) for settlement in settlements]
    return (
        [item.delivery.id for item in ordered],
        [item.delivery.fence for item in ordered],
        [plain(item.delivery.worker) for item in ordered],
        [_kind(settlement) for settlement in settlements],
        [seconds(getattr(settlement, "delay", None)) for settlement in settlements],
        [_data(settlement) for settlement in settlements],
        [plain(getattr(settlement, "reason", "")) for settlement in settlements],
        [None if failure is None else failure.to_json() for failure in failures],
    )


def _kind(settlement: Settlement) -> int:
    is_throttled = isinstance(settlement, Snooze) and settlement.throttled
    return _THROTTLED if is_throttled else _KINDS[type(settlement)]


def _data(settlement: Settlement) -> bytes | None:
    match settlement:
        case Complete(result):
            return result
        case Release(limits) if limits:
            return pack_limits(limits).encode()
        case _:
            return None


def _place(row: Row) -> int:
    return int(row[0])


def _id(delivery: Delivery) -> str:
    return delivery.id
