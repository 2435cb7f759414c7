"""Looking at a Redis store, and acting on it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from secrets import token_hex

from taskq.domain.record import TaskRecord
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey
from taskq.errors import NotApplied
from taskq.ports import Page, Redriven, RedriveStatus, TaskQuery
from taskq_redis.joins import Joins
from taskq_redis.listing import Listing
from taskq_redis.record import to_record
from taskq_redis.store import Store

_COUNTED = (
    TaskState.PENDING,
    TaskState.SCHEDULED,
    TaskState.RETRYING,
    TaskState.BLOCKED,
    TaskState.RUNNING,
    TaskState.COMPLETED,
    TaskState.FAILED,
    TaskState.DEAD,
    TaskState.CANCELLED,
    TaskState.EXPIRED,
)


class RedisInspector:
    """See taskq.ports.Inspector."""

    def __init__(self, store: Store, joins: Joins) -> None:
        self._store = store
        self._joins = joins
        self._listing = Listing(store, self._read)

    # ------------------------------------------------------------ looking

    async def get(self, id: str) -> TaskRecord | None:
        """All that is known of a task."""
        return (await self._read([id]))[0]

    async def get_many(self, ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        """All that is known of some tasks."""
        return await self._read(ids)

    async def list(self, query: TaskQuery) -> Page:
        """A page of tasks, the newest entry into the state first."""
        return await self._listing.page(query)

    async def counts(self) -> Mapping[str, Mapping[TaskState, int]]:
        """How many tasks each queue has in each state."""
        counts: dict[str, dict[TaskState, int]] = {}
        for shard in self._store.shards:
            for name, row in await self._store.of_queues(shard, "counts"):
                found = {state: n for state, n in zip(_COUNTED, row, strict=True) if n}
                if found:
                    counts[name] = found
        return counts

    async def peek(self, queue: str, limit: int = 10) -> Sequence[TaskRecord]:
        """The tasks that the next claims would take."""
        ids = await self._store.run(self._store.shard_of(queue), "peek", queue, limit)
        return [record for record in await self._read([id.decode() for id in ids]) if record is not None]

    async def _read(self, ids: Sequence[str]) -> Sequence[TaskRecord | None]:
        return await asyncio.gather(*map(self._read_one, ids))

    async def _read_one(self, id: str) -> TaskRecord | None:
        shard = self._store.shard_of_id(id)
        keys = self._store.keys[shard]
        fields, logs = await asyncio.gather(
            self._store.command(shard, "HGETALL", keys.task(id)),
            self._store.command(shard, "LRANGE", keys.log(id), 0, -1),
        )
        return to_record(id, fields, logs)

    # ------------------------------------------------------------ acting

    async def purge(self, queue: str, limit: int = 1000) -> int:
        """Cancel waiting tasks of a queue."""
        shard, purged = self._store.shard_of(queue), 0
        while purged < limit:
            step = min(self._store.options.batch, limit - purged)
            done = int(await self._store.run(shard, "purge", queue, step, "purged", token_hex(8)))
            purged += done
            if done < step:
                break
        return purged

    async def redrive(self, ids: Sequence[str], queue: str | None = None) -> Sequence[Redriven]:
        """Give tasks that failed another life."""
        once = list(dict.fromkeys(ids))
        found = dict(zip(once, await self._redrive(once, queue), strict=True))
        answers = []
        for id in ids:
            answers.append(found[id])
            if found[id].status is RedriveStatus.MOVED:  # one that is named twice is moved once
                found[id] = Redriven(RedriveStatus.NOT_FINAL)
        return answers

    async def _redrive(self, ids: Sequence[str], queue: str | None) -> Sequence[Redriven]:
        answers: dict[int, Redriven] = {}
        token = token_hex(8)
        batch, waiting = self._store.options.batch, list[str]()
        for shard, group in self._store.by_shard(ids).items():
            if queue is not None and self._store.shard_of(queue) != shard:
                raise NotApplied(f"queue {queue!r} lies in another shard than the tasks: enqueue them there anew")
            for at in range(0, len(group), batch):
                positions = group[at : at + batch]
                some = (ids[position] for position in positions)
                reply = await self._store.run(shard, "redrive", token, queue or "", *some)
                answers.update(zip(positions, map(_redriven, reply), strict=True))
                waiting += [ids[position] for position, answer in zip(positions, reply, strict=True) if answer == 2]
        await self._bind(waiting, {ids[at] for at, answer in answers.items() if answer.status is RedriveStatus.MOVED})
        return [answers[position] for position in range(len(ids))]

    async def _bind(self, ids: Sequence[str], anew: AbstractSet[str]) -> None:
        """Have tasks that were redriven wait for those of their parents that have not ended, or not before `anew`."""
        for id in ids:
            shard = self._store.shard_of_id(id)
            parents = await self._store.command(shard, "HGET", self._store.keys[shard].task(id), "pa")
            await self._joins.bind([(id, (parents or b"").decode())], is_again=True, anew=anew)
            # A parent may have failed again by then, and this have been the last of its flow.
            self._joins.go_on(shard)

    async def holder(self, queue: str, unique: UniqueKey) -> str | None:
        """The task that holds a unique key."""
        found = await self._store.run(self._store.shard_of(queue), "holder", unique.key)
        return found.decode() or None

    async def discard(self, ids: Sequence[str]) -> int:
        """Forget tasks that have ended."""
        gone = 0
        for shard, group in self._store.by_shard(ids).items():
            for at in range(0, len(group), self._store.options.batch):
                some = [ids[position] for position in group[at : at + self._store.options.batch]]
                gone += int(await self._store.run(shard, "discard", token_hex(8), *some))
        return gone


def _redriven(answer: int | bytes) -> Redriven:
    if isinstance(answer, bytes):
        return Redriven(RedriveStatus.HELD, answer.decode())
    return Redriven(RedriveStatus.MOVED if answer else RedriveStatus.NOT_FINAL)
