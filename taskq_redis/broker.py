"""The broker on Redis: each call is one script for each shard that it touches."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, groupby
from operator import itemgetter
from secrets import token_hex
from typing import Any, TypeVar

from taskq.domain.limits import pack_limits
from taskq.domain.message import Delivery, Message
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.routing import AGING
from taskq.ports import (
    CancelStatus,
    Enqueued,
    EnqueueStatus,
    Extension,
    Fetched,
    Fill,
    Parent,
    Settled,
    SettleStatus,
)
from taskq_redis.connection import Argument
from taskq_redis.gathering import Gathering
from taskq_redis.joins import Joins, parents_of
from taskq_redis.record import check_text, milliseconds, pack_options, pack_special, plain, unpack_options
from taskq_redis.store import Store
from taskq_redis.waiting import Waiting

Item = TypeVar("Item")

_ENQUEUED = {
    1: EnqueueStatus.CREATED,
    0: EnqueueStatus.DUPLICATE,
    2: EnqueueStatus.CONFLICT,
    3: EnqueueStatus.STALE_PARENT,
    4: EnqueueStatus.FULL,
    5: EnqueueStatus.REPLACED,
    6: EnqueueStatus.FLOW_OVER,
    7: EnqueueStatus.OVER_QUOTA,
}
_TELLS_FILL = frozenset({EnqueueStatus.CREATED, EnqueueStatus.FULL})
_SETTLED = {1: SettleStatus.APPLIED, 2: SettleStatus.REPEATED, 0: SettleStatus.STALE, -1: SettleStatus.GONE}
_CANCELLED = {1: CancelStatus.CANCELLED, 2: CancelStatus.REQUESTED, 0: CancelStatus.FINAL, -1: CancelStatus.UNKNOWN}
_KINDS: dict[type[Settlement], str] = {
    Complete: "complete",
    Retry: "retry",
    Snooze: "snooze",
    Release: "release",
    Bury: "bury",
    Fail: "fail",
    Cancel: "cancel",
    Crash: "crash",
}
_REST = itemgetter(slice(Message._fields.index("body") + 1, None))
"""What a message has beside id, name and body."""
_HEAD_WIDTH = 4
_MOST_WORKERS = 1000
_DELIVERY_WIDTH = 9
_MOST_VAIN_CALLS = 40
"""Calls of one fetch that found nothing but expired tasks, 250 each; then its caller hears of it, and may stop."""


class RedisBroker:
    """See taskq.ports.Broker."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batch = store.options.batch
        self._waiting = Waiting(store)
        self._requests = _Requests()
        self._gathering = Gathering(self._enqueue, store.options.batch)
        self.joins = Joins(store, self._enqueue, self.cancel)

    async def close(self) -> None:
        """Close the connections that wait, and see off what is under way; the store is closed before."""
        await self._waiting.close()
        await self._gathering.close()
        await self.joins.close()

    # ------------------------------------------------------------ enqueue

    async def enqueue(
        self, messages: Sequence[Message], *, parent: Parent | None = None, atomic: bool = False
    ) -> list[Enqueued]:
        """Store messages; single ones of concurrent callers share a call."""
        for message in messages:
            check_text(message)
        if len(messages) == 1 and parent is None:
            return [await self._gathering.add(self._store.shard_of_id(messages[0].id), messages[0])]
        return await self._enqueue(messages, parent, atomic)

    async def _enqueue(
        self, messages: Sequence[Message], parent: Parent | None = None, atomic: bool = False
    ) -> list[Enqueued]:
        if any(message.parents or message.flow for message in messages):
            return await self._enqueue_related(messages, parent, atomic)
        return await self._store_all(messages, parent, atomic)

    async def _enqueue_related(
        self, messages: Sequence[Message], parent: Parent | None, atomic: bool
    ) -> list[Enqueued]:
        """Enqueue what has to do with other tasks: look for those in other shards, and tell all of them."""
        refused = await self.joins.refusals(messages) if len(self._store.shards) > 1 else {}
        if refused and atomic:
            first = refused[min(refused)]
            is_another = first.status is EnqueueStatus.NO_PARENT
            return [first if is_another else first._replace(id=message.id) for message in messages]
        fit = [message for position, message in enumerate(messages) if position not in refused]
        stored = iter(await self._store_all(fit, parent, atomic) if fit else [])
        answers = [refused.get(position) or next(stored) for position in range(len(messages))]
        there = (EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE)  # a repetition may be of one that was not bound
        known = [m for m, a in zip(messages, answers, strict=True) if a.status in there and a.id == m.id]
        await self.joins.bind(parents_of(known))
        return answers

    async def _store_all(
        self, messages: Sequence[Message], parent: Parent | None = None, atomic: bool = False
    ) -> list[Enqueued]:
        answers: list[Enqueued | None] = [None] * len(messages)
        # The parent's shard comes first: a stale parent is found before anything is stored elsewhere.
        home = None if parent is None else self._store.shard_of_id(parent.id)
        groups = self._store.by_shard(message.id for message in messages)
        shards = sorted(groups, key=lambda shard: (shard != home, shard)) if len(groups) > 1 else groups
        for shard in shards:
            head: tuple[Argument, ...] = ("", "", "", "1" if atomic else "")
            if parent is not None and shard == home:
                head = (*parent, head[3])
            for positions in _slices(groups[shard], self._batch):
                codes, fills, _ = await self._store.run_durably(shard, "enqueue", *head, *runs_of(messages, positions))
                for position, answer in zip(positions, enqueued(messages, positions, codes, fills), strict=True):
                    answers[position] = answer
                if codes[0] == 3:
                    return [
                        a or Enqueued(m.id, EnqueueStatus.STALE_PARENT) for m, a in zip(messages, answers, strict=True)
                    ]
        return [answer for answer in answers if answer is not None]

    # ------------------------------------------------------------ fetch

    async def fetch(
        self, queues: Sequence[str], limit: int, *, worker: str, lease: float, request_id: str, aging: float = AGING
    ) -> Fetched:
        """Claim up to `limit` tasks, in as many calls as batches and shards ask for."""
        self._waiting.looked_into(queues)
        request = request_id if len(self._store.shards) == 1 else self._requests.name(worker, request_id)
        claim = _Claim(self._store, limit, worker, (milliseconds(lease), request, milliseconds(aging)))
        rest: dict[int, list[str]] = {}
        for shard, names in groupby(queues, self._store.shard_of):
            if claim.is_full:
                rest.setdefault(shard, []).extend(names)
            else:
                await claim.take(shard, list(names))
        await asyncio.gather(*(claim.look(shard, names) for shard, names in rest.items()))
        if claim.deliveries:
            await self._waiting.has_work()
        return Fetched(claim.deliveries, claim.next_due)

    async def wait(self, queues: Sequence[str], timeout: float) -> bool:
        """Wait until there may be work."""
        return await self._waiting.wait(queues, timeout)

    # ------------------------------------------------------------ settle, extend, cancel

    async def settle(self, settled: Sequence[Settled]) -> list[SettleStatus]:
        """Apply settlements."""
        ids = [item.delivery.id for item in settled]
        return await self._answers(ids, "settle", lambda some: _settlements([settled[i] for i in some]), _SETTLED)

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> Extension:
        """Extend leases."""
        lost: set[str] = set()
        cancel_wanted: set[str] = set()
        for shard, group in self._store.by_shard(delivery.id for delivery in deliveries).items():
            for positions in _slices(group, 1000):
                held = [deliveries[position] for position in positions]
                args = [arg for item in held for arg in (item.id, f"{item.id}:{item.fence}:{item.worker}")]
                gone, wanted = await self._store.run(shard, "extend", milliseconds(lease), *args)
                lost.update(held[index].id for index in gone)
                cancel_wanted.update(held[index].id for index in wanted)
        return Extension(frozenset(lost), frozenset(cancel_wanted))

    async def cancel(self, ids: Sequence[str], reason: str = "") -> list[CancelStatus]:
        """Cancel tasks."""
        head = (plain(reason), token_hex(8))
        return await self._answers(ids, "cancel", lambda some: [*head, *(ids[i] for i in some)], _CANCELLED)

    async def _answers(
        self, ids: Sequence[str], name: str, args: Callable[[Sequence[int]], list[Argument]], meaning: dict[int, Item]
    ) -> list[Item]:
        """Run a script over ids, shard by shard and batch by batch; the answers in the order of the ids."""
        answers: dict[int, Item] = {}
        for shard, group in self._store.by_shard(ids).items():
            for positions in _slices(group, self._batch):
                codes = await self._store.run(shard, name, *args(positions))
                if len(codes) > len(positions):
                    codes.pop()
                    self.joins.go_on(shard)
                answers.update(zip(positions, (meaning[code] for code in codes), strict=True))
        return [answers[position] for position in range(len(ids))]


