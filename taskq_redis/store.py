"""The shards of one namespace: where each thing lies, and how a script reaches it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from secrets import token_hex
from typing import Any
from zlib import crc32

from taskq.errors import ConfigError, SchemaMismatch
from taskq.ports import BackendOptions
from taskq_redis.connection import Argument
from taskq_redis.errors import regressed
from taskq_redis.flight import Flight
from taskq_redis.keys import Keys
from taskq_redis.scripts import QUEUES_PER_CALL, STEP_BACK, script
from taskq_redis.transport import Transport, confirmation
from taskq_redis.urls import Target

SCHEMA = 1
"""The version of the key space that this release speaks."""


class Store:
    """What the ports have in common."""

    def __init__(self, target: Target, options: BackendOptions) -> None:
        if not options.namespace or any(letter in options.namespace for letter in "{}"):
            raise ConfigError(f"the namespace {options.namespace!r} must not be empty or hold a brace")
        self.target = target
        self.options = options
        self.transport = Transport(target, options)
        wanted = confirmation(options)
        self._durable = self.transport if wanted is None else Transport(target, options, wanted)
        self.keys = tuple(Keys(options.namespace, shard) for shard in range(target.shards))
        self._slots = tuple(keys.slot for keys in self.keys)
        self._epochs: dict[int, str] = {}
        self.ages: Counter[int] = Counter()
        """The greatest age of each shard that this process has seen (fetch.lua)."""
        self._opening = [Flight(partial(self._read_layout, shard)) for shard in self.shards]

    # ------------------------------------------------------------ where things lie

    @property
    def shards(self) -> range:
        """All shards."""
        return range(self.target.shards)

    def shard_of(self, queue: str) -> int:
        """The shard of a queue."""
        return crc32(queue.encode()) % self.target.shards if self.target.shards > 1 else 0

    def shard_of_id(self, id: str) -> int:
        """The shard of a task: the last byte of its id."""
        if self.target.shards == 1:
            return 0
        try:
            return int(id[-2:], 16) % self.target.shards
        except ValueError:
            return 0

    def by_shard(self, ids: Iterable[str]) -> dict[int, list[int]]:
        """The positions of ids, grouped by their shards."""
        if self.target.shards == 1:
            positions = [position for position, _ in enumerate(ids)]
            return {0: positions} if positions else {}
        groups: dict[int, list[int]] = {}
        for position, id in enumerate(ids):
            groups.setdefault(self.shard_of_id(id), []).append(position)
        return groups

    # ------------------------------------------------------------ talking

    async def run(self, shard: int, name: str, *args: Argument) -> Any:
        """Run a script in a shard."""
        if shard not in self._epochs:
            await self._opening[shard].join()
        return await self.transport.call(self.keys[shard], script(name), args)

    async def run_durably(self, shard: int, name: str, *args: Argument) -> Any:
        """Run a script whose effect must survive what the options name.

        Raises:
            OutcomeUnknown: it was applied, but not confirmed in time.
        """
        if shard not in self._epochs:
            await self._opening[shard].join()
        return await self._durable.call(self.keys[shard], script(name), args)

    def reopen(self) -> None:
        """Undo `close`."""
        self.transport.reopen()
        self._durable.reopen()

    async def close(self) -> None:
        """Close all connections; what is under way ends with an error."""
        await self.transport.close()
        await self._durable.close()
        await asyncio.gather(*(opening.ended() for opening in self._opening))

    async def command(self, shard: int, *command: Argument) -> Any:
        """Send a plain command about keys of a shard."""
        if shard not in self._epochs:
            await self._opening[shard].join()
        return await self.transport.command(self._slots[shard], *command)

    async def epoch(self, shard: int) -> str:
        """The epoch of a shard, as it was when this process first saw it."""
        if shard not in self._epochs:
            await self._opening[shard].join()
        return self._epochs[shard]

    async def recognise(self, shard: int) -> None:
        """See whether a shard is still the one that this process opened, as each claim does (fetch.lua).

        Raises:
            UnsafeStore: it came back empty, or from an older copy.
        """
        epoch, age = await self.command(shard, "HMGET", self.keys[shard].meta, "epoch", "age")
        if epoch is None or epoch.decode() != self._epochs[shard] or int(age or 0) < self.ages[shard] - STEP_BACK:
            raise regressed("check")
        self.ages[shard] = max(self.ages[shard], int(age or 0))

    async def queues(self, shard: int) -> list[str]:
        """The queues of a shard that have, or had, tasks."""
        names: Sequence[bytes] = await self.command(shard, "SMEMBERS", self.keys[shard].queues)
        return sorted(name.decode() for name in names)

    async def of_queues(self, shard: int, name: str, *args: Argument) -> list[tuple[str, Any]]:
        """What a script tells of each queue of a shard: by one call where they are few, else some at a time."""
        told = await self.run(shard, name, *args)
        replies = [told]
        if told is None:
            queues = await self.queues(shard)
            parts = [queues[at : at + QUEUES_PER_CALL] for at in range(0, len(queues), QUEUES_PER_CALL)]
            replies = [await self.run(shard, name, *args, *part) for part in parts]
        return [(queue.decode(), row) for names, rows in replies for queue, row in zip(names, rows, strict=True)]

    async def _read_layout(self, shard: int) -> None:
        """Read how the shard is laid out; the first client of a store writes it.

        Raises:
            ConfigError: the store has another number of shards.
            SchemaMismatch: it was laid out by another release.
        """
        args = (SCHEMA, self.target.shards, token_hex(8))
        reply = await self.transport.call(self.keys[shard], script("open"), args)
        version, shards, epoch = (part.decode() for part in reply)
        if int(version) != SCHEMA:
            raise SchemaMismatch(
                f"namespace {self.options.namespace!r} in this Redis has schema {version}, this release speaks "
                f"{SCHEMA}: run the release that fits, or use another namespace"
            )
        if int(shards) != self.target.shards:
            raise ConfigError(
                f"namespace {self.options.namespace!r} in this Redis was laid out with shards={shards}, the URL "
                f"says shards={self.target.shards}: write shards={shards}"
            )
        self._epochs[shard] = epoch
