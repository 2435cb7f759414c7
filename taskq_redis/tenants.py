"""What tenants may have, on Redis: each shard keeps to its part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskq.domain.limits import Rate, pack_limits
from taskq.domain.tenants import NO_QUOTA, Quota
from taskq.ports import TenantLoad, TenantPage
from taskq_redis.record import plain
from taskq_redis.store import Store

_HOME = 0
"""The shard that is asked what is set; all have the same."""


class RedisTenants:
    """See taskq.ports.Tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def quota(self, tenant: str) -> Quota:
        """What is set for a tenant."""
        name = f"{self._store.keys[_HOME].prefix}quotas"
        text = await self._store.command(_HOME, "HGET", name, plain(tenant))
        return NO_QUOTA if text is None else read(text)

    def part(self, quota: Quota) -> Quota:
        """What each shard keeps to."""
        return part_of(quota, len(self._store.shards))

    async def configure(self, tenant: str, quota: Quota) -> None:
        """Set what a tenant may have."""
        text = "" if quota.is_nothing else write(tenant, quota, len(self._store.shards))
        for shard in self._store.shards:
            await self._store.run(shard, "set_quota", plain(tenant), text)

    async def quotas(self, limit: int = 100, cursor: str | None = None) -> TenantPage:
        """A page of tenants for which something is set."""
        above = "-" if cursor is None else f"({cursor}"
        rows = await self._store.run(_HOME, "quotas", above, limit + 1)
        found = [(name.decode(), read(text)) for name, text in zip(rows[::2], rows[1::2], strict=True)]
        return TenantPage(dict(found[:limit]), found[limit - 1][0] if len(found) > limit else None)

    async def loads(self, tenants: Sequence[str]) -> list[TenantLoad]:
        """What tenants have now."""
        if not tenants:
            return []
        names = [f"{kind}:{plain(tenant)}" for tenant in tenants for kind in "nb"]
        sums = [0] * len(names)
        for shard in self._store.shards:
            values = await self._store.command(shard, "HMGET", f"{self._store.keys[shard].prefix}loads", *names)
            sums = [total + int(value or 0) for total, value in zip(sums, values, strict=True)]
        return [TenantLoad(number, size) for number, size in zip(sums[::2], sums[1::2], strict=True)]


def write(tenant: str, quota: Quota, shards: int) -> str:
    """What one of so many shards keeps of a quota (lua/_tenants.lua), with the whole in its fourth word.

    >>> write("acme", Quota(running=5, unfinished=100), shards=2)
    '1.0 50 - 5/-/-/100/- [["c","@acme",2]]'
    >>> read(b'1.0 50 - 5/-/-/100/- [["c","@acme",2]]')
    Quota(weight=1.0, running=5, rate=None, unfinished=100, payload_bytes=None)
    """
    rate, part = quota.rate, part_of(quota, shards)
    whole = (quota.running, rate and rate.per_second, rate and rate.burst, quota.unfinished, quota.payload_bytes)
    words = (repr(part.weight), _word(part.unfinished), _word(part.payload_bytes), "/".join(map(_word, whole)))
    return " ".join((*words, pack_limits(part.limits(plain(tenant))) or "[]"))


def part_of(quota: Quota, shards: int) -> Quota:
    """What of a quota each of so many shards keeps to.

    >>> part_of(Quota(running=5, unfinished=1), 2)
    Quota(weight=1.0, running=2, rate=None, unfinished=1, payload_bytes=None)
    """
    rate = quota.rate
    return Quota(
        quota.weight,
        _part(quota.running, shards),
        rate and rate._replace(per_second=rate.per_second / shards, burst=max(1.0, rate.burst / shards)),
        _part(quota.unfinished, shards),
        _part(quota.payload_bytes, shards),
    )


def read(text: bytes) -> Quota:
    """The whole quota of which `write` wrote a part."""
    weight, _, _, whole, _ = text.decode().split(" ", 4)
    running, per_second, burst, unfinished, payload_bytes = _numbers(whole)
    rate = None if per_second is None or burst is None else Rate("", per_second, burst)
    return Quota(float(weight), _whole(running), rate, _whole(unfinished), _whole(payload_bytes))


def _part(number: int | None, shards: int) -> int | None:
    """What one shard has of it: together no more than the whole, unless there is less than one for each."""
    return None if number is None else max(1, number // shards)


def _word(number: float | None) -> str:
    return "-" if number is None else repr(number)


def _numbers(whole: str) -> Iterator[float | None]:
    return (None if word == "-" else float(word) for word in whole.split("/"))


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