def _slices(items: list[int], size: int) -> Iterable[list[int]]:
    if len(items) <= size:
        return (items,) if items else ()
    return (items[start : start + size] for start in range(0, len(items), size))


def runs_of(messages: Sequence[Message], positions: Sequence[int]) -> Iterator[Argument]:
    """The arguments of enqueue.lua: runs of messages that are alike in all but id, name and body."""
    for _, run in groupby((messages[position] for position in positions), _REST):
        alike = list(run)
        pairs = [part for m in alike for part in (m.id, m.name.encode() + b"\n" + m.body)]
        yield from _head(alike[0])
        yield len(alike)
        yield from pairs


def enqueued(
    messages: Sequence[Message], positions: Sequence[int], codes: Sequence[int | bytes], flat: Sequence[Any]
) -> Iterator[Enqueued]:
    """The answers of enqueue.lua: a code for each message, or the id of the task that holds its unique key."""
    if not flat and codes.count(1) == len(codes):  # as nearly always
        yield from [Enqueued(messages[position].id, EnqueueStatus.CREATED) for position in positions]
        return
    fills = {flat[at].decode(): Fill(flat[at + 1], flat[at + 2]) for at in range(0, len(flat), 3)}
    for position, code in zip(positions, codes, strict=True):
        message = messages[position]
        if isinstance(code, bytes):
            is_missing = code.startswith(b"!")
            status = EnqueueStatus.NO_PARENT if is_missing else EnqueueStatus.DUPLICATE
            yield Enqueued(code.decode().lstrip("!"), status)
        else:
            status = _ENQUEUED[code]
            yield Enqueued(message.id, status, fills.get(message.queue) if status in _TELLS_FILL else None)


