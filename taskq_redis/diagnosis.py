"""Whether a Redis store is sound: its servers, and whether its records agree with their places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hiredis import ReplyError

from taskq.errors import BackendUnavailable
from taskq.ports.diagnosis import MOST_RECORDS, Damage, Finding, damaged, reach
from taskq_redis import servers
from taskq_redis.errors import ConnectionLost, map_error
from taskq_redis.examination import Examination
from taskq_redis.store import Store

NAMED = 5
"""Queues that a sentence names."""


class RedisDiagnosis:
    """See taskq.ports.Diagnosis."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def servers(self) -> Sequence[Finding]:
        """What each node that serves a shard says of itself."""
        found: dict[object, list[Finding]] = {}
        for keys in self._store.keys:
            # A node that no longer has the shard says so to whoever asks for one of its keys.
            await self._store.command(keys.shard, "EXISTS", keys.meta)
            try:
                connection = await self._store.transport.open(keys.slot)
            except ConnectionLost as lost:
                raise BackendUnavailable(f"doctor: Redis could not be reached ({lost})") from None
            try:
                if connection.address not in found:
                    found[connection.address] = await servers.examine(connection, self._store.options)
            except (ConnectionLost, ReplyError) as error:
                raise map_error(error, f"doctor: Redis at {connection.address}", was_sent=False) from None
            finally:
                connection.close()
        return [finding for findings in found.values() for finding in findings]

    async def examine(self, most: int | None = MOST_RECORDS) -> Sequence[Finding]:
        """Compare the records with their places."""
        walk = Examination(self._store, mends=False, most=most)
        await walk.run()
        left_out = [] if walk.is_whole else [f"of lanes and other places at {walk.in_places:,} entries"]
        if walk.busy:
            named = ", ".join(walk.busy[:NAMED]) + (", …" if len(walk.busy) > NAMED else "")
            left_out.append(f"not all that is counted was compared of queues too busy or too large for it: {named}")
        return [*(damaged(kind, ids) for kind, ids in walk.found.items()), reach(walk.looked_at, walk.about, left_out)]

    async def repair(self, most: int | None = MOST_RECORDS) -> Mapping[Damage, int]:
        """Mend what is wrong."""
        walk = Examination(self._store, mends=True, most=most)
        await walk.run()
        return {kind: len(ids) for kind, ids in walk.found.items() if kind is not Damage.UNREADABLE}