def _head(message: Message) -> tuple[str, str, Argument, Argument, Argument, str, str, str]:
    return (
        message.queue,
        f"{int(message.priority)}:{message.group}",
        "" if message.delay is None or message.delay <= 0 else milliseconds(message.delay),
        "" if message.eta is None else milliseconds(message.eta),
        "" if message.expires is None else milliseconds(message.expires),
        pack_options(message),
        message.digest,
        pack_special(message),
    )


class _Requests:
    """The newest request of each worker, where no one shard can tell which is the newest.

    A request goes by another name in each shard once the worker has made a newer one, so that no shard takes it for a
    repeat.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._numbers = count()

    def name(self, worker: str, request_id: str) -> str:
        """The name of a request: the same as before, if it is the worker's newest."""
        newest = self._newest.get(worker)
        if newest is None or newest[0] != request_id:
            newest = (request_id, f"{request_id}/{next(self._numbers)}")
        self._newest[worker] = newest
        self._newest.move_to_end(worker)
        if len(self._newest) > _MOST_WORKERS:
            self._newest.popitem(last=False)
        return newest[1]


class _Claim:
    """One request of a worker, gathered over the calls that it takes."""

    def __init__(self, store: Store, limit: int, worker: str, terms: tuple[Argument, Argument, Argument]) -> None:
        self._store = store
        self._left = limit
        self._head = (worker, *terms)
        self._worker = worker
        self._rounds: Counter[int] = Counter()
        self._is_repeat = False
        self._is_cut_short = False
        self.deliveries: list[Delivery] = []
        self.next_due: float | None = None

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be claimed."""
        return self._left <= 0

    async def take(self, shard: int, queues: Sequence[str]) -> None:
        """Claim from queues of one shard, batch by batch."""
        while not self.is_full:
            wanted = min(self._left, self._store.options.batch)
            taken = await self._take_batch(shard, queues, wanted)
            is_vain = self._is_cut_short and not self.deliveries and self._rounds[shard] < _MOST_VAIN_CALLS
            if taken < wanted and not is_vain:
                return

    async def look(self, shard: int, queues: Sequence[str]) -> None:
        """Make due tasks ready, and find what a repeated request was given before."""
        if not (self._is_repeat and self._rounds[shard] > 0):
            await self._take_batch(shard, queues, 0)

    async def _take_batch(self, shard: int, queues: Sequence[str], wanted: int) -> int:
        epoch = await self._store.epoch(shard)
        tail = (self._rounds[shard], epoch, self._store.ages[shard])
        reply = await self._store.run(shard, "fetch", wanted, *self._head, *tail, *queues)
        self._store.ages[shard] = max(self._store.ages[shard], reply[2])
        if reply[0] >= 0:
            self.next_due = min(reply[0] / 1000, math.inf if self.next_due is None else self.next_due)
        self._is_cut_short = reply[3] == 1
        if reply[1] and self._rounds[shard] == 0:
            self._left, self._is_repeat = 0, True
        self._rounds[shard] += 1
        taken = list(_deliveries(reply, queues, self._worker))
        self.deliveries += taken
        self._left -= len(taken)
        return len(taken)


def _deliveries(reply: Sequence[Any], queues: Sequence[str], worker: str) -> Iterator[Delivery]:
    """The deliveries in the reply of fetch.lua, which names its columns."""
    for at in range(_HEAD_WIDTH, len(reply), _DELIVERY_WIDTH):
        id, text, queue, fence, attempt, priority, age, waited, extra = reply[at : at + _DELIVERY_WIDTH]
        name, _, body = text.partition(b"\n")
        where = queues[queue] if isinstance(queue, int) else queue.decode()
        held = (id.decode(), name.decode(), body, where, priority, fence, attempt)
        if not extra:
            yield Delivery(*held, 0, worker, age=age / 1000, waited=waited / 1000)
        else:
            lost, _, rest = extra.partition(b" ")
            options = unpack_options(rest)
            yield Delivery(
                *held,
                int(lost),
                worker,
                options.max_lost_leases,
                options.dead_letter,
                options.tenant,
                age / 1000,
                options.is_limited,
                waited / 1000,
            )


def _settlements(settled: Sequence[Settled]) -> list[Argument]:
    """The arguments of settle.lua: runs of settlements that are alike in all but id, fence and data."""
    args: list[Argument] = []
    for head, run in groupby(settled, _settlement_likeness):
        triples = [part for item in run for part in (item.delivery.id, item.delivery.fence, _data(item.settlement))]
        args += (*head, len(triples) // 3, *triples)
    return args


def _settlement_likeness(item: Settled) -> tuple[str, str, Argument, str]:
    settlement = item.settlement
    delay = milliseconds(settlement.delay) if isinstance(settlement, Retry | Snooze) else 0
    reason = plain(str(settlement.reason)) if isinstance(settlement, Bury | Fail | Cancel) else ""
    is_throttled = isinstance(settlement, Snooze) and settlement.throttled
    return (item.delivery.worker, "throttle" if is_throttled else _KINDS[type(settlement)], delay, reason)


def _data(settlement: Settlement) -> bytes:
    match settlement:
        case Complete(result):
            return result
        case Retry(failure=failure) | Bury(failure=failure) | Fail(failure=failure) | Crash(failure=failure):
            return failure.to_json()
        case Snooze(failure=failure):
            return b"" if failure is None else failure.to_json()
        case Release(limits):
            return pack_limits(limits).encode()
        case Cancel():
            return b""
